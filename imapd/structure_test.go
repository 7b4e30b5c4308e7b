package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

// differs says in which messages we differ from Dovecot on purpose.
var differs = map[string]string{
	"mail-parser/malformed/004.eml":                                       "a line that only begins with a boundary is none",
	"mail-parser/malformed/017.eml":                                       "a boundary without a semicolon before it is found",
	"mail-parser/rfc/001.eml":                                             "parameters stay in their order",
	"mimekit/feedback-report.txt":                                         "a mailbox name is not cut at a colon",
	"mimekit/missing-subtype.txt":                                         "a type without a subtype is text/plain (RFC 2045 §5.2)",
	"rubymail/error_emails/bad_date_header.eml":                           "blanks around a value are left out",
	"rubymail/error_emails/content_transfer_encoding_with_semi_colon.eml": "an encoding with something behind it is recognized",
	"rubymail/error_emails/missing_content_disposition.eml":               "an empty disposition is none",
	"rubymail/error_emails/multiple_invalid_content_dispositions.eml":     "an empty disposition is none",
	"rubymail/error_emails/weird_to_header.eml":                           "nothing between two commas is no address",
	"rubymail/rfc2822/example11.eml":                                      "nothing between two commas is no address",
	"rubymail/mime_emails/raw_email_with_illegal_boundary.eml":            "a boundary that should have been quoted is found",
	"rubymail/plain_emails/raw_email_multiple_from.eml":                   "what follows a domain without a comma",
	"rubymail/plain_emails/raw_email_with_at_display_name.eml":            "a display name with an at sign",
}

// TestStructuresLikeDovecot compares ENVELOPE and BODYSTRUCTURE with what
// Dovecot 2.3.19 answers.
func TestStructuresLikeDovecot(t *testing.T) {
	dir := mailtest.Corpora(t, "mime")
	data, err := os.ReadFile(filepath.Join(dir, "dovecot-fetch.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for line := range bytes.Lines(data) {
		var want struct{ File, Fetch string }
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, want.File))
		if err != nil {
			t.Fatal(err)
		}
		p, err := parseMessage(bytes.NewReader(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Appendf(nil, "(RFC822.SIZE %d ENVELOPE ", p.head.wire+p.body.wire)
		got = append(appendEnvelope(got, p), " BODYSTRUCTURE "...)
		got = append(appendStructure(got, p, withExtension), ')')
		where := difference(parseValues(string(got)), parseValues(octets(want.Fetch)), "")
		if where == "" {
			same++
		} else if differs[want.File] == "" {
			t.Errorf("%s: %s", want.File, where)
		}
	}
	if same < 100 {
		t.Errorf("only %d are the same", same)
	}
}

// octets undoes that the reference has a character for every byte.
func octets(text string) string {
	var b []byte
	for _, r := range text {
		b = append(b, byte(r))
	}
	return string(b)
}

// difference names the first difference of two values.
func difference(got, want []value, at string) string {
	for i := range max(len(got), len(want)) {
		here := fmt.Sprintf("%s.%d", at, i+1)
		if i >= len(got) || i >= len(want) {
			return fmt.Sprintf("%s: %d elements, want %d", here, len(got), len(want))
		}
		if got[i].isList != want[i].isList || !strings.EqualFold(latin1(got[i].text), latin1(want[i].text)) {
			return fmt.Sprintf("%s: %.300v, want %.300v", here, got[i], want[i])
		}
		if d := difference(got[i].list, want[i].list, here); d != "" {
			return d
		}
	}
	return ""
}
