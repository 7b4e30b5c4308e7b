package proto

import (
	"fmt"
	"strings"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/ipc"
)

// The rewrite conversation: smtpd, cleanup, qmgr and local ask
// trivial-rewrite for the standard form of an address, and where its mail goes.
//
//	C: request=rewrite rule=local address=user
//	S: flags=0 address=user@example.com
//
//	C: request=resolve sender=a@example.org address=user@example.com
//	S: flags=0 transport=local nexthop=example.com recipient=user@example.com flags=256
//
// The first flags are the server's own (a changed configuration), the last
// the result's. request=verify resolves for address probes.

// Rewriting rules.
const (
	RuleLocal  = "local"   // complete with $myorigin and $mydomain
	RuleRemote = "remote"  // complete with $remote_header_rewrite_domain
	RuleInval  = "invalid" // complete with an invalid domain: .invalid
)

// ResolveFlags say what is known of a resolved address.
type ResolveFlags int

const (
	ResolveFinal  ResolveFlags = 1 << 0 // final delivery
	ResolveRouted ResolveFlags = 1 << 1 // source route or % or !
	ResolveError  ResolveFlags = 1 << 2 // bad destination syntax
	ResolveFail   ResolveFlags = 1 << 3 // no answer: try again later

	ClassLocal   ResolveFlags = 1 << 8  // mydestination, inet_interfaces
	ClassAlias   ResolveFlags = 1 << 9  // virtual_alias_domains
	ClassVirtual ResolveFlags = 1 << 10 // virtual_mailbox_domains
	ClassRelay   ResolveFlags = 1 << 11 // relay_domains
	ClassDefault ResolveFlags = 1 << 12 // everything else

	ClassFinal = ClassLocal | ClassAlias | ClassVirtual
	ClassMask  = ClassFinal | ClassRelay | ClassDefault
)

// Resolved says where mail for an address goes.
type Resolved struct {
	Flags     ResolveFlags
	Transport string // service name in master.cf
	Nexthop   string
	Recipient string // internal form
}

// A RewriteService answers the conversation. Where it has no answer, Rewrite
// returns an error and Resolve sets ResolveFail.
type RewriteService interface {
	Rewrite(rule, address string) (string, error)
	Resolve(sender, address string) Resolved
	ResolveProbe(sender, address string) Resolved
}

// A RewriteClient asks private/rewrite over kept connections.
type RewriteClient struct {
	IPC *ipc.Client
}

// NewRewriteClient talks to the service at path, usually
// "private/$rewrite_service_name".
func NewRewriteClient(path string, timeout time.Duration) *RewriteClient {
	return &RewriteClient{&ipc.Client{Path: path, Protocol: ProtocolRewrite, Timeout: timeout}}
}

// Rewrite brings an address, in external (quoted) form, into standard form.
// One that no rule changes, as most are, is its own answer.
func (c *RewriteClient) Rewrite(rule, address string) (result string, err error) {
	if isStandard(address) {
		return address, nil
	}
	var flags ResolveFlags
	err = c.IPC.Do(func(conn *ipc.Conn) error {
		out, in := conn.Out(), conn.In()
		out.Str("request", "rewrite")
		out.Str("rule", rule)
		out.Str("address", address)
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
		flags = ResolveFlags(in.Int("flags"))
		result = in.Str("address")
		in.End()
		return in.Err()
	})
	if err == nil && flags&ResolveFail != 0 {
		err = fmt.Errorf("rewrite %s: temporary failure", address)
	}
	return result, err
}

// Resolve finds the route of an address in internal form. An error means that
// there is no answer now.
func (c *RewriteClient) Resolve(sender, address string) (Resolved, error) {
	return c.resolve("resolve", sender, address)
}

// ResolveProbe is Resolve with the address_verify_* settings, for probes.
func (c *RewriteClient) ResolveProbe(sender, address string) (Resolved, error) {
	return c.resolve("verify", sender, address)
}

func (c *RewriteClient) resolve(request, sender, address string) (r Resolved, err error) {
	err = c.IPC.Do(func(conn *ipc.Conn) error {
		out, in := conn.Out(), conn.In()
		out.Str("request", request)
		out.Str("sender", sender)
		out.Str("address", address)
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
		in.Int("flags")
		r.Transport = in.Str("transport")
		r.Nexthop = in.Str("nexthop")
		r.Recipient = in.Str("recipient")
		r.Flags = ResolveFlags(in.Int("flags"))
		in.End()
		return in.Err()
	})
	if err == nil && r.Flags&ResolveFail != 0 {
		err = fmt.Errorf("resolve %s: temporary failure", address)
	}
	return r, err
}

// isStandard reports whether an address is words@domain.domain of letters,
// digits and what else no rule of trivial-rewrite looks at, whatever main.cf
// says. It may say no to others that would stay as they are.
func isStandard(address string) bool {
	local, domain, found := strings.Cut(address, "@")
	return found && dottedWords(local, "_+=") > 0 && dottedWords(domain, "") > 1
}

// dottedWords is the number of words in text between single dots; 0 when one
// is empty or has another character than letters, digits, hyphens and more.
func dottedWords(text, more string) int {
	words, empty := 0, true
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '.':
			if empty {
				return 0
			}
			words, empty = words+1, true
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', strings.IndexByte(more, b) >= 0:
			empty = false
		default:
			return 0
		}
	}
	if empty {
		return 0
	}
	return words + 1
}

// ServeRewrite runs the server's half until the client closes.
func ServeRewrite(conn *ipc.Conn, s RewriteService) error {
	return serve(conn, ProtocolRewrite, func(in *attr.Reader, out *attr.Writer) error {
		request := in.Str("request")
		switch request {
		case "rewrite":
			rule, address := in.Str("rule"), in.Str("address")
			in.End()
			if in.Err() != nil {
				break
			}
			result, err := s.Rewrite(rule, address)
			var flags ResolveFlags
			if err != nil { // the service logs why
				flags, result = ResolveFail, address
			}
			out.Int("flags", int64(flags))
			out.Str("address", result)
			out.End()
		case "resolve", "verify":
			sender, address := in.Str("sender"), in.Str("address")
			in.End()
			if in.Err() != nil {
				break
			}
			ask := s.Resolve
			if request == "verify" {
				ask = s.ResolveProbe
			}
			r := ask(sender, address)
			out.Int("flags", 0)
			out.Str("transport", r.Transport)
			out.Str("nexthop", r.Nexthop)
			out.Str("recipient", r.Recipient)
			out.Int("flags", int64(r.Flags))
			out.End()
		default:
			if in.Err() == nil {
				return fmt.Errorf("unknown request %.100q", request)
			}
		}
		return in.Err()
	})
}
