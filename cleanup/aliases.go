package main

import (
	"postroad/libmail/addr"
	"postroad/libmail/proto"
)

// expand replaces an address by what virtual_alias_maps has for it, and the
// results by what there is for them, until nothing changes. An address that
// stands among its own results is not expanded again. When the maps have no
// answer, or no end, the message is refused for now and the address stays.
func (s *session) expand(address string) []string {
	list := []string{address}
	done := map[string]bool{} // addresses that expanded to themselves
	for i := 0; i < len(list); i++ {
		if len(list) > s.maxAliases {
			return s.unreasonable("map expansion size", address)
		}
		for depth := 0; !done[addr.Fold(list[i])]; depth++ {
			if depth >= s.maxAliasDepth {
				return s.unreasonable("map nesting", address)
			}
			results, found, err := s.aliases.MapAddress(list[i], s.propagateAlias, s.canon)
			if err != nil {
				s.lookupFailed(s.aliases.Title(), address)
				s.reason = "4.6.0 Alias expansion error"
				return []string{address}
			}
			if !found {
				break
			}
			from := list[i]
			for n, to := range results {
				if len(to) > s.maxAliasAddress {
					s.log.Warning("%s: unreasonable %s result %.300s... -- message not accepted, try again later",
						s.id, s.aliases.Title(), to)
					return s.aliasError(address)
				}
				if n == 0 {
					list[i] = to
				} else {
					list = append(list, to)
				}
				if addr.EqualFold(from, to) {
					done[addr.Fold(from)] = true
				}
			}
		}
	}
	return list
}

// unreasonable refuses an expansion that has no end in sight.
func (s *session) unreasonable(what, address string) []string {
	s.log.Warning("%s: unreasonable %s %s for %s -- message not accepted, try again later",
		s.id, s.aliases.Title(), what, address)
	return s.aliasError(address)
}

func (s *session) aliasError(address string) []string {
	s.errs |= proto.StatDefer
	s.reason = "4.6.0 Alias expansion error"
	return []string{address}
}
