// probe is a small real program for the tests of master and its skeleton. Its
// first argument in master.cf is the role that it plays.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/server"
)

func main() {
	server.Run(server.Program{Name: "probe", Open: open, Start: start})
}

// open fails in the roles that must not come up.
func open(env *server.Env) error {
	if len(env.Args) == 0 {
		return errors.New("no role")
	}
	switch env.Args[0] {
	case "fails":
		return errors.New("refusing to start")
	case "dies":
		os.Exit(9)
	case "slow":
		time.Sleep(300 * time.Millisecond)
	}
	return nil
}

func start(env *server.Env) (server.Service, error) {
	p := &probe{env: env, word: "first"}
	switch env.Args[0] {
	case "inet", "slow":
		s := server.Inet(p.talk)
		s.Panicked = func(c net.Conn) { fmt.Fprint(c, "421 sorry\r\n") }
		s.Changed = p.changed
		return s, nil
	case "reloads":
		s := server.Inet(p.talk)
		s.Reload = func(c *conf.Config) error { p.word = c.String("mail_name"); return nil }
		return s, nil
	case "stream":
		return server.Stream(p.converse), nil
	case "trigger":
		return server.Trigger(p.note), nil
	case "resident":
		s := server.Trigger(p.note)
		s.Resident = true
		s.Stop = func(context.Context) { p.note(context.Background(), []byte("stop")) }
		p.note(context.Background(), []byte("start"))
		return s, nil
	case "datagram":
		return server.Datagram(p.note), nil
	}
	return server.Service{}, fmt.Errorf("unknown role %s", env.Args[0])
}

type probe struct {
	env  *server.Env
	word string
}

// changed says that the table changed when its file is there, and takes it
// away, as a new process would open the new table.
func (p *probe) changed() string {
	if len(p.env.Args) < 2 || os.Remove(p.env.Args[1]) != nil {
		return ""
	}
	return "table test:" + p.env.Args[1]
}

// talk answers lines. Every answer names the process.
func (p *probe) talk(ctx context.Context, c net.Conn) {
	fmt.Fprintf(c, "220 %d %s\r\n", os.Getpid(), p.word)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.env.Stopping():
			c.SetReadDeadline(time.Now())
		case <-stop:
		}
	}()
	r := bufio.NewReader(c)
	var hoard []*os.File
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			select {
			case <-p.env.Stopping():
				fmt.Fprint(c, "421 going down\r\n")
			default:
			}
			return
		}
		switch verb, arg, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "panic":
			panic("asked for it")
		case "hoard":
			for f, err := os.Open(os.DevNull); err == nil; f, err = os.Open(os.DevNull) {
				hoard = append(hoard, f)
			}
			fmt.Fprint(c, "250 ok\r\n")
		case "free":
			for _, f := range hoard {
				f.Close()
			}
			fmt.Fprint(c, "250 ok\r\n")
		case "signals":
			out, err := exec.Command("/bin/sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status | tr -d '\\n\\t '").CombinedOutput()
			fmt.Fprintf(c, "250 %s %v\r\n", out, err)
		case "stat":
			_, err := os.Stat(arg)
			fmt.Fprintf(c, "250 %v\r\n", err)
		case "log":
			p.env.Log.Info("%s", arg)
			fmt.Fprint(c, "250 ok\r\n")
		case "exit":
			os.Exit(7)
		case "stress":
			fmt.Fprintf(c, "250 %v %s\r\n", p.env.Stress(), p.env.SessionConf().String("stress"))
		case "passed":
			fmt.Fprintf(c, "250 %v %v\r\n", server.Passed(ctx)["client_name"], c.RemoteAddr().Network())
		case "param":
			fmt.Fprintf(c, "250 %s\r\n", p.env.Conf.String(arg))
		case "uid":
			fmt.Fprintf(c, "250 %d %d\r\n", os.Getuid(), os.Getgid())
		case "env":
			fmt.Fprintf(c, "250 %s\r\n", strings.Join(os.Environ(), ","))
		case "quit":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprintf(c, "250 %d %s\r\n", os.Getpid(), strings.TrimSpace(line))
		}
	}
}

// converse answers requests; "slow" ones take a while.
func (p *probe) converse(ctx context.Context, c *ipc.Conn) {
	c.Out().Str("protocol", "probe")
	c.Out().End()
	if c.Flush() != nil {
		return
	}
	for c.Await() == nil {
		text := c.In().Str("text")
		c.In().End()
		if c.In().Err() != nil {
			return
		}
		if text == "slow" {
			time.Sleep(100 * time.Millisecond)
		}
		c.Out().Str("text", text)
		c.Out().Int("pid", int64(os.Getpid()))
		c.Out().End()
		if c.Flush() != nil {
			return
		}
	}
}

// note appends a request to the file that the second argument names.
func (p *probe) note(_ context.Context, request []byte) {
	f, err := os.OpenFile(p.env.Args[1], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		p.env.Log.Fatal("%v", err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s\n", request)
}
