package proto

import (
	"errors"
	"net"
	"os"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
)

type fakeVerify struct{}

func (fakeVerify) Query(address string) (AddressStatus, string, error) {
	if address == "down" {
		return AddressTodo, "", errors.New("cache is down")
	}
	return AddressBounce, "no such user", nil
}

func (fakeVerify) Update(address string, s AddressStatus, reason string) error {
	if address != "a" || s != AddressDefer || reason != "later" {
		return errors.New("wrong update")
	}
	return nil
}

func TestVerify(t *testing.T) {
	talk(t, "verify", func(c *ipc.Conn) error { return ServeVerify(c, fakeVerify{}) }, func(path string) {
		c := NewVerifyClient(path, time.Second)
		defer c.IPC.Close()
		if s, why, err := c.Query("a"); s != AddressBounce || why != "no such user" || err != nil {
			t.Errorf("query: %v %q %v", s, why, err)
		}
		if _, _, err := c.Query("down"); err == nil {
			t.Error("a failed query is an error")
		}
		if err := c.Update("a", AddressDefer, "later"); err != nil {
			t.Errorf("update: %v", err)
		}
		if c.Update("b", AddressOK, "") == nil {
			t.Error("a failed update is an error")
		}
	})
}

func TestFlush(t *testing.T) {
	var got []FlushRequest
	want := []FlushRequest{{FlushAdd, "example.com", "4A1B2"}, {FlushSendSite, "example.com", ""},
		{FlushSendFile, "", "4A1B2"}, {FlushRefresh, "", ""}, {FlushPurge, "", ""}}
	talk(t, "flush", func(c *ipc.Conn) error {
		return ServeFlush(c, func(r FlushRequest) FlushStatus {
			got = append(got, r)
			return FlushDenied
		})
	}, func(path string) {
		c := NewFlushClient(path, time.Second)
		defer c.IPC.Close()
		for _, r := range want {
			if s, err := c.Do(r); s != FlushDenied || err != nil {
				t.Errorf("%v: %v, %v", r, s, err)
			}
		}
	})
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("server got %v", got)
		}
	}
}

func TestAnvil(t *testing.T) {
	talk(t, "anvil", func(c *ipc.Conn) error {
		return ServeAnvil(c, func(verb, ident string) AnvilCounts {
			if ident != "smtp:192.0.2.1" {
				t.Errorf("ident %q", ident)
			}
			return AnvilCounts{1, 2, 3, 4, 5, 6}
		})
	}, func(path string) {
		c := NewAnvilClient(path, time.Second)
		defer c.Close()
		for verb, want := range map[string]AnvilCounts{AnvilConnect: {Count: 1, Rate: 2}} {
			if n, err := c.Do(verb, "smtp:192.0.2.1"); n != want || err != nil {
				t.Errorf("%s: %v, %v", verb, n, err)
			}
		}
		if n, err := c.Do(AnvilMessage, "smtp:192.0.2.1"); n != (AnvilCounts{Rate: 2}) || err != nil {
			t.Errorf("message: %v, %v", n, err)
		}
		if n, err := c.Do(AnvilLookup, "smtp:192.0.2.1"); n != (AnvilCounts{1, 2, 3, 4, 5, 6}) || err != nil {
			t.Errorf("lookup: %v, %v", n, err)
		}
	})
}

func TestMDA(t *testing.T) {
	want := MDARequest{Action: MDACommand, Path: "/h", Folder: "Lists.go", Quota: 1 << 40, Head: "A: b\n", Offset: 7, Host: "mx", Sender: "a@b", Locks: "fcntl",
		Attempts: 2, Delay: time.Second, Stale: time.Hour, MaxSize: 9, Command: "cat", Argv: []string{"x", "y"}, Shell: "/bin/sh",
		Dir: "/", Env: []string{"A=b"}, EOL: "\n", Quote: ".>", Limit: time.Minute}
	reply := MDAReply{Outcome: dsn.Outcome{Status: "2.0.0", Reason: "done"}, Found: true, Owner: 3, Mode: 0o600, Data: []byte{0, 1}}
	file, err := os.Open("mda.go")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	end := func(fd int) *ipc.Conn {
		f := os.NewFile(uintptr(fd), "socket")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return ipc.NewConn(c, time.Second)
	}
	client, server := end(fds[0]), end(fds[1])
	done := make(chan error, 1)
	go func() {
		done <- ServeMDA(server, func(got *MDARequest, message *os.File) MDAReply {
			if got.Action == MDACommand && !reflect.DeepEqual(*got, want) {
				t.Errorf("got %+v", got)
			}
			if (message != nil) != (got.Action == MDACommand) {
				t.Errorf("%s: message %v", got.Action, message)
			}
			return reply
		})
	}()
	for _, req := range []*MDARequest{&want, {Action: MDARead}, &want} {
		message := file
		if req.Action == MDARead {
			message = nil
		}
		if r, err := AskMDA(client, req, message); !reflect.DeepEqual(r, reply) || err != nil {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	client.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
