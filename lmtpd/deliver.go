package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/message"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/record"
	"postroad/libmail/sasl"
	"postroad/libmail/smtpwire"
)

// parallel bounds the mailboxes of one message that are written at once.
const parallel = 20

// Ways in which a message is not received.
var (
	errTooLarge = errors.New("message too large")
	errSpool    = errors.New("cannot keep the message")
)

// receive reads the content into a file without a name, in the form of a queue
// file: mda(8) reads that. When something goes wrong on our side we read on
// to the end, where the client listens.
func (s *session) receive() (*os.File, error) {
	file, err := spoolFile(".")
	if err != nil {
		err = fmt.Errorf("%w: %w", errSpool, err)
	}
	out := bufio.NewWriterSize(file, 64<<10)
	var size int64
	var rec []byte
	dots := smtpwire.NewDotReader(s.r, s.lineLimit, smtpwire.Normalize)
	for {
		line, more, e := dots.Next()
		if errors.Is(e, io.EOF) {
			break
		}
		if e != nil {
			closeFile(file)
			return nil, e
		}
		if size += int64(len(line)) + 2; s.sizeLimit > 0 && size > s.sizeLimit && err == nil {
			err = errTooLarge
		}
		if err != nil {
			continue
		}
		kind := record.Text
		if more {
			kind = record.Continued
		}
		rec = record.Append(rec[:0], kind, line)
		if _, e := out.Write(rec); e != nil {
			err = fmt.Errorf("%w: %w", errSpool, e)
		}
	}
	if err == nil {
		rec = record.Append(record.Append(rec[:0], record.Extracted, nil), record.End, nil)
		_, e1 := out.Write(rec)
		if e := errors.Join(e1, out.Flush()); e != nil {
			err = fmt.Errorf("%w: %w", errSpool, e)
		}
	}
	if err != nil {
		closeFile(file)
		return nil, err
	}
	return file, nil
}

// closeFile closes a file without a name, which is gone then.
func closeFile(f *os.File) {
	if f != nil {
		f.Close() // nothing of it is wanted any more
	}
}

// spoolFile is a new file that has no name any more.
func spoolFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(dir, "incoming"), "lmtp.")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close() // it stays for the administrator
		return nil, err
	}
	return f, nil
}

// deliver delivers to all recipients, a few at a time; the replies are in the
// order of the recipients.
func (s *session) deliver(m *envelope, file *os.File) []reply {
	replies := make([]reply, len(m.rcpts))
	slots := make(chan struct{}, parallel)
	var group sync.WaitGroup
	for i := range m.rcpts {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			to := &m.rcpts[i]
			begun := time.Now()
			o, err := s.write(m, to, file)
			if err != nil {
				o = dsn.Of(err)
			}
			replies[i] = s.replyFor(to, o)
			s.env.Log.Info("from=<%s>, to=<%s>, client=%s, user=%s, delay=%.2f, dsn=%s, status=%s (%s)",
				smtpwire.Printable(addr.Quote(m.sender)), smtpwire.Printable(addr.Quote(to.address)), s.client, to.who.User,
				time.Since(begun).Seconds(), o.Status, statusWord(o), smtpwire.Printable(o.Reason))
		})
	}
	group.Wait()
	return replies
}

func statusWord(o dsn.Outcome) string {
	switch o.Class() {
	case '2':
		return "sent"
	case '5':
		return "rejected"
	}
	return "deferred"
}

// replyFor is what the client hears about a recipient.
func (s *session) replyFor(to *rcpt, o dsn.Outcome) reply {
	shown := "<" + smtpwire.Printable(addr.Quote(to.address)) + "> "
	switch {
	case o.Class() == '2':
		return reply{code: 250, status: o.Status, text: shown + "Saved"}
	case o.Status == "5.2.2" && s.fullWaits:
		return reply{code: 452, status: "4.2.2", text: shown + "Mailbox is full"}
	case o.Status == "5.2.2":
		return reply{code: 552, status: "5.2.2", text: shown + "Mailbox is full"}
	case o.Class() == '5':
		return reply{code: 550, status: o.Status, text: shown + "Delivery failed"}
	}
	status := o.Status
	if !dsn.Valid(status) {
		status = "4.3.0"
	}
	return reply{code: 451, status: status, text: shown + "Temporary failure"}
}

