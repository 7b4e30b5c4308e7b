package main

import (
	"fmt"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/table"
)

// rulers are the restriction lists of main.cf.
type rulers struct {
	client, helo, sender, relay, rcpt, data, endOfData, etrn list
	classes                                                  map[string]list
	policies                                                 map[string]*policyServer
	rewriteClients                                           list // local_header_rewrite_clients
}

// loadRules parses the restriction lists and opens the tables in them.
func (sv *service) loadRules(o table.Options) error {
	c := sv.params.conf
	r := &sv.rulers
	r.classes, r.policies = map[string]list{}, map[string]*policyServer{}
	for _, l := range []struct {
		to   *list
		name string
	}{
		{&r.client, "smtpd_client_restrictions"},
		{&r.helo, "smtpd_helo_restrictions"},
		{&r.sender, "smtpd_sender_restrictions"},
		{&r.relay, "smtpd_relay_restrictions"},
		{&r.rcpt, "smtpd_recipient_restrictions"},
		{&r.data, "smtpd_data_restrictions"},
		{&r.endOfData, "smtpd_end_of_data_restrictions"},
		{&r.etrn, "smtpd_etrn_restrictions"},
		{&r.rewriteClients, "local_header_rewrite_clients"},
	} {
		var err error
		if *l.to, err = sv.parseList(c.String(l.name), o); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if err := sv.loadClasses(o); err != nil {
		return err
	}
	if !sv.refuses(r.rcpt, 0) && !sv.refuses(r.relay, 0) {
		return fmt.Errorf("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, "+
			"specify at least one working instance of: %s or %s",
			strings.Join(refusers[:len(refusers)-1], ", "), refusers[len(refusers)-1])
	}
	return nil
}

// loadClasses parses the restriction classes, and one of our own.
func (sv *service) loadClasses(o table.Options) error {
	c, classes := sv.params.conf, sv.rulers.classes
	var err error
	for _, name := range c.List("smtpd_restriction_classes") {
		value, ok := c.User(name)
		if !ok || value == "" {
			return fmt.Errorf("restriction class `%s' needs a definition", name)
		}
		if classes[name], err = sv.parseList(value, o); err != nil {
			return err
		}
	}
	if classes["reject_sender_login_mismatch"], err = sv.parseList(
		"reject_authenticated_sender_login_mismatch reject_unauthenticated_sender_login_mismatch", o); err != nil {
		return err
	}
	return nil
}

// refusers are the restrictions that keep a host from relaying for everybody.
var refusers = []string{"reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit", "check_relay_domains"}

// refuses reports whether a list has a restriction that refuses by default and
// is reached: without one this host would be an open relay.
func (sv *service) refuses(l list, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for i := range l {
		st := &l[i]
		if st.warn {
			continue
		}
		if st.name == "permit" {
			return false
		}
		if hasWord(refusers, st.name) {
			return true
		}
		if class, ok := sv.rulers.classes[st.name]; ok && sv.refuses(class, depth+1) {
			return true
		}
	}
	return false
}

// parseList divides text into steps. What is wrong in it does not stop the
// program: requests that get there are refused for now, and the log says why.
func (sv *service) parseList(text string, o table.Options) (list, error) {
	var l list
	words := conf.SplitList(text)
	warn := false
	for i := 0; i < len(words); i++ {
		if strings.EqualFold(words[i], "warn_if_reject") {
			warn = true
			continue
		}
		st := step{name: words[i], warn: warn}
		warn = false
		if st.rule = findRestriction(words[i]); st.rule != nil {
			st.name = st.rule.name
		}
		var err error
		switch {
		case st.rule == nil && strings.Contains(words[i], ":"):
			st.arg, err = words[i], nil
			st.maps, st.order, err = sv.accessTable(words[i], o)
		case st.rule == nil:
		case st.rule.argument != noArgument:
			next := ""
			if i+1 < len(words) {
				next = words[i+1]
				i++
			}
			err = sv.parseArgument(&st, next, o)
		}
		if err != nil {
			return nil, err
		}
		l = append(l, st)
	}
	sv.warnIgnored(l)
	return l, nil
}

// parseArgument takes the word after a restriction's name.
func (sv *service) parseArgument(st *step, word string, o table.Options) (err error) {
	st.arg = word
	switch st.rule.argument {
	case tableArgument:
		if !strings.Contains(word, ":") {
			st.wrong = fmt.Sprintf("restriction %s: bad argument %q: need maptype:mapname", st.name, word)
			return nil
		}
		st.maps, st.order, err = sv.accessTable(word, o)
	case serverArgument:
		if !strings.Contains(word, ":") {
			st.wrong = "restriction " + st.name + " must be followed by transport:server"
			return nil
		}
		st.policy, err = sv.policyServer(word)
	case numberArgument:
		if word == "" || strings.Trim(word, "0123456789") != "" {
			st.wrong = "restriction " + st.name + " must be followed by number"
		}
	case domainArgument:
		if word == "" {
			sv.log.Warning("restriction %s requires domain name argument", st.name)
		} else if err := checkList(word); err != nil {
			st.wrong = fmt.Sprintf("restriction %s: %v", st.name, err)
		}
	}
	return err
}

// accessTable opens the table of a step, once. Braces may hold a search order:
// { hash:/etc/certs { search_order = pubkey_fingerprint } }.
func (sv *service) accessTable(spec string, o table.Options) (*table.Maps, []string, error) {
	var order []string
	if inner, ok := unbrace(spec); ok {
		words := conf.SplitList(inner)
		if len(words) == 0 {
			return nil, nil, fmt.Errorf("empty table name in %q", spec)
		}
		spec = words[0]
		for _, attr := range words[1:] {
			body, _ := unbrace(attr)
			name, value, _ := strings.Cut(body, "=")
			if strings.TrimSpace(name) != "search_order" {
				return nil, nil, fmt.Errorf("unknown attribute %q of table %s", attr, spec)
			}
			order = conf.SplitWords(value)
		}
	}
	maps, err := table.OpenMaps(spec, []string{spec}, o)
	return maps, order, err
}

// unbrace takes off the braces around text.
func unbrace(text string) (string, bool) {
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return text, false
	}
	return strings.TrimSpace(text[1 : len(text)-1]), true
}

// warnIgnored points out what can never be reached.
func (sv *service) warnIgnored(l list) {
	for i := 0; i+1 < len(l); i++ {
		if st := &l[i]; !st.warn && (st.name == "permit" || st.name == "reject" || st.name == "defer") {
			sv.log.Warning("restriction `%s' after `%s' is ignored", l[i+1].name, st.name)
			return
		}
	}
}
