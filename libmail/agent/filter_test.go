package agent

import (
	"testing"

	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/table"
)

func TestDeliveryStatusFilter(t *testing.T) {
	m, err := table.OpenMaps("test_filter", []string{"regexp:{ {/^5.1.1 gone/ 4.1.1 perhaps not}, {/^4.2.2 full/ 5.2.2 full for good}, " +
		"{/^2.0.0 ok/ 2.1.5 fine}, {/^5.7.1 no/ 2.0.0 yes}, {/^4.0.0 x/ nonsense} }"}, table.Options{Fold: table.FoldNone})
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{log: maillog.Discard(), filter: m}
	for _, c := range []struct {
		rule     string
		in, want dsn.Outcome
	}{
		{"a failure may become temporary", dsn.Outcome{Status: "5.1.1", Reason: "gone"}, dsn.Outcome{Status: "4.1.1", Reason: "perhaps not", Action: dsn.Delayed}},
		{"or final", dsn.Outcome{Status: "4.2.2", Reason: "full"}, dsn.Outcome{Status: "5.2.2", Reason: "full for good", Action: dsn.Failed}},
		{"a success keeps its action", dsn.Outcome{Status: "2.0.0", Reason: "ok", Action: dsn.Relayed}, dsn.Outcome{Status: "2.1.5", Reason: "fine", Action: dsn.Relayed}},
		{"a failure never becomes a success", dsn.Outcome{Status: "5.7.1", Reason: "no"}, dsn.Outcome{Status: "5.7.1", Reason: "no"}},
		{"a result without a status changes nothing", dsn.Outcome{Status: "4.0.0", Reason: "x"}, dsn.Outcome{Status: "4.0.0", Reason: "x"}},
		{"what is not in the table stays", dsn.Outcome{Status: "5.0.0", Reason: "y"}, dsn.Outcome{Status: "5.0.0", Reason: "y"}},
	} {
		if got := a.filtered(c.in); got != c.want {
			t.Errorf("%s: %+v", c.rule, got)
		}
	}
}
