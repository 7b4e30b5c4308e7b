package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
	"postroad/libmail/smtpwire"
)

// A transaction is what the client has said since MAIL (RFC 5321 §3.3).
type transaction struct {
	sender    *string // internal form; nil: no transaction
	recipient *string // first accepted one
	rcpts     int     // accepted ones
	overshoot int     // refused because there were too many

	arrival   time.Time
	instance  string // for policy servers: the same during one transaction
	announced int64  // SIZE parameter
	size      int64  // received content
	utf8      bool   // SMTPUTF8
	reqTLS    bool   // REQUIRETLS
	encoding  string // of BODY: "8bit", "7bit"
	envid     string // decoded
	ret       smtpwire.Ret
	verp      string // delimiters
	auth      string // AUTH parameter, as it came

	context  string   // rewrite context: local, remote
	forward  *forward // XFORWARD attributes
	id       string   // queue id
	queue    *queueFile
	problems int // Stat bits of cleanup
	bdat     bdatState
	chunks   smtpwire.ChunkReader

	actions actions
}

// actions are results of access tables that cleanup carries out.
type actions struct {
	filter, redirect string
	bcc, prepend     []string
	hold, discard    bool
}

// resetMail forgets the transaction and drops what was handed to cleanup.
func (s *session) resetMail() {
	if s.mail.queue != nil {
		s.mail.queue.abort()
	}
	chunks := s.mail.chunks
	chunks.Reset(s.params.lineLimit, s.endPolicy())
	s.mail = transaction{chunks: chunks}
}

// endPolicy says how the content of a message ends for this client.
func (s *session) endPolicy() smtpwire.EndPolicy {
	if s.bareLF.strictEnd {
		return smtpwire.Normalize
	}
	return smtpwire.Lenient
}

// cmdMAIL begins a transaction (RFC 5321 §4.1.1.2).
func (s *session) cmdMAIL(args []smtpwire.Token) reply {
	p := s.params
	switch {
	case p.heloRequired && s.helo == "":
		return policyError(503, "5.5.1", "Error: send HELO/EHLO first")
	case s.mail.sender != nil:
		return protocolError(503, "5.5.1", "Error: nested MAIL command")
	case s.mail.bdat != noBDAT:
		return protocolError(503, "5.5.1", "Error: MAIL after BDAT")
	case len(args) < 3 || !strings.EqualFold(args[1].Text, "from:"):
		return protocolError(501, "5.5.4", "Syntax: MAIL FROM:<address>")
	}
	if r := s.countMessage(); r != nil {
		return *r
	}
	m := transaction{forward: s.mail.forward, chunks: s.mail.chunks}
	m.utf8 = s.offers(smtpwire.SMTPUTF8) && hasToken(args[3:], "SMTPUTF8")
	sender, ok := s.address(args[2], nullAllowed, m.utf8)
	if !ok {
		return protocolError(501, "5.1.7", "Bad sender address syntax")
	}
	for _, arg := range args[3:] {
		if r := s.mailParameter(&m, arg.Text); r != nil {
			return *r
		}
	}
	if r := s.checkSize(sender, m.announced); r != nil {
		return *r
	}
	if m.verp != "" && sender == "" {
		return say(503, "5.5.4", "Error: XVERP requires non-null sender")
	}
	return s.beginMail(m, sender)
}

// beginMail makes the checks that need the whole command.
func (s *session) beginMail(m transaction, sender string) reply {
	m.context = "local"
	s.mail.utf8 = m.utf8 // for the checks
	if !s.alone {
		if original, ok := s.ownProbe(sender); ok {
			sender = original
		}
		if !s.params.delayReject {
			if r := s.checkMAIL(sender); r != nil {
				s.resetMail()
				return *r
			}
		}
		var r *reply
		if m.context, r = s.rewriteContext(); r != nil {
			s.resetMail()
			return *r
		}
	}
	if r := s.undeclaredUTF8(sender, m.utf8); r != nil {
		return *r
	}
	if !s.alone {
		if r := s.checkSpace(); r != nil {
			s.resetMail()
			return *r
		}
	}
	m.actions = s.mail.actions
	m.arrival = s.clock.Now()
	m.sender = &sender
	m.instance = fmt.Sprintf("%x.%x.%x.%x", os.Getpid(), m.arrival.Unix(), m.arrival.Nanosecond()/1000, s.sequence.Add(1)-1)
	s.mail = m
	if !s.params.delayOpen {
		if r := s.openQueue(); r != nil {
			s.resetMail()
			return *r
		}
	}
	return reply{code: 250, status: "2.1.0", text: "Ok"}
}

