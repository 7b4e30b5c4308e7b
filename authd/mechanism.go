package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"postroad/libmail/account"
)

// A mechanism is one way to log in (RFC 4422).
type mechanism struct {
	words string // of the MECH line: what it does and does not protect
	begin func(*exchange) step
}

// A step takes the client's response and gives the next challenge; it ends
// the exchange by setting done or failed.
type step func(ctx context.Context, response []byte) (challenge []byte, next step)

// mechanisms is all that auth_mechanisms may name.
var mechanisms = map[string]mechanism{
	"PLAIN":         {"plaintext", beginPlain},
	"LOGIN":         {"plaintext", beginLogin},
	"SCRAM-SHA-256": {"mutual-auth", beginSCRAM("SCRAM-SHA-256", scram.SHA256)},
	"SCRAM-SHA-1":   {"mutual-auth", beginSCRAM("SCRAM-SHA-1", scram.SHA1)},
}

// An exchange is one login under way.
type exchange struct {
	a    *authd
	ip   string
	who  *identity // set when the login is right
	name string    // as the client says, for the log
	pair [32]byte  // for the penalty
	err  error     // nobody knows now
}

// verify checks a user's password.
func (x *exchange) verify(ctx context.Context, name, password string) {
	x.name = name
	x.pair = x.a.checks.pair(name, password)
	x.who, x.err = x.a.checks.password(ctx, name, password)
}

// beginPlain is PLAIN (RFC 4616): authorization identity NUL name NUL
// password. To act as somebody else is refused.
func beginPlain(x *exchange) step {
	return func(ctx context.Context, response []byte) ([]byte, step) {
		f := bytes.Split(response, []byte{0})
		if len(f) != 3 || len(f[1]) == 0 || !utf8.Valid(response) {
			return nil, nil
		}
		if len(f[0]) > 0 && !bytes.Equal(f[0], f[1]) {
			x.name = string(f[1])
			return nil, nil
		}
		x.verify(ctx, string(f[1]), string(f[2]))
		return nil, nil
	}
}

// beginLogin is LOGIN: name and password, each after a prompt. The name may
// come with the AUTH command.
func beginLogin(x *exchange) step {
	password := func(name string) step {
		return func(ctx context.Context, response []byte) ([]byte, step) {
			if name != "" && utf8.ValidString(name) {
				x.verify(ctx, name, string(response))
			}
			return nil, nil
		}
	}
	var ask step
	ask = func(_ context.Context, response []byte) ([]byte, step) {
		return []byte("Password:"), password(string(response))
	}
	return func(ctx context.Context, response []byte) ([]byte, step) {
		if len(response) == 0 {
			return []byte("Username:"), ask
		}
		return ask(ctx, response)
	}
}

// decoyIterations is what users who do not exist seem to have.
const decoyIterations = 4096

// beginSCRAM is SCRAM (RFC 5802, RFC 7677) without channel binding. Users who
// do not exist, or have no keys, get a salt that stays the same for each name.
func beginSCRAM(name string, hash scram.HashGeneratorFcn) func(*exchange) step {
	return func(x *exchange) step {
		var found *identity
		lookup := func(user string) (scram.StoredCredentials, error) {
			x.name = user
			x.pair = x.a.checks.pair(user, "scram")
			who, _, err := x.a.checks.find(user)
			if err != nil && !errors.Is(err, errUnknown) {
				x.err = err
				return scram.StoredCredentials{}, err
			}
			var keys account.SCRAM
			ok := false
			if who != nil {
				keys, ok = who.SCRAM[name]
			}
			if !ok {
				keys = account.NewSCRAM(name, string(x.a.secret), x.a.decoySalt(user), decoyIterations)
			} else {
				found = x.a.checks.enabled(who)
			}
			return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(keys.Salt), Iters: keys.Iterations},
				StoredKey: keys.StoredKey, ServerKey: keys.ServerKey}, nil
		}
		server, err := hash.NewServer(lookup)
		if err != nil {
			x.err = err
			return func(context.Context, []byte) ([]byte, step) { return nil, nil }
		}
		talk := server.NewConversation()
		var on step
		on = func(_ context.Context, response []byte) ([]byte, step) {
			if talk.Done() { // the client has seen our signature
				if talk.Valid() {
					x.who = found
				}
				return nil, nil
			}
			challenge, err := talk.Step(string(response))
			if err != nil || talk.Done() && !talk.Valid() {
				return nil, nil
			}
			return []byte(challenge), on
		}
		return on
	}
}

// decoySalt is the salt of a user who does not exist.
func (a *authd) decoySalt(user string) []byte {
	m := hmac.New(sha256.New, a.secret)
	m.Write([]byte(strings.ToLower(user)))
	return m.Sum(nil)[:16]
}
