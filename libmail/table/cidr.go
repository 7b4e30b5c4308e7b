package table

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// openCIDR opens cidr:FILE: networks, in order.
func openCIDR(t *front, name string) (contents, error) {
	return openRules(t, "cidr", name, parseCIDRRule)
}

// parseCIDRRule reads a line of a cidr table.
func parseCIDRRule(t *front, line string, open bool, warn complain) (r rule, ok bool) {
	skip := func(reason string) (rule, bool) {
		warn("%s: skipping this rule", reason)
		return r, false
	}
	kind, rest, _ := statement(line)
	if r.kind = kind; kind == ruleEndif {
		switch {
		case rest != "":
			return skip("garbage after ENDIF")
		case !open:
			return skip("ENDIF without IF")
		}
		return r, true
	}
	not := false
	for rest != "" && (rest[0] == '!' || isSpace(rest[0])) {
		not = not != (rest[0] == '!')
		rest = rest[1:]
	}
	end := len(rest)
	if kind == ruleMatch {
		end = blankIndex(rest)
	}
	value := trimSpace(rest[end:])
	if rest = trimRight(rest[:end]); rest == "" {
		return skip("no address pattern")
	}
	net, err := parseNetwork(rest)
	if err != nil {
		return skip(err.Error())
	}
	r.pat = network{net, not} // not in r.not: a key of the other family matches neither the network nor its opposite
	if kind == ruleIf {
		return r, true
	}
	if value == "" {
		return skip("no lookup result")
	}
	if t.o.FileValues {
		if value, err = FileValue(value); err != nil {
			return skip(err.Error())
		}
	}
	r.text = result{parts: []part{{text: value}}}
	return r, true
}

// network is the pattern of a cidr rule.
type network struct {
	netip.Prefix
	not bool
}

func (n network) match(key string, _ int) ([]int, bool, error) {
	ip, ok := parseIP(key)
	return nil, ok && ip.Is4() == n.Addr().Is4() && n.Contains(ip) != n.not, nil
}

func (n network) groups() int { return 0 }

// parseIP reads an address of a key. A zone ("%eth0") has no place there.
func parseIP(s string) (netip.Addr, bool) {
	if len(s) > 45 || strings.IndexByte(s, '%') >= 0 {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(s)
	return ip, err == nil
}

// parseNetwork reads net/len, [net/len], [net]/len or an address without a
// length. Bits of the host part must be zero.
func parseNetwork(pattern string) (netip.Prefix, error) {
	net, mask, slash := pattern, "", false
	if inner, ok := strings.CutPrefix(pattern, "["); ok {
		in, after, ok := strings.Cut(inner, "]")
		switch {
		case !ok:
			return netip.Prefix{}, fmt.Errorf("missing ']' character after \"[%s\"", inner)
		case after == "":
			net, mask, slash = strings.Cut(in, "/")
		case after[0] != '/':
			return netip.Prefix{}, fmt.Errorf("garbage after \"[%s]\"", in)
		default:
			net, mask, slash = in, after[1:], true
		}
	} else {
		net, mask, slash = strings.Cut(pattern, "/")
	}
	ip, ok := parseIP(net)
	if !slash {
		if !ok {
			return netip.Prefix{}, fmt.Errorf("bad address pattern: \"%s\"", net)
		}
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	width := 32
	if strings.Contains(net, ":") {
		width = 128
	}
	n, err := strconv.ParseUint(mask, 10, 32)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("bad mask value in \"%s/%s\"", net, mask)
	case int(n) > width:
		return netip.Prefix{}, fmt.Errorf("bad mask length in \"%s/%s\"", net, mask)
	case !ok:
		return netip.Prefix{}, fmt.Errorf("bad network value in \"%s/%s\"", net, mask)
	}
	p := netip.PrefixFrom(ip, int(n))
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("non-null host address bits in \"%s/%s\", perhaps you should use \"%s\" instead", net, mask, p.Masked())
	}
	return p, nil
}
