package main

import (
	"fmt"
	"strconv"
	"strings"
)

// capabilities are announced after login.
func capabilities(limit int64, quota quotaRule) string {
	text := "IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS MULTIAPPEND BINARY MOVE " +
		"ESEARCH ESORT SEARCHRES WITHIN SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT I18NLEVEL=1 " +
		"LIST-EXTENDED LIST-STATUS SPECIAL-USE STATUS=SIZE CONDSTORE QRESYNC PREVIEW UTF8=ACCEPT"
	if limit > 0 {
		text += " APPENDLIMIT=" + strconv.FormatInt(limit, 10)
	}
	if quota.given() {
		text += " QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE"
	}
	return text
}

func (s *session) capability(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	s.out.line("* CAPABILITY ", s.caps)
	return ok("Capability completed.")
}

func (s *session) noop(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	return ok("NOOP completed.")
}

func (s *session) check(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	return ok("Check completed.")
}

func (s *session) logout(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	s.out.line("* BYE Logging out")
	s.leaving = true
	return ok("Logout completed.")
}

// namespace tells where mailboxes are (RFC 2342).
func (s *session) namespace(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	s.out.line(`* NAMESPACE (("" ".")) NIL NIL`)
	return ok("Namespace completed.")
}

// enable switches extensions on (RFC 5161).
func (s *session) enable(p *parser) reply {
	var asked []string
	for {
		p.sp()
		asked = append(asked, p.word())
		if p.atEnd() {
			break
		}
	}
	if !p.end() {
		return reply{}
	}
	done := ""
	for _, w := range asked {
		switch {
		case w == "CONDSTORE" && !s.condstore:
			s.enableCondstore()
		case w == "QRESYNC" && !s.qresync:
			s.enableCondstore()
			s.qresync = true
		case w == "UTF8=ACCEPT" && !s.utf8:
			s.utf8 = true
		default:
			continue
		}
		done += " " + w
	}
	s.out.line("* ENABLED", done)
	return ok("Enabled.")
}

// enableCondstore begins to tell modification sequences (RFC 7162 §3.1).
func (s *session) enableCondstore() {
	if s.condstore {
		return
	}
	s.condstore = true
	if s.hub != nil {
		s.out.line(fmt.Sprintf("* OK [HIGHESTMODSEQ %d] Highest", s.told))
	}
}

// mailboxName takes a mailbox name and brings it into the form of the tree:
// modified UTF-7. The problem is for a NO.
func (s *session) mailboxName(p *parser) (name, problem string) {
	return s.treeName(p.astring())
}

// showName is a mailbox name as the client wants it (RFC 6855 §3).
func (s *session) showName(name string) string {
	if s.utf8 {
		if text, ok := fromTree(name); ok {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
		}
	}
	return astr(name)
}
