package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/conf"
	"postroad/libmail/dsn"
	"postroad/libmail/proto"
)

// maxHeader bounds the header lines that are searched for Delivered-To.
const maxHeader = 10000

// request delivers to all recipients of a request with one command.
func (p *pipe) request(_ context.Context, m *agent.Message) {
	via := agent.Via{Relay: p.env.Service}
	for _, flag := range []string{"D", "O"} {
		if p.attrs.has(flag) && len(m.Rcpts) > 1 { // one header cannot name them all
			p.env.Log.Warning("pipe flag `%s' requires %s_destination_recipient_limit = 1", flag, p.env.Service)
			reportAll(m, all(m), dsn.Outcome{Status: "4.3.5", Reason: "mail system configuration error"}, via)
			return
		}
	}
	if p.attrs.size > 0 && m.Size > p.attrs.size {
		reportAll(m, all(m), dsn.Outcome{Status: "5.2.3", Reason: "message too large"}, via)
		return
	}
	rcpts := all(m)
	if p.attrs.has("D") {
		rcpts = p.breakLoops(m, via)
	}
	if len(rcpts) == 0 {
		return
	}
	if m.TraceOnly() {
		reportAll(m, rcpts, dsn.Outcome{Status: "2.0.0", Reason: "delivers to command: " + p.attrs.argv[0]}, via)
		return
	}
	reportAll(m, rcpts, p.run(m, rcpts), via)
}

func reportAll(m *agent.Message, rcpts []*proto.Rcpt, o dsn.Outcome, via agent.Via) {
	for _, r := range rcpts {
		m.Report(r, o, via)
	}
}

// run runs the command.
func (p *pipe) run(m *agent.Message, rcpts []*proto.Rcpt) dsn.Outcome {
	argv, err := p.expand(m, rcpts)
	if err != nil {
		p.env.Log.Warning("%s: argv=: %v", m.QueueID, err)
		return dsn.Outcome{Status: "4.3.5", Reason: "mail system configuration error"}
	}
	reply, err := p.mda.Ask(p.attrs.as, nil, &proto.MDARequest{
		Action: proto.MDACommand, Argv: argv, Dir: p.directory(), Env: p.environment(),
		Head: p.head(m, rcpts), Offset: m.Offset, EOL: p.attrs.eol, Quote: p.attrs.flags, Limit: p.limit,
	}, m.File.File())
	if err != nil {
		return dsn.Of(fmt.Errorf("command %s: %w", argv[0], err))
	}
	if reply.Outcome.Class() != '2' {
		return reply.Outcome
	}
	return p.delivered(string(reply.Data))
}

// delivered is the outcome of a command that ended well; the log shows the
// begin of what it printed.
func (p *pipe) delivered(output string) dsn.Outcome {
	o := dsn.Outcome{Status: "2.0.0", Action: dsn.Relayed, Reason: "delivered via " + p.env.Service + " service"}
	if output = strings.TrimSpace(output); output != "" {
		o.Reason += fmt.Sprintf(" (%.100s)", output)
	}
	if p.attrs.has("X") {
		o.Action = dsn.Delivered
	}
	return o
}

// directory is where the command starts: directory=, else the queue directory.
func (p *pipe) directory() string {
	if p.attrs.directory != "" {
		return p.attrs.directory
	}
	return "."
}

// breakLoops sends back what this transport has delivered to the same
// recipient before, and returns the other recipients.
func (p *pipe) breakLoops(m *agent.Message, via agent.Via) []*proto.Rcpt {
	passed := map[string]bool{}
	const name = "delivered-to:"
	for content, n := m.Content(), 0; n < maxHeader; n++ {
		line, _, err := content.Line()
		if errors.Is(err, io.EOF) || err == nil && len(line) == 0 {
			break
		}
		if err != nil {
			m.Damaged()
			return nil
		}
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			passed[addr.Fold(addr.Unquote(strings.TrimSpace(string(line[len(name):]))))] = true
		}
	}
	var rest []*proto.Rcpt
	for _, r := range all(m) {
		if passed[addr.Fold(r.Address)] {
			m.Report(r, dsn.Outcome{Status: "5.4.6", Reason: "mail forwarding loop for " + r.Address}, via)
			continue
		}
		rest = append(rest, r)
	}
	return rest
}

// all is the recipients of a request.
func all(m *agent.Message) []*proto.Rcpt {
	list := make([]*proto.Rcpt, len(m.Rcpts))
	for i := range m.Rcpts {
		list[i] = &m.Rcpts[i]
	}
	return list
}

// sender is the envelope sender, or what stands for the empty one.
func (p *pipe) sender(m *agent.Message) string {
	if m.Sender == "" {
		return p.attrs.nullSender
	}
	return m.Sender
}

