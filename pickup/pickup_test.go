package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// fakeCleanup writes down the messages that it gets and answers with a status.
type fakeCleanup struct {
	mu       sync.Mutex
	status   int
	reason   string
	messages []string
	aborted  int
}

type fakeSession struct {
	c    *fakeCleanup
	text strings.Builder
}

func (s *fakeSession) ID() string { return "4A1B2C3D" }

func (s *fakeSession) Record(t record.Type, data []byte) error {
	fmt.Fprintf(&s.text, "%c %s\n", t, data)
	return nil
}

func (s *fakeSession) Finish() (int, string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.messages = append(s.c.messages, s.text.String())
	return s.c.status, s.c.reason
}

func (s *fakeSession) Abort() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.aborted++
}

// serve runs the service at path.
func (c *fakeCleanup) serve(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go proto.ServeCleanup(ipc.NewConn(conn, 0), func(flags int) (proto.CleanupSession, error) {
				s := &fakeSession{c: c}
				fmt.Fprintf(&s.text, "flags %d\n", flags)
				return s, nil
			})
		}
	}()
}

// logLines is a sink that keeps what is logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(_ maillog.Level, _, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
}

// A bench is a pickup with a spool in a temporary directory.
type bench struct {
	*pickup
	root    string
	cleanup *fakeCleanup
	log     *logLines
}

