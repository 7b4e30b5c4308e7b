package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

// count is the messages of an mbox.
func (h *house) count(name string) int {
	text, _ := os.ReadFile(filepath.Join(h.dir, name)) // absent at first
	return strings.Count("\n"+string(text), "\nFrom ")
}

// TestDebiansTools drives postroad with the programs that people test and use
// Postfix with.
func TestDebiansTools(t *testing.T) {
	needed(t)
	h := newPostroad(t, "", nil)
	t.Run("smtp-source sends 300 messages over 6 connections", func(t *testing.T) {
		h.run("/usr/sbin/smtp-source", "-s", "6", "-m", "300", "-l", "2000", "-f", "a@example.org", "-t", "games@example.com", "inet:"+h.addr())
		h.until("300 messages", func() bool { return h.count("spool/games") == 300 })
	})
	t.Run("swaks", func(t *testing.T) {
		before := h.count("spool/news")
		out := h.run("/usr/bin/swaks", "--server", h.addr(), "--from", "a@example.org", "--to", "news@example.com", "--helo", "client.example.org")
		if !strings.Contains(out, "<-  250 2.0.0 Ok: queued as ") {
			t.Errorf("swaks: %s", out)
		}
		h.until("a message", func() bool { return h.count("spool/news") == before+1 })
	})
	t.Run("mail, by our sendmail", func(t *testing.T) {
		before := h.count("spool/man")
		rc := filepath.Join(h.dir, "mailrc")
		if err := os.WriteFile(rc, []byte("set sendmail="+filepath.Join(h.commands, "sendmail")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := h.command("/usr/bin/bsd-mailx", "-s", "from mailx", "man@example.com")
		cmd.Env = append(cmd.Env, "MAILRC="+rc, "HOME="+h.dir)
		cmd.Stdin = strings.NewReader("text\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		h.until("a message", func() bool { return h.count("spool/man") == before+1 })
	})
}

// TestSink relays to Debian's smtp-sink.
func TestSink(t *testing.T) {
	needed(t)
	port := mailtest.FreePort(t)
	sink := exec.Command("/usr/sbin/smtp-sink", "-u", "nobody", "-c", fmt.Sprintf("127.0.0.1:%d", port), "100")
	sink.SysProcAttr = nil
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sink.Process.Kill()
		sink.Wait() // killed: the error says so
	})
	h := newPostroad(t, fmt.Sprintf("relayhost = [127.0.0.1]:%d", port), nil)
	h.run("/usr/sbin/smtp-source", "-s", "4", "-m", "100", "-f", "a@example.org", "-t", "x@example.net", "inet:"+h.addr())
	h.until("100 messages sent", func() bool { return strings.Count(h.log(), "status=sent (250 2.0.0 Ok)") == 100 })
}

// TestQueueIsShared: each side's postcat reads the other's queue files, and our
// postqueue lists the queue of a running Postfix.
func TestQueueIsShared(t *testing.T) {
	needed(t)
	settings := "defer_transports = local"
	lines := strings.Split("EHLO c.example.org|MAIL FROM:<a@example.org>|RCPT TO:<games@example.com>|RCPT TO:<news@example.com>|DATA|Subject: shared||text|.|QUIT", "|")
	bin := mailtest.Programs(t)
	for _, c := range []struct {
		rule           string
		house          *house
		postcat, queue string
	}{
		{"Debian's read ours", newPostroad(t, settings, nil), "/usr/sbin/postcat", ""}, // its postqueue is older than original_recipient in showq
		{"ours read Debian's", newPostfix(t, settings, nil), filepath.Join(bin, "postcat"), filepath.Join(bin, "postqueue")},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h := c.house
			h.dialog(lines)
			h.idle()
			var files []string
			h.until("a deferred message", func() bool {
				files, _ = filepath.Glob(filepath.Join(h.dir, "queue/deferred/*/*")) // the pattern is right
				return len(files) == 1
			})
			text := h.run(c.postcat, files[0])
			for _, want := range []string{"sender: a@example.org", "recipient: games@example.com", "recipient: news@example.com", "Subject: shared", "MESSAGE FILE END"} {
				if !strings.Contains(text, want) {
					t.Errorf("postcat does not show %q:\n%s", want, text)
				}
			}
			if c.queue == "" {
				return
			}
			list := h.run(c.queue, "-c", filepath.Join(h.dir, "etc"), "-p")
			for _, want := range []string{filepath.Base(files[0]), "a@example.org", "games@example.com", "deferred transport", "in 1 Request."} {
				if !strings.Contains(list, want) {
					t.Errorf("postqueue does not show %q:\n%s", want, list)
				}
			}
		})
	}
}

// TestSpoolIsHandedOver: mail that Postfix deferred is delivered by us, and
// the other way round, out of the same directory.
func TestSpoolIsHandedOver(t *testing.T) {
	needed(t)
	lines := strings.Split("EHLO c.example.org|MAIL FROM:<a@example.org>|RCPT TO:<games@example.com>|DATA|Subject: handed over||text|.|QUIT", "|")
	for _, c := range []struct {
		rule     string
		from, to func(*testing.T, string, map[string]string) *house
	}{{"from Postfix to us", newPostfix, newPostroad}, {"from us to Postfix", newPostroad, newPostfix}} {
		t.Run(c.rule, func(t *testing.T) {
			from := c.from(t, "defer_transports = local", nil)
			for range 20 {
				from.dialog(lines)
			}
			from.idle()
			from.run(from.control, "-c", filepath.Join(from.dir, "etc"), "stop")
			to := c.to(t, "", nil)
			to.run(to.control, "-c", filepath.Join(to.dir, "etc"), "stop")
			to.sh(`rm -rf "$1/queue/deferred" "$1/queue/defer"; cp -a ` + from.dir + `/queue/deferred ` + from.dir + `/queue/defer "$1/queue/"`)
			to.until("the start", func() bool { // stop may return before the end
				return to.command(to.control, "-c", filepath.Join(to.dir, "etc"), "start").Run() == nil
			})
			to.until("a flush", func() bool {
				return to.command("postqueue", "-c", filepath.Join(to.dir, "etc"), "-f").Run() == nil
			})
			to.until("20 messages", func() bool { return to.count("spool/games") == 20 })
		})
	}
}
