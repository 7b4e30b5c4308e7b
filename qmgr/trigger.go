package main

import (
	"bytes"

	"postroad/libmail/proto"
)

// trigger does what a request on public/qmgr asks for. Who may write there is
// not trusted: a request can make us look, never decide. Letters are sorted
// so that F and A hold for the scans that come with them; unknown ones are
// ignored.
func (m *qmgr) trigger(request []byte) {
	var incoming, deferred bool
	var ignore ignoreFlags
	for len(request) > 0 {
		letter := request[0]
		request = request[1:]
		switch letter {
		case proto.TriggerWakeup, proto.TriggerIncoming:
			incoming = true
		case proto.TriggerDeferred:
			deferred = true
		case proto.TriggerFlush:
			m.enableAll()
			ignore.deferredBy = true
		case proto.TriggerAll:
			ignore.times = true
		case proto.TriggerNew:
			id, rest, _ := bytes.Cut(request, []byte("\n"))
			m.announce(string(id))
			request = rest
		}
	}
	m.incomingScan.request(incoming, ignore)
	m.deferredScan.request(deferred, ignore)
}

// enableAll forgets that transports and destinations are dead.
func (m *qmgr) enableAll() {
	for _, t := range m.turns {
		m.reviveTransport(t)
		for _, d := range t.destinations {
			m.revive(d)
		}
	}
}
