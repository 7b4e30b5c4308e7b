package proto

import (
	"errors"
	"testing"
	"time"

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
