package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
	"postroad/libmail/table"
)

// A submission is one message on its way to postdrop.
type submission struct {
	*command
	*options
	drop  *proto.Drop
	from  string // sender in internal form
	rcpts int

	// with -t
	walker    *message.Walker
	found     []string // recipients in headers
	foundMore []string // in Resent- headers; when there are such, only they count
	resent    bool
}

// submit reads a message from standard input and queues it.
func (c *command) submit(o *options) error {
	if err := c.authorized(); err != nil {
		return err
	}
	s := &submission{command: c, options: o}
	who, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err = s.setSender(who, err); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return s.error(err)
	}
	cmd, in, err := s.open()
	if err != nil {
		return s.error(err)
	}
	err = s.message(who)
	if err == nil {
		err = s.finish()
	}
	in.Close()     // without an end record there is no message
	_ = cmd.Wait() // its verdict came before its end
	if err != nil {
		return s.error(err)
	}
	if o.trace != 0 {
		fmt.Fprintf(c.out, "Mail Delivery Status Report will be mailed to <%s>.\n", s.from)
	}
	return nil
}

// error says whose message failed.
func (s *submission) error(err error) error {
	return fmt.Errorf("%s(%d): %w", s.from, os.Getuid(), err)
}

// authorized asks authorized_submit_users before anything is read. postdrop
// asks again; here it is a matter of politeness.
func (c *command) authorized() error {
	users := c.conf.String("authorized_submit_users")
	if strings.HasPrefix(users, "static:") {
		return nil
	}
	name := "unknown"
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		name = u.Username
	}
	l, err := table.OpenMatchList("authorized_submit_users", table.StringList, users, table.DotParents, table.Options{Log: c.log})
	if err != nil {
		return err
	}
	defer l.Close()
	if yes, err := l.Match(name, ""); err != nil || !yes {
		return errors.Join(fmt.Errorf("User %s(%d) is not allowed to submit mail", name, os.Getuid()), err)
	}
	return nil
}

// setSender takes the sender of -f, or the login name.
func (s *submission) setSender(who *user.User, err error) error {
	if !s.senderSet {
		if err != nil {
			return fmt.Errorf("no login name found for user ID %d", os.Getuid())
		}
		s.from = who.Username
		return nil
	}
	list := internals(s.sender)
	if len(list) > 0 {
		s.from = list[0]
	}
	if len(list) > 1 {
		s.log.Warning("-f option specified malformed sender: %s", s.sender)
	}
	return nil
}

// internals lists the addresses of a header address list, in internal form.
func internals(text string) (list []string) {
	for _, t := range addr.ParseList(text, 0) {
		if t.Kind == addr.Address {
			list = append(list, t.Internal())
		}
	}
	return list
}

// check refuses what can be refused before postdrop is started.
func (s *submission) check() error {
	if s.verp != "" && s.from == "" {
		return errors.New("-V option requires non-null sender address")
	}
	return nil
}

// open starts postdrop.
func (s *submission) open() (*exec.Cmd, io.Closer, error) {
	path := filepath.Join(s.conf.CommandDirectory(), "postdrop")
	cmd := exec.Command(path, append([]string{"-r"}, s.verboseArgs()...)...)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	err := errors.Join(err1, err2)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("unable to execute %s: %w", path, err)
	}
	if s.drop, err = proto.OpenDrop(out, in); err != nil {
		in.Close() // it ends, and said why
		_ = cmd.Wait()
		return nil, nil, fmt.Errorf("unable to execute %s: %w", path, err)
	}
	return cmd, in, nil
}

// message writes envelope and content.
func (s *submission) message(who *user.User) error {
	s.envelope(who)
	s.drop.Record(record.Content, nil)
	var err error
	if s.trace&proto.DeliverVerify != 0 {
		s.probe()
	} else {
		err = s.content()
	}
	if err != nil {
		return err
	}
	s.drop.Record(record.Extracted, nil)
	list := s.found
	if s.resent {
		list = s.foundMore
	}
	for _, r := range list {
		s.rcpt(r)
	}
	switch {
	case s.rcpts > 0:
		return nil
	case s.extract:
		return errors.New("No recipient addresses found in message header")
	}
	return errors.New("Recipient addresses must be specified on the command line or via the -t option")
}

// envelope writes what the options say. Each argument is parsed as a header
// would be: there may be several addresses in it, and phrases.
func (s *submission) envelope(who *user.User) {
	d := s.drop
	if s.sendOpts != 0 {
		d.RecordString(record.Size, queue.Sizes{DataSize: -1, DataOffset: -1, Rcpts: -1, Flags: -1, ContentLength: -1, SendOpts: s.sendOpts}.Data())
	}
	s.attr("envelope_id", s.envelopeID)
	if s.ret != 0 {
		s.attr("ret_flags", strconv.Itoa(s.ret))
	}
	s.attr("rewrite_context", s.context)
	if name := s.fullNameOf(who); name != "" {
		d.RecordString(record.FullName, name)
	}
	d.RecordString(record.Sender, s.from)
	s.attr("encoding", s.encoding)
	if s.trace != 0 {
		s.attr("trace_flags", strconv.Itoa(s.trace))
	}
	if s.verp != "" {
		d.RecordString(record.Verp, s.verp)
	}
	for _, arg := range s.recipients {
		list := internals(arg)
		for _, r := range list {
			s.rcpt(r)
		}
		if len(list) == 0 {
			d.RecordString(record.Rcpt, "")
			s.rcpts++
		}
	}
}

func (s *submission) attr(name, value string) {
	if value != "" {
		s.drop.RecordString(record.Attr, name+"="+value)
	}
}

