// Package sasl is authentication mechanisms (RFC 4422).
package sasl

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// Security is what a mechanism must offer to be used; a set
// (smtp_sasl_security_options).
type Security uint8

// The security options.
const (
	NoPlaintext    Security = 1 << iota // the password is not sent as it is
	NoActive                            // a third party in the middle gains nothing
	NoDictionary                        // what is sent gives no hold for guessing the password
	NoAnonymous                         // somebody in particular logs in
	ForwardSecrecy                      // a broken session does not break the next
	MutualAuth                          // the server proves that it knows the password
)

var securityNames = map[string]Security{
	"noplaintext": NoPlaintext, "noactive": NoActive, "nodictionary": NoDictionary,
	"noanonymous": NoAnonymous, "forward_secrecy": ForwardSecrecy, "mutual_auth": MutualAuth,
}

// ParseSecurity reads a list of options. A word that is none is an error.
func ParseSecurity(list []string) (Security, error) {
	var s Security
	for _, w := range list {
		bit, ok := securityNames[strings.ToLower(w)]
		if !ok {
			return 0, fmt.Errorf("SASL security option %q: not known", w)
		}
		s |= bit
	}
	return s, nil
}

// A mechanism is one way for a client to log in.
type mechanism struct {
	name   string
	offers Security
	start  func(user, password string) (conversation, error)
}

// A conversation answers the server's challenges. The first challenge of a
// mechanism in which the client speaks first is nil.
type conversation func(challenge []byte) (response []byte, err error)

// mechanisms are those that a client knows, the best first.
var mechanisms = []mechanism{
	{"SCRAM-SHA-256", NoPlaintext | NoActive | NoAnonymous | MutualAuth, scramWith(scram.SHA256)},
	{"SCRAM-SHA-1", NoPlaintext | NoActive | NoAnonymous | MutualAuth, scramWith(scram.SHA1)},
	{"CRAM-MD5", NoPlaintext | NoAnonymous, cramMD5},
	{"PLAIN", NoAnonymous, plain},
	{"LOGIN", NoAnonymous, login},
}

// speaksFirst are the mechanisms that begin with the client.
var speaksFirst = map[string]bool{"SCRAM-SHA-256": true, "SCRAM-SHA-1": true, "PLAIN": true}

// ErrNoMechanism means that the server offers no mechanism that the client
// knows and that is good enough.
var ErrNoMechanism = errors.New("no mechanism available")

// A Client is one login at a server.
type Client struct {
	Mechanism string
	next      conversation
}

// NewClient begins a login with the best of the offered mechanisms, whose
// names have no case.
func NewClient(offered []string, user, password string, needs Security) (*Client, error) {
	for _, m := range mechanisms {
		for _, o := range offered {
			if !strings.EqualFold(o, m.name) || m.offers&needs != needs {
				continue
			}
			next, err := m.start(user, password)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			return &Client{m.name, next}, nil
		}
	}
	return nil, ErrNoMechanism
}

// First returns the initial response; ok is false when the server begins
// (RFC 4422 §3.3).
func (c *Client) First() (response []byte, ok bool, err error) {
	if !speaksFirst[c.Mechanism] {
		return nil, false, nil
	}
	response, err = c.next(nil)
	return response, true, err
}

// Next answers a challenge. An error means that the server is not what it
// should be: the login must be given up.
func (c *Client) Next(challenge []byte) (response []byte, err error) {
	return c.next(challenge)
}

// plain is RFC 4616, without an authorization identity.
func plain(user, password string) (conversation, error) {
	if strings.ContainsRune(user+password, 0) {
		return nil, errors.New("user name or password has a NUL")
	}
	return once([]byte("\x00" + user + "\x00" + password)), nil
}

// once answers the first challenge and refuses another.
func once(response []byte) conversation {
	done := false
	return func([]byte) ([]byte, error) {
		if done {
			return nil, errors.New("server asks again")
		}
		done = true
		return response, nil
	}
}

// login is the LOGIN mechanism of old servers: user name, then password,
// whatever the prompts say.
func login(user, password string) (conversation, error) {
	answers := []string{user, password}
	return func([]byte) ([]byte, error) {
		if len(answers) == 0 {
			return nil, errors.New("server asks again")
		}
		answer := answers[0]
		answers = answers[1:]
		return []byte(answer), nil
	}, nil
}

// cramMD5 is RFC 2195.
func cramMD5(user, password string) (conversation, error) {
	done := false
	return func(challenge []byte) ([]byte, error) {
		if done {
			return nil, errors.New("server asks again")
		}
		done = true
		mac := hmac.New(md5.New, []byte(password))
		mac.Write(challenge)
		return []byte(user + " " + hex.EncodeToString(mac.Sum(nil))), nil
	}, nil
}

// scramWith is RFC 5802 and RFC 7677, without channel binding.
func scramWith(hash scram.HashGeneratorFcn) func(user, password string) (conversation, error) {
	return func(user, password string) (conversation, error) {
		client, err := hash.NewClient(user, password, "")
		if err != nil {
			return nil, err
		}
		conv := client.NewConversation()
		return func(challenge []byte) ([]byte, error) {
			if iterations(challenge) > maxIterations {
				return nil, errors.New("server asks for too many iterations")
			}
			response, err := conv.Step(string(challenge))
			return []byte(response), err
		}, nil
	}
}

// maxIterations bounds the work that a server can ask for.
const maxIterations = 1 << 20

// iterations reads the iteration count of a server-first-message (RFC 5802
// §5.1), or 0.
func iterations(challenge []byte) int {
	for _, attr := range strings.Split(string(challenge), ",") {
		if text, ok := strings.CutPrefix(attr, "i="); ok {
			if n, err := strconv.Atoi(text); err == nil {
				return n
			}
			return maxIterations + 1
		}
	}
	return 0
}
