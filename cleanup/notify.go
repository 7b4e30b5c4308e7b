package main

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
)

// Limits of a notifier.
const (
	notifyQueue = 1000 // ids that wait; beyond, the queue manager scans
	notifyBatch = 4000 // bytes in one request
	notifyTime  = 10 * time.Second
	notifyPause = 2 * time.Millisecond // between two requests
)

// A notifier tells the queue manager of new messages. It costs nothing to
// lose such a word: the queue manager looks for itself now and then.
type notifier struct {
	path   string
	log    *maillog.Logger
	ids    chan string
	missed atomic.Bool
	quit   chan struct{} // closed: send what waits, then end
	done   chan struct{}

	conn  *ipc.Conn      // nil: none
	ended chan *ipc.Conn // those that the queue manager closed
}

func newNotifier(path string, log *maillog.Logger) *notifier {
	return &notifier{path: path, log: log, ids: make(chan string, notifyQueue),
		quit: make(chan struct{}), done: make(chan struct{}), ended: make(chan *ipc.Conn)}
}

// queued says that a message is in incoming. It does not wait.
func (n *notifier) queued(id string) {
	select {
	case n.ids <- id:
	default:
		n.missed.Store(true)
	}
}

// run sends the ids, those that came meanwhile in one request. It begins with
// a scan: an earlier process may have had no time for its last words.
func (n *notifier) run() {
	defer close(n.done)
	defer n.hangUp()
	request := []byte{proto.TriggerIncoming}
	for {
		if len(request) > 0 {
			if err := n.send(request); err != nil {
				n.log.Warning("%v -- new mail waits for the next scan", err)
			}
			time.Sleep(notifyPause) // so that ids that come in quick succession go together
		}
		request = request[:0]
		select {
		case id := <-n.ids:
			request = appendNew(request, id)
		case c := <-n.ended:
			if c == n.conn {
				n.hangUp()
				// The last words may not have been read.
				request = append(request, proto.TriggerIncoming)
			}
			continue
		case <-n.quit:
			if request = n.more(request); len(request) == 0 {
				return
			}
			continue
		}
		request = n.more(request)
	}
}

// send writes a request on the kept connection, or on a new one.
func (n *notifier) send(request []byte) error {
	if n.conn != nil {
		if n.write(request) == nil {
			return nil
		}
		n.hangUp()
	}
	c, err := ipc.Dial(n.path, notifyTime)
	if err != nil {
		return err
	}
	n.conn = c
	go n.watch(c)
	if err = n.write(request); err != nil {
		n.hangUp()
	}
	return err
}

func (n *notifier) write(request []byte) error {
	if _, err := n.conn.W.Write(request); err != nil {
		return err
	}
	return n.conn.Flush()
}

// watch waits for the end of a connection: nothing comes on it.
func (n *notifier) watch(c *ipc.Conn) {
	_, _ = io.Copy(io.Discard, c.Conn) // any end is one
	select {
	case n.ended <- c:
	case <-n.done:
	}
}

// hangUp closes the connection.
func (n *notifier) hangUp() {
	if n.conn != nil {
		n.conn.Close() // nothing is buffered in it that could be sent
		n.conn = nil
	}
}

// more adds what waits to a request, as far as it fits.
func (n *notifier) more(request []byte) []byte {
	for len(request) < notifyBatch {
		select {
		case id := <-n.ids:
			request = appendNew(request, id)
			continue
		default:
		}
		break
	}
	if n.missed.Swap(false) {
		request = append(request, proto.TriggerIncoming)
	}
	return request
}

func appendNew(request []byte, id string) []byte {
	return append(append(append(request, proto.TriggerNew), id...), '\n')
}

// stop sends what waits, and ends run.
func (n *notifier) stop(ctx context.Context) {
	close(n.quit)
	select {
	case <-n.done:
	case <-ctx.Done():
	}
}
