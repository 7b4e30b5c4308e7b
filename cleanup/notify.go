package main

import (
	"context"
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
}

func newNotifier(path string, log *maillog.Logger) *notifier {
	return &notifier{path: path, log: log, ids: make(chan string, notifyQueue),
		quit: make(chan struct{}), done: make(chan struct{})}
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
	request := []byte{proto.TriggerIncoming}
	for {
		if len(request) > 0 {
			if err := ipc.Trigger(n.path, request, notifyTime); err != nil {
				n.log.Warning("%v -- new mail waits for the next scan", err)
			}
		}
		request = request[:0]
		select {
		case id := <-n.ids:
			request = appendNew(request, id)
		case <-n.quit:
			if request = n.more(request); len(request) == 0 {
				return
			}
			continue
		}
		request = n.more(request)
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
