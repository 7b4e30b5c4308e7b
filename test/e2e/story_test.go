// Package e2e tells stories about the whole suite: the real programs with
// the shipped configuration, on loopback, in a temporary directory. A story
// is a file *.txt here:
//
//	# The rule that it shows.
//	main soft_bounce = yes
//	file etc/aliases
//	  list: alice, bob
//	start
//	mail <a@example.org> <list@example.com>
//	  Subject: x
//	maildir alice 1
//	  Subject: x
//	log status=sent
//
// Indented lines belong to the verb above; see verbs for all of them.
package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

func TestMain(m *testing.M) {
	status := m.Run()
	mailtest.Cleanup()
	os.Exit(status)
}

func TestStories(t *testing.T) {
	files, err := filepath.Glob("*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	mailtest.Programs(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &story{t: t, file: file, suite: mailtest.NewSuite(t), peers: map[string]string{}}
			defer s.end()
			s.play(string(text))
		})
	}
}

// A story is one file while it is played.
type story struct {
	t     *testing.T
	file  string
	line  int
	suite *mailtest.Suite
	peers map[string]string // name of a peer: its port
	close []func()
}

// verbs are what a story can say: how many words must follow, and the act. A
// missing word is an error; words beyond go into the last.
var verbs = map[string]struct {
	words int
	act   func(s *story, args []string, block []string)
}{
	"main":     {1, (*story).main},     // a line for main.cf
	"master":   {1, (*story).master},   // a line for master.cf
	"user":     {1, (*story).user},     // one more account
	"file":     {1, (*story).write},    // a file below the suite's directory
	"mode":     {2, (*story).chmod},    // MODE FILE
	"start":    {0, (*story).start},    // start, wait for the greeting
	"stop":     {0, (*story).stop},     // stop, wait for the end
	"mail":     {2, (*story).mail},     // FROM TO... by SMTP; the block is the message
	"smtp":     {0, (*story).smtp},     // a dialog of C: and S: lines
	"run":      {1, (*story).run},      // a command line; each line of the block is a regexp that its output matches
	"fails":    {2, (*story).fails},    // STATUS and a command line, likewise
	"submit":   {1, (*story).submit},   // sendmail arguments; the block is standard input
	"maildir":  {2, (*story).maildir},  // USER N: wait for N messages; each line of the block is in one of them
	"contains": {1, (*story).contains}, // FILE: wait until each line of the block (a regexp) matches its text
	"absent":   {1, (*story).absent},   // FILE does not exist
	"log":      {1, (*story).log},      // wait until the log matches a regexp
	"nolog":    {1, (*story).nolog},    // the log does not match
	"queue":    {2, (*story).queue},    // QUEUE N: wait until it holds N messages
	"empty":    {0, (*story).empty},    // wait until no message is left anywhere
	"clock":    {1, (*story).clock},    // move the clock by a duration
	"kill":     {1, (*story).kill},     // kill -9 a program
	"damage":   {2, (*story).damage},   // QUEUE OFFSET: overwrite a byte of each of its files
	"cert":     {1, (*story).cert},     // FILE: a self-signed certificate with its key
	"peer":     {1, (*story).peer},     // NAME: an SMTP server that plays the block for each client; $NAME is its port
	"wait":     {1, (*story).wait},     // a duration, where only time shows that nothing happens
}

// play runs a story line by line.
func (s *story) play(text string) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s.line = i + 1
		var block []string
		for i+1 < len(lines) && (strings.HasPrefix(lines[i+1], "  ") || lines[i+1] == "" && hasBlock(lines[i+2:])) {
			i++
			block = append(block, s.expand(strings.TrimPrefix(lines[i], "  ")))
		}
		name, rest, _ := strings.Cut(s.expand(line), " ")
		verb, known := verbs[name]
		if !known {
			s.fatalf("unknown verb %q", name)
		}
		args := strings.SplitN(rest, " ", max(verb.words, 1))
		if rest == "" {
			args = nil
		}
		if len(args) < verb.words {
			s.fatalf("%s wants %d words", name, verb.words)
		}
		verb.act(s, args, block)
	}
}

// hasBlock reports whether an empty line belongs to the block around it.
func hasBlock(rest []string) bool {
	return len(rest) > 0 && strings.HasPrefix(rest[0], "  ")
}

// expand puts in what is known only at run time.
func (s *story) expand(line string) string {
	line = strings.NewReplacer("@DIR@", s.suite.Dir, "@PORT@", strconv.Itoa(s.suite.Port)).Replace(line)
	for name, port := range s.peers {
		line = strings.ReplaceAll(line, "@"+name+"@", port)
	}
	return line
}

