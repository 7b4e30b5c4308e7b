package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// logLines is a sink that keeps what is logged.
type logLines struct{ lines []string }

func (l *logLines) Write(_ maillog.Level, _, text string) { l.lines = append(l.lines, text) }

// result is what a submission leaves.
type result struct {
	status int
	reason string
	err    error
	file   string // a record a line; "" when there is none
	mode   fs.FileMode
	log    string
}

// submit puts records, a line each, through a submission of user 4711.
func submit(t *testing.T, ops queue.FS, text string, settings ...string) (r result) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.cf", []byte("compatibility_level = 3.6\nmyhostname = mx.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(dir, settings...)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/maildrop", 0o700); err != nil {
		t.Fatal(err)
	}
	lines := &logLines{}
	log := maillog.New("postfix/postdrop", lines)
	file, err := queue.New(queue.Options{Root: dir, FS: ops, Warn: log.Warning}).Create(queue.Maildrop, 0o044)
	if err != nil {
		return result{status: proto.StatWrite, err: err}
	}
	var in bytes.Buffer
	for _, line := range strings.Split(text, "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		in.Write(record.AppendString(nil, record.Type(kind[0]), strings.NewReplacer(`\n`, "\n", `\0`, "\x00").Replace(rest)))
	}
	s := newSubmission(c, 4711, file, log)
	var out bytes.Buffer
	r.err = proto.ServeDrop(&in, &out, file.ID, s.maxRecord(), s)
	if r.err != nil {
		file.Abort()
	}
	r.status, r.reason, r.log = s.status, s.reason, strings.Join(lines.lines, "\n")
	if r.err == nil && !strings.HasPrefix(out.String(), "protocol\x00postdrop_protocol\x00queue_id\x00"+file.ID+"\x00\x00status\x00"+fmt.Sprint(s.status)+"\x00reason\x00"+s.reason+"\x00\x00") {
		t.Errorf("answer %q", out.String())
	}
	path := filepath.Join(dir, file.Path())
	data, err := os.ReadFile(path)
	if err != nil {
		return r
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	r.mode = st.Mode().Perm()
	w := record.NewWalker(bytes.NewReader(data), queue.MaxRecord)
	for {
		rt, d, err := w.NextRaw()
		if err != nil {
			break
		}
		if rt == record.Time {
			d = []byte("TIME")
		}
		r.file += fmt.Sprintf("%c %s\n", rt, d)
	}
	return r
}

const plain = "A rewrite_context=local\nF Name\nS a\nR b\nM \nN x\nL y\nX \nR c\nE "