// head is what flags= wants before the message.
func (p *pipe) head(m *agent.Message, rcpts []*proto.Rcpt) string {
	var b strings.Builder
	sender := addr.Quote(p.sender(m))
	if p.attrs.has("F") {
		b.WriteString("From " + sender + "  " + p.env.Clock.Now().Format("Mon Jan _2 15:04:05 2006") + "\n")
	}
	if p.attrs.has("R") {
		b.WriteString("Return-Path: <" + sender + ">\n")
	}
	if p.attrs.has("O") && rcpts[0].Orig != "" {
		b.WriteString("X-Original-To: " + addr.Quote(rcpts[0].Orig) + "\n")
	}
	if p.attrs.has("D") {
		b.WriteString("Delivered-To: " + addr.Quote(rcpts[0].Address) + "\n")
	}
	return b.String()
}

// environment is all that the command finds in its environment.
func (p *pipe) environment() []string {
	env := []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	for _, e := range p.exported {
		if strings.Contains(e, "=") {
			env = append(env, e)
		} else if v, ok := os.LookupEnv(e); ok {
			env = append(env, e+"="+v)
		}
	}
	return env
}

// perRcpt are the macros that repeat an argument for each recipient.
var perRcpt = map[string]func(p *pipe, r *proto.Rcpt) string{
	"recipient":          func(p *pipe, r *proto.Rcpt) string { return p.folded(r.Address) },
	"original_recipient": func(p *pipe, r *proto.Rcpt) string { return p.folded(r.Orig) },
	"user":               func(p *pipe, r *proto.Rcpt) string { return p.part(r, 0) },
	"extension":          func(p *pipe, r *proto.Rcpt) string { return p.part(r, 1) },
	"mailbox":            func(p *pipe, r *proto.Rcpt) string { return p.part(r, 2) },
	"domain":             func(p *pipe, r *proto.Rcpt) string { return p.part(r, 3) },
}

// expand puts the macros in. Values come from peers and are not expanded
// again.
func (p *pipe) expand(m *agent.Message, rcpts []*proto.Rcpt) (argv []string, err error) {
	for _, arg := range p.attrs.argv {
		for _, r := range rcpts {
			repeated := false
			var unknown string
			value, err := conf.Substitute(arg, func(name string) (string, bool) {
				if f, ok := perRcpt[name]; ok {
					repeated = true
					return f(p, r), true
				}
				v, known := p.macro(m, name)
				if !known {
					unknown = name
				}
				return v, true
			})
			if err == nil && unknown != "" {
				err = fmt.Errorf("unknown macro $%s", unknown)
			}
			if err != nil {
				return nil, err
			}
			argv = append(argv, value)
			if !repeated {
				break
			}
		}
	}
	if !filepath.IsAbs(argv[0]) && strings.Contains(argv[0], "/") {
		return nil, fmt.Errorf("command %q: want an absolute path or a name", argv[0])
	}
	return argv, nil
}

// macro is the value of a name that is the same for all recipients.
func (p *pipe) macro(m *agent.Message, name string) (value string, known bool) {
	switch name {
	case "sender":
		s := p.sender(m)
		if p.attrs.has("q") && s != "" {
			s = addr.Quote(s)
		}
		return s, true
	case "nexthop":
		if p.attrs.has("h") {
			return strings.ToLower(m.Nexthop), true
		}
		return m.Nexthop, true
	case "queue_id":
		return m.QueueID, true
	case "size":
		return fmt.Sprint(m.Size), true
	case "envid":
		return m.EnvelopeID, true
	case "client_address":
		return m.Client.Addr, true
	case "client_helo":
		return m.Client.Helo, true
	case "client_hostname":
		return m.Client.Name, true
	case "client_port":
		return m.Client.Port, true
	case "client_protocol":
		return m.Client.Proto, true
	case "sasl_method":
		return m.SASL.Method, true
	case "sasl_sender":
		return m.SASL.Sender, true
	case "sasl_username":
		return m.SASL.Username, true
	}
	return "", false
}

// folded is a whole address, with the foldings and quotes that flags= wants.
func (p *pipe) folded(address string) string {
	local, domain, ok := addr.SplitDomain(address)
	if p.attrs.has("u") {
		local = strings.ToLower(local)
	}
	if p.attrs.has("h") {
		domain = strings.ToLower(domain)
	}
	if ok {
		local += "@" + domain
	}
	if p.attrs.has("q") && local != "" {
		return addr.Quote(local)
	}
	return local
}

// part is the user, extension, mailbox or domain of a recipient.
func (p *pipe) part(r *proto.Rcpt, which int) string {
	local, domain, _ := addr.SplitDomain(r.Address)
	user, ext, _ := p.delimiter.SplitLocal(local)
	v := [...]string{user, ext, local, domain}[which]
	if which == 3 && p.attrs.has("h") || which != 3 && p.attrs.has("u") {
		return strings.ToLower(v)
	}
	return v
}
