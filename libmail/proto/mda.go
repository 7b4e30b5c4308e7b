package proto

import (
	"fmt"
	"os"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
)

// The mda conversation: local and virtual, which are root, have one message
// delivered by a process that is the recipient and nothing else. The helper
// has the conversation on its standard input; it touches the recipient's
// files and runs the recipient's commands, and knows no configuration.
//
//	C: action=maildir path=/home/alice/Maildir/ ... offset=512
//	C: the open queue file (a descriptor)
//	S: status=2.0.0 ... reason=
//
//	C: action=read path=/home/alice/.forward
//	S: status=2.0.0 ... reason= found=1 data=...
//
// The delivery is durable before the reply.

// Actions of an MDARequest.
const (
	MDAMaildir = "maildir" // deliver to the Maildir at Path
	MDAMbox    = "mbox"    // append to the mbox file at Path
	MDACommand = "command" // run Command with the message on standard input
	MDARead    = "read"    // read the file at Path, which must not be a link; no message
	MDAInclude = "include" // read the file at Path, which may be a link; no message
	MDAHome    = "home"    // check that the directory Path is there; no message
)

// An MDARequest is one thing to do as the recipient.
type MDARequest struct {
	Action string
	Path   string
	Head   string // lines before the message: Return-Path and the like
	Offset int64  // of the first content record in the queue file
	Host   string // for Maildir names

	Sender   string        // for the From_ line, external form
	Locks    string        // mailbox_delivery_lock
	Attempts int           // deliver_lock_attempts
	Delay    time.Duration // deliver_lock_delay
	Stale    time.Duration // stale_lock_time
	MaxSize  int64         // mailbox_size_limit, or of a file to read; 0: no limit
	Folder   string        // MDAMaildir: Maildir++ folder below Path to use if it is there, or ""
	Quota    int64         // MDAMaildir: bytes that Path with its folders may hold; 0: no limit

	Command string        // for the shell
	Argv    []string      // instead of Command: program and arguments, no shell
	Shell   string        // local_command_shell, or ""
	Dir     string        // working directory
	Env     []string      // the whole environment, "NAME=value"
	EOL     string        // line end on standard input; "" is LF
	Quote   string        // "." doubles leading dots, ">" goes before "From ", "B" ends with an empty line
	Limit   time.Duration // the command is ended after that
}

// An MDAReply is what became of it.
type MDAReply struct {
	Outcome dsn.Outcome
	Found   bool   // MDARead, MDAInclude: the file exists
	Owner   int    // its owner
	Mode    uint32 // its permission bits
	Data    []byte // its contents; MDACommand: what the command printed, one line
}

// delivers reports whether the action needs the message.
func (req *MDARequest) delivers() bool {
	return req.Action == MDAMaildir || req.Action == MDAMbox || req.Action == MDACommand
}

// maxArgs bounds the arguments and the environment of a command.
const maxArgs = 10000

// AskMDA is the client's half. message is the open queue file for actions
// that deliver, else nil. After an error the helper is of no more use, and it
// is unknown whether the message was delivered.
func AskMDA(conn *ipc.Conn, req *MDARequest, message *os.File) (MDAReply, error) {
	out, in := conn.Out(), conn.In()
	out.Str("action", req.Action)
	out.Str("path", req.Path)
	out.Str("head", req.Head)
	out.Int("offset", req.Offset)
	out.Str("host", req.Host)
	out.Str("sender", req.Sender)
	out.Str("locks", req.Locks)
	out.Int("attempts", int64(req.Attempts))
	out.Int("delay", int64(req.Delay))
	out.Int("stale", int64(req.Stale))
	out.Int("max_size", req.MaxSize)
	out.Str("folder", req.Folder)
	out.Int("quota", req.Quota)
	out.Str("command", req.Command)
	writeStrings(out, "argv", req.Argv)
	out.Str("shell", req.Shell)
	out.Str("directory", req.Dir)
	writeStrings(out, "env", req.Env)
	out.Str("eol", req.EOL)
	out.Str("quote", req.Quote)
	out.Int("limit", int64(req.Limit))
	out.End()
	err := out.Flush()
	if err == nil && message != nil {
		err = conn.SendFile(message)
	}
	if err != nil {
		return MDAReply{}, fmt.Errorf("delivery helper: %w", err)
	}
	r := MDAReply{Outcome: readOutcome(in)}
	r.Found = in.Int("found") != 0
	r.Owner = int(in.Int("owner"))
	r.Mode = uint32(in.Int("mode"))
	r.Data = in.Data("data")
	in.End()
	if in.Err() != nil {
		return MDAReply{}, fmt.Errorf("delivery helper: %w", in.Err())
	}
	return r, nil
}

// ServeMDA runs the helper's half until the client closes. do gets the open
// queue file with requests that deliver.
func ServeMDA(conn *ipc.Conn, do func(req *MDARequest, message *os.File) MDAReply) error {
	for {
		if err := conn.Await(); err != nil {
			return nil // the client has no more work
		}
		req, err := readMDA(conn.In())
		if err != nil {
			return err
		}
		var message *os.File
		if req.delivers() {
			if message, err = conn.ReceiveFile(); err != nil {
				return err
			}
		}
		r := do(req, message)
		if message != nil {
			message.Close() // it was only read
		}
		out := conn.Out()
		writeOutcome(out, r.Outcome)
		var found int64
		if r.Found {
			found = 1
		}
		out.Int("found", found)
		out.Int("owner", int64(r.Owner))
		out.Int("mode", int64(r.Mode))
		out.Data("data", r.Data)
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

func readMDA(in *attr.Reader) (*MDARequest, error) {
	req := &MDARequest{}
	req.Action = in.Str("action")
	req.Path = in.Str("path")
	req.Head = in.Str("head")
	req.Offset = in.Int("offset")
	req.Host = in.Str("host")
	req.Sender = in.Str("sender")
	req.Locks = in.Str("locks")
	req.Attempts = int(in.Int("attempts"))
	req.Delay = time.Duration(in.Int("delay"))
	req.Stale = time.Duration(in.Int("stale"))
	req.MaxSize = in.Int("max_size")
	req.Folder = in.Str("folder")
	req.Quota = in.Int("quota")
	req.Command = in.Str("command")
	req.Argv = readStrings(in, "argv")
	req.Shell = in.Str("shell")
	req.Dir = in.Str("directory")
	req.Env = readStrings(in, "env")
	req.EOL = in.Str("eol")
	req.Quote = in.Str("quote")
	req.Limit = time.Duration(in.Int("limit"))
	in.End()
	return req, in.Err()
}

// writeStrings writes a list: its length, then its values.
func writeStrings(out *attr.Writer, name string, list []string) {
	out.Int(name+"_count", int64(len(list)))
	for _, s := range list {
		out.Str(name, s)
	}
}

func readStrings(in *attr.Reader, name string) (list []string) {
	n := in.Int(name + "_count")
	for i := int64(0); i < n && i < maxArgs && in.Err() == nil; i++ {
		list = append(list, in.Str(name))
	}
	return list
}