func TestSubmission(t *testing.T) {
	tests := []struct {
		rule     string
		settings []string
		in       string
		status   int
		file     string
		log      string // or reason, or error
	}{
		{"the time is ours", nil, plain, 0, "T TIME\n" + strings.ReplaceAll(plain, "\n", "\n") + "\n", ""},
		{"the user's time does not count", nil, "T 1 1\nS a\nR b\nM \nX \nE ", -1, "", "unexpected record type: 84"},
		{"attributes are few", nil, "A client_name=x\nA encoding=8bit\nA encoding=binary\nA notify_flags=2\nA envelope_id=y\nS a\nR b\nM \nX \nE ", 0,
			"T TIME\nA encoding=8bit\nA notify_flags=2\nA envelope_id=y\nS a\nR b\nM \nX \nE \n", "ignoring attribute record: client_name=x"},
		{"two trace flags are allowed", nil, "A trace_flags=512\nA trace_flags=256\nS a\nR b\nM \nX \nE ", 0,
			"T TIME\nA trace_flags=512\nS a\nR b\nM \nX \nE \n", "ignoring unexpected trace flags: 256"},
		{"a pointer is refused", nil, "S a\np 0\nR b\nM \nX \nE ", -1, "", "unexpected record type: 112"},
		{"a recipient that is done is refused", nil, "S a\nD b\nM \nX \nE ", -1, "", "unexpected record type: 68"},
		{"a filter is refused", nil, "L smtp:x\nS a\nR b\nM \nX \nE ", -1, "", "unexpected record type: 76"},
		{"a sender after the content is refused", nil, "S a\nR b\nM \nX \nS c\nE ", -1, "", "unexpected record type: 83"},
		{"a line break in an address is refused", nil, "S a\nR b\\nc\nM \nX \nE ", -1, "", "null or line break in 'recipient' record type"},
		{"a NUL in an address is refused", nil, "S a\\0\nR b\nM \nX \nE ", -1, "", "null or line break"},
		{"a NUL in the content is not ours to judge", nil, "S a\nR b\nM \nN a\\0b\nX \nE ", 0, "T TIME\nS a\nR b\nM \nN a\x00b\nX \nE \n", ""},
		{"records are bounded", nil, "S a\nR b\nM \nN " + strings.Repeat("x", 3000) + "\nX \nE ", -1, "", "data too long"},
		{"input that ends early leaves nothing", nil, "S a\nR b\nM \nN x", -1, "", "request cancelled"},
		{"no sender", nil, "R b\nM \nX \nE ", proto.StatBad, "", ""},
		{"no recipient", nil, "S a\nM \nX \nE ", proto.StatBad, "", ""},
		{"recipients of headers count", nil, "S a\nM \nX \nR b\nE ", 0, "T TIME\nS a\nM \nX \nR b\nE \n", ""},
		{"a message beyond the limit", []string{"message_size_limit=1000", "mailbox_size_limit=0"}, "S a\nR b\nM \nN " + strings.Repeat("x", 1500) + "\nX \nE ", proto.StatSize, "", "File too large"},
		{"a sender that the user may have", []string{"local_login_sender_maps=inline:{{uid:4711=a b@c}}"}, "S b+x@C\nR b\nM \nX \nE ", proto.StatNoPerm, "", "not authorized to use sender='b+x@C'"},
		{"an extension does not matter", []string{"local_login_sender_maps=inline:{{uid:4711=a b@c}}", "recipient_delimiter=+"}, "S b+x@C\nR b\nM \nX \nE ", 0, "T TIME\nS b+x@C\nR b\nM \nX \nE \n", ""},
		{"a domain that the user may have", []string{"local_login_sender_maps=inline:{{uid:4711=@example.com}}"}, "S x@Example.Com\nR b\nM \nX \nE ", 0, "T TIME\nS x@Example.Com\nR b\nM \nX \nE \n", ""},
		{"the null sender has its key", []string{"local_login_sender_maps=inline:{{uid:4711=<>}}"}, "S \nR b\nM \nX \nE ", 0, "T TIME\nS \nR b\nM \nX \nE \n", ""},
		{"all is allowed by *", []string{"local_login_sender_maps=inline:{{uid:4711=*}}"}, "S any\nR b\nM \nX \nE ", 0, "T TIME\nS any\nR b\nM \nX \nE \n", ""},
		{"a user who is not in the table", []string{"local_login_sender_maps=inline:{{other=*}}"}, "S any\nR b\nM \nX \nE ", proto.StatNoPerm, "", ""},
		{"a table that is down", []string{"local_login_sender_maps=fail:x"}, "S any\nR b\nM \nX \nE ", proto.StatWrite, "", "table lookup error"},
	}
	for _, tt := range tests {
		r := submit(t, nil, tt.in, tt.settings...)
		if (tt.status == -1) != (r.err != nil) || tt.status >= 0 && r.status != tt.status {
			t.Errorf("%s: status %d, %v", tt.rule, r.status, r.err)
		}
		if r.file != tt.file {
			t.Errorf("%s: file\n%s\nwant\n%s", tt.rule, r.file, tt.file)
		}
		if r.file != "" && r.mode != 0o744 {
			t.Errorf("%s: mode %o", tt.rule, r.mode)
		}
		if all := fmt.Sprint(r.log, r.reason, r.err); !strings.Contains(all, tt.log) {
			t.Errorf("%s: %q lacks %q", tt.rule, all, tt.log)
		}
	}
}

// faultFS fails the call with a number, counted from 1.
type faultFS struct {
	queue.FS
	at, n int
	calls []string
}

func (f *faultFS) fail(call string) error {
	f.n++
	f.calls = append(f.calls, call)
	if f.n == f.at {
		return &fs.PathError{Op: call, Err: syscall.EIO}
	}
	return nil
}

