package main

import (
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/proto"
	"postroad/libmail/smtpwire"
)

// mailCommand makes MAIL FROM with what the server understands.
func (t *transaction) mailCommand() (string, error) {
	sender, err := t.outward(t.Sender)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("MAIL FROM:<" + t.quote(sender) + ">")
	if t.s.has(smtpwire.Size) && !t.downgrades(t.s) { // RFC 1870 §6
		b.WriteString(" SIZE=" + decimal(t.Size))
	}
	if t.s.has(smtpwire.EightBitMIME) { // RFC 6152 §3
		switch t.Encoding {
		case "8bit":
			b.WriteString(" BODY=8BITMIME")
		case "7bit":
			b.WriteString(" BODY=7BIT")
		case "":
		default:
			t.log.Warning("%s: unknown content encoding: %s", t.QueueID, t.Encoding)
		}
	}
	if t.s.has(smtpwire.DSN) { // RFC 3461 §4.3
		if t.EnvelopeID != "" {
			b.WriteString(" ENVID=" + smtpwire.EncodeXtext(t.EnvelopeID, ""))
		}
		ret := t.RetFlags
		if t.require > requireDisabled && !t.s.has(smtpwire.RequireTLS) {
			ret = proto.RetHeaders // a bounce must not carry the content further
		}
		switch ret {
		case proto.RetFull:
			b.WriteString(" RET=FULL")
		case proto.RetHeaders:
			b.WriteString(" RET=HDRS")
		}
	}
	if t.s.has(smtpwire.SMTPUTF8) && t.SendOpts&proto.SendOptUTF8 != 0 {
		b.WriteString(" SMTPUTF8")
	}
	if t.require > requireDisabled && t.s.has(smtpwire.RequireTLS) {
		b.WriteString(" REQUIRETLS")
	}
	if t.p.sasl.enabled && t.p.dummyAuth && t.s.has(smtpwire.AUTH) {
		b.WriteString(" AUTH=<>")
	}
	return b.String(), nil
}

// rcptCommand makes RCPT TO for one recipient.
func (t *transaction) rcptCommand(r *recipient) (string, error) {
	to, err := t.outward(r.Address)
	if err != nil {
		return "", err
	}
	command := "RCPT TO:<" + t.quote(to) + ">"
	if !t.s.has(smtpwire.DSN) {
		return command, nil
	}
	if o := t.origRcpt(r); o != "" {
		command += " ORCPT=" + o
	}
	if r.Notify != 0 {
		var words []string
		for _, n := range []struct {
			bit  int
			word string
		}{{proto.NotifyNever, "NEVER"}, {proto.NotifySuccess, "SUCCESS"}, {proto.NotifyFailure, "FAILURE"}, {proto.NotifyDelay, "DELAY"}} {
			if r.Notify&n.bit != 0 {
				words = append(words, n.word)
			}
		}
		command += " NOTIFY=" + strings.Join(words, ",")
	}
	return command, nil
}

// origRcpt is the value of ORCPT (RFC 3461 §4.2, RFC 6533 §3), or "".
func (t *transaction) origRcpt(r *recipient) string {
	kind, address, ok := strings.Cut(r.DSNOrig, ";")
	if !ok {
		if r.Orig == "" {
			return ""
		}
		kind, address = "rfc822", addr.Quote(r.Orig)
		if t.SendOpts != 0 && !addr.IsASCII(address) {
			kind = "utf-8"
		}
	}
	if strings.EqualFold(kind, "utf-8") {
		text, ok := smtpwire.EncodeUTF8Xtext(address, "")
		if !ok {
			return ""
		}
		return kind + ";" + text
	}
	return smtpwire.EncodeXtext(kind, "") + ";" + smtpwire.EncodeXtext(address, "")
}

// quote writes an address as it stands between angle brackets.
func (t *transaction) quote(address string) string {
	if address == "" {
		return ""
	}
	if !t.p.quoteEnvelope {
		return address
	}
	return addr.QuoteSMTP(address)
}

// xforward makes one of the two XFORWARD commands, or "" if there is nothing
// to tell (smtp_send_xforward_command).
func (t *transaction) xforward(at step) string {
	if !t.p.xforwardWanted {
		return ""
	}
	type attribute struct{ name, value string }
	list := []attribute{{"NAME", known(t.Client.Name)}, {"ADDR", known(t.Client.Addr)}, {"PORT", known(t.Client.Port)}}
	if at == stepXforwardProto {
		context := ""
		switch t.RewriteContext {
		case "":
		case proto.RuleLocal:
			context = "LOCAL"
		default:
			context = "REMOTE"
		}
		list = []attribute{{"PROTO", known(t.Client.Proto)}, {"HELO", t.Client.Helo}, {"IDENT", t.LogIdent}, {"SOURCE", context}}
	}
	command := ""
	for _, a := range list {
		if a.value != "" && contains(t.s.features.XFORWARD, a.name) {
			command += " " + a.name + "=" + smtpwire.EncodeXtext(a.value, "")
		}
	}
	if command == "" {
		return ""
	}
	return "XFORWARD" + command
}

// known is a value that says something.
func known(value string) string {
	if strings.EqualFold(value, "unknown") {
		return ""
	}
	return value
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}
