package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
)

// running is a program that serves.
type running struct {
	env        *Env
	svc        Service
	opts       options
	control    *Control // nil: not started by master
	slots      *slots
	sockets    []*socket
	memory     *Trimmer
	enforced   string // what the sandbox says
	maxIdle    time.Duration
	drainTime  time.Duration
	ipcTimeout time.Duration

	ctx       context.Context // of the sessions
	cancel    context.CancelFunc
	stopping  chan struct{} // closed: sessions should end soon
	leaving   atomic.Bool   // no new sessions and requests
	left      chan struct{} // closed with leaving
	accepting sync.WaitGroup

	restartOnce sync.Once
	restarting  chan struct{}
	empty       chan struct{} // a token when the last session ended
	serial      sync.Mutex    // triggers and datagrams are served one at a time
	changedMu   sync.Mutex

	mu    sync.Mutex
	conns map[*ipc.Conn]struct{}
}

// newRunning makes what a program's Open and Start may refer to.
func newRunning(p Program, env *Env, o options) (*running, error) {
	r := &running{
		env:        env,
		opts:       o,
		maxIdle:    env.Conf.Duration("max_idle"),
		drainTime:  env.Conf.Duration("daemon_timeout"),
		ipcTimeout: env.Conf.Duration("ipc_timeout"),
		memory:     NewTrimmer(),
		stopping:   make(chan struct{}),
		left:       make(chan struct{}),
		restarting: make(chan struct{}),
		empty:      make(chan struct{}, 1),
		conns:      map[*ipc.Conn]struct{}{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.slots = newSlots(env.MaxProc)
	if o.stdio {
		return r, nil
	}
	if !isControl(ControlFD) {
		return nil, errors.New("this program is started by master")
	}
	var err error
	if r.control, err = newControl(ControlFD); err != nil {
		return nil, err
	}
	r.slots.onFull = func(limit int) {
		// master says it in the log; without master nobody listens.
		_ = r.control.Send(WordFull, fmt.Sprint(limit))
	}
	r.slots.onEmpty = func() {
		select {
		case r.empty <- struct{}{}:
		default:
		}
	}
	return r, nil
}

// attach takes over the sockets once the program said what it serves.
func (r *running) attach() error {
	if r.opts.stdio {
		if r.svc.inet == nil {
			return errors.New("-S: this program does not serve standard input")
		}
		return nil
	}
	if r.svc.ManyClients {
		r.slots.lift()
	}
	for i := range r.opts.sockets {
		s, err := openSocket(SocketFD + i)
		if err != nil {
			return err
		}
		r.sockets = append(r.sockets, s)
	}
	packets := r.env.Type == "unix-dgram" || r.env.Type == "fifo"
	ok := r.svc.stream != nil || r.svc.inet != nil || r.svc.trigger != nil
	if packets {
		ok = r.svc.datagram != nil || r.svc.trigger != nil
	}
	if !ok {
		return fmt.Errorf("%s: this program does not serve type %s", r.env.Service, r.env.Type)
	}
	return nil
}

// loop serves until the process may end.
func (r *running) loop() {
	if r.opts.stdio {
		r.standardInput()
		return
	}
	r.sayReady()
	for _, s := range r.sockets {
		r.accepting.Add(1)
		if r.env.Type == "unix-dgram" || r.env.Type == "fifo" {
			go r.read(s)
		} else {
			go r.accept(s)
		}
	}
	messages := make(chan string, 8)
	go r.listen(messages)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	// Received and forgotten: what is ignored would be ignored by the commands
	// that we start, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)

	idle := time.NewTimer(r.maxIdle)
	trim, restarting := time.After(r.memory.Wait()), r.restarting
	for {
		select {
		case word := <-messages:
			if r.obey(word, messages, signals) {
				return
			}
		case <-signals:
			r.finish(WordLeaving, stopTime, messages, signals)
			return
		case <-restarting:
			if r.env.Type == "unix-dgram" {
				// Datagrams do not wait long: serve until master says that
				// the next process does.
				_ = r.control.Send(WordRestarting, "") // an error: master is gone, see listen
				restarting = nil
				continue
			}
			r.finish(WordRestarting, 0, messages, signals)
			return
		case <-r.empty:
			idle.Reset(r.maxIdle)
			if trim == nil {
				trim = time.After(r.memory.Wait())
			}
		case <-trim:
			trim = nil
			if r.slots.count() == 0 {
				r.memory.Trim()
			}
		case <-idle.C:
			if !r.svc.ManyClients {
				r.shutdownConversations(r.maxIdle)
			}
			if r.slots.count() == 0 && !r.svc.Resident {
				r.finish(WordLeaving, 0, messages, signals)
				return
			}
			idle.Reset(r.maxIdle)
		}
	}
}

// sayReady tells master that clients are served.
func (r *running) sayReady() {
	var words []string
	if r.svc.Resident {
		words = append(words, "resident")
	}
	if r.enforced != "" {
		words = append(words, "sandbox "+r.enforced)
	}
	// An error means that master is gone; listen finds out as well.
	_ = r.control.Send(WordReady, strings.Join(words, " "))
}

// listen passes on master's words; "" means that master is gone.
func (r *running) listen(messages chan<- string) {
	for {
		word, _, err := r.control.Receive()
		if err != nil {
			messages <- ""
			return
		}
		messages <- word
	}
}

// obey does what master says; true means that the process is done.
func (r *running) obey(word string, messages <-chan string, signals <-chan os.Signal) bool {
	switch word {
	case WordWake:
		go r.wake()
	case WordReload:
		if r.reload() {
			return false
		}
		if r.env.Type == "unix-dgram" {
			r.restart("")
			return false
		}
		r.finish(WordLeaving, 0, messages, signals)
		return true
	case WordDrain:
		r.finish(WordLeaving, 0, messages, signals)
		return true
	case WordStop:
		r.finish(WordLeaving, stopTime, messages, signals)
		return true
	case "":
		r.env.Log.Debug("master is gone")
		r.finish(WordLeaving, orphanTime, messages, signals)
		return true
	}
	return false
}

// reload takes new settings in place; false means that a new process must.
func (r *running) reload() bool {
	if r.svc.Reload == nil || r.opts.chroot {
		return false // a chroot hides the configuration
	}
	c, err := conf.Load(r.opts.configDir, r.env.overrides...)
	if err == nil {
		err = r.svc.Reload(c)
	}
	if err != nil {
		r.env.Log.Warning("reload: %v -- restarting", err)
		return false
	}
	return true
}

// restart asks the loop to finish and master for a new process.
func (r *running) restart(reason string) {
	r.restartOnce.Do(func() {
		if reason != "" {
			r.env.Log.Info("%s -- restarting", reason)
		}
		close(r.restarting)
	})
}

// changed asks the program whether what it opened is still current, and
// restarts if not.
func (r *running) changed() bool {
	if r.svc.Changed == nil {
		return false
	}
	r.changedMu.Lock()
	name := r.svc.Changed()
	r.changedMu.Unlock()
	if name == "" {
		return false
	}
	r.restart(name + " has changed")
	return true
}

// standardInput serves one session on standard input and output (-S).
func (r *running) standardInput() {
	var c net.Conn = stdio{}
	// A socket, as from inetd, is a connection of its own. Anything else must
	// not be tried as one: that would make it non-blocking for others too.
	if _, err := syscall.GetsockoptInt(0, syscall.SOL_SOCKET, syscall.SO_TYPE); err == nil {
		if s, err := net.FileConn(os.Stdin); err == nil {
			c = s
		}
	}
	r.slots.add()
	r.session(c)
	if r.svc.Stop != nil {
		r.svc.Stop(r.ctx)
	}
}
