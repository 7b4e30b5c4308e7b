package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/server"
)

// maxProbes is how many probes may be on their way to cleanup at one time;
// addresses beyond are probed when they are asked for again.
const maxProbes = 100

// A service answers the verify conversation. It is a proto.VerifyService.
type service struct {
	cache  cache
	log    *maillog.Logger
	now    func() time.Time
	probe  func(address string) error // sends a probe
	probes chan struct{}              // one for each probe that is being sent
	start  func(func())               // runs it on a goroutine

	mu sync.Mutex // held from reading an entry to writing it
	params
}

// reload takes new settings.
func (s *service) reload(p params) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.params = p
}

// keyOf is the name of an address in the cache, as in Postfix.
func keyOf(address string) string { return strings.ReplaceAll(address, ":", "_") }

// Query implements proto.VerifyService. It never fails: without a cache all
// addresses are "not known".
func (s *service) Query(address string) (proto.AddressStatus, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, now := keyOf(address), s.now()
	text, err := s.cache.get(key)
	if err != nil {
		s.log.Warning("%v", err)
		return proto.AddressDefer, "Address verification status unavailable", nil
	}
	e, err := parseEntry(text)
	if text != "" && err != nil {
		s.log.Warning("%v", err)
	}
	if err != nil || !e.waiting(now) && s.expired(e, now) {
		e = entry{status: proto.AddressTodo, reason: "Address verification in progress"}
		if text != "" && !s.negativeCache {
			s.note(s.cache.remove(key))
		}
	}
	if !e.waiting(now) && s.due(e, now) {
		s.sendProbe(address, key, e, now)
	}
	return e.status, e.reason, nil
}

// sendProbe has an address probed and notes that it is.
func (s *service) sendProbe(address, key string, e entry, now time.Time) {
	select {
	case s.probes <- struct{}{}:
	default:
		return
	}
	keep := !e.updated.IsZero() || s.negativeCache
	if keep {
		e.probed = now
		s.note(s.cache.put(key, e.encode()))
	}
	s.start(func() {
		err := s.probe(address)
		<-s.probes
		if err == nil {
			return
		}
		s.log.Warning("probe of %s: %v", address, err)
		if keep {
			s.forgetProbe(key, now)
		}
	})
}

// forgetProbe notes that a probe was not sent, so that the next query sends
// another.
func (s *service) forgetProbe(key string, sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := s.cache.get(key)
	if err != nil {
		s.note(err)
		return
	}
	e, err := parseEntry(text)
	if err != nil || e.probed.Unix() != sent.Unix() {
		return // a result or another probe came meanwhile
	}
	if e.probed = (time.Time{}); e.updated.IsZero() {
		s.note(s.cache.remove(key))
	} else {
		s.note(s.cache.put(key, e.encode()))
	}
}

// Update implements proto.VerifyService.
func (s *service) Update(address string, status proto.AddressStatus, reason string) error {
	if status != proto.AddressOK && status != proto.AddressDefer && status != proto.AddressBounce {
		s.log.Warning("bad recipient status %d for recipient %s", status, address)
		return fmt.Errorf("bad recipient status %d", status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(address)
	if status != proto.AddressOK {
		// A failed probe does not undo an address that is known to be
		// good: it is probed again with the next query, until it expires.
		if text, err := s.cache.get(key); err == nil {
			if e, err := parseEntry(text); err == nil && e.status == proto.AddressOK {
				return nil
			}
		}
	}
	e := entry{status: status, updated: s.now(), reason: maillog.Printable(reason)}
	err := s.cache.put(key, e.encode())
	s.note(err)
	return err
}

// note logs what went wrong with the cache.
func (s *service) note(err error) {
	if err != nil {
		s.log.Warning("%v", err)
	}
}

// cleanupLoop removes expired entries from time to time, until ctx ends.
func (s *service) cleanupLoop(ctx context.Context, clock server.Clock) {
	for {
		s.mu.Lock()
		interval := s.cleanup
		s.mu.Unlock()
		pause := max(interval, time.Minute)
		if interval > 0 {
			last, err := s.cache.cleaned()
			s.note(err)
			if pause = interval - clock.Now().Sub(last); err == nil && (pause <= 0 || pause > interval) {
				s.cleanCache(ctx)
				pause = interval
			}
		}
		wake := make(chan struct{})
		timer := clock.AfterFunc(pause, func() { close(wake) })
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-wake:
		}
	}
}

// cleanCache removes expired entries.
func (s *service) cleanCache(ctx context.Context) {
	now := s.now()
	s.mu.Lock()
	p := s.params
	s.mu.Unlock()
	retained, dropped, err := s.cache.clean(ctx, now, func(text string) bool {
		e, err := parseEntry(text)
		return err == nil && (e.waiting(now) || !p.expired(e, now))
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warning("%v", err)
		return
	}
	s.log.Info("cache %s full cleanup: retained=%d dropped=%d entries", s.cache, retained, dropped)
}
