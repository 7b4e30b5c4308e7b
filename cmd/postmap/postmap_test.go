package main

import (
	"errors"
	"strings"
	"testing"

	"postroad/libmail/message"
)

const text = "Subject: one\n two\nContent-Type: multipart/mixed; boundary=b\n\nbody\n--b\nX-Part: p\n\nend\n--b--\n"

func TestKeysOfAMessage(t *testing.T) {
	for _, c := range []struct {
		rule string
		m    messageKeys
		want string
	}{
		{"-h takes the primary headers", messageKeys{header: true}, "Subject: one\n two|Content-Type: multipart/mixed; boundary=b"},
		{"-b takes all after them", messageKeys{body: true}, "|body|--b|X-Part: p||end|--b--"},
		{"-hm takes the headers of the parts too", messageKeys{header: true, mime: true}, "Subject: one\n two|Content-Type: multipart/mixed; boundary=b|X-Part: p"},
		{"-bm takes no headers of parts", messageKeys{body: true, mime: true}, "|body|--b||end|--b--"},
		{"neither takes lines", messageKeys{}, strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "|")},
	} {
		t.Run(c.rule, func(t *testing.T) {
			c.m.limits = message.Options{HeaderLimit: 1000, BoundaryLimit: 100, NestingLimit: 10, IgnoreMIME: !c.m.mime}
			var keys []string
			if err := c.m.keys(strings.NewReader(text), func(key string) error { keys = append(keys, key); return nil }); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(keys, "|"); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestAFailedLookupEndsTheKeys(t *testing.T) {
	stop := errors.New("stop")
	for _, m := range []messageKeys{{}, {header: true}} {
		m.limits = message.Options{HeaderLimit: 1000, BoundaryLimit: 100, NestingLimit: 10}
		n := 0
		if err := m.keys(strings.NewReader(text), func(string) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
			t.Errorf("got %v after %d keys", err, n)
		}
	}
}

func TestSplitWarnsOfAnAliasFile(t *testing.T) {
	key, value, err := split("root: admin")
	if key != "root:" || value != "admin" || err == nil {
		t.Errorf("got %q %q %v", key, value, err)
	}
}
