package main

import (
	"fmt"
	"strconv"
	"strings"

	"postroad/libmail/mailbox"
)

// A quotaRule is how much mail a user may have; 0 is no limit.
type quotaRule struct {
	bytes, messages int64
}

// parseQuota reads a quota as maildirsize has it, "1000000S,1000C", or as
// Dovecot's rule has it, "*:storage=1G:messages=1000".
func parseQuota(text string) (q quotaRule) {
	for _, f := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ':' || r == ' ' }) {
		name, value, given := strings.Cut(f, "=")
		switch {
		case given && name == "storage":
			q.bytes = quotaSize(value, 1024)
		case given && name == "bytes":
			q.bytes = quotaSize(value, 1)
		case given && name == "messages":
			q.messages = quotaSize(value, 1)
		case strings.HasSuffix(f, "S"):
			q.bytes = quotaSize(f[:len(f)-1], 1)
		case strings.HasSuffix(f, "C"):
			q.messages = quotaSize(f[:len(f)-1], 1)
		default:
			q.bytes = max(q.bytes, quotaSize(f, 1))
		}
	}
	return q
}

// quotaSize reads a number with a unit; a bare one counts in the unit given.
func quotaSize(text string, unit int64) int64 {
	if i := strings.IndexAny(text, "kKMGT"); i >= 0 && i >= len(text)-2 && i > 0 {
		unit = map[byte]int64{'k': 1 << 10, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}[text[i]]
		text = text[:i]
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(text, "B"), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0
	}
	return n * unit
}

func (q quotaRule) given() bool { return q.bytes > 0 || q.messages > 0 }

// usage sums up all mailboxes.
func (s *session) usage() (bytes, messages int64, err error) {
	names, err := s.user.tree.Names()
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		size, count, err := mailbox.Usage(s.user.tree.Dir(name))
		if err != nil {
			return 0, 0, err
		}
		bytes, messages = bytes+size, messages+count
	}
	return bytes, messages, nil
}

const overQuota = "[OVERQUOTA] Quota exceeded (mailbox for user is full)"

// overQuota says why a message of this size does not fit, or "".
func (s *session) overQuota(size int64) string { return s.overQuotaBy(size, 1) }

func (s *session) overQuotaBy(size, count int64) string {
	q := s.user.quota
	if !q.given() {
		return ""
	}
	bytes, messages, err := s.usage()
	if err != nil {
		s.log.Warning("imap(%s): quota: %v", s.user.name, err)
		return "" // better to keep mail than to refuse it for a fault of ours
	}
	if q.bytes > 0 && bytes+size > q.bytes || q.messages > 0 && messages+count > q.messages {
		return overQuota
	}
	return ""
}

// overQuotaCopy is overQuota for copies; a move changes nothing.
func (s *session) overQuotaCopy(list []*message, move bool) string {
	if move {
		return ""
	}
	size := int64(0)
	s.hub.mu.Lock()
	for _, m := range list {
		size += max(m.item.Size, 0)
	}
	s.hub.mu.Unlock()
	return s.overQuotaBy(size, int64(len(list)))
}

// quotaRoot is the name of the one quota that there is.
const quotaRoot = "User quota"

func (s *session) getQuotaRoot(p *parser) reply {
	p.sp()
	name, problem := s.mailboxName(p)
	if !p.end() {
		return reply{}
	}
	if problem != "" {
		return no(problem)
	}
	if !s.user.tree.Exists(name) {
		return no(noSuchBox)
	}
	if !s.user.quota.given() {
		s.out.line("* QUOTAROOT ", s.showName(name))
		return ok("Getquotaroot completed.")
	}
	s.out.line("* QUOTAROOT ", s.showName(name), " ", str(quotaRoot))
	if err := s.showQuota(); err != nil {
		return s.failed("quota", err)
	}
	return ok("Getquotaroot completed.")
}

func (s *session) getQuota(p *parser) reply {
	p.sp()
	root := p.astring()
	if !p.end() {
		return reply{}
	}
	if root != quotaRoot || !s.user.quota.given() {
		return no("[NONEXISTENT] No such quota root")
	}
	if err := s.showQuota(); err != nil {
		return s.failed("quota", err)
	}
	return ok("Getquota completed.")
}

// showQuota writes usage and limits (RFC 9208 §5.1); storage counts in KiB.
func (s *session) showQuota() error {
	bytes, messages, err := s.usage()
	if err != nil {
		return err
	}
	var text []string
	if q := s.user.quota; q.bytes > 0 {
		text = append(text, fmt.Sprintf("STORAGE %d %d", (bytes+1023)/1024, q.bytes/1024))
	}
	if q := s.user.quota; q.messages > 0 {
		text = append(text, fmt.Sprintf("MESSAGE %d %d", messages, q.messages))
	}
	s.out.line("* QUOTA ", str(quotaRoot), " (", strings.Join(text, " "), ")")
	return nil
}
