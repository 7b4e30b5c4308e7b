package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/server"
)

// A master is the supervisor's state. Only the goroutine in run touches it;
// whatever else happens (a client, a message, a timer, a signal) reaches it as
// a function to call.
type master struct {
	opts      options
	conf      *conf.Config
	params    params
	log       *maillog.Logger
	owner     credentials
	locks     *locks
	inherited *inherited
	flow      [2]int // pipe of the input flow control
	watch     *watcher
	services  []*service
	removed   []*service     // gone from master.cf, with programs that still finish
	children  map[int]*child // by process id
	events    chan func()
	warnings  []conf.Warning // of the configuration, until they are logged
	stop      *stopping      // not nil: the mail system stops
	memory    *server.Trimmer
}

// start makes everything ready for run: configuration, locks, sockets. After
// an error there is a master only if it has a log.
func start(o options) (*master, error) {
	unix.Umask(0o077)
	// What somebody left open for us goes no further. An error means an old
	// kernel; our own files never leak.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	var err error
	if o.configDir, err = filepath.Abs(o.configDir); err != nil {
		return nil, err
	}
	m := &master{opts: o, children: map[int]*child{}, events: make(chan func()), memory: server.NewTrimmer()}
	if m.conf, err = conf.Load(o.configDir); err != nil {
		return nil, err
	}
	m.params = readParams(m.conf)
	if err := os.Chdir(m.params.queueDir); err != nil {
		return nil, fmt.Errorf("queue_directory: %w", err)
	}
	if m.owner, err = ownerOf(m.params); err != nil {
		return nil, err
	}
	if err := makeDirectories(m.params, m.owner); err != nil {
		return nil, err
	}
	m.startLog(m.conf)
	return m, m.begin()
}

// begin takes the locks and opens the services.
func (m *master) begin() error {
	var err error
	if m.locks, err = takeLocks(m.params, m.owner); err != nil {
		return err
	}
	if err := unix.Pipe2(m.flow[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("flow pipe: %w", err)
	}
	if m.watch, err = newWatcher(func(s *service) { m.events <- s.readable }); err != nil {
		return err
	}
	m.inherited = inheritSockets()
	list, err := m.loadServices(m.conf)
	if err != nil {
		return err
	}
	for _, cs := range list {
		s := &service{Service: cs, m: m}
		if s.sockets, err = m.openSockets(cs, nil); err != nil {
			return err
		}
		m.services = append(m.services, s)
	}
	return nil
}

// loadServices reads master.cf and notes what the configuration says in vain.
func (m *master) loadServices(c *conf.Config) ([]conf.Service, error) {
	entries, err := conf.ReadMaster(c.Dir())
	if err != nil {
		return nil, err
	}
	m.warnings = append(c.Unsupported(), conf.DuplicateServices(entries)...)
	return conf.LoadMaster(c.Dir(), c)
}

// warn logs what the configuration says in vain.
func (m *master) warn() {
	for _, w := range m.warnings {
		if w.Name != "" {
			w.Name += ": "
		}
		m.log.Warning("%s: %s%s", w.Where, w.Name, w.Text)
	}
	m.warnings = nil
}

// ownerOf finds mail_owner when we are root; else everything is ours.
func ownerOf(p params) (credentials, error) {
	if os.Geteuid() != 0 {
		return credentials{}, nil
	}
	u, err := privs.LookupUser(p.mailOwner)
	if err != nil {
		return credentials{}, fmt.Errorf("mail_owner: %w", err)
	}
	if u.UID == 0 {
		return credentials{}, errors.New("mail_owner: must not be root")
	}
	return credentials{uid: u.UID, gid: u.GID, change: true}, nil
}

func groupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// run watches until the mail system stops. An exitAfter above 0 stops it then.
func (m *master) run(exitAfter time.Duration) {
	signals, ended := make(chan os.Signal, 8), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	signal.Notify(ended, syscall.SIGCHLD)
	// Received and forgotten: what is ignored would be ignored by our programs
	// and their commands, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go m.watch.run()
	m.openLog(m.conf)
	for _, s := range m.services {
		if s.Type == "unix-dgram" && m.conf.String("maillog_file") != "" { // the log, for what follows
			s.want()
		}
	}
	m.log.Info("daemon started -- version %s, configuration %s", m.params.version, m.conf.Dir())
	if !m.owner.change {
		m.log.Warning("not started by root: all programs run as uid %d, privileges are not separated", os.Geteuid())
	}
	m.warn()
	for _, s := range m.services {
		s.open()
	}
	m.inherited.drop(m.log.Warning)
	notify("READY=1")
	var exit <-chan time.Time
	if exitAfter > 0 {
		exit = time.After(exitAfter)
	}
	defer func() { // a bug of ours; the programs end by themselves
		if p := recover(); p != nil {
			m.log.Panic("%v", p)
			for _, line := range strings.Split(string(debug.Stack()), "\n") {
				m.log.Info("stack: %s", strings.ReplaceAll(line, "\t", "    "))
			}
			os.Exit(1)
		}
	}()
	trim, happened := time.After(m.memory.Wait()), true // since the last trim
	for m.stop == nil || !m.stop.over {
		if trim == nil && happened {
			trim = time.After(m.memory.Wait())
		}
		happened = true
		select {
		case f := <-m.events:
			f()
		case sig := <-signals:
			m.signal(sig)
		case <-ended:
			m.reap()
		case <-trim:
			m.memory.Trim()
			trim, happened = nil, false
		case <-exit:
			m.log.Info("master exit time has arrived")
			m.beginStop()
		}
	}
}

// signal does what a signal asks for.
func (m *master) signal(sig os.Signal) {
	switch sig {
	case syscall.SIGHUP:
		m.reload()
	default:
		if m.stop == nil {
			m.log.Info("terminating on signal %d", sig)
			m.beginStop()
		}
	}
}

// after makes f an event after d. The timer's Stop may come too late: f must
// look whether it is still wanted.
func (m *master) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { m.events <- f })
}

// reap takes the exit status of all programs that ended. Process 1 also gets
// those of processes that it does not know.
func (m *master) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c := m.children[pid]; c != nil {
			delete(m.children, pid)
			c.exited(status)
		}
	}
}
