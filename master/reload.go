package main

import (
	"slices"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/server"
)

// reload reads main.cf and master.cf again. When something is wrong with
// them, everything stays as it was.
func (m *master) reload() {
	if m.stop != nil {
		return
	}
	notifyReload()
	defer notify("READY=1")
	c, err := conf.Load(m.opts.configDir)
	if err != nil {
		m.log.Error("reload: %v -- nothing was changed", err)
		return
	}
	p := readParams(c)
	if p.queueDir != m.params.queueDir || p.dataDir != m.params.dataDir {
		m.log.Error("reload: queue_directory and data_directory change only with a new start -- nothing was changed")
		return
	}
	list, err := m.loadServices(c)
	if err != nil {
		m.log.Error("reload: %v -- nothing was changed", err)
		return
	}
	m.conf, m.params = c, p
	m.openLog(c)
	m.log.Info("reload -- version %s, configuration %s", p.version, c.Dir())
	m.warn()
	m.update(list)
}

// update brings the services to what master.cf says now.
func (m *master) update(list []conf.Service) {
	before := m.services
	m.services = nil
	for _, cs := range list {
		i := slices.IndexFunc(before, func(s *service) bool { return sameService(s.Service, cs) })
		if i < 0 {
			m.add(cs)
			continue
		}
		s := before[i]
		before = slices.Delete(slices.Clone(before), i, i+1)
		m.services = append(m.services, s)
		m.change(s, cs)
	}
	for _, s := range before {
		m.remove(s)
	}
}

// sameService: a service is known by its socket.
func sameService(a, b conf.Service) bool {
	return a.Type == b.Type && a.Name == b.Name && (a.Type == "inet" || a.Private == b.Private)
}

// add opens a new service.
func (m *master) add(cs conf.Service) {
	s := &service{Service: cs, m: m}
	var err error
	if s.sockets, err = m.openSockets(cs, nil); err != nil {
		m.log.Error("service %s: %v", cs.Name, err)
		return
	}
	m.services = append(m.services, s)
	s.open()
}

// change gives a service its new settings. Its program reads them again, or
// finishes its sessions with the old ones while another takes new sessions.
func (m *master) change(s *service, cs conf.Service) {
	same := sameProgram(s.Service, cs) && m.limitOf(s, cs) == m.limit(s)
	have := map[string]socket{}
	for _, sock := range s.sockets {
		have[sock.name] = sock
	}
	sockets, err := m.openSockets(cs, have)
	if err != nil {
		m.log.Error("service %s: %v -- its addresses do not change", cs.Name, err)
		sockets = s.sockets
	}
	if !slices.Equal(sockets, s.sockets) {
		keep := map[string]socket{}
		for _, sock := range sockets {
			keep[sock.name] = sock
		}
		m.watch.set(s, nil)
		closeSockets(s.sockets, keep)
		s.sockets, same = sockets, false
	}
	wakeup := s.Wakeup
	s.Service = cs
	if c := s.current; c != nil {
		switch {
		case same && c.ready:
			c.send(server.WordReload)
		case s.Type == "unix-dgram": // drained when the next one is ready
			s.retire(c)
			s.want()
		default:
			c.send(server.WordDrain)
			s.retire(c)
			if s.resident {
				s.want()
			}
		}
	}
	s.strikes = 0
	s.release()
	if wakeup != cs.Wakeup {
		s.nextWakeUp()
	}
}

// limitOf is limit for what the service will be.
func (m *master) limitOf(s *service, cs conf.Service) int {
	return m.limit(&service{Service: cs, m: s.m})
}

// sameProgram reports whether two entries start the same process.
func sameProgram(a, b conf.Service) bool {
	return a.Command == b.Command && slices.Equal(a.Args, b.Args) && a.Unprivileged == b.Unprivileged &&
		a.Chroot == b.Chroot && a.MaxProc == b.MaxProc
}

// remove closes a service that master.cf does not have any more.
func (m *master) remove(s *service) {
	m.close(s)
	m.removeSocket(s.Service)
	if s.current != nil {
		s.current.send(server.WordDrain)
		s.retire(s.current)
	}
	m.removed = append(m.removed, s)
	m.dropRemoved()
}

// close takes no more clients for a service.
func (m *master) close(s *service) {
	s.closed = true
	s.arm()
	closeSockets(s.sockets, nil)
	s.sockets = nil
	for _, t := range []*time.Timer{s.wakeup, s.unlock} {
		if t != nil {
			t.Stop()
		}
	}
	s.wakeup, s.unlock = nil, nil
}

// dropRemoved forgets removed services whose programs have ended.
func (m *master) dropRemoved() {
	m.removed = slices.DeleteFunc(m.removed, func(s *service) bool { return s.current == nil && len(s.old) == 0 })
}
