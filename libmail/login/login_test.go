package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/proto"
	"postroad/libmail/sasl"
)

// fakes is an authd that knows alice/geheim, and a userd that takes whoever
// comes with her ticket and echoes what the client says.
func fakes(t *testing.T) *Front {
	t.Helper()
	dir := t.TempDir()
	listen := func(name string, serve func(net.Conn)) string {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
		return path
	}
	auth := listen("auth", func(c net.Conn) {
		io.WriteString(c, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n")
		r := ipc.NewConn(c, time.Minute).R
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch {
			case bytes.Contains([]byte(line), []byte("resp=AGFsaWNlAGdlaGVpbQ==")):
				io.WriteString(c, "OK\t1\tuser=alice@example.com\tticket=T\n")
			case bytes.HasPrefix([]byte(line), []byte("AUTH\t")):
				io.WriteString(c, "FAIL\t"+string(line[5])+"\tuser=x\n")
			}
		}
	})
	userd := listen("userd", func(c net.Conn) {
		proto.ServeHandover(ipc.NewConn(c, time.Minute), func(h *proto.Handover, f *os.File) error {
			if h.Ticket != "T" {
				f.Close()
				return errors.New("bad ticket")
			}
			s, err := net.FileConn(f)
			f.Close()
			if err != nil {
				return err
			}
			go func() {
				io.WriteString(s, h.Greeting+" "+string(h.Buffered)+"\n")
				io.Copy(s, s)
				s.Close()
			}()
			return nil
		})
	})
	return &Front{Service: "imap", auth: &sasl.Dovecot{Network: "unix", Address: auth}, userd: proto.NewUserdClient(userd, time.Minute)}
}

// tcp is a connected pair of TCP sockets.
func tcp(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	client.SetDeadline(time.Now().Add(20 * time.Second))
	return client, server
}

// wrapped stands for TLS: another net.Conn than the raw one.
type wrapped struct{ net.Conn }

func TestLogin(t *testing.T) {
	f := fakes(t)
	for _, tls := range []bool{false, true} {
		client, server := tcp(t)
		c := &Client{Conn: server, Raw: server, Session: NewSession()}
		if tls {
			c.Conn = wrapped{server}
		}
		if _, err := f.Plain(context.Background(), c, "alice", "falsch"); !errors.Is(err, ErrRefused) {
			t.Errorf("a wrong password: %v", err)
		}
		if err := f.HandOver(c, Identity{User: "alice", ticket: "forged"}, "", nil); err == nil {
			t.Error("a forged ticket is taken")
		}
		f.auth.Close() // the fake counts ids from 1
		who, err := f.Plain(context.Background(), c, "alice", "geheim")
		if err != nil || who.User != "alice@example.com" {
			t.Fatalf("%v, %v", who, err)
		}
		done := make(chan error, 1)
		go func() {
			done <- f.HandOver(c, who, "a1", []byte("a2 NOOP"))
			if !tls {
				server.Close() // the worker has its own copy
			}
		}()
		big := make([]byte, 300_000)
		rand.Read(big)
		go func() {
			client.Write(big)
			client.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(client)
		want := append([]byte("a1 a2 NOOP\n"), big...)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("tls %v: got %d bytes, want %d, %v", tls, len(got), len(want), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