func (s *story) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s:%d: %s", s.file, s.line, fmt.Sprintf(format, args...))
}

func (s *story) end() {
	for _, f := range s.close {
		f()
	}
}

func (s *story) until(what string, holds func() bool) {
	s.t.Helper()
	s.suite.Until(fmt.Sprintf("%s:%d: %s", s.file, s.line, what), holds)
}

func (s *story) main(args, _ []string)      { s.suite.Main(args...) }
func (s *story) master(args, _ []string)    { s.suite.Master(args...) }
func (s *story) user(args, _ []string)      { s.suite.AddUser(args[0]) }
func (s *story) start(_, _ []string)        { s.suite.Start() }
func (s *story) stop(_, _ []string)         { s.suite.Stop() }
func (s *story) kill(args, _ []string)      { s.suite.Kill(args[0]) }
func (s *story) write(args, block []string) { s.suite.File(args[0], strings.Join(block, "\n")+"\n") }

func (s *story) chmod(args, _ []string) {
	mode, err := strconv.ParseUint(args[0], 8, 32)
	if err == nil {
		err = os.Chmod(filepath.Join(s.suite.Dir, args[1]), os.FileMode(mode))
	}
	if err != nil {
		s.fatalf("%v", err)
	}
}

func (s *story) clock(args, _ []string) { s.suite.Advance(s.duration(args[0])) }
func (s *story) wait(args, _ []string)  { time.Sleep(s.duration(args[0])) }

func (s *story) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.fatalf("%v", err)
	}
	return d
}

func (s *story) run(args, block []string) { s.command(0, args[0], block) }

func (s *story) fails(args, block []string) {
	status, err := strconv.Atoi(args[0])
	if err != nil {
		s.fatalf("%v", err)
	}
	s.command(status, args[1], block)
}

func (s *story) command(status int, line string, block []string) {
	out, got := s.suite.Run("", "sh", "-c", line)
	if got != status {
		s.fatalf("exit %d, want %d: %s", got, status, out)
	}
	s.matches(out, block)
}

func (s *story) matches(text string, patterns []string) {
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(text) {
			s.fatalf("nothing matches %s in:\n%s", p, text)
		}
	}
}

func (s *story) submit(args, block []string) {
	out, status := s.suite.Run(strings.Join(block, "\n")+"\n", "sendmail", strings.Fields(args[0])...)
	if status != 0 {
		s.fatalf("sendmail: exit %d: %s", status, out)
	}
}

func (s *story) mail(args, block []string) {
	dialog := []string{"S: 220 .*", "C: EHLO client.example.org", "S: 250 .*", "C: MAIL FROM:" + args[0], "S: 250 .*"}
	for _, to := range strings.Fields(args[1]) {
		dialog = append(dialog, "C: RCPT TO:"+to, "S: 250 .*")
	}
	dialog = append(dialog, "C: DATA", "S: 354 .*")
	for _, l := range block {
		if strings.HasPrefix(l, ".") {
			l = "." + l // RFC 5321 §4.5.2
		}
		dialog = append(dialog, "C: "+l)
	}
	s.smtp(nil, append(dialog, "C: .", "S: 250 2.0.0 Ok: queued as .*", "C: QUIT", "S: 221 .*"))
}

// smtp plays a dialog: C: lines are sent, S: lines are regexps for one whole
// reply, of which only the last line is compared; S! waits for the end of the
// connection, and tls begins TLS.
func (s *story) smtp(_, block []string) {
	conn, err := net.DialTimeout("tcp", s.suite.Addr(), 10*time.Second)
	if err != nil {
		s.fatalf("%v", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second)) // an open socket takes it
	s.dialog(conn, block, "C:", "S:", func(err error) { s.fatalf("%v", err) })
}

// dialog plays one side: it writes the lines marked mine and compares what
// comes with those marked theirs.
func (s *story) dialog(conn net.Conn, block []string, mine, theirs string, fail func(error)) {
	r := bufio.NewReader(conn)
	for _, l := range block {
		switch {
		case strings.HasPrefix(l, mine):
			if _, err := conn.Write([]byte(strings.TrimPrefix(l[len(mine):], " ") + "\r\n")); err != nil {
				fail(err)
				return
			}
		case strings.HasPrefix(l, theirs):
			want := strings.TrimPrefix(l[len(theirs):], " ")
			got, err := reply(r)
			if err != nil || !regexp.MustCompile("^(?:"+want+")$").MatchString(got) {
				fail(fmt.Errorf("got %q, %v, want %s", got, err, want))
				return
			}
		case l == "tls":
			c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // nobody signed it
			if err := c.Handshake(); err != nil {
				fail(err)
				return
			}
			conn, r = c, bufio.NewReader(c)
		case l == "close":
			return
		default:
			fail(fmt.Errorf("dialog line %q", l))
			return
		}
	}
}

