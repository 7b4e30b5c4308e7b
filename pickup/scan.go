package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// workers is how many messages are handed over at once: most of the time of
// each is spent waiting for cleanup's disk.
const workers = 10

// A pickup is the program at work.
type pickup struct {
	params
	spool   *queue.Spool
	log     *maillog.Logger
	now     func() time.Time
	cleanup *proto.CleanupClient
}

// A fate is what becomes of a maildrop file.
type fate int

const (
	keep      fate = iota // try again later
	remove                // cleanup has it, or there is nothing to deliver
	setAside              // damaged: to the corrupt queue
	vanished              // somebody else removed it
	notCommon             // nothing was done: not complete, or no queue file
)

// scan takes in all files in maildrop, and those that come meanwhile.
func (p *pickup) scan(ctx context.Context, stopping <-chan struct{}) {
	for {
		taken := p.pass(ctx, stopping)
		if taken == 0 || ctx.Err() != nil || closed(stopping) {
			return
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// pass goes over the directory once and returns how many files left it.
func (p *pickup) pass(ctx context.Context, stopping <-chan struct{}) (taken int) {
	ids := make(chan string)
	results := make(chan fate, workers)
	var group sync.WaitGroup
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for id := range ids {
				results <- p.file(id)
			}
		}()
	}
	counted := make(chan int)
	go func() {
		n := 0
		for f := range results {
			if f == remove || f == setAside {
				n++
			}
		}
		counted <- n
	}()
	s := p.spool.Scan(queue.Maildrop)
	for ctx.Err() == nil && !closed(stopping) {
		e, err := s.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.log.Warning("scan maildrop: %v", err)
			}
			break
		}
		ids <- e.Name
	}
	s.Close()
	close(ids)
	group.Wait()
	close(results)
	return <-counted
}

// file takes in one file and does to it what it deserves.
func (p *pickup) file(id string) (f fate) {
	defer func() { // a bug of ours must not keep the others from being taken in
		if e := recover(); e != nil {
			p.log.Panic("maildrop/%s: %v", id, e)
			f = keep
		}
	}()
	f = p.take(id)
	var err error
	switch f {
	case remove:
		err = p.spool.Remove(queue.Maildrop, id)
	case setAside:
		p.log.Corrupt(id, queue.Maildrop, queue.Corrupt)
		err = p.spool.Move(id, queue.Maildrop, queue.Corrupt)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Warning("maildrop/%s: %v", id, err)
		return keep
	}
	return f
}

// take opens a file and hands it to cleanup.
func (p *pickup) take(id string) fate {
	if _, err := p.spool.Check(queue.Maildrop, id); err != nil {
		if errors.Is(err, queue.ErrUnsafe) {
			p.log.Warning("%v", err)
		}
		return notCommon
	}
	m, err := p.spool.OpenRead(queue.Maildrop, id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return vanished
	case err != nil:
		p.log.Warning("open input file: %v", err)
		return keep
	}
	defer m.Close() // it was only read
	if m.Info.Links != 1 {
		p.log.Warning("maildrop/%s: file has %d links", id, m.Info.Links)
		return keep
	}
	return p.submit(m)
}
