package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
	"postroad/libmail/table"
)

// segments are the record types that a user may submit, one set a segment;
// the first of each set ends the segment.
var segments = []string{record.PostEnvelopeTypes, record.PostContentTypes, record.PostExtractedTypes}

// A submission is one message on its way into maildrop.
type submission struct {
	uid     int
	user    string // login name, or uid:N
	file    *queue.File
	log     *maillog.Logger
	senders senderRules
	maxLine int
	maxSize int64

	segment int
	from    int // sender records
	rcpts   int
	status  int
	reason  string
	done    bool // Finish was called: the file has its fate
}

func newSubmission(c *conf.Config, uid int, file *queue.File, log *maillog.Logger) *submission {
	s := &submission{uid: uid, user: loginName(uid), file: file, log: log, senders: newSenderRules(c, log),
		maxLine: int(c.Size("line_length_limit")), maxSize: c.Size("message_size_limit")}
	s.put(record.Time, []byte(queue.FormatTime(file.Created)))
	return s
}

// maxRecord bounds the records that are read.
func (s *submission) maxRecord() int { return s.maxLine }

// Record takes a record of the user's.
func (s *submission) Record(t record.Type, data []byte) error {
	if s.segment == len(segments) || !t.In(segments[s.segment]) {
		return fmt.Errorf("unexpected record type: %d", t)
	}
	if t != record.Text && t != record.Continued && bytes.ContainsAny(data, "\r\n\x00") {
		return fmt.Errorf("null or line break in '%s' record type: %.200q", t, data)
	}
	if t == record.Type(segments[s.segment][0]) {
		s.segment++
	}
	switch t {
	case record.Sender:
		s.from++
		s.checkSender(string(data))
	case record.Rcpt:
		s.rcpts++
	case record.Attr:
		s.attribute(data)
		return nil
	}
	s.put(t, data)
	return nil
}

// attribute passes on what a user may say: about the encoding and the notices
// that the sender wants, and which report of -v or -bv.
func (s *submission) attribute(data []byte) {
	name, value, err := queue.SplitAttr(data)
	if err != nil {
		s.log.Warning("uid=%d: ignoring malformed record: %.200s", s.uid, data)
		return
	}
	v := string(value)
	allowed := false
	switch name {
	case "encoding":
		allowed = v == "7bit" || v == "8bit" || v == ""
	case "rewrite_context":
		allowed = v == proto.RuleLocal || v == proto.RuleRemote
	case "trace_flags":
		if allowed = v == fmt.Sprint(proto.DeliverVerify) || v == fmt.Sprint(proto.DeliverRecord); !allowed {
			s.log.Warning("uid=%d: ignoring unexpected trace flags: %.200s", s.uid, v)
			return
		}
	default:
		allowed = queue.AttrType(name) != 0
	}
	if !allowed {
		s.log.Warning("uid=%d: ignoring attribute record: %.200s=%.200s", s.uid, name, v)
		return
	}
	s.put(record.Attr, []byte(name+"="+v))
}

// put writes a record. After the first trouble the rest is read and dropped,
// so that the client gets our verdict.
func (s *submission) put(t record.Type, data []byte) {
	if s.status != 0 {
		return
	}
	if s.maxSize > 0 && s.file.Offset()+int64(record.Len(len(data))) > s.maxSize {
		s.tooLarge()
		return
	}
	if err := s.file.Record(t, data); err != nil {
		s.writeFailed(err)
	}
}

func (s *submission) tooLarge() {
	s.log.Warning("uid=%d: File too large", s.uid)
	s.status |= proto.StatSize
}

func (s *submission) writeFailed(err error) {
	if errors.Is(err, syscall.EFBIG) { // the user's own limit
		s.tooLarge()
		return
	}
	s.log.Warning("uid=%d: %v", s.uid, err)
	s.status |= proto.StatWrite
}

// Finish makes the file complete and durable, or removes it.
func (s *submission) Finish() (status int, reason string) {
	s.done = true
	if s.status == 0 && (s.from == 0 || s.rcpts == 0) {
		s.status |= proto.StatBad
	}
	if s.status == 0 {
		if err := s.file.Commit(0o044); err != nil {
			s.writeFailed(err)
		}
	}
	if s.status != 0 {
		s.file.Abort()
	}
	return s.status, s.reason
}

// checkSender refuses a sender address that local_login_sender_maps does not
// let this user have.
func (s *submission) checkSender(sender string) {
	ok, err := s.senders.allow(s.user, sender)
	switch {
	case err != nil:
		s.status |= proto.StatWrite
		s.reason = fmt.Sprintf("local_login_sender_maps table lookup error for '%s'", s.senders.spec)
	case !ok:
		s.status |= proto.StatNoPerm
		s.reason = fmt.Sprintf("not authorized to use sender='%s'", sender)
	}
}

// everybody reports whether a list of users names all of them.
func everybody(list string) bool { return strings.HasPrefix(list, "static:") }

// authorized asks authorized_submit_users.
func authorized(c *conf.Config, uid int, log *maillog.Logger) error {
	list := c.String("authorized_submit_users")
	if everybody(list) {
		return nil
	}
	name := loginName(uid)
	if strings.HasPrefix(name, "uid:") {
		name = "unknown" // so that !unknown keeps out who has no account
	}
	l, err := table.OpenMatchList("authorized_submit_users", table.StringList, list, table.DotParents, table.Options{Log: log})
	if err != nil {
		return err
	}
	defer l.Close()
	yes, err := l.Match(name, "")
	if err != nil {
		return err
	}
	if !yes {
		return fmt.Errorf("User %s(%d) is not allowed to submit mail", name, uid)
	}
	return nil
}
