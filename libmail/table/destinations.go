package table

import (
	"net/netip"
	"slices"
	"strings"

	"postroad/libmail/addr"
)

// Destinations says which domains are this host: those in mydestination, and
// the addresses on which it receives mail, as [192.0.2.1] or [IPv6:...].
type Destinations struct {
	Domains   *MatchList   // mydestination, a StringList
	Addresses []netip.Addr // inet_interfaces and proxy_interfaces
	Origin    string       // myorigin, for MatchOrigin
	UTF8      bool         // smtputf8_enable
}

// Match reports whether mail for user@domain is for a local user. One dot at
// the end of the domain does not count.
func (d *Destinations) Match(domain string) (bool, error) {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" || strings.HasSuffix(domain, ".") {
		return false, nil
	}
	if ok, err := d.Domains.Match(domain, ""); ok || err != nil {
		return ok, err
	}
	if domain[0] != '[' {
		return false, nil
	}
	ip, err := addr.ParseLiteral(domain)
	return err == nil && slices.Contains(d.Addresses, ip.Unmap()), nil // what is no address is not ours
}

// MatchOrigin is Match for FindAddress (Options.Local): the domain of mail
// that is written here counts too.
func (d *Destinations) MatchOrigin(domain string) (bool, error) {
	if d.Origin != "" && fold(domain, d.UTF8) == fold(d.Origin, d.UTF8) {
		return true, nil
	}
	return d.Match(domain)
}
