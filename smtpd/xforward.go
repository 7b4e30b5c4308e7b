package main

import (
	"strings"

	"postroad/libmail/smtpwire"
)

// A forward is what a filter in front of us says about the client it received
// the message from (XFORWARD_README): for the log and for queue files, never
// for access control. It lasts for one message.
type forward struct {
	name, addr, rfcAddr, port string
	helo, protocol            string
	namaddr                   string
	hasClient                 bool // any of the above was given
	ident                     string
	context                   string // "local", "remote"; "" when not given
}

// forwarded is the origin of the message as later hosts shall see it. What the
// filter said and what we see ourselves is never mixed.
func (s *session) forwarded() forward {
	c := &s.client
	f := forward{
		name: c.name, addr: c.rfcAddr, port: c.port, helo: s.helo, protocol: s.protocol, namaddr: c.namaddr,
		ident: s.mail.id, context: s.mail.context,
	}
	given := s.mail.forward
	if given == nil {
		return f
	}
	if given.hasClient {
		f.name, f.addr, f.port, f.helo = given.name, given.rfcAddr, given.port, given.helo
		f.protocol, f.namaddr = given.protocol, given.namaddr
	}
	if given.ident != "" {
		f.ident = given.ident
	}
	if given.context != "" {
		f.context = given.context
	}
	return f
}

// unavailable is the value of an attribute that the sender does not know.
const (
	unavailable            = "[UNAVAILABLE]"
	temporarilyUnavailable = "[TEMPUNAVAIL]"
)

// attributes splits the attribute=value words of XCLIENT and XFORWARD. A word
// that is not xtext is taken as it is, as Postfix before 2.3 sent it.
func (s *session) attributes(args []smtpwire.Token) (list [][2]string, r *reply) {
	for _, arg := range args {
		name, raw, _ := strings.Cut(arg.Text, "=")
		if raw == "" {
			r := protocolError(501, "5.5.4", "Error: attribute=value expected")
			return nil, &r
		}
		if len(raw) > 255 {
			r := protocolError(501, "5.5.4", "Error: attribute value too long")
			return nil, &r
		}
		value, ok := smtpwire.DecodeXtext(raw)
		if !ok {
			value = raw
		}
		list = append(list, [2]string{strings.ToUpper(name), smtpwire.Printable(value)})
	}
	return list, nil
}

// mayForge refuses XCLIENT and XFORWARD where they are out of place.
func (s *session) mayForge(verb string, allowed bool, args []smtpwire.Token) *reply {
	var r reply
	switch {
	case s.mail.sender != nil:
		r = protocolError(503, "5.5.1", "Error: MAIL transaction in progress")
	case len(args) < 2:
		r = protocolError(501, "5.5.4", "Syntax: %s attribute=value...", verb)
	case !allowed:
		r = policyError(550, "5.7.0", "Error: insufficient authorization")
	default:
		return nil
	}
	return &r
}

// badAttribute complains about a value.
func badAttribute(name, value string) *reply {
	r := protocolError(501, "5.5.4", "Bad %s syntax: %s", name, value)
	return &r
}

// cmdXFORWARD takes information for the log.
func (s *session) cmdXFORWARD(args []smtpwire.Token) reply {
	if r := s.mayForge("XFORWARD", s.xforwardAllowed, args); r != nil {
		return *r
	}
	list, r := s.attributes(args[1:])
	if r != nil {
		return *r
	}
	f := forward{name: unknown, addr: unknown, rfcAddr: unknown, port: unknown, protocol: unknown, namaddr: unknown}
	if s.mail.forward != nil {
		f = *s.mail.forward
	}
	for _, a := range list {
		if r := f.set(s.params, a[0], a[1]); r != nil {
			return *r
		}
	}
	if f.addr == unknown {
		f.namaddr = f.name
	} else {
		f.namaddr = f.name + "[" + f.addr + "]"
		if s.params.portLogging {
			f.namaddr += ":" + f.port
		}
	}
	s.mail.forward = &f
	return reply{code: 250, status: "2.0.0", text: "Ok"}
}

// set takes one attribute.
func (f *forward) set(p *params, name, value string) *reply {
	known := value != unavailable
	clean := neuter(value)
	switch name {
	case "NAME":
		if f.name = unknown; known {
			if !validName(clean) {
				return badAttribute(name, clean)
			}
			f.name = clean
		}
	case "ADDR":
		if f.addr, f.rfcAddr = unknown, unknown; known {
			ip, ok := p.mailhostAddress(clean)
			if !ok {
				return badAttribute(name, clean)
			}
			var c client
			c.setAddr(ip)
			f.addr, f.rfcAddr = c.addr, c.rfcAddr
		}
	case "PORT":
		if f.port = unknown; known {
			if !validPort(value) {
				return badAttribute(name, value)
			}
			f.port = value
		}
	case "HELO":
		if f.helo = ""; known {
			f.helo = clean
		}
	case "PROTO":
		if f.protocol = unknown; known {
			if len(value) > 64 {
				return badAttribute(name, value)
			}
			f.protocol = clean
		}
	case "IDENT":
		if f.ident = ""; known {
			f.ident = clean
		}
		return nil
	case "SOURCE":
		switch {
		case !known, strings.EqualFold(value, "LOCAL"):
			f.context = "local"
		case strings.EqualFold(value, "REMOTE"):
			f.context = "remote"
		default:
			return badAttribute(name, value)
		}
		return nil
	default:
		r := protocolError(501, "5.5.4", "Bad XFORWARD attribute name: %s", name)
		return &r
	}
	f.hasClient = true
	return nil
}
