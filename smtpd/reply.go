package main

import (
	"fmt"
	"strconv"
	"strings"

	"postroad/libmail/smtpwire"
)

// A reply is one SMTP reply (RFC 5321 §4.2) with its enhanced status code
// (RFC 3463). Handlers return it; only the command loop writes it.
type reply struct {
	code   int
	status string  // enhanced status code, "5.5.1"; empty in replies that have none
	text   string  // lines are separated by "\n"
	class  trouble // who should hear of it
	hangup bool    // close the connection after this reply
	silent bool    // nothing is to be written, as after a TLS handshake
	lost   error   // the connection is lost: nothing can be written

	// forgiven: not counted as an error of the client, whatever the code.
	forgiven bool

	// then continues the command after this reply was sent: with content after
	// 354, the TLS handshake after 220, the response after 334.
	then func(s *session) reply

	// restart begins the session anew, as after XCLIENT.
	restart bool
}

// trouble is the set of things that went wrong, by who should hear of them
// (notify_classes).
type trouble uint

const (
	policyTrouble trouble = 1 << iota
	protocolTrouble
	resourceTrouble
	softwareTrouble
	bounceTrouble
	dataTrouble
)

func say(code int, status, format string, args ...any) reply {
	return reply{code: code, status: status, text: fmt.Sprintf(format, args...)}
}

// protocolError is a reply to a client that breaks the rules of SMTP.
func protocolError(code int, status, format string, args ...any) reply {
	r := say(code, status, format, args...)
	r.class = protocolTrouble
	return r
}

// policyError is a reply to a client that does what it may not do.
func policyError(code int, status, format string, args ...any) reply {
	r := say(code, status, format, args...)
	r.class = policyTrouble
	return r
}

// parseReply reads a reply that came as text, "550 5.7.1 no": from cleanup or a
// filter table. False if it is no reply of class 4 or 5.
func parseReply(text string) (reply, bool) {
	if len(text) < 3 || text[0] != '4' && text[0] != '5' || len(text) > 3 && text[3] != ' ' && text[3] != '-' {
		return reply{}, false
	}
	code, err := strconv.Atoi(text[:3])
	if err != nil || code < 400 {
		return reply{}, false
	}
	r := reply{code: code}
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if len(line) >= 3 && line[:3] == text[:3] {
			line = line[min(4, len(line)):]
		}
		if status := smtpwire.LeadingStatus(line); status != "" {
			if i == 0 {
				r.status = status
			}
			if status == r.status {
				line = strings.TrimLeft(line[len(status):], " ")
			}
		}
		if i > 0 {
			r.text += "\n"
		}
		r.text += line
	}
	r.text = strings.TrimRight(r.text, "\n")
	return r, true
}

// String is the reply on one line without line end, as the log shows it.
func (r reply) String() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(r.code))
	b.WriteByte(' ')
	if r.status != "" {
		b.WriteString(r.status)
		b.WriteByte(' ')
	}
	b.WriteString(strings.ReplaceAll(r.text, "\n", " "))
	return b.String()
}

// soften turns a permanent refusal into a temporary one (soft_bounce).
func (r *reply) soften() {
	if r.code >= 500 && r.code <= 599 {
		r.code -= 100
		if r.status != "" && r.status[0] == '5' {
			r.status = "4" + r.status[1:]
		}
	}
}
