package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/smtpwire"
)

// What sets a command apart, summed.
type trait uint8

const (
	junk      trait = 1 << iota // may be repeated for nothing: counted (smtpd_junk_command_limit)
	plain                       // allowed before STARTTLS when TLS is required
	lastInRow                   // ends a pipelined group (RFC 2920 §3.1)
)

// A command is one verb that we know.
type command struct {
	verb   string
	run    func(s *session, args []smtpwire.Token) reply
	traits trait
}

// commands is the SMTP command table (RFC 5321 §4.1.1), in the order in which
// the line about the end of a session counts them.
var commands []command

func init() { // in init, because HELP reads the table
	commands = []command{
		{"HELO", (*session).cmdHELO, junk | plain | lastInRow},
		{"EHLO", (*session).cmdEHLO, junk | plain | lastInRow},
		{"XCLIENT", (*session).cmdXCLIENT, plain},
		{"XFORWARD", (*session).cmdXFORWARD, 0},
		{"STARTTLS", (*session).cmdSTARTTLS, plain},
		{"AUTH", (*session).cmdAUTH, 0},
		{"MAIL", (*session).cmdMAIL, 0},
		{"RCPT", (*session).cmdRCPT, 0},
		{"DATA", (*session).cmdDATA, lastInRow},
		{"BDAT", (*session).cmdBDAT, 0},
		{"RSET", (*session).cmdRSET, junk},
		{"NOOP", (*session).cmdNOOP, junk | plain | lastInRow},
		{"VRFY", (*session).cmdVRFY, junk | lastInRow},
		{"ETRN", (*session).cmdETRN, junk},
		{"QUIT", (*session).cmdQUIT, plain},
		{"HELP", (*session).cmdHELP, plain},
	}
}

// findCommand returns nil for a verb that we do not know.
func findCommand(verb string) *command {
	for i := range commands {
		if strings.EqualFold(verb, commands[i].verb) {
			return &commands[i]
		}
	}
	return nil
}

// command answers one command line.
func (s *session) command(line string) reply {
	if s.params.utf8 && !utf8.ValidString(line) {
		return s.unknownCommand(protocolError(500, "5.5.2", "Error: bad UTF-8 syntax"))
	}
	line, r := s.filterCommand(line)
	if r != nil {
		return *r
	}
	args := smtpwire.AppendTokens(nil, line)
	if len(args) == 0 {
		return s.unknownCommand(protocolError(500, "5.5.2", "Error: bad syntax"))
	}
	if s.listedWord(s.lists.noopCommands, args[0].Text) {
		s.countJunk()
		return reply{code: 250, status: "2.0.0", text: "Ok"}
	}
	cmd := findCommand(args[0].Text)
	if cmd == nil {
		return s.strange(line, args[0].Text)
	}
	n := s.counter(cmd.verb)
	n.all++
	if r := s.mayNot(cmd); r != nil {
		return *r
	}
	s.where = cmd.verb
	if (s.protocol != "ESMTP" || cmd.traits&lastInRow != 0) && s.improperPipelining() && s.params.forbidPipelining {
		return synchronization
	}
	return s.settle(cmd, n, cmd.run(s, args))
}

// settle counts a finished command. One that goes on after its first reply is
// counted when the last one is known.
func (s *session) settle(cmd *command, n *count, r reply) reply {
	if then := r.then; then != nil {
		r.then = func(s *session) reply { return s.settle(cmd, n, then(s)) }
		return r
	}
	switch {
	case r.lost != nil || r.restart:
	case r.code >= 400 && !r.forgiven:
		s.errors++
	default:
		n.good++
	}
	if cmd.traits&junk != 0 {
		s.countJunk()
	}
	return r
}

// mayNot refuses a command that this client may not give now.
func (s *session) mayNot(cmd *command) *reply {
	if s.accessDenied != nil && cmd.verb != "QUIT" {
		return s.denied()
	}
	if s.params.tls.required && !s.alone && s.tls == nil && cmd.traits&plain == 0 {
		s.errors++
		return &reply{code: 530, status: "5.7.0", text: "Must issue a STARTTLS command first"}
	}
	return nil
}

// denied answers every command of a client that was refused when it connected
// (RFC 5321 §3.1).
func (s *session) denied() *reply {
	if s.accessDenied.code%100 == 21 {
		return s.accessDenied
	}
	s.errors++
	r := say(503, "5.7.0", "Error: access denied for %s", s.client.namaddr)
	return &r
}

