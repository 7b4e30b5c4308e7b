package main

import (
	"time"

	"postroad/libmail/server"
)

// How long a stop takes at most.
const (
	stopLimit = 10 * time.Second // until programs are killed
	lastLimit = 2 * time.Second  // for the log, after all others
)

// stopping is the state of a mail system that stops. First the network
// services are closed, and all programs told to finish; as they may need
// others for that, local services still start on demand. When all that were
// told are gone, those that were started meanwhile are told, and so on. The
// log comes last.
type stopping struct {
	told map[*child]bool
	last bool // only the log is left
	over bool
}

// beginStop begins to stop.
func (m *master) beginStop() {
	if m.stop != nil {
		return
	}
	m.stop = &stopping{told: map[*child]bool{}}
	notify("STOPPING=1")
	for _, s := range m.services {
		// Nothing begins now that is not for a client: no delivery run, no
		// message from the maildrop.
		s.held = s.Type == "fifo" || s.Wakeup > 0 && !s.WakeupIfUsed
		if s.Type == "inet" || s.Type == "pass" {
			m.close(s)
		}
		s.arm()
	}
	m.after(stopLimit, func() { m.killAll("did not finish in time") })
	m.tell()
}

// tell tells the programs that were not told yet, the log's excepted.
func (m *master) tell() {
	for _, c := range m.children {
		if c.service.Type != "unix-dgram" || m.stop.last {
			m.stop.told[c] = true
			c.send(server.WordStop)
		}
	}
	if len(m.stop.told) > 0 {
		return
	}
	if m.stop.last || len(m.children) == 0 {
		m.stop.over = true
		return
	}
	m.stop.last = true
	for _, s := range m.services {
		m.close(s)
	}
	m.after(lastLimit, func() { m.killAll("") })
	m.tell()
}

// childGone continues the stop when a program has ended.
func (m *master) childGone(c *child) {
	m.dropRemoved()
	if m.stop == nil || !m.stop.told[c] {
		return
	}
	delete(m.stop.told, c)
	if len(m.stop.told) == 0 {
		m.tell()
	}
}

// killAll ends the programs that are left, the log's only in its turn.
func (m *master) killAll(why string) {
	if m.stop.over {
		return
	}
	for _, s := range m.services {
		if s.Type != "unix-dgram" || m.stop.last {
			m.close(s)
		}
	}
	for _, c := range m.children {
		if c.service.Type == "unix-dgram" && !m.stop.last {
			continue
		}
		if why != "" {
			m.log.Warning("process %s pid %d %s", c.path, c.pid, why)
		}
		m.stop.told[c] = true
		c.kill()
	}
}