func (s *submission) rcpt(address string) {
	if s.notify != 0 {
		s.attr("notify_flags", strconv.Itoa(int(s.notify)))
	}
	s.drop.RecordString(record.Rcpt, address)
	s.rcpts++
}

// fullNameOf is the name of -F, of $NAME or of the account, where & stands for
// the login name.
func (s *submission) fullNameOf(who *user.User) string {
	if s.fullName != "" {
		return s.fullName
	}
	if name := os.Getenv("NAME"); name != "" {
		return name
	}
	if who == nil {
		return ""
	}
	name, _, _ := strings.Cut(who.Name, ",")
	if who.Username == "" {
		return name
	}
	return strings.ReplaceAll(name, "&", strings.ToUpper(who.Username[:1])+who.Username[1:])
}

// probe writes the content of a message that is not delivered (-bv).
func (s *submission) probe() {
	if s.from != "" {
		s.drop.RecordString(record.Text, "From: "+s.from)
	}
	s.drop.RecordString(record.Text, "Subject: probe")
	if len(s.recipients) > 0 {
		s.drop.RecordString(record.Continued, "To:")
	}
	for i, r := range s.recipients {
		if i+1 < len(s.recipients) {
			r += ","
		}
		s.drop.RecordString(record.Text, "\t"+r)
	}
}

// content copies standard input, line by line; a long line in pieces.
func (s *submission) content() error {
	if s.extract {
		s.walker = message.NewWalker(s, message.Options{HeaderLimit: int(s.conf.Size("header_size_limit")),
			Report: message.TruncatedHeader, IgnoreMIME: true})
	}
	r := bufio.NewReaderSize(s.in, int(s.conf.Size("line_length_limit")))
	in := input{stripCR: s.conf.String("sendmail_fix_line_endings"), endAtDot: !s.ignoreDot, skipFrom: true}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("error reading input: %w", err)
		}
		if len(line) == 0 {
			break // the end
		}
		end := message.Soft
		if err == nil {
			line, end = line[:len(line)-1], message.Hard
		}
		line, verdict := in.line(line, end)
		if verdict == stop {
			break
		}
		if verdict == skip {
			continue
		}
		if err := s.line(line, end); err != nil {
			return err
		}
	}
	if s.walker != nil {
		return extractError(s.walker.End())
	}
	return nil
}

// line passes a line on, through the header scanner with -t.
func (s *submission) line(line []byte, end message.Ending) error {
	if s.walker != nil {
		return extractError(s.walker.Line(line, end))
	}
	s.Body(line, end, 0)
	return nil
}

func extractError(p message.Problems) error {
	if p == 0 {
		return nil
	}
	return fmt.Errorf("unable to extract recipients: %s", p)
}

// Body writes a line.
func (s *submission) Body(line []byte, end message.Ending, _ int64) {
	if end == message.Soft {
		s.drop.Record(record.Continued, line)
		return
	}
	s.drop.Record(record.Text, line)
}

// Header notes the recipients in a header and writes it as it is. Once there
// is a Resent- header with recipients only those count (RFC 5322 §3.6.6).
// Bcc goes along: cleanup drops it.
func (s *submission) Header(class message.Class, f *message.Field, text []byte) {
	if class == message.Primary && f != nil && f.Flags&message.Extract != 0 && (!s.resent || f.Flags&message.Resent != 0) {
		list := internals(string(text[len(f.Name)+1:]))
		if f.Flags&message.Resent != 0 {
			s.resent = true
			s.foundMore = append(s.foundMore, list...)
		} else {
			s.found = append(s.found, list...)
		}
	}
	limit := int(s.conf.Size("line_length_limit"))
	for _, line := range bytes.Split(text, []byte{'\n'}) {
		for len(line) > limit {
			s.drop.Record(record.Continued, line[:limit])
			line = line[limit:]
		}
		s.drop.Record(record.Text, line)
	}
}

// HeadersEnd is no event here.
func (s *submission) HeadersEnd() {}

// Problem is in the result of the walker, too.
func (s *submission) Problem(message.Problems, []byte) {}

// finish ends the message and waits for postdrop's verdict.
func (s *submission) finish() error {
	status, reason, err := s.drop.Finish()
	switch {
	case err != nil:
		return fmt.Errorf("error writing queue file: %w", err)
	case status == 0:
		return nil
	case reason == "":
		_, reason = proto.StatText(status)
	}
	return errors.New(reason)
}

// A verdict says what to do with a line of the input.
type verdict int

const (
	take verdict = iota
	skip
	stop
)

// input decides on lines of the input.
type input struct {
	stripCR  string // sendmail_fix_line_endings: always, strict (the first line decides), never
	endAtDot bool
	skipFrom bool // only From_ lines came so far
	partial  bool // the piece before was not the end of a line
}

// line removes what is not part of a line, and tells From_ lines at the start
// and the dot at the end.
func (in *input) line(line []byte, end message.Ending) ([]byte, verdict) {
	partial := in.partial
	in.partial = end == message.Soft
	if in.stripCR == "strict" && end == message.Hard {
		in.stripCR = "never"
		if bytes.HasSuffix(line, []byte{'\r'}) {
			in.stripCR = "always"
		}
	}
	if in.skipFrom {
		if end == message.Hard && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			return nil, skip
		}
		in.skipFrom = false
	}
	if in.stripCR == "always" && end == message.Hard {
		line = bytes.TrimRight(line, "\r")
	}
	if in.endAtDot && !partial && len(line) == 1 && line[0] == '.' {
		return nil, stop
	}
	return line, take
}