// offers reports whether an extension is on and announced to this client.
func (s *session) offers(k smtpwire.Keywords) bool {
	return s.discard&k == 0 && (k != smtpwire.SMTPUTF8 || s.params.utf8)
}

func hasToken(args []smtpwire.Token, word string) bool {
	for _, a := range args {
		if strings.EqualFold(a.Text, word) {
			return true
		}
	}
	return false
}

// mailParameters are the parameters of MAIL. A function returns a reply when
// the value is wrong.
var mailParameters = map[string]func(s *session, m *transaction, p smtpwire.Param) *reply{
	"BODY":       (*session).paramBODY,
	"SIZE":       (*session).paramSIZE,
	"SMTPUTF8":   (*session).paramSMTPUTF8,
	"REQUIRETLS": (*session).paramREQUIRETLS,
	"AUTH":       (*session).paramAUTH,
	"XVERP":      (*session).paramXVERP,
	"RET":        (*session).paramRET,
	"ENVID":      (*session).paramENVID,
}

func (s *session) mailParameter(m *transaction, word string) *reply {
	p := smtpwire.ParseParam(word)
	if set := mailParameters[p.Key]; set != nil {
		r := set(s, m, p)
		if r == nil || r.code != 555 {
			return r
		}
	}
	return s.unsupported(word)
}

func (s *session) unsupported(word string) *reply {
	r := protocolError(555, "5.5.4", "Unsupported option: %s", word)
	return &r
}

// paramBODY is RFC 6152.
func (s *session) paramBODY(m *transaction, p smtpwire.Param) *reply {
	switch {
	case strings.EqualFold(p.Value, "8BITMIME"):
		m.encoding = "8bit"
	case strings.EqualFold(p.Value, "7BIT"):
		m.encoding = "7bit"
	default:
		return s.unsupported("")
	}
	return nil
}

// paramSIZE is RFC 1870.
func (s *session) paramSIZE(m *transaction, p smtpwire.Param) *reply {
	if !p.Has {
		return s.unsupported("")
	}
	if p.Value == "" || strings.Trim(p.Value, "0123456789") != "" {
		r := protocolError(501, "5.5.4", "Bad message size syntax")
		return &r
	}
	var ok bool
	if m.announced, ok = smtpwire.ParseSize(p.Value); !ok {
		r := policyError(552, "5.3.4", "Message size exceeds file system imposed limit")
		return &r
	}
	return nil
}

// paramSMTPUTF8 is RFC 6531. It was looked for before, because it decides what
// the address may be.
func (s *session) paramSMTPUTF8(m *transaction, p smtpwire.Param) *reply {
	if p.Has || !m.utf8 {
		return s.unsupported("")
	}
	return nil
}

// paramREQUIRETLS is RFC 8689.
func (s *session) paramREQUIRETLS(m *transaction, p smtpwire.Param) *reply {
	if p.Has || !s.params.requireTLS || s.tls == nil || s.discard&smtpwire.RequireTLS != 0 {
		return s.unsupported("")
	}
	m.reqTLS = true
	return nil
}

// paramAUTH is RFC 4954 §5: who the message was submitted by, as xtext.
func (s *session) paramAUTH(m *transaction, p smtpwire.Param) *reply {
	if !p.Has {
		return s.unsupported("")
	}
	if m.auth != "" {
		r := protocolError(503, "5.5.4", "Error: multiple AUTH= options")
		return &r
	}
	if p.Value != "<>" {
		m.auth = maillog.Printable(p.Value)
	}
	return nil
}

// paramXVERP asks for one return path a recipient.
func (s *session) paramXVERP(m *transaction, p smtpwire.Param) *reply {
	if may, err := s.mayVERP(); err != nil || !may {
		return s.unsupported("")
	}
	m.verp = s.params.verpDelimiters
	if !p.Has {
		return nil
	}
	filter := s.params.verpFilter
	if len(p.Value) != 2 || strings.IndexByte(filter, p.Value[0]) < 0 || strings.IndexByte(filter, p.Value[1]) < 0 {
		r := protocolError(501, "5.5.4", "Error: XVERP needs two characters from %s", filter)
		return &r
	}
	m.verp = p.Value
	return nil
}

