package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"postroad/libmail/mailbox"
	"postroad/libmail/maillog"
)

// Bounds of a session after login.
const (
	commandLine  = 1 << 20   // of a command without the literals of APPEND
	maxLiteral   = 256 << 10 // of an argument
	idleTime     = 30 * time.Minute
	literalTime  = 5 * time.Minute // for the rest of a command
	badTolerance = 20              // commands in a row that make no sense
)

// A session is a client that is logged in. A message's number is its position
// in view, which changes only where the client is told so.
type session struct {
	user *user
	log  *maillog.Logger
	conn net.Conn
	p    *parser
	out  output
	caps string
	tag  string // of the command

	condstore, qresync, utf8 bool
	leaving                  bool

	// Of the selected mailbox.
	hub      *hub
	news     chan struct{}
	readOnly bool
	view     []*message
	scanned  uint64              // modseq up to which the client knows all changes of flags
	told     uint64              // modseq up to which the client knows everything
	own      map[*message]uint64 // changes that the client has been told already
	recent   map[*message]bool   // \Recent
	words    int                 // keywords that the client knows
	saved    []uint32            // the result that "$" stands for (RFC 5182)
}

// A reply is the tagged end of a command (RFC 3501 §7.1). Handlers return it;
// only the command loop writes it.
type reply struct {
	status string // OK, NO, BAD; "" after a syntax error
	text   string // with a code in front: "[TRYCREATE] ..."
}

func ok(text string) reply  { return reply{"OK", text} }
func no(text string) reply  { return reply{"NO", text} }
func bad(text string) reply { return reply{"BAD", text} }

// A command is an entry of the command table.
type command struct {
	do       func(s *session, p *parser) reply
	selected bool     // needs a selected mailbox
	news     newsKind // what may be told at its end
}

// A newsKind says what a session may be told when a command ends.
type newsKind uint8

const (
	allNews newsKind = iota
	noExpunge
	uidNews // all, with UIDs in FETCH
)

// commands is the command table after login. "UID X" is a command of its own.
var commands map[string]command

func init() { // in init, because the handlers lead back to the table
	commands = map[string]command{
		"APPEND":       {do: (*session).append},
		"CAPABILITY":   {do: (*session).capability},
		"CHECK":        {do: (*session).check, selected: true},
		"CLOSE":        {do: (*session).closeBox, selected: true},
		"COPY":         {do: (*session).copy, selected: true, news: noExpunge},
		"CREATE":       {do: (*session).create},
		"DELETE":       {do: (*session).delete},
		"ENABLE":       {do: (*session).enable},
		"EXAMINE":      {do: (*session).examine},
		"EXPUNGE":      {do: (*session).expunge, selected: true},
		"FETCH":        {do: (*session).fetch, selected: true, news: noExpunge},
		"GETQUOTA":     {do: (*session).getQuota},
		"GETQUOTAROOT": {do: (*session).getQuotaRoot},
		"ID":           {do: (*session).id},
		"IDLE":         {do: (*session).idle},
		"LIST":         {do: (*session).list},
		"LOGOUT":       {do: (*session).logout},
		"LSUB":         {do: (*session).lsub},
		"MOVE":         {do: (*session).move, selected: true},
		"NAMESPACE":    {do: (*session).namespace},
		"NOOP":         {do: (*session).noop},
		"RENAME":       {do: (*session).rename},
		"SEARCH":       {do: (*session).search, selected: true, news: noExpunge},
		"SELECT":       {do: (*session).selectBox},
		"SORT":         {do: (*session).sort, selected: true, news: noExpunge},
		"STATUS":       {do: (*session).status},
		"STORE":        {do: (*session).store, selected: true, news: noExpunge},
		"SUBSCRIBE":    {do: (*session).subscribe},
		"THREAD":       {do: (*session).thread, selected: true, news: noExpunge},
		"UID COPY":     {do: (*session).uidCopy, selected: true, news: uidNews},
		"UID EXPUNGE":  {do: (*session).uidExpunge, selected: true, news: uidNews},
		"UID FETCH":    {do: (*session).uidFetch, selected: true, news: uidNews},
		"UID MOVE":     {do: (*session).uidMove, selected: true, news: uidNews},
		"UID SEARCH":   {do: (*session).uidSearch, selected: true, news: uidNews},
		"UID SORT":     {do: (*session).uidSort, selected: true, news: uidNews},
		"UID STORE":    {do: (*session).uidStore, selected: true, news: uidNews},
		"UID THREAD":   {do: (*session).uidThread, selected: true, news: uidNews},
		"UNSELECT":     {do: (*session).unselect, selected: true},
		"UNSUBSCRIBE":  {do: (*session).unsubscribe},
		"XLIST":        {do: (*session).list},
	}
}

