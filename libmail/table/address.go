package table

import (
	"fmt"
	"strings"

	"postroad/libmail/addr"
)

// A Strategy is the set of keys that FindAddress tries, in the order of the
// constants.
type Strategy uint

const (
	FindFull           Strategy = 1 << iota // user+ext@domain
	FindNoExtension                         // user@domain
	FindLocalIfLocal                        // user+ext, user if the domain is local
	FindLocalAtIfLocal                      // user+ext@, user@ if the domain is local
	FindAtDomain                            // @domain
	FindDomain                              // domain
	FindParents                             // with FindDomain: its parents too, as parent.example
	FindDotParents                          // with FindDomain: its parents too, as .parent.example
	FindLocalAt                             // user+ext@, user@ whatever the domain

	FindDefault = FindFull | FindNoExtension | FindLocalIfLocal | FindAtDomain
)

// FindAddress searches the tables for an address in internal (unquoted) form
// and for what Strategy derives from it. Keys are tried in external form and,
// where that differs, in internal form; patterns see the full address only.
// extension is what had to be cut from the local part to find a value, with
// its delimiter.
func (m *Maps) FindAddress(address string, s Strategy) (value, extension string, found bool, err error) {
	if m.Empty() {
		return "", "", false, nil
	}
	f := addressSearch{m: m, full: address}
	if s&FindNoExtension != 0 {
		if bare, ext, ok := m.o.Delimiters.Strip(address); ok {
			f.bare, f.cut = bare, ext
		}
	}
	f.run(s)
	return f.value, f.extension, f.found, f.err
}

// An addressSearch is one FindAddress under way. It is over when something is
// found or a lookup fails.
type addressSearch struct {
	m    *Maps
	full string // user+ext@domain
	bare string // user@domain; "": there is no extension
	cut  string // +ext

	value, extension string
	found            bool
	err              error
}

func (f *addressSearch) over() bool { return f.found || f.err != nil }

func (f *addressSearch) run(s Strategy) {
	if s&FindFull != 0 {
		f.try(f.full, false, 0)
	}
	if f.bare != "" {
		f.tryBare(f.bare, 0)
	}
	_, domain, ok := addr.SplitDomain(f.full)
	if !ok {
		return
	}
	if s&(FindLocalIfLocal|FindLocalAtIfLocal) != 0 && !f.over() {
		f.ifLocal(domain, s)
	}
	if s&FindAtDomain != 0 {
		f.key("@"+domain, true)
	}
	if s&FindDomain != 0 {
		f.domain(domain, s)
	}
	if s&FindLocalAt != 0 {
		f.local("@")
	}
}

// key looks one key up as it is.
func (f *addressSearch) key(key string, partial bool) {
	if !f.over() {
		f.value, f.found, f.err = f.m.find(key, partial)
	}
}

// try looks an address up in external form, then in internal form.
func (f *addressSearch) try(address string, partial bool, q addr.QuoteFlags) {
	if f.over() {
		return
	}
	external := addr.QuoteWith(address, addr.EightBitClean|q)
	f.key(external, partial)
	if external != address {
		f.key(address, partial)
	}
}

// tryBare is try for an address without its extension.
func (f *addressSearch) tryBare(address string, q addr.QuoteFlags) {
	if f.over() {
		return
	}
	if f.try(address, true, q); f.found {
		f.extension = f.cut
	}
}

// ifLocal tries the local part if its domain is ours.
func (f *addressSearch) ifLocal(domain string, s Strategy) {
	if f.m.o.Local == nil {
		return
	}
	local, err := f.m.o.Local(domain)
	if err != nil {
		f.err = err
		return
	}
	if !local {
		return
	}
	if s&FindLocalIfLocal != 0 {
		f.local("")
	}
	if s&FindLocalAtIfLocal != 0 {
		f.local("@")
	}
}

// local tries the local part followed by at, with and without extension.
func (f *addressSearch) local(at string) {
	q := addr.BareLocal
	if at != "" {
		q = 0
	}
	user, _, _ := addr.SplitDomain(f.full)
	f.try(user+at, true, q)
	if f.bare != "" {
		user, _, _ := addr.SplitDomain(f.bare)
		f.tryBare(user+at, q)
	}
}

// domain tries the domain and perhaps its parents.
func (f *addressSearch) domain(domain string, s Strategy) {
	for name := domain; name != "" && !f.over(); {
		f.key(name, true)
		switch {
		case s&FindParents != 0:
			name = parent(name, PlainParents)
		case s&FindDotParents != 0:
			name = parent(name, DotParents)
		default:
			return
		}
	}
}

// parent is the domain above name in the form that p says, or "".
func parent(name string, p Parents) string {
	if name == "" {
		return ""
	}
	i := strings.IndexByte(name[1:], '.')
	if i < 0 {
		return ""
	}
	if p == PlainParents {
		return name[i+2:]
	}
	return name[i+1:]
}

// An Extension says what MapAddress does with an extension that matched
// nothing.
type Extension int

const (
	Drop      Extension = iota
	Propagate           // put it on each result (propagate_unmatched_extensions)
)

// MapAddress looks an address (internal form) up with FindDefault and returns
// the addresses of the value in internal form, or found = false. A value
// @domain keeps the local part. canon makes each address of the value
// canonical, external form in and out: trivial-rewrite does it; nil leaves
// them alone.
func (m *Maps) MapAddress(address string, x Extension, canon func(address string) (string, error)) (addresses []string, found bool, err error) {
	value, ext, found, err := m.FindAddress(address, FindDefault)
	if err != nil || !found {
		return nil, false, err
	}
	if value[0] == '@' {
		local, _, _ := addr.SplitDomain(address)
		value = addr.Quote(strings.TrimSuffix(local, ext) + value)
	}
	if x == Drop {
		ext = ""
	}
	addresses, err = splitAddresses(value, ext, canon)
	if err == nil && len(addresses) == 0 {
		m.warn().Warning("%s lookup of %s returns non-address result \"%s\"", m.title, address, value)
		err = fmt.Errorf("%s lookup of %s: %w: no address", m.title, address, ErrValue)
	}
	return addresses, err == nil, err
}

// splitAddresses takes a value apart (RFC 5322 §3.4) and puts an extension on
// each address.
func splitAddresses(value, ext string, canon func(string) (string, error)) (list []string, err error) {
	if value == "<>" {
		value = `""`
	}
	for _, t := range addr.ParseList(value, 0) {
		if t.Kind != addr.Address {
			continue
		}
		external := t.External()
		if canon != nil {
			if external, err = canon(external); err != nil {
				return nil, err
			}
		}
		internal := addr.Unquote(external)
		if ext != "" {
			local, _, _ := addr.SplitDomain(internal)
			internal = local + ext + internal[len(local):]
		}
		list = append(list, internal)
	}
	return list, nil
}