// dsnDisabled refuses what belongs to DSN when it is not announced.
func (s *session) dsnDisabled() *reply {
	if s.discard&smtpwire.DSN == 0 {
		return nil
	}
	r := protocolError(501, "5.7.1", "DSN support is disabled")
	return &r
}

// paramRET is RFC 3461 §4.3.
func (s *session) paramRET(m *transaction, p smtpwire.Param) *reply {
	if !p.Has {
		return s.unsupported("")
	}
	if r := s.dsnDisabled(); r != nil {
		return r
	}
	ret, ok := smtpwire.ParseRet(p.Value)
	if !ok || m.ret != 0 {
		r := protocolError(501, "5.5.4", "Bad RET parameter syntax")
		return &r
	}
	m.ret = ret
	return nil
}

// paramENVID is RFC 3461 §4.4.
func (s *session) paramENVID(m *transaction, p smtpwire.Param) *reply {
	if !p.Has {
		return s.unsupported("")
	}
	if r := s.dsnDisabled(); r != nil {
		return r
	}
	envid, ok := smtpwire.DecodeXtext(p.Value)
	if !ok || m.envid != "" || !printableASCII(envid) {
		r := protocolError(501, "5.5.4", "Bad ENVID parameter syntax")
		return &r
	}
	m.envid = envid
	return nil
}

func printableASCII(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}

// undeclaredUTF8 refuses an address that needs SMTPUTF8 from a client that did
// not ask for it (strict_smtputf8).
func (s *session) undeclaredUTF8(address string, declared bool) *reply {
	if !s.params.strictUTF8 || declared || addr.IsASCII(address) {
		return nil
	}
	return &reply{code: 553, status: "5.6.7", text: "Must declare SMTPUTF8 to send unicode address"}
}

// nullRule says whether the null address is an address.
type nullRule bool

const (
	nullAllowed nullRule = true
	nullRefused nullRule = false
)

// address takes the address out of what the client wrote, which may be more
// than RFC 5321 §4.1.2 allows: comments, phrases, a source route. Not so with
// strict_rfc821_envelopes. The result is in internal form.
func (s *session) address(arg smtpwire.Token, null nullRule, utf8 bool) (string, bool) {
	if arg.Bad {
		return "", false
	}
	text, bracketed := arg.Text, false
	if len(text) > 1 && text[0] == '<' && text[len(text)-1] == '>' {
		text, bracketed = text[1:len(text)-1], true
	}
	if strings.HasPrefix(text, "@") {
		if _, rest, ok := strings.Cut(text, ":"); ok {
			text = rest // RFC 5321 §4.1.2: the route is ignored
		}
	}
	var found *addr.Token
	addresses, others := 0, 0
	list := addr.ParseList(text, 0)
	for i := range list {
		switch list[i].Kind {
		case addr.Address:
			found = &list[i]
			addresses++
		case '<', '>':
		default:
			others++
		}
	}
	address := ""
	if found != nil {
		address = found.Internal()
	}
	strict := s.params.strictRFC821 && s.where != "VRFY"
	ok := addresses <= 1 && !(strict && (others > 0 || !bracketed || strings.HasPrefix(address, "@"))) &&
		(address != "" || null == nullAllowed) && (s.alone || s.resolvable(address, utf8))
	if !ok {
		s.log.Warning("Illegal address syntax from %s in %s command: %s", s.client.namaddr, s.where, maillog.Printable(arg.Text))
	}
	return address, ok
}

// resolvable reports whether an address can be mailed to at all. A domain that
// is not ASCII needs SMTPUTF8. Without an answer the address is taken.
func (s *session) resolvable(address string, utf8 bool) bool {
	if address == "" {
		return true
	}
	other := s.mail.sender
	if s.where == "MAIL" {
		other = s.mail.recipient
	}
	r := s.resolve(other, address)
	if r.failed() {
		return true
	}
	_, domain, _ := splitAt(r.Recipient)
	return !r.malformed() && (utf8 || addr.IsASCII(domain))
}