func newSession(u *user, conn net.Conn, in *bufio.Reader) *session {
	s := &session{user: u, log: u.log, conn: conn, out: newOutput(conn), caps: capabilities(u.limit, u.quota)}
	s.p = &parser{in: in, line: commandLine, literal: maxLiteral, proceed: func() error {
		s.out.line("+ OK")
		return s.out.Flush()
	}}
	return s
}

// serve obeys commands until LOGOUT or the end. tag is that of the login.
func (s *session) serve(tag string) {
	defer s.detach()
	s.out.line(tag, " OK [CAPABILITY ", s.caps, "] Logged in")
	for stupid := 0; !s.leaving; {
		if s.p.in.Buffered() == 0 && s.out.Flush() != nil { // answers of pipelined commands go out together
			return
		}
		if s.conn.SetReadDeadline(time.Now().Add(idleTime)) != nil {
			return
		}
		r, err := s.command()
		switch {
		case errors.Is(err, errTooLong):
			s.out.line("* BYE Command line too long")
			s.leaving = true
		case err != nil:
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				s.out.line("* BYE Disconnected for inactivity.")
				_ = s.out.Flush() // the client may be gone
			}
			return
		case r.status == "BAD":
			stupid++
		default:
			stupid = 0
		}
		if stupid >= badTolerance {
			s.out.line("* BYE Too many invalid IMAP commands.")
			s.leaving = true
		}
	}
	_ = s.out.Flush() // the client may be gone
}

// command reads and obeys one command, and answers it. The error is that of
// the connection.
func (s *session) command() (r reply, err error) {
	p := s.p
	p.begin()
	p.utf8 = s.utf8
	s.tag = "*"
	if p.peek() == '\r' || p.peek() == '\n' { // an empty line
		p.end()
		return reply{}, p.err
	}
	tag := p.tag()
	if p.err == nil {
		s.tag = tag
	}
	p.sp()
	name := p.word()
	if name == "UID" {
		p.sp()
		name += " " + p.word()
	}
	c, known := commands[name]
	switch {
	case p.err != nil:
	case !known:
		p.fail("Unknown command")
	case c.selected && s.hub == nil:
		p.fail("No mailbox selected.")
	default:
		if err := s.conn.SetReadDeadline(time.Now().Add(literalTime)); err != nil {
			return r, err
		}
		r = s.obey(c, p)
	}
	var wrong syntaxError
	switch {
	case p.err == nil:
	case errors.As(p.err, &wrong):
		text := string(wrong)
		if r = bad("Error in IMAP command " + maillog.Printable(name) + ": " + text); strings.HasPrefix(text, "[") {
			r = no(text)
		}
		if err := p.recover(); err != nil {
			return r, err
		}
	default:
		return r, p.err
	}
	if s.hub != nil && !s.leaving && r.status != "" {
		s.sync(c.news)
	}
	if r.status != "" {
		s.out.line(s.tag, " ", r.status, " ", r.text)
	}
	return r, nil
}

