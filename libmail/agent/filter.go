package agent

import (
	"postroad/libmail/conf"
	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/table"
)

// filterNames are the parameters of the delivery status filters by program.
// Agents without one of their own have none.
var filterNames = map[string]string{
	"smtp": "smtp_delivery_status_filter", "lmtp": "lmtp_delivery_status_filter",
	"local": "local_delivery_status_filter", "virtual": "virtual_delivery_status_filter",
	"pipe": "pipe_delivery_status_filter",
}

// openFilter opens the delivery status filter of a program, or returns nil.
func openFilter(c *conf.Config, program string, log *maillog.Logger) (*table.Maps, error) {
	name := filterNames[program]
	if name == "" {
		return nil, nil
	}
	return table.OpenMaps(name, c.List(name), table.Options{Log: log, Fold: table.FoldNone})
}

// filtered is an outcome after the delivery status filter, which may replace
// "status text" by another. It cannot make a success of a failure, or the
// other way round.
func (a *Agent) filtered(o dsn.Outcome) dsn.Outcome {
	if a.filter.Empty() || !dsn.Valid(o.Status) {
		return o
	}
	result, found, err := a.filter.Find(o.Status + " " + o.Reason)
	if err != nil {
		a.log.Warning("%s: lookup error: %v", a.filter.Title(), err)
		return o
	}
	if !found {
		return o
	}
	status, text := dsn.Split(result, "")
	if status == "" || (status[0] == '2') != (o.Status[0] == '2') {
		a.log.Warning("%s: bad status code: %s", a.filter.Title(), result)
		return o
	}
	o.Status, o.Reason = status, text
	switch status[0] {
	case '4':
		o.Action = dsn.Delayed
	case '5':
		o.Action = dsn.Failed
	}
	return o
}
