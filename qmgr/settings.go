package main

import (
	"slices"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/maillog"
)

// settings are what the queue manager takes from main.cf and master.cf, each
// named as the parameter. They do not change; a reload makes new ones.
type settings struct {
	activeLimit int // qmgr_message_active_limit
	rcptLimit   int // qmgr_message_recipient_limit
	rcptMinimum int // qmgr_message_recipient_minimum
	probeLimit  int // address_verify_pending_request_limit

	queueRunDelay  time.Duration
	minimalBackoff time.Duration // minimal_backoff_time
	maximalBackoff time.Duration // maximal_backoff_time
	lifetime       time.Duration // maximal_queue_lifetime
	bounceLifetime time.Duration // bounce_queue_lifetime, of mail without a sender
	transportRetry time.Duration // transport_retry_time
	clogWarnTime   time.Duration // qmgr_clog_warn_time; 0: no warnings
	watchdog       time.Duration // qmgr_daemon_timeout

	deferTransports []string
	filterNexthop   string // default_filter_nexthop
	hostname        string // myhostname
	doubleBounce    string // double_bounce_sender, its local part
	delimiters      addr.Delimiters
	delayCleared    bool // confirm_delay_cleared
	verpBounces     bool // not disable_verp_bounces
	feedbackDebug   bool // destination_concurrency_feedback_debug
	utf8            bool // smtputf8_enable
	decimals        int  // delay_logging_resolution_limit
	logForm         func(address string) string
	flow            bool // in_flow_delay

	transport func(name string) transportSettings
}

// readSettings reads them. What is inconsistent is adjusted with a warning.
func readSettings(c *conf.Config, log *maillog.Logger) *settings {
	s := &settings{
		activeLimit:     c.Int("qmgr_message_active_limit"),
		rcptLimit:       c.Int("qmgr_message_recipient_limit"),
		rcptMinimum:     c.Int("qmgr_message_recipient_minimum"),
		probeLimit:      c.Int("address_verify_pending_request_limit"),
		queueRunDelay:   c.Duration("queue_run_delay"),
		minimalBackoff:  c.Duration("minimal_backoff_time"),
		maximalBackoff:  c.Duration("maximal_backoff_time"),
		lifetime:        c.Duration("maximal_queue_lifetime"),
		bounceLifetime:  c.Duration("bounce_queue_lifetime"),
		transportRetry:  c.Duration("transport_retry_time"),
		watchdog:        c.Duration("qmgr_daemon_timeout"),
		deferTransports: c.List("defer_transports"),
		filterNexthop:   c.String("default_filter_nexthop"),
		hostname:        c.String("myhostname"),
		delayCleared:    c.Bool("confirm_delay_cleared"),
		verpBounces:     !c.Bool("disable_verp_bounces"),
		feedbackDebug:   c.Bool("destination_concurrency_feedback_debug"),
		utf8:            c.Bool("smtputf8_enable"),
		decimals:        c.Int("delay_logging_resolution_limit"),
		flow:            c.Duration("in_flow_delay") > 0,
		logForm:         quote,
	}
	s.doubleBounce, _, _ = addr.SplitDomain(c.String("double_bounce_sender"))
	s.delimiters = addr.Delimiters{
		Set:          c.String("recipient_delimiter"),
		OwnerRequest: c.Bool("owner_request_special"),
		DoubleBounce: s.doubleBounce,
	}
	if c.Bool("helpful_warnings") {
		s.clogWarnTime = c.Duration("qmgr_clog_warn_time")
	}
	if c.String("info_log_address_format") == "internal" {
		s.logForm = func(address string) string { return address }
	}
	if s.rcptLimit < s.activeLimit {
		log.Warning("qmgr_message_recipient_limit is smaller than qmgr_message_active_limit - adjusting qmgr_message_recipient_limit")
		s.rcptLimit = s.activeLimit
	}
	if s.bounceLifetime > s.lifetime {
		log.Warning("bounce_queue_lifetime is larger than maximal_queue_lifetime - adjusting bounce_queue_lifetime")
		s.bounceLifetime = s.lifetime
	}
	processes := readProcesses(c, log)
	s.transport = func(name string) transportSettings {
		t := readTransport(c, log, name)
		t.processes = processes(name)
		return t
	}
	return s
}

// quote gives the external form of an address for the log; the null sender
// stays empty.
func quote(address string) string {
	if address == "" {
		return ""
	}
	return addr.Quote(address)
}

// readTransport reads the parameters of one transport.
func readTransport(c *conf.Config, log *maillog.Logger, name string) transportSettings {
	t := transportSettings{
		concurrencyLimit:   c.TransportInt(name, "destination_concurrency_limit"),
		initialConcurrency: c.TransportInt(name, "initial_destination_concurrency"),
		recipientLimit:     c.TransportInt(name, "destination_recipient_limit"),
		cohortLimit:        c.TransportInt(name, "destination_concurrency_failed_cohort_limit"),
		destinationDelay:   c.TransportDuration(name, "destination_rate_delay"),
		transportDelay:     c.TransportDuration(name, "transport_rate_delay"),
		slotCost:           c.TransportInt(name, "delivery_slot_cost"),
		slotLoan:           c.TransportInt(name, "delivery_slot_loan"),
		slotLoanFactor:     100 - c.TransportInt(name, "delivery_slot_discount"),
		minSlots:           c.TransportInt(name, "minimum_delivery_slots"),
		rcptLimit:          c.TransportInt(name, "recipient_limit"),
		rcptExtra:          c.TransportInt(name, "extra_recipient_limit"),
		refillLimit:        c.TransportInt(name, "recipient_refill_limit"),
		refillDelay:        c.TransportDuration(name, "recipient_refill_delay"),
	}
	feedbackOf := func(suffix string) feedback {
		f, err := parseFeedback(c.TransportString(name, suffix))
		if err != nil {
			log.Warning("%s_%s: ignoring %v", name, suffix, err)
		}
		return f
	}
	t.positive = feedbackOf("destination_concurrency_positive_feedback")
	t.negative = feedbackOf("destination_concurrency_negative_feedback")
	t.limitWindow()
	return t
}

// limitWindow keeps the concurrency at one where deliveries to a destination
// are to be spaced out, and the initial one within the limit.
func (t *transportSettings) limitWindow() {
	if t.destinationDelay > 0 {
		t.concurrencyLimit = 1
	}
	if t.concurrencyLimit != 0 {
		t.initialConcurrency = min(t.initialConcurrency, t.concurrencyLimit)
	}
}

// readProcesses gives the maxproc column of master.cf for each service. The
// queue manager starts no more deliveries than the agent has sessions, so
// that what it can't start yet keeps its place in the order.
func readProcesses(c *conf.Config, log *maillog.Logger) func(name string) int {
	services, err := conf.LoadMaster(c.Dir(), c)
	if err != nil {
		log.Warning("%v", err)
	}
	return func(name string) int {
		i := slices.IndexFunc(services, func(s conf.Service) bool { return s.Name == name && s.Type == "unix" })
		if i < 0 {
			return c.Int("default_process_limit")
		}
		return services[i].MaxProc
	}
}