// obey runs a handler. A bug of ours ends the session, not the process.
func (s *session) obey(c command, p *parser) (r reply) {
	defer func() {
		if x := recover(); x != nil {
			s.log.Panic("imap(%s): %v: %s", s.user.name, x, strings.ReplaceAll(string(debug.Stack()), "\n", " "))
			s.out.line("* BYE [SERVERBUG] Internal error")
			s.leaving = true
			r = no("[SERVERBUG] Internal error")
		}
	}()
	return c.do(s, p)
}

// detach leaves the selected mailbox.
func (s *session) detach() {
	if s.hub == nil {
		return
	}
	s.hub.mu.Lock()
	delete(s.hub.sessions, s)
	s.hub.mu.Unlock()
	s.hub, s.view, s.own, s.recent, s.saved = nil, nil, nil, nil, nil
}

// refresh reads the mailbox anew if it has changed, and locks it. The caller
// unlocks.
func (s *session) refresh() *hub {
	h := s.hub
	h.u.watch.drain()
	h.mu.Lock()
	if err := h.refresh(); err != nil {
		s.log.Warning("imap(%s): %s: %v", s.user.name, h.name, err)
	}
	return h
}

// sync tells the client what has changed in the selected mailbox (RFC 3501
// §7.3, §7.4).
func (s *session) sync(kind newsKind) {
	h := s.refresh()
	if h.deleted != "" {
		reason := h.deleted
		h.mu.Unlock()
		s.out.line("* BYE ", reason)
		s.leaving = true
		return
	}
	if h.modseq == s.told && len(h.msgs) == len(s.view) {
		h.mu.Unlock()
		return
	}
	var text []byte
	if kind != noExpunge {
		text = s.tellExpunges(text)
	}
	text = s.tellWords(text, h)
	text = s.tellNew(text, h)
	text = s.tellFlags(text, kind)
	s.scanned = h.modseq
	if !slices.ContainsFunc(s.view, func(m *message) bool { return m.gone }) {
		s.told = h.modseq
	}
	h.mu.Unlock()
	s.out.Write(text) // the error sticks
}

// tellExpunges drops messages that are gone from the view.
func (s *session) tellExpunges(text []byte) []byte {
	var gone []uint32
	kept := s.view[:0:0]
	for i, m := range s.view {
		if !m.gone {
			kept = append(kept, m)
			continue
		}
		if s.qresync {
			gone = append(gone, m.uid)
		} else {
			text = fmt.Appendf(text, "* %d EXPUNGE\r\n", i+1-len(gone))
			gone = append(gone, m.uid)
		}
		delete(s.recent, m)
		delete(s.own, m)
	}
	if len(gone) == 0 {
		return text
	}
	s.view = kept
	if s.qresync {
		text = fmt.Appendf(text, "* VANISHED %s\r\n", setText(gone))
	}
	if s.saved != nil {
		s.saved = slices.DeleteFunc(s.saved, func(uid uint32) bool {
			_, found := slices.BinarySearch(gone, uid)
			return found
		})
	}
	return text
}

// tellWords announces new keywords before a message has one.
func (s *session) tellWords(text []byte, h *hub) []byte {
	words := h.box.Keywords()
	if len(words) == s.words {
		return text
	}
	s.words = len(words)
	return s.appendWords(text, h)
}

// appendWords adds FLAGS and PERMANENTFLAGS (RFC 3501 §7.2.6, §7.1).
func (s *session) appendWords(text []byte, h *hub) []byte {
	all := `\Answered \Flagged \Deleted \Seen \Draft`
	for _, w := range h.box.Keywords() {
		all += " " + w
	}
	text = fmt.Appendf(text, "* FLAGS (%s)\r\n", all)
	if s.readOnly {
		return append(text, "* OK [PERMANENTFLAGS ()] Read-only mailbox.\r\n"...)
	}
	if h.box.MayAddKeywords() {
		all += ` \*`
	}
	return fmt.Appendf(text, "* OK [PERMANENTFLAGS (%s)] Flags permitted.\r\n", all)
}