func newBench(t *testing.T, settings ...string) *bench {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.cf", []byte("compatibility_level = 3.6\nmyhostname = mx.example.com\nmail_name = Mail\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(dir, settings...)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"maildrop", "corrupt"} {
		if err := os.Mkdir(filepath.Join(dir, q), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{root: dir, cleanup: &fakeCleanup{}, log: &logLines{}}
	b.cleanup.serve(t, dir+"/socket")
	log := maillog.New("postfix/pickup", b.log)
	b.pickup = &pickup{params: newParams(c, os.Getuid()), log: log, now: time.Now,
		spool:   queue.New(queue.Options{Root: dir, Owner: os.Getuid(), Warn: log.Warning}),
		cleanup: proto.NewCleanupClient(dir+"/socket", 10*time.Second)}
	return b
}

// drop puts a file into maildrop: a record a line, type, blank, data.
func (b *bench) drop(t *testing.T, id, text string, mode os.FileMode) {
	t.Helper()
	var data []byte
	for _, line := range strings.Split(text, "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		data = record.AppendString(data, record.Type(kind[0]), rest)
	}
	path := filepath.Join(b.root, "maildrop", id)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// where tells in which queue a file is.
func (b *bench) where(id string) string {
	for _, q := range []string{"maildrop", "corrupt"} {
		if _, err := os.Stat(filepath.Join(b.root, q, id)); err == nil {
			return q
		}
	}
	return "gone"
}

var date = regexp.MustCompile(`; .*`)

const plain = "T 1700000000 5\nA rewrite_context=local\nF Name\nS a\nR b\nM \nN Subject: x\nN \nL long\nN end\nX \nR c\nE "

func TestTakenIn(t *testing.T) {
	uid := os.Getuid()
	const flags = proto.CleanupBounce | proto.CleanupFilter | proto.CleanupBCC | proto.CleanupMap | proto.CleanupMilter
	received := fmt.Sprintf("N Received: by mx.example.com (Mail, from userid %d)\nN \tid 4A1B2C3D; DATE\n", uid)
	head := func(f int) string { return fmt.Sprintf("flags %d\n", f) }
	tests := []struct {
		rule     string
		settings []string
		file     string
		mode     os.FileMode
		status   int
		where    string
		want     string
		log      string
	}{
		{"a message gets our Received header and goes to cleanup", nil, plain, 0o744, 0, "gone",
			head(flags|proto.CleanupAutoUTF8) + "T 1700000000 5\nA rewrite_context=local\nF Name\nS a\nR b\nM \n" + received + "N Subject: x\nN \nL long\nN end\nX \nR c\nE \n",
			fmt.Sprintf("4A1B2C3D: uid=%d from=<a>", uid)},
		{"content_filter comes first", []string{"content_filter=smtp:[127.0.0.1]:10025"}, "T 1 1\nS a\nR b\nM \nX \nE ", 0o744, 0, "gone",
			head(flags|proto.CleanupAutoUTF8) + "L smtp:[127.0.0.1]:10025\nT 1 1\nS a\nR b\nM \n" + received + "X \nE \n", ""},
		{"overrides take flags away", []string{"receive_override_options=no_address_mappings, no_header_body_checks, no_milters", "smtputf8_autodetect_classes=verify"},
			"T 1 1\nS a\nR b\nM \nX \nE ", 0o744, 0, "gone", head(proto.CleanupBounce) + "T 1 1\nS a\nR b\nM \n" + received + "X \nE \n", ""},
		{"a first line with a blank gets an empty line before it", nil, "T 1 1\nS a\nR b\nM \nN  x\nN  y\nX \nE ", 0o744, 0, "gone",
			head(flags|proto.CleanupAutoUTF8) + "T 1 1\nS a\nR b\nM \n" + received + "N \nN  x\nN  y\nX \nE \n", ""},
		{"a requeued message forgets filters, redirections and found attributes", nil,
			"C 1\nT 1 1\nL smtp:x\n> other\nS a@b\nO b\nR b\nM \nN y\nX \nL smtp:y\n> z\nr q\ne q\nA encoding=8bit\nA notify_flags=2\nR c\nE ", 0o700, 0, "gone",
			head(flags&^proto.CleanupMilter) + "C 1\nT 1 1\nS a@b\nO b\nR b\nM \n" + received + "N y\nX \nA notify_flags=2\nR c\nE \n",
			fmt.Sprintf("4A1B2C3D: uid=%d from=<a@b> orig_id=ID1", uid)},
		{"a file without time gets its own", nil, "S a b@c\nR b\nM \nX \nE ", 0o744, 0, "gone",
			head(flags|proto.CleanupAutoUTF8) + "T NOW\nS a b@c\nR b\nM \n" + received + "X \nE \n", `from=<"a b"@c>`},
		{"a file stays when cleanup cannot write", nil, plain, 0o744, proto.StatWrite, "maildrop", "", "error writing 4A1B2C3D: queue file write error"},
		{"a file without recipients goes", nil, plain, 0o744, proto.StatRcpt, "gone", "", "no recipients specified"},
		{"a file that cleanup finds malformed is set aside", nil, plain, 0o744, proto.StatBad, "corrupt", "", `saving corrupt file "ID1" from queue "maildrop" to queue "corrupt"`},
		{"a file without sender goes", nil, "T 1 1\nR b\nM \nX \nE ", 0o744, 0, "gone", "(none)", "no envelope sender"},
		{"a file without end is set aside", nil, "T 1 1\nS a\nR b\nM \nX ", 0o744, 0, "corrupt", "(none)", "unexpected or malformed record"},
		{"a record in the wrong place is set aside", nil, "T 1 1\nS a\nN x\nM \nX \nE ", 0o744, 0, "corrupt", "(none)", "unexpected or malformed record type 78"},
		{"an overlong record is set aside", nil, "T 1 1\nS " + strings.Repeat("a", 3000) + "\nR b\nM \nX \nE ", 0o744, 0, "corrupt", "(none)", "3000 bytes"},
		{"a file that is being written stays", nil, plain, 0o644, 0, "maildrop", "(none)", ""},
	}
	for _, tt := range tests {
		b := newBench(t, tt.settings...)
		b.cleanup.status = tt.status
		b.drop(t, "ID1", tt.file, tt.mode)
		b.scan(context.Background(), nil)
		if got := b.where("ID1"); got != tt.where {
			t.Errorf("%s: file is in %s, want %s\n%q", tt.rule, got, tt.where, b.log.lines)
		}
		got := date.ReplaceAllString(strings.Join(b.cleanup.messages, ""), "; DATE")
		got = regexp.MustCompile(`(?m)^T \d{10}$`).ReplaceAllString(got, "T NOW")
		switch {
		case tt.want == "(none)" && got != "", tt.want != "" && tt.want != "(none)" && got != tt.want:
			t.Errorf("%s: cleanup got\n%s\nwant\n%s", tt.rule, got, tt.want)
		}
		if all := strings.Join(b.log.lines, "\n"); !strings.Contains(all, tt.log) {
			t.Errorf("%s: log %q lacks %q", tt.rule, all, tt.log)
		}
	}
}

// TestFilesStayWithoutCleanup: what nobody took must not be lost.
func TestFilesStayWithoutCleanup(t *testing.T) {
	b := newBench(t)
	b.pickup.cleanup = proto.NewCleanupClient(b.root+"/nobody", time.Second)
	b.drop(t, "ID1", plain, 0o744)
	b.scan(context.Background(), nil)
	if got := b.where("ID1"); got != "maildrop" {
		t.Errorf("file is in %s", got)
	}
}

func TestOddFilesAreLeftAlone(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.root, "outside")
	if err := os.WriteFile(outside, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, b.root+"/maildrop/LINK"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(outside, b.root+"/maildrop/HARD"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.root+"/maildrop/DIR", 0o700); err != nil {
		t.Fatal(err)
	}
	b.scan(context.Background(), nil)
	if len(b.cleanup.messages) != 0 {
		t.Errorf("cleanup got %q", b.cleanup.messages)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

func TestManyFiles(t *testing.T) {
	b := newBench(t)
	for i := range 100 {
		b.drop(t, fmt.Sprintf("ID%d", i), plain, 0o744)
	}
	b.scan(context.Background(), nil)
	if len(b.cleanup.messages) != 100 {
		t.Errorf("%d messages", len(b.cleanup.messages))
	}
	left, err := filepath.Glob(b.root + "/maildrop/*")
	if err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// TestArrival: the time of the Received header is that of the file, within
// reason.
func TestArrival(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, tt := range []struct {
		rule    string
		mtime   time.Time
		want    time.Time
		warning string
	}{
		{"the time of the file", now.Add(-time.Hour), now.Add(-time.Hour), ""},
		{"a clock that is a little ahead", now.Add(time.Hour), now.Add(time.Hour), ""},
		{"a time far in the future is not believed", now.Add(3 * time.Hour), now, "dated 10800 seconds into the future"},
		{"old mail is reported", now.Add(-49 * time.Hour), now.Add(-49 * time.Hour), "has been queued for 2 days"},
	} {
		log := &logLines{}
		c := &copying{pickup: &pickup{log: maillog.New("x", log), now: func() time.Time { return now }},
			in: &queue.Message{ID: "ID1", Info: queue.Info{ModTime: tt.mtime}}, out: &proto.Submission{ID: "Q"}}
		if got := c.arrival(); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", tt.rule, got, tt.want)
		}
		if all := strings.Join(log.lines, ""); !strings.Contains(all, tt.warning) || tt.warning == "" && all != "" {
			t.Errorf("%s: log %q", tt.rule, all)
		}
	}
}
