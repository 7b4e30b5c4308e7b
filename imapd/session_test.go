package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// deliver puts a message into the Maildir as another program does.
func (s *stage) deliver(name, text string) {
	s.t.Helper()
	temp := filepath.Join(s.root, "tmp", name)
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(s.root, "new", name)); err != nil {
		s.t.Fatal(err)
	}
}

func TestNewMailComesToIdle(t *testing.T) {
	s := newStage(t)
	x := s.dial()
	x.has("SELECT INBOX", "OK [READ-WRITE]", "* 0 EXISTS", "* OK [UIDNEXT 1] Predicted next UID")
	tag := x.send("IDLE")
	if got := x.line(); got != "+ idling" {
		t.Fatal(got)
	}
	s.deliver("1.M1P1.host", "Subject: one\n\nbody\n")
	for _, want := range []string{"* 1 EXISTS", "* 1 RECENT"} {
		if got := x.line(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	x.c.Write([]byte("done\r\n"))
	if _, end := x.until(tag); end != "OK Idle completed." {
		t.Error(end)
	}
	x.want("FETCH 1 (UID FLAGS RFC822.SIZE BODY.PEEK[])", "OK", "* 1 FETCH (UID 1 FLAGS (\\Recent) RFC822.SIZE 22 BODY[] {22}\r\nSubject: one\r\n\r\nbody\r\n)")
	files, _ := filepath.Glob(filepath.Join(s.root, "cur", "*"))
	if len(files) != 1 || filepath.Base(files[0]) != "1.M1P1.host:2," {
		t.Errorf("after SELECT: %v", files)
	}
	if err := os.Rename(files[0], files[0]+"S"); err != nil {
		t.Fatal(err)
	}
	x.want("NOOP", "OK", "* 1 FETCH (FLAGS (\\Seen \\Recent))")
	if err := os.Remove(files[0] + "S"); err != nil {
		t.Fatal(err)
	}
	x.want("FETCH 1 BODY[]", "NO [EXPUNGEISSUED]")
	x.want("FETCH 1 FLAGS", "OK", "* 1 FETCH (FLAGS (\\Seen \\Recent))")
	x.want("NOOP", "OK", "* 1 EXPUNGE")
}

func TestModificationSequences(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	s := stageAt(t, root)
	x := s.dial()
	x.has("APPEND INBOX "+literal("a: b\n\nc\n")+" "+literal("a: b\n\nd\n")+" "+literal("a: b\n\ne\n"), "OK [APPENDUID ")
	x.want("ENABLE QRESYNC", "OK", "* ENABLED QRESYNC")
	got, _ := x.do("SELECT INBOX")
	validity, modseq := code(got, "UIDVALIDITY"), code(got, "HIGHESTMODSEQ")
	y := s.dial()
	y.has("SELECT INBOX", "OK")
	y.has("STORE 1 +FLAGS (\\Flagged hello)", "OK")
	y.has("STORE 2 +FLAGS.SILENT (\\Deleted)", "OK")
	y.has("EXPUNGE", "OK", "* 2 EXPUNGE")
	_, end := x.do("STORE 1 (UNCHANGEDSINCE " + modseq + ") FLAGS (\\Seen)")
	if !strings.HasPrefix(end, "OK [MODIFIED 1]") {
		t.Error(end)
	}
	x.has("NOOP", "OK", "* VANISHED 2")
	x.do("UNSELECT")
	got, end = x.do("SELECT INBOX (QRESYNC (" + validity + " " + modseq + " 1:3))")
	text := strings.Join(got, "\n")
	if !strings.Contains(text, "* VANISHED (EARLIER) 2") || !strings.Contains(text, "* 1 FETCH (UID 1 MODSEQ (") || strings.Contains(text, "UID 3 MODSEQ") {
		t.Errorf("%s\n%s", text, end)
	}
	high := code(got, "HIGHESTMODSEQ")
	x.has("UID FETCH 1:* (FLAGS) (CHANGEDSINCE "+modseq+" VANISHED)", "OK", "* VANISHED (EARLIER) 2")
	x.want("UID FETCH 1:* (FLAGS) (CHANGEDSINCE "+high+")", "OK")
	x.do("LOGOUT")
	y.do("LOGOUT")
	s.close()

	// The next worker goes on where this one ended.
	s = stageAt(t, root)
	x = s.dial()
	x.do("ENABLE QRESYNC")
	got, _ = x.do("SELECT INBOX (QRESYNC (" + validity + " " + modseq + "))")
	if text := strings.Join(got, "\n"); code(got, "HIGHESTMODSEQ") != high || !strings.Contains(text, "* VANISHED (EARLIER) 2") ||
		!strings.Contains(text, `FLAGS (\Flagged hello)`) || strings.Contains(text, "UID 3 MODSEQ") {
		t.Errorf("after a restart, not %s: %s", high, text)
	}
	x.do("LOGOUT")
	s.close()

	// Without an index all counts as changed, and the number only rises.
	if err := os.WriteFile(filepath.Join(root, indexName), []byte(strings.Repeat("garbage", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	s = stageAt(t, root)
	x = s.dial()
	x.do("ENABLE QRESYNC")
	got, _ = x.do("SELECT INBOX (QRESYNC (" + validity + " " + modseq + "))")
	if text := strings.Join(got, "\n"); len(code(got, "HIGHESTMODSEQ")) < len(high) || !strings.Contains(text, "* VANISHED (EARLIER) 2") || !strings.Contains(text, "UID 3 MODSEQ") {
		t.Errorf("with a damaged index: %s", text)
	}
}

// code is the argument of a response code.
func code(lines []string, name string) string {
	for _, l := range lines {
		if _, rest, ok := strings.Cut(l, "["+name+" "); ok {
			value, _, _ := strings.Cut(rest, "]")
			return value
		}
	}
	return ""
}

func TestFlagsOfTwoSessionsMerge(t *testing.T) {
	s := newStage(t)
	x, y := s.dial(), s.dial()
	x.has("APPEND INBOX (\\Draft) \" 1-Jan-2020 10:00:00 +0000\" "+literal("a: b\n\nc\n"), "OK [APPENDUID ")
	x.has("SELECT INBOX", "OK", "* 1 RECENT")
	y.has("SELECT INBOX", "OK", "* 0 RECENT")
	x.has("STORE 1 +FLAGS (\\Seen)", "OK", "* 1 FETCH (FLAGS (\\Seen \\Draft \\Recent))")
	y.has("STORE 1 +FLAGS ($Junk)", "OK", "* 1 FETCH (FLAGS (\\Seen \\Draft $Junk))")
	x.has("NOOP", "OK", "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk)", "* 1 FETCH (FLAGS (\\Seen \\Draft $Junk \\Recent))")
	x.want("NOOP", "OK")
	x.want("STORE 1 -FLAGS.SILENT ($Junk)", "OK")
	y.want("NOOP", "OK", "* 1 FETCH (FLAGS (\\Seen \\Draft))")
	x.want("STORE 1 FLAGS (\\Recent)", "BAD")
	x.want("STORE 2 FLAGS ()", "BAD")
	x.want("UID STORE 99 FLAGS ()", "OK")
	x.want("FETCH 1 INTERNALDATE", "OK", `* 1 FETCH (INTERNALDATE "`+time.Unix(1577872800, 0).Format("_2-Jan-2006 15:04:05 -0700")+`")`)
}

func TestMailboxesAreMadeAndNamed(t *testing.T) {
	s := newStage(t)
	x := s.dial()
	x.want(`LIST "" *`, "OK", `* LIST (\HasNoChildren) "." INBOX`, `* LIST (\HasNoChildren \Archive) "." Archive`, `* LIST (\HasNoChildren \Drafts) "." Drafts`,
		`* LIST (\HasNoChildren \Junk) "." Junk`, `* LIST (\HasNoChildren \Sent) "." Sent`, `* LIST (\HasNoChildren \Trash) "." Trash`)
	x.want(`LSUB "" S%`, "OK", `* LSUB () "." Sent`)
	x.want("CREATE a.b", "OK")
	x.want("CREATE a.b", "NO [ALREADYEXISTS]")
	x.want("CREATE a..b", "NO [CANNOT]")
	x.want("CREATE a/b", "NO [CANNOT]")
	x.want("CREATE caf&AOk", "NO [CANNOT]")
	x.want(`LIST "" %`, "OK", `* LIST (\HasNoChildren) "." INBOX`, `* LIST (\HasNoChildren \Archive) "." Archive`, `* LIST (\HasNoChildren \Drafts) "." Drafts`,
		`* LIST (\HasNoChildren \Junk) "." Junk`, `* LIST (\HasNoChildren \Sent) "." Sent`, `* LIST (\HasNoChildren \Trash) "." Trash`, `* LIST (\NonExistent \Noselect \HasChildren) "." a`)
	x.want("SELECT nothere", "NO [NONEXISTENT]")
	x.want("FETCH 1 FLAGS", "BAD")
	x.want("RENAME a c", "OK")
	x.want("STATUS c.b (MESSAGES UIDNEXT)", "OK", "* STATUS c.b (MESSAGES 0 UIDNEXT 1)")
	x.want("DELETE INBOX", "NO [CANNOT]")
	x.want("ENABLE UTF8=ACCEPT", "OK", "* ENABLED UTF8=ACCEPT")
	x.want("CREATE \"café & tee\"", "OK")
	x.want("LIST \"\" caf*", "OK", "* LIST (\\HasNoChildren) \".\" \"café & tee\"")
	if _, err := os.Stat(filepath.Join(s.root, ".caf&AOk- &- tee", "cur")); err != nil {
		t.Error(err)
	}
	y := s.dial()
	y.has("SELECT c.b", "OK")
	x.want("DELETE c.b", "OK")
	if got, _ := y.do("NOOP"); len(got) != 1 || got[0] != "* BYE Mailbox was deleted" {
		t.Errorf("in a deleted mailbox: %q", got)
	}
	x.want(`LIST (SPECIAL-USE) "" * RETURN (STATUS (MESSAGES))`, "OK", `* LIST (\HasNoChildren \Archive) "." "Archive"`, `* STATUS "Archive" (MESSAGES 0)`,
		`* LIST (\HasNoChildren \Drafts) "." "Drafts"`, `* STATUS "Drafts" (MESSAGES 0)`, `* LIST (\HasNoChildren \Junk) "." "Junk"`, `* STATUS "Junk" (MESSAGES 0)`,
		`* LIST (\HasNoChildren \Sent) "." "Sent"`, `* STATUS "Sent" (MESSAGES 0)`, `* LIST (\HasNoChildren \Trash) "." "Trash"`, `* STATUS "Trash" (MESSAGES 0)`)
}

func TestMistakesAreAnswered(t *testing.T) {
	s := newStage(t)
	x := s.dial()
	for _, c := range [][2]string{
		{"XYZZY", "BAD"}, {"SELECT", "BAD"}, {"SELECT INBOX INBOX", "BAD"}, {"NOOP x", "BAD"},
		{"SELECT {3+}\r\nabc x y", "BAD"}, {"SELECT {5+}\r\ninbox", "OK"}, {"FETCH 1 FLAGS", "BAD"}, {"UID FETCH 1 FLAGS", "OK"},
		{"SEARCH CHARSET x-none ALL", "NO [BADCHARSET"}, {"SEARCH RETURN (FOO) ALL", "BAD"}, {"SEARCH " + strings.Repeat("(", 100) + "ALL", "BAD"},
		{"APPEND nothere {10}", "NO [TRYCREATE]"}, {"APPEND nothere {10+}\r\n0123456789", "NO [TRYCREATE]"},
		{"STATUS INBOX (FOO)", "BAD"}, {"LIST (RECURSIVEMATCH) \"\" *", "BAD"}, {"ID NIL", "OK"}, {"GETQUOTAROOT INBOX", "OK"}, {"GETQUOTA \"\"", "NO"},
	} {
		if _, end := x.do(c[0]); !strings.HasPrefix(end, c[1]) {
			t.Errorf("%s: %q, want %s", c[0], end, c[1])
		}
	}
}