// tellNew adds new messages to the view.
func (s *session) tellNew(text []byte, h *hub) []byte {
	before := len(s.view)
	last := uint32(0)
	if before > 0 {
		last = s.view[before-1].uid
	}
	i, _ := slices.BinarySearchFunc(h.msgs, last+1, func(m *message, uid uint32) int { return int(int64(m.uid) - int64(uid)) })
	for _, m := range h.msgs[i:] {
		s.view = append(s.view, m)
		s.own[m] = m.modseq // the client asks for the flags of new messages itself
		s.claim(h, m)
	}
	if len(s.view) == before {
		return text
	}
	return fmt.Appendf(text, "* %d EXISTS\r\n* %d RECENT\r\n", len(s.view), len(s.recent))
}

// claim makes a message \Recent in this session, and in no other that can
// write (RFC 3501 §2.3.2).
func (s *session) claim(h *hub, m *message) {
	if !m.recent {
		return
	}
	s.recent[m] = true
	if s.readOnly {
		return
	}
	m.recent = false
	if err := h.box.Settle(m.item); err != nil {
		s.log.Warning("imap(%s): %s: %v", s.user.name, h.name, err)
	}
}

// tellFlags tells of flags that others changed.
func (s *session) tellFlags(text []byte, kind newsKind) []byte {
	for i, m := range s.view {
		if m.modseq > s.scanned && !m.gone && s.own[m] != m.modseq {
			text = s.appendFlags(text, i, m, kind == uidNews)
		}
	}
	clear(s.own)
	return text
}

// appendFlags adds a FETCH response with the flags of a message.
func (s *session) appendFlags(text []byte, i int, m *message, withUID bool) []byte {
	text = fmt.Appendf(text, "* %d FETCH (", i+1)
	if withUID || s.qresync {
		text = fmt.Appendf(text, "UID %d ", m.uid)
	}
	if s.condstore {
		text = fmt.Appendf(text, "MODSEQ (%d) ", m.modseq)
	}
	text = append(text, "FLAGS "...)
	return append(s.appendFlagList(text, m), ")\r\n"...)
}

// systemFlags are IMAP's names of the flags of a Maildir (RFC 3501 §2.3.2).
var systemFlags = []struct {
	name string
	flag mailbox.Flags
}{
	{`\Answered`, mailbox.Answered},
	{`\Flagged`, mailbox.Flagged},
	{`\Deleted`, mailbox.Trashed},
	{`\Seen`, mailbox.Seen},
	{`\Draft`, mailbox.Draft},
}

func (s *session) appendFlagList(text []byte, m *message) []byte {
	text = append(text, '(')
	start := len(text)
	for _, f := range systemFlags {
		if m.flags&f.flag != 0 {
			text = append(append(text, f.name...), ' ')
		}
	}
	for _, w := range m.words {
		text = append(append(text, w...), ' ')
	}
	if s.recent[m] {
		text = append(text, `\Recent `...)
	}
	if len(text) > start {
		text = text[:len(text)-1]
	}
	return append(text, ')')
}

// parseFlags divides words into flags and keywords.
func parseFlags(list []string) (flags mailbox.Flags, words []string, problem string) {
next:
	for _, w := range list {
		if !strings.HasPrefix(w, `\`) {
			if !mailbox.ValidKeyword(w) {
				return 0, nil, "Invalid keyword"
			}
			if !slices.ContainsFunc(words, func(x string) bool { return strings.EqualFold(x, w) }) {
				words = append(words, w)
			}
			continue
		}
		for _, f := range systemFlags {
			if strings.EqualFold(w, f.name) {
				flags |= f.flag
				continue next
			}
		}
		return 0, nil, "Invalid system flag " + maillog.Printable(w)
	}
	return flags, words, ""
}
