package resolver

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// A resolvConf is what resolv.conf(5) says.
type resolvConf struct {
	servers  []server
	search   []string
	ndots    int
	timeout  time.Duration // for one try with one server
	attempts int           // rounds over all servers
	rotate   bool
	useTCP   bool
	trustAD  bool
}

// A server is one name server.
type server struct {
	addr    string // host:port
	trusted bool   // its AD bit is believed: on this host, or "options trust-ad"
}

// maxServers bounds the servers of resolv.conf, as the C library does.
const maxServers = 3

// parseResolvConf reads resolv.conf. Lines that it does not know are
// skipped. Beyond resolv.conf(5), a server may have a port, [address]:port.
func parseResolvConf(data []byte) *resolvConf {
	c := &resolvConf{ndots: 1, timeout: 5 * time.Second, attempts: 2}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			if addr, ok := serverAddr(f[1]); ok && len(c.servers) < maxServers {
				c.servers = append(c.servers, addr)
			}
		case "domain":
			c.search = searchList(f[1:2])
		case "search":
			c.search = searchList(f[1:])
		case "options":
			for _, o := range f[1:] {
				c.option(o)
			}
		}
	}
	if c.search == nil {
		if name, err := os.Hostname(); err == nil { // resolv.conf(5): the part after the first dot
			if _, domain, ok := strings.Cut(name, "."); ok {
				c.search = searchList([]string{domain})
			}
		}
	}
	if len(c.servers) == 0 {
		c.servers = []server{{addr: "127.0.0.1:53", trusted: true}}
	}
	for i := range c.servers {
		c.servers[i].trusted = c.servers[i].trusted || c.trustAD
	}
	return c
}

func serverAddr(word string) (server, bool) {
	if ap, err := netip.ParseAddrPort(word); err == nil {
		return server{ap.String(), ap.Addr().IsLoopback()}, true
	}
	a, err := netip.ParseAddr(word)
	if err != nil {
		return server{}, false
	}
	return server{net.JoinHostPort(a.String(), "53"), a.IsLoopback()}, true
}

func searchList(words []string) []string {
	list := []string{}
	for _, w := range words {
		if w = strings.Trim(w, "."); w != "" && len(list) < 32 {
			list = append(list, w)
		}
	}
	return list
}

func (c *resolvConf) option(o string) {
	name, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	number := err == nil && n >= 0
	switch {
	case name == "ndots" && number:
		c.ndots = min(n, 15)
	case name == "timeout" && number:
		c.timeout = time.Duration(min(max(n, 1), 30)) * time.Second
	case name == "attempts" && number:
		c.attempts = min(max(n, 1), 5)
	case name == "rotate":
		c.rotate = true
	case name == "use-vc":
		c.useTCP = true
	case name == "trust-ad":
		c.trustAD = true
	}
}

// A hostsFile is what hosts(5) says.
type hostsFile struct {
	addrs map[string][]netip.Addr // by name in lower case
	names map[netip.Addr][]string
}

// parseHosts reads hosts(5). Lines that it does not understand are skipped.
func parseHosts(data []byte) *hostsFile {
	h := &hostsFile{addrs: map[string][]netip.Addr{}, names: map[netip.Addr][]string{}}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		a = a.Unmap().WithZone("")
		for _, name := range f[1:] {
			key := strings.ToLower(strings.TrimSuffix(name, "."))
			h.addrs[key] = append(h.addrs[key], a)
			h.names[a] = append(h.names[a], strings.TrimSuffix(name, "."))
		}
	}
	return h
}
