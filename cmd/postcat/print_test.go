package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/mailtest"
	"postroad/libmail/record"
)

// What Postfix's postcat prints, we print.
func TestPrint(t *testing.T) {
	const dir = "../../libmail/queue/testdata/"
	refs := func(name string) string { return mailtest.Corpora(t, "postfix-refs") + "/postcat/" + name }
	for _, c := range []struct{ rule, args, file, want string }{
		{"by default all parts, as milters left them", "", dir + "milter", "testdata/default.txt"},
		{"-v shows pointers and padding, -o where they are", "-ov", dir + "milter", "testdata/ov.txt"},
		{"-e shows the envelope only, -d the types", "-de", dir + "verbose", "testdata/de.txt"},
		{"-bh leaves the envelope out", "-bh", "ref", "bh_test.ref"},
		{"-eh leaves the body out", "-eh", "ref", "eh_test.ref"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			file, wantFile, zone := c.file, c.want, time.UTC
			if file == "ref" {
				file, wantFile = refs("test-queue-file"), refs(c.want)
				zone = time.FixedZone("EST", -5*3600)
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			o, _, err := parse(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got bytes.Buffer
			p := &printer{printing: o.printing, out: &got, log: maillog.Discard(), zone: zone, path: file[strings.LastIndexByte(file, '/')+1:]}
			if err := p.print(f); err != nil {
				t.Error(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

func TestDamagedFiles(t *testing.T) {
	var log lines
	for _, c := range []struct{ rule, data, err string }{
		{"a file of another kind is refused with a warning", "root:x:0:0", ""},
		{"an empty file prints its banner", "", ""},
		{"a cut record is an error", "T\x05123", "record read error"},
		{"a bad pointer is an error", "T\x011p\x01x", "record read error"},
	} {
		log = nil
		p := &printer{printing: printing{envelope: true}, out: &bytes.Buffer{}, log: maillog.New("postcat", &log), path: "x", zone: time.UTC}
		err := p.print(strings.NewReader(c.data))
		if c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != c.err) {
			t.Errorf("%s: %v", c.rule, err)
		}
		if c.err == "" && c.data != "" && (len(log) != 1 || log[0] != "warning: x: input is not a valid queue file") {
			t.Errorf("%s: %q", c.rule, log)
		}
	}
}

type lines []string

func (l *lines) Write(_ maillog.Level, _, text string) { *l = append(*l, text) }

func FuzzPrint(f *testing.F) {
	for _, name := range []string{"milter", "verbose", "maildrop"} {
		data, err := os.ReadFile("../../libmail/queue/testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, true)
		f.Add(data, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, verbose bool) {
		var out limited
		p := &printer{printing: printing{envelope: true, header: true, body: true, verbose: verbose}, out: &out, log: maillog.Discard(), path: "x", zone: time.UTC}
		err := p.print(bytes.NewReader(data))
		banner := limited(len("*** ENVELOPE RECORDS x ***\n"))
		if known := len(data) > 0 && record.Type(data[0]).In(record.EnvelopeTypes); known && out < banner || !known && err != nil {
			t.Errorf("%d bytes printed, %v", out, err)
		}
	})
}

// limited counts.
type limited int

func (l *limited) Write(p []byte) (int, error) {
	*l += limited(len(p))
	return len(p), nil
}