// strange answers what is no command. A client that speaks another protocol,
// as a web browser that somebody aimed at us, is sent away.
func (s *session) strange(line, verb string) reply {
	s.where = atUnknown
	if message.IsHeader(verb) || s.listedWord(s.lists.forbiddenCommands, verb) {
		s.counter("unknown").all++
		s.log.Warning("non-SMTP command from %s: %.100s", s.client.namaddr, escape([]byte(line)))
		return reply{code: 221, status: "2.7.0", text: "Error: I can break rules, too. Goodbye.", hangup: true}
	}
	if s.accessDenied != nil {
		s.counter("unknown").all++
		return *s.denied()
	}
	return s.unknownCommand(protocolError(500, "5.5.2", "Error: command not recognized"))
}

// unknownCommand counts an error that belongs to no command.
func (s *session) unknownCommand(r reply) reply {
	s.where = atUnknown
	s.counter("unknown").all++
	s.errors++
	return r
}

// filterCommand repairs commands of broken clients (smtpd_command_filter).
func (s *session) filterCommand(line string) (string, *reply) {
	if s.tables.commandFilter == nil {
		return line, nil
	}
	value, found, err := s.tables.commandFilter.Lookup(strings.TrimLeft(line, " \t"))
	switch {
	case err != nil:
		s.log.Warning("%s lookup error for \"%.100s\"", s.tables.commandFilter.Name(), maillog.Printable(line))
		r := s.dataError()
		return "", &r
	case found:
		s.log.Info("%s: replacing command \"%.100s\" with \"%.100s\"", s.client.namaddr, line, value)
		return value, nil
	}
	return line, nil
}

// dataError ends a session that cannot go on because a table gives no answer.
func (s *session) dataError() reply {
	s.log.Info("%s: reject: %s from %s: 421 4.3.0 %s Server local data error", s.queueID(), s.where, s.client.namaddr, s.params.hostname)
	return reply{code: 421, status: "4.3.0", text: s.params.hostname + " Server local data error", class: dataTrouble, hangup: true}
}

func (s *session) countJunk() {
	if s.junk++; s.junk > s.limits().junkLimit+1 {
		s.errors++
	}
}

func (s *session) counter(verb string) *count {
	n := s.stats[verb]
	if n == nil {
		n = &count{}
		s.stats[verb] = n
	}
	return n
}

// statistics is the end of the line that logs the end of a session.
func (s *session) statistics() string {
	var b strings.Builder
	var sum count
	add := func(verb string) {
		n := s.stats[verb]
		if n == nil {
			return
		}
		fmt.Fprintf(&b, " %s=%d", strings.ToLower(verb), n.good)
		if n.good != n.all {
			fmt.Fprintf(&b, "/%d", n.all)
		}
		sum.good += n.good
		sum.all += n.all
	}
	for i := range commands {
		add(commands[i].verb)
	}
	add("unknown")
	fmt.Fprintf(&b, " commands=%d", sum.good)
	if sum.good != sum.all || sum.all == 0 {
		fmt.Fprintf(&b, "/%d", sum.all)
	}
	if len(s.notes) > 0 {
		b.WriteString(" notes=" + strings.Join(s.notes, ","))
	}
	return b.String()
}

// cmdRSET forgets the transaction (RFC 5321 §4.1.1.5).
func (s *session) cmdRSET(args []smtpwire.Token) reply {
	if len(args) != 1 {
		return protocolError(501, "5.5.4", "Syntax: RSET")
	}
	s.resetMail()
	return reply{code: 250, status: "2.0.0", text: "Ok"}
}

// cmdNOOP does nothing, whatever its argument (RFC 5321 §4.1.1.9).
func (s *session) cmdNOOP([]smtpwire.Token) reply {
	return reply{code: 250, status: "2.0.0", text: "Ok"}
}

// cmdQUIT ends the session (RFC 5321 §4.1.1.10). Its syntax does not matter.
func (s *session) cmdQUIT([]smtpwire.Token) reply {
	return reply{code: 221, status: "2.0.0", text: "Bye", hangup: true}
}

// cmdHELP lists the commands, also those that this client may not use (RFC
// 5321 §4.1.1.8).
func (s *session) cmdHELP([]smtpwire.Token) reply {
	var verbs []string
	for i := range commands {
		verbs = append(verbs, commands[i].verb)
	}
	slices.Sort(verbs)
	return reply{code: 214, status: "2.0.0", text: "Commands: " + strings.Join(verbs, " ")}
}
