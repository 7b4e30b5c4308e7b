package table

import "strings"

// Parents says in which form a table or list has a domain that shall match its
// subdomains.
type Parents int

const (
	DotParents   Parents = iota // as .example.com
	PlainParents                // as example.com
)

// ParentsOf tells the form that parent_domain_matches_subdomains, a list of
// features, asks for in the feature of that name, such as "relay_domains".
func ParentsOf(feature string, list []string) Parents {
	for _, name := range list {
		if strings.EqualFold(name, feature) {
			return PlainParents
		}
	}
	return DotParents
}

// FindDomain looks up a domain and then its parents (access(5)). Patterns see
// the full name only. An address has no parents here; see FindIP.
func (m *Maps) FindDomain(domain string, p Parents) (value string, found bool, err error) {
	value, found, err = m.Find(domain)
	if _, ok := parseIP(domain); ok {
		return value, found, err
	}
	for name := parent(domain, p); !found && err == nil && name != ""; name = parent(name, p) {
		value, found, err = m.FindPartial(name)
	}
	return value, found, err
}

// FindIP looks up an address in its text form and then its networks, made by
// cutting octets of IPv4 and groups of IPv6 from the right (access(5)).
// Patterns see the full address only.
func (m *Maps) FindIP(ip string) (value string, found bool, err error) {
	value, found, err = m.Find(ip)
	for net := cutLast(ip); !found && err == nil && net != ""; net = cutLast(net) {
		value, found, err = m.FindPartial(net)
	}
	return value, found, err
}

// cutLast is an address without its last part, or "": 192.0.2.1 becomes
// 192.0.2, 2001:db8::1 becomes 2001:db8: and that 2001:db8.
func cutLast(ip string) string {
	sep := byte('.')
	if strings.IndexByte(ip, ':') >= 0 {
		sep = ':'
	}
	return ip[:max(0, strings.LastIndexByte(ip, sep))]
}
