package main

import (
	"strings"
	"sync"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
	"postroad/libmail/table"
	"postroad/libmail/tlsconf"
)

// maxSNI bounds the certificates of tls_server_sni_maps that are kept ready.
const maxSNI = 1000

// sniKeys are certificates for the names by which clients call this server
// (tls_server_sni_maps).
type sniKeys struct {
	maps *table.Maps
	log  *maillog.Logger

	mu    sync.Mutex
	ready map[string]*tlsconf.Keys // by the value of the table
}

// noKeys makes the handshake fail: the client shall not see another name's
// certificate because of a mistake of ours.
var noKeys = &tlsconf.Keys{}

// find returns the certificates for a name or a domain around it, which the
// table has with a dot before it; nil if it has none.
func (k *sniKeys) find(name string) *tlsconf.Keys {
	if k == nil || !addr.ValidHostname(name) {
		return nil
	}
	for key := name; key != ""; {
		value, found, err := k.maps.Find(key)
		switch {
		case err != nil:
			k.log.Warning("tls_server_sni_maps: %s map lookup problem", name)
			return noKeys
		case found:
			return k.parse(name, value)
		}
		dot := strings.IndexByte(key[1:], '.')
		if dot < 0 {
			break
		}
		key = key[1+dot:]
	}
	return nil
}

// parse makes keys of a value, which is the contents of chain files in base64.
func (k *sniKeys) parse(name, value string) *tlsconf.Keys {
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys := k.ready[value]; keys != nil {
		return keys
	}
	text, err := table.DecodeFileValue(value)
	var keys *tlsconf.Keys
	if err == nil {
		keys, err = tlsconf.ParseKeys([]byte(text))
	}
	if err != nil {
		k.log.Warning("tls_server_sni_maps: %s: %v", name, err)
		keys = noKeys
	}
	if len(k.ready) >= maxSNI || k.ready == nil {
		k.ready = map[string]*tlsconf.Keys{}
	}
	k.ready[value] = keys
	return keys
}
