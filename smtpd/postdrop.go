package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"postroad/libmail/attr"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// A postdrop is a message on its way into the maildrop queue: what a user
// without privileges submits over standard input (sendmail -bs). The postdrop
// command has the privilege to write there.
//
//	S: protocol=postdrop_protocol queue_id=4A1B2
//	C: records of the message
//	S: status=0 reason=
type postdrop struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *attr.Reader
	err error
}

// openPostdrop starts the command and waits for its queue id.
func (s *session) openPostdrop() (*queueFile, error) {
	path := filepath.Join(s.params.conf.CommandDirectory(), "postdrop")
	p := &postdrop{cmd: exec.Command(path, "-c", s.params.conf.Dir())}
	p.cmd.Stderr = os.Stderr
	in, err1 := p.cmd.StdinPipe()
	out, err2 := p.cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("unable to execute %s: %w", path, err)
	}
	p.in, p.out = in, attr.NewReader(bufio.NewReader(out))
	protocol, id := p.out.Str("protocol"), p.out.Str("queue_id")
	p.out.End()
	err := p.out.Err()
	if err == nil && protocol != proto.ProtocolPostdrop {
		err = fmt.Errorf("it speaks %.100q", protocol)
	}
	if err != nil {
		p.Abort()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newQueueFile(id, p, &s.batches), nil
}

// Records implements destination.
func (p *postdrop) Records(batch []byte) {
	if p.err == nil {
		_, p.err = p.in.Write(batch)
	}
}

// Finish implements destination.
func (p *postdrop) Finish() (status int, reason string, err error) {
	p.Records(record.Append(nil, record.End, nil))
	if p.err != nil {
		p.Abort()
		return proto.StatWrite, "", p.err
	}
	status, reason = int(p.out.Int("status")), p.out.Str("reason")
	p.out.End()
	if err := p.out.Err(); err != nil {
		p.Abort()
		return proto.StatWrite, "", err
	}
	p.in.Close() // it has read the end record
	if err := p.cmd.Wait(); err != nil && status == 0 {
		return proto.StatWrite, "", fmt.Errorf("postdrop: %w", err)
	}
	return status, reason, nil
}

// Abort implements destination: without an end record there is no message.
func (p *postdrop) Abort() {
	p.in.Close()     // the command sees a message without end
	_ = p.cmd.Wait() // and says so with its status, which is no news
}