// write delivers to one mailbox as its owner. When it returns an outcome of
// class 2 the message is on stable storage.
func (s *session) write(m *envelope, to *rcpt, file *os.File) (dsn.Outcome, error) {
	req, err := s.request(m, to)
	if err != nil {
		return dsn.Outcome{}, err
	}
	owner, box, err := s.owner(to.who, req.Path)
	if err != nil {
		return dsn.Outcome{}, err
	}
	r, err := s.mda.Ask(owner, box, req, file)
	if err != nil {
		return dsn.Outcome{}, fmt.Errorf("delivery as uid %d: %w", owner.UID, err)
	}
	return r.Outcome, nil
}

// request is what mda(8) shall do.
func (s *session) request(m *envelope, to *rcpt) (*proto.MDARequest, error) {
	kind, path, _ := strings.Cut(to.who.Mail, ":")
	if !filepath.IsAbs(path) {
		return nil, dsn.Errorf("4.3.5", "user %s: mail location %.100q", to.who.User, to.who.Mail)
	}
	req := &proto.MDARequest{Path: path, Head: s.head(m, to), Host: s.hostname, Sender: addr.Quote(m.sender)}
	switch kind {
	case "maildir":
		req.Action, req.Folder, req.Quota = proto.MDAMaildir, folderName(to.folder), quotaBytes(to.who.Quota)
	case "mbox":
		req.Action, req.MaxSize = proto.MDAMbox, s.mboxLimit
		req.Locks, req.Attempts, req.Delay, req.Stale = s.locks, s.lockAttempts, s.lockDelay, s.lockStale
	default:
		return nil, dsn.Errorf("4.3.5", "user %s: mail location %.100q", to.who.User, to.who.Mail)
	}
	return req, nil
}

// owner is whom the delivery runs as, and the directory that it is shut in to.
// Mailboxes below virtual_mailbox_base share one helper for each uid.
func (s *session) owner(a sasl.Account, path string) (*privs.User, []string, error) {
	if !s.mda.Single() && (a.UID < max(s.minUID, 1) || a.GID < 1) {
		return nil, nil, dsn.Errorf("4.3.5", "user %s: uid %d gid %d: below virtual_minimum_uid %d", a.User, a.UID, a.GID, s.minUID)
	}
	owner := &privs.User{Name: a.User, UID: a.UID, GID: a.GID, Groups: []int{a.GID}, Home: a.Home}
	if s.base != "" && strings.HasPrefix(path, s.base+"/") {
		return owner, []string{s.base}, nil
	}
	return owner, nil, nil
}

// head is what goes before the message (RFC 5321 §4.4).
func (s *session) head(m *envelope, to *rcpt) string {
	with := "LMTP"
	if m.utf8 {
		with = "UTF8LMTP" // RFC 6531 §4.3
	}
	return fmt.Sprintf("Return-Path: <%s>\nDelivered-To: %s\nReceived: from %s (%s)\n\tby %s (postroad) with %s\n\tfor <%s>; %s\n",
		addr.Quote(m.sender), addr.Quote(to.address), smtpwire.Printable(s.name), s.client, s.hostname, with,
		addr.Quote(to.address), message.FormatDate(s.env.Clock.Now()))
}

// folderForm is an address extension that can be a folder: levels, separated
// by dots.
var folderForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// folderName is the folder that an extension names; "" is the inbox.
func folderName(extension string) string {
	if len(extension) > 100 || !folderForm.MatchString(extension) {
		return ""
	}
	return extension
}

// quotaBytes reads a quota such as 500M; 0 is no limit.
func quotaBytes(text string) int64 {
	if text == "" {
		return 0
	}
	unit := int64(1)
	if i := strings.IndexByte("KMGT", text[len(text)-1]); i >= 0 {
		unit, text = 1<<(10*(i+1)), text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0
	}
	return n * unit
}
