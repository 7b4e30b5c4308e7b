package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/table"
)

// house is what belongs to this host: its names and addresses.
type house struct {
	origin         string // myorigin, folded
	destinations   *table.MatchList
	ownAddresses   []netip.Addr // inet_interfaces
	proxyAddresses []netip.Addr // proxy_interfaces
}

func openHouse(c *conf.Config, o table.Options) (h house, err error) {
	h.origin = addr.Fold(c.String("myorigin"))
	h.ownAddresses, h.proxyAddresses = c.OwnAddresses(), c.ProxyAddresses()
	h.destinations, err = table.OpenMatchList("mydestination", table.StringList, c.String("mydestination"), table.DotParents, o)
	return h, err
}

// isLocal reports whether a domain is one of mydestination, or an address
// literal of this host.
func (h *house) isLocal(domain string) (bool, error) {
	domain = trimDot(domain)
	if domain == "" || strings.HasSuffix(domain, ".") {
		return false, nil
	}
	if match, err := h.destinations.Match(domain, ""); match || err != nil {
		return match, err
	}
	ip, err := addr.ParseLiteral(domain)
	return err == nil && (slices.Contains(h.ownAddresses, ip.Unmap()) || slices.Contains(h.proxyAddresses, ip.Unmap())), nil
}

// isHome is isLocal for lookups of bare local parts: myorigin counts, too.
func (h *house) isHome(domain string) (bool, error) {
	if addr.Fold(domain) == h.origin {
		return true, nil
	}
	return h.isLocal(domain)
}

// spareInodes are kept for mail that is here already: its logs, its move to
// other directories.
const spareInodes = 64

// freeSpace is what the file system of the queue has left for us, in bytes;
// nothing where no more files can be made. Programs run in the queue
// directory.
func freeSpace() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(".", &fs); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	if fs.Files > 0 && fs.Ffree < spareInodes { // Files is 0 where there is no limit
		return 0, nil
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