// reply reads one reply, or one command, and returns its last line.
func reply(r *bufio.Reader) (string, error) {
	for {
		l, err := r.ReadString('\n')
		if err != nil {
			return l, err
		}
		l = strings.TrimRight(l, "\r\n")
		if len(l) < 4 || l[3] != '-' || l[0] < '2' || l[0] > '5' {
			return l, nil
		}
	}
}

// peer starts an SMTP server that plays the block with each client; there "S:"
// lines are sent and "C:" lines are expected, "data" reads up to the dot.
func (s *story) peer(args, block []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.fatalf("%v", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		s.fatalf("%v", err)
	}
	s.peers[args[0]] = port
	s.close = append(s.close, func() { l.Close() }) // nothing is left to do about an error
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed at the end of the story
			}
			go s.playPeer(conn, block)
		}
	}()
}

func (s *story) playPeer(conn net.Conn, block []string) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second)) // an open socket takes it
	r := bufio.NewReader(conn)
	for _, l := range block {
		mark, text, _ := strings.Cut(l, " ")
		switch mark {
		case "S:":
			if _, err := conn.Write([]byte(text + "\r\n")); err != nil {
				return // the story sees what the client made of it
			}
		case "C:":
			got, err := reply(r)
			if err != nil || !regexp.MustCompile("^(?:"+text+")$").MatchString(got) {
				return // as above
			}
		case "data":
			for {
				got, err := r.ReadString('\n')
				if err != nil || got == ".\r\n" {
					break
				}
			}
		}
	}
}

// cert makes a self-signed certificate; the file holds its key, too.
func (s *story) cert(args, _ []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.fatalf("%v", err)
	}
	name := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.com"}, DNSNames: []string{"mx.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, name, name, key.Public(), key)
	if err != nil {
		s.fatalf("%v", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.fatalf("%v", err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	s.suite.File(args[0], string(text))
}

func (s *story) maildir(args, block []string) {
	want, err := strconv.Atoi(args[1])
	if err != nil {
		s.fatalf("%v", err)
	}
	var messages []string
	s.until(strings.Join(args, " "), func() bool {
		messages = s.suite.Maildir(args[0])
		return len(messages) >= want
	})
	if len(messages) != want {
		s.fatalf("%d messages, want %d", len(messages), want)
	}
	s.matches(strings.Join(messages, "\n"), block)
}

func (s *story) contains(args, block []string) {
	path := filepath.Join(s.suite.Dir, args[0])
	var text []byte
	s.until(args[0]+" contains "+strings.Join(block, " | "), func() bool {
		text, _ = os.ReadFile(path) // it may not be there yet
		for _, p := range block {
			if !regexp.MustCompile("(?m)" + p).Match(text) {
				return false
			}
		}
		return text != nil
	})
}

func (s *story) absent(args, _ []string) {
	if _, err := os.Lstat(filepath.Join(s.suite.Dir, args[0])); err == nil {
		s.fatalf("%s exists", args[0])
	}
}

func (s *story) log(args, _ []string) {
	re := regexp.MustCompile("(?m)" + args[0])
	s.until("log "+args[0], func() bool { return re.MatchString(s.suite.Log()) })
}

func (s *story) nolog(args, _ []string) {
	if m := regexp.MustCompile("(?m)" + args[0]).FindString(s.suite.Log()); m != "" {
		s.fatalf("the log says %q", m)
	}
}

func (s *story) queue(args, _ []string) {
	want, err := strconv.Atoi(args[1])
	if err != nil {
		s.fatalf("%v", err)
	}
	s.until(strings.Join(args, " "), func() bool { return len(s.suite.Queue(args[0])) == want })
}

func (s *story) empty(_, _ []string) { s.until("an empty queue", s.suite.QueueIsEmpty) }

// damage overwrites one byte of each file in a queue.
func (s *story) damage(args, _ []string) {
	offset, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		s.fatalf("%v", err)
	}
	err = filepath.WalkDir(filepath.Join(s.suite.Dir, "queue", args[0]), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.OpenFile(p, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte{0xff}, offset)
		return err
	})
	if err != nil {
		s.fatalf("%v", err)
	}
}
