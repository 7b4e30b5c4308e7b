package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postroad/libmail/dsn"
	"postroad/libmail/mailbox"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// A mailman serves the requests of one client, one after the other.
type mailman struct {
	maildirs mailbox.Maildirs
}

// actions is what a request can ask for.
var actions = map[string]func(*mailman, *proto.MDARequest, *os.File) proto.MDAReply{
	proto.MDAMaildir: (*mailman).maildir,
	proto.MDAMbox:    (*mailman).mbox,
	proto.MDACommand: (*mailman).command,
	proto.MDARead:    (*mailman).read,
	proto.MDAInclude: (*mailman).read,
	proto.MDAHome:    (*mailman).home,
}

func (m *mailman) do(req *proto.MDARequest, message *os.File) proto.MDAReply {
	action, known := actions[req.Action]
	if !known {
		return fail(dsn.Errorf("4.3.5", "delivery helper: unknown action %.30q", req.Action))
	}
	return action(m, req, message)
}

func ok(reason string) proto.MDAReply {
	return proto.MDAReply{Outcome: dsn.Outcome{Status: "2.0.0", Reason: reason}}
}

func fail(err error) proto.MDAReply { return proto.MDAReply{Outcome: dsn.Of(err)} }

// content is the message with the lines that go before it.
func content(req *proto.MDARequest, file *os.File) mailbox.Message {
	return mailbox.Message{Head: req.Head, Body: queue.NewContent(file, req.Offset)}
}

func (m *mailman) maildir(req *proto.MDARequest, file *os.File) proto.MDAReply {
	m.maildirs.Host = req.Host
	if err := withinQuota(req, file); err != nil {
		return fail(err)
	}
	dir := req.Path
	if folder := filepath.Join(req.Path, "."+req.Folder); req.Folder != "" && isFolder(folder) {
		dir = folder
	}
	if _, err := m.maildirs.Deliver(dir, content(req, file)); err != nil {
		return fail(mailboxError("maildir delivery failed: ", "4.2.0", err))
	}
	return ok("delivered to maildir")
}

// isFolder reports whether a folder of a Maildir is there.
func isFolder(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}

// withinQuota refuses a message that does not fit into the Maildir any more.
// Two deliveries at a time may both find room for one.
func withinQuota(req *proto.MDARequest, file *os.File) error {
	if req.Quota == 0 {
		return nil
	}
	st, err := file.Stat()
	if err != nil {
		return &dsn.Error{Status: "4.3.0", Text: "message: " + err.Error(), Err: err}
	}
	folders, err := filepath.Glob(filepath.Join(globQuote(req.Path), ".*"))
	if err != nil {
		return &dsn.Error{Status: "4.3.0", Text: "quota: " + err.Error(), Err: err}
	}
	total := st.Size() - req.Offset
	for _, dir := range append(folders, req.Path) {
		used, _, err := mailbox.Usage(dir)
		if err != nil && !errors.Is(err, syscall.ENOTDIR) {
			return &dsn.Error{Status: "4.3.0", Text: "quota: " + err.Error(), Err: err}
		}
		total += used
	}
	if total > req.Quota {
		return dsn.Errorf("5.2.2", "mailbox is full: %d bytes are allowed", req.Quota)
	}
	return nil
}

// globQuote makes a path a pattern that matches only it.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func (m *mailman) mbox(req *proto.MDARequest, file *os.File) proto.MDAReply {
	locks, err := mailbox.ParseLocks(strings.Fields(req.Locks))
	if err != nil {
		return fail(dsn.Errorf("4.3.5", "mailbox_delivery_lock: %v", err))
	}
	o := mailbox.Mbox{Sender: req.Sender, Locks: locks, Attempts: req.Attempts, Delay: req.Delay, Stale: req.Stale, MaxSize: req.MaxSize}
	if err := mailbox.AppendMbox(req.Path, o, content(req, file)); err != nil {
		return fail(mailboxError("cannot update mailbox "+req.Path+": ", "5.2.0", err))
	}
	return ok("delivered to mailbox")
}

// mailboxError says what an error means to the sender. What may pass is
// temporary, so is a full disk; a full mailbox is the recipient's matter.
func mailboxError(prefix, status string, err error) error {
	switch {
	case errors.Is(err, queue.ErrCorrupt):
		status = "4.3.0"
	case errors.Is(err, mailbox.ErrLocked), errors.Is(err, mailbox.ErrOwner):
		status = "4.2.0"
	case errors.Is(err, mailbox.ErrTooLarge), errors.Is(err, syscall.EFBIG):
		status = "5.2.2"
	case errors.Is(err, syscall.EDQUOT):
		status = "5.2.2"
	case errors.Is(err, mailbox.ErrUnsafe), errors.Is(err, syscall.ELOOP), errors.Is(err, fs.ErrPermission),
		errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
	default: // input/output errors, full disk, no descriptors
		status = "4.3.0"
	}
	return &dsn.Error{Status: status, Text: prefix + err.Error(), Err: err}
}

// read reads a .forward or :include: file. A .forward file must not be a
// link; an include may.
func (m *mailman) read(req *proto.MDARequest, _ *os.File) proto.MDAReply {
	flags := os.O_RDONLY | syscall.O_NONBLOCK
	if req.Action == proto.MDARead {
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(req.Path, flags, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return ok("")
	}
	if errors.Is(err, syscall.ELOOP) {
		return fail(dsn.Errorf("5.7.1", "file %s is not a regular file", req.Path))
	}
	if err != nil {
		return fail(&dsn.Error{Status: "4.3.0", Text: "cannot read file: " + err.Error(), Err: err})
	}
	defer f.Close() // nothing was written
	st, err := f.Stat()
	if err != nil {
		return fail(&dsn.Error{Status: "4.3.0", Text: "cannot read file: " + err.Error(), Err: err})
	}
	sys, known := st.Sys().(*syscall.Stat_t)
	if !st.Mode().IsRegular() || !known {
		return fail(dsn.Errorf("5.7.1", "file %s is not a regular file", req.Path))
	}
	if st.Size() > req.MaxSize {
		return fail(dsn.Errorf("5.2.3", "file %s is larger than %d bytes", req.Path, req.MaxSize))
	}
	data, err := io.ReadAll(io.LimitReader(f, req.MaxSize))
	if err != nil {
		return fail(&dsn.Error{Status: "4.3.0", Text: "cannot read file: " + err.Error(), Err: err})
	}
	return proto.MDAReply{Outcome: dsn.Outcome{Status: "2.0.0"}, Found: true, Owner: int(sys.Uid),
		Mode: uint32(st.Mode().Perm()), Data: data}
}

// home checks a home directory, for require_home_directory.
func (m *mailman) home(req *proto.MDARequest, _ *os.File) proto.MDAReply {
	st, err := os.Stat(req.Path)
	switch {
	case err != nil:
		return fail(&dsn.Error{Status: "4.3.0", Text: fmt.Sprintf("cannot access home directory %s: %v", req.Path, err), Err: err})
	case !st.IsDir():
		return fail(dsn.Errorf("4.3.0", "cannot access home directory %s: not a directory", req.Path))
	}
	return ok("")
}
