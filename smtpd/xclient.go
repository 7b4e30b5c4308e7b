package main

import (
	"net/netip"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/smtpwire"
)

// An impersonation is what XCLIENT says, until all of it is found good.
type impersonation struct {
	client   client
	helo     *string
	protocol string
	login    string
}

// cmdXCLIENT makes us treat the client as another one (XCLIENT_README). The
// session begins anew, with the greeting; the TLS session stays.
func (s *session) cmdXCLIENT(args []smtpwire.Token) reply {
	if r := s.mayForge("XCLIENT", s.xclientAllowed, args); r != nil {
		return *r
	}
	list, r := s.attributes(args[1:])
	if r != nil {
		return *r
	}
	x := impersonation{client: s.client}
	for _, a := range list {
		if r := x.set(s.params, a[0], a[1]); r != nil {
			return *r
		}
	}
	s.uncountConnection()
	s.client = x.client
	s.client.setNamaddr(s.params.portLogging)
	s.xclientAllowed = s.listed(s.lists.xclient)
	s.chooseBareLF()
	if s.helo = ""; x.helo != nil {
		s.helo = *x.helo
	}
	if s.protocol = "SMTP"; x.protocol != "" {
		s.protocol = x.protocol
	}
	s.logout()
	if x.login != "" {
		s.sasl.user, s.sasl.method = x.login, "XCLIENT"
	}
	s.forgetHistory(0)
	s.resetMail()
	s.where = "XCLIENT"
	return reply{restart: true}
}

// set takes one attribute.
func (x *impersonation) set(p *params, name, value string) *reply {
	c := &x.client
	known := !strings.EqualFold(value, unavailable)
	clean := neuter(value)
	switch name {
	case "NAME":
		if r := setName(&c.name, &c.nameStatus, name, value); r != nil {
			return r
		}
		if c.nameStatus == nameOK {
			c.reverseName, c.reverseStatus = c.name, nameOK
		}
	case "REVERSE_NAME":
		return setName(&c.reverseName, &c.reverseStatus, name, value)
	case "ADDR":
		return x.setAddr(p, clean, known)
	case "PORT":
		return setPort(&c.port, name, value)
	case "HELO":
		if len(value) > 255 {
			return badAttribute(name, value)
		}
		if !known {
			clean = ""
		}
		x.helo = &clean
	case "PROTO":
		if x.protocol = strings.ToUpper(value); x.protocol != "SMTP" && x.protocol != "ESMTP" {
			return badAttribute(name, value)
		}
	case "LOGIN":
		if known {
			x.login = value
		}
	case "DESTADDR":
		if c.serverAddr = unknown; known {
			ip, ok := p.mailhostAddress(clean)
			if !ok {
				return badAttribute(name, clean)
			}
			c.serverAddr = ip.String()
		}
	case "DESTPORT":
		return setPort(&c.serverPort, name, value)
	default:
		r := protocolError(501, "5.5.4", "Bad XCLIENT attribute name: %s", name)
		return &r
	}
	return nil
}

// setAddr takes the client's address.
func (x *impersonation) setAddr(p *params, text string, known bool) *reply {
	c := &x.client
	if !known {
		c.addr, c.rfcAddr, c.ip, c.family = unknown, unknown, netip.Addr{}, 0
		return nil
	}
	ip, ok := p.mailhostAddress(text)
	if !ok {
		return badAttribute("ADDR", text)
	}
	c.setAddr(ip)
	return nil
}

// setName takes a client name with its status.
func setName(to *string, status *nameStatus, name, value string) *reply {
	switch {
	case value == unavailable:
		*to, *status = unknown, namePermanent
	case value == temporarilyUnavailable:
		*to, *status = unknown, nameTemporary
	case validName(value):
		*to, *status = value, nameOK
	default:
		return badAttribute(name, value)
	}
	return nil
}

func setPort(port *string, name, value string) *reply {
	switch {
	case strings.EqualFold(value, unavailable):
		*port = unknown
	case validPort(value):
		*port = value
	default:
		return badAttribute(name, value)
	}
	return nil
}

func validName(name string) bool { return addr.ValidHostname(name) }

// validPort accepts up to five digits.
func validPort(text string) bool {
	return text != "" && len(text) <= 5 && strings.Trim(text, "0123456789") == ""
}

// mailhostAddress reads an address as RFC 5321 §4.1.3 writes it, without
// brackets: IPv6 has a prefix. Its family must be one of inet_protocols.
func (p *params) mailhostAddress(text string) (netip.Addr, bool) {
	ip, err := addr.ParseLiteralAddress(text)
	ip = ip.Unmap()
	return ip, err == nil && (ip.Is4() && p.families.V4 || ip.Is6() && p.families.V6)
}