func (f *faultFS) Open(path string, flag int, perm fs.FileMode) (queue.Handle, error) {
	if err := f.fail("open"); err != nil {
		return nil, err
	}
	h, err := f.FS.Open(path, flag, perm)
	return &faultHandle{h, f}, err
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.fail("rename"); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *faultFS) SyncDir(path string) error {
	if err := f.fail("syncdir"); err != nil {
		return err
	}
	return f.FS.SyncDir(path)
}

type faultHandle struct {
	queue.Handle
	f *faultFS
}

func (h *faultHandle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.f.fail("write"); err != nil {
		return 0, err
	}
	return h.Handle.WriteAt(p, off)
}

func (h *faultHandle) Chmod(mode fs.FileMode) error {
	if mode&queue.Ready == queue.Ready {
		if err := h.f.fail("chmod"); err != nil {
			return err
		}
	}
	return h.Handle.Chmod(mode)
}

func (h *faultHandle) Sync() error {
	if err := h.f.fail("sync"); err != nil {
		return err
	}
	return h.Handle.Sync()
}

func (h *faultHandle) Close() error {
	if err := h.f.fail("close"); err != nil {
		return errors.Join(h.Handle.Close(), err)
	}
	return h.Handle.Close()
}

// TestNoFaultIsAcknowledged fails each call in turn: no status 0, no file.
func TestNoFaultIsAcknowledged(t *testing.T) {
	clean := &faultFS{FS: queue.System{}}
	if r := submit(t, clean, plain); r.status != 0 || r.err != nil {
		t.Fatalf("without faults: %+v", r)
	}
	for i, call := range clean.calls {
		r := submit(t, &faultFS{FS: queue.System{}, at: i + 1}, plain)
		if r.status == 0 && r.err == nil {
			t.Errorf("%s (call %d) fails: status 0", call, i+1)
		}
		if r.mode&queue.Ready == queue.Ready {
			t.Errorf("%s (call %d) fails: a complete file stays", call, i+1)
		}
	}
}

// blindFS may not read directories, as a set-gid program may not.
type blindFS struct{ dropFS }

func TestDirectoryThatCannotBeRead(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read all directories")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if err := (blindFS{}).SyncDir(dir); err != nil {
		t.Errorf("SyncDir: %v", err)
	}
}

func TestSyncFS(t *testing.T) {
	if err := syncFS("."); err != nil {
		t.Errorf("the file system of the working directory: %v", err)
	}
	if err := syncFS("/proc"); err != nil {
		t.Errorf("another file system: %v", err)
	}
}

func TestSplitQuoted(t *testing.T) {
	for in, want := range map[string]string{
		"a, b  c": "a|b|c", `"a b"@c, d`: `"a b"@c|d`, `"a\" b"@c`: `"a\" b"@c`, "": "", " ,": "", `"open , x`: `"open , x`,
	} {
		if got := strings.Join(splitQuoted(in), "|"); got != want {
			t.Errorf("splitQuoted(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for status, want := range map[int]int{0: 0, proto.StatBad: 1, proto.StatSize: 4, proto.StatNoPerm: 1} {
		if got := exitStatus(status); got != want {
			t.Errorf("exitStatus(%d) = %d, want %d", status, got, want)
		}
	}
}

func FuzzSubmission(f *testing.F) {
	var seed []byte
	for _, line := range strings.Split(plain, "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		seed = record.AppendString(seed, record.Type(kind[0]), rest)
	}
	f.Add(seed)
	dir := f.TempDir()
	if err := os.WriteFile(dir+"/main.cf", []byte("compatibility_level = 3.6\nmyhostname = mx.example.com\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	c, err := conf.Load(dir)
	if err != nil {
		f.Fatal(err)
	}
	if err := os.Mkdir(dir+"/maildrop", 0o700); err != nil {
		f.Fatal(err)
	}
	spool := queue.New(queue.Options{Root: dir})
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := spool.Create(queue.Maildrop, 0o044)
		if err != nil {
			t.Fatal(err)
		}
		s := newSubmission(c, 4711, file, maillog.Discard())
		err = proto.ServeDrop(bytes.NewReader(data), &bytes.Buffer{}, file.ID, s.maxRecord(), s)
		path := filepath.Join(dir, file.Path())
		if err != nil || s.status != 0 {
			file.Abort()
			return
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(got, record.Append(nil, record.End, nil)) {
			t.Errorf("accepted %q", got)
		}
		os.Remove(path)
	})
}
