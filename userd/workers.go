package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
)

// patience bounds how long a worker may take to say that it has a client.
const patience = 30 * time.Second

// workers are the processes that are users, one for each program and uid.
type workers struct {
	start func(program string, who *privs.User) *privs.Command

	mu     sync.Mutex
	byKey  map[string]*worker
	closed bool
}

// A worker is one process. Clients are handed to it one after the other.
type worker struct {
	mu   sync.Mutex
	proc *privs.Process
	conn *ipc.Conn
}

// key names a worker: who it is for the kernel.
func key(program string, who *privs.User) string {
	if who == nil {
		return program
	}
	return fmt.Sprint(program, " ", who.UID, " ", who.GID)
}

// handOver gives a client to the worker of its user. A worker that has just
// left, as it does when it has nothing to do, is replaced once.
func (ws *workers) handOver(program string, who *privs.User, h *proto.Handover, f *os.File) error {
	var err error
	for range 2 {
		var w *worker
		if w, err = ws.get(program, who); err != nil {
			return err
		}
		if err = w.give(h, f); err == nil {
			return nil
		}
		ws.drop(key(program, who), w)
	}
	return fmt.Errorf("%s: %w", program, err)
}

// get finds or starts a worker.
func (ws *workers) get(program string, who *privs.User) (*worker, error) {
	k := key(program, who)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w := ws.byKey[k]; w != nil {
		select {
		case <-w.proc.Done():
			w.conn.Close() // dead
			delete(ws.byKey, k)
		default:
			return w, nil
		}
	}
	if ws.closed {
		return nil, errors.New("shutting down")
	}
	proc, conn, err := ws.start(program, who).StartHelper()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	w := &worker{proc: proc, conn: ipc.NewConn(conn, patience)}
	if ws.byKey == nil {
		ws.byKey = map[string]*worker{}
	}
	ws.byKey[k] = w
	go func() { // forget it when it ends
		<-proc.Done()
		ws.drop(k, w)
	}()
	return w, nil
}

// give hands one client over.
func (w *worker) give(h *proto.Handover, f *os.File) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return proto.HandOver(w.conn, h, f)
}

// drop forgets a worker; its sessions go on until they end.
func (ws *workers) drop(k string, w *worker) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byKey[k] == w {
		delete(ws.byKey, k)
	}
	w.conn.Close() // twice does no harm
}

// close lets the workers go: each ends when its last session does.
func (ws *workers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for _, w := range ws.byKey {
		w.conn.Close() // nothing is buffered between two clients
	}
}
