package main

import (
	"errors"
	"strings"
	"sync"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// A service answers the proxymap conversation. It is a proto.ProxyService.
type service struct {
	approved  map[string]bool
	parameter string // that approves: proxy_read_maps or proxy_write_maps
	log       *maillog.Logger
	base      table.Options
	utf8      bool

	mu   sync.Mutex
	open map[key]table.Table // one for each way to open it
}

// A key is a table and how it is opened.
type key struct {
	name  string
	fold  table.Fold
	trust table.Trust
	utf8  bool
}

// Open implements proto.ProxyService.
func (s *service) Open(name string, instance proto.TableFlags) (proto.ProxyStatus, proto.TableFlags) {
	_, status, flags := s.find(name, instance)
	return status, flags
}

// Lookup implements proto.ProxyService.
func (s *service) Lookup(name string, instance proto.TableFlags, k string) (proto.ProxyStatus, proto.TableFlags, string) {
	t, status, flags := s.find(name, instance)
	if t == nil {
		return status, flags, ""
	}
	value, found, err := t.Lookup(k)
	switch {
	case errors.Is(err, table.ErrValue):
		return proto.ProxyConfig, flags, ""
	case err != nil: // logged
		return proto.ProxyRetry, flags, ""
	case !found:
		return proto.ProxyNoKey, flags, ""
	}
	return proto.ProxyOK, flags, value
}

// find opens a table that is approved, or takes the one that is open.
func (s *service) find(name string, instance proto.TableFlags) (table.Table, proto.ProxyStatus, proto.TableFlags) {
	for strings.HasPrefix(name, "proxy:") {
		name = strings.TrimPrefix(name, "proxy:")
	}
	if !strings.Contains(name, ":") {
		return nil, proto.ProxyBad, 0
	}
	if !s.approved[name] {
		s.log.Warning("request for unapproved table: %q", name)
		s.log.Warning("to approve this table for read access, list proxy:%s in main.cf:%s", name, s.parameter)
		return nil, proto.ProxyDeny, 0
	}
	asked := instance.Options()
	k := key{name, asked.Fold, asked.Trust, asked.UTF8 && s.utf8}
	s.mu.Lock()
	t := s.open[k]
	s.mu.Unlock()
	if t == nil {
		o := s.base
		o.Fold, o.Trust, o.UTF8 = k.fold, k.trust, k.utf8
		fresh, err := table.Open(name, o)
		if err != nil {
			s.log.Warning("%v", err)
			return nil, proto.ProxyRetry, 0
		}
		t = s.keep(k, fresh)
	}
	kind := proto.TableFixed
	if table.Pattern(t) {
		kind = proto.TablePattern
	}
	return t, proto.ProxyOK, instance | kind
}

// keep takes a table into the set, or drops it for one that came first.
func (s *service) keep(k key, fresh table.Table) table.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.open[k]; t != nil {
		if err := fresh.Close(); err != nil {
			s.log.Warning("close table %s: %v", fresh.Name(), err)
		}
		return t
	}
	s.open[k] = fresh
	return fresh
}
