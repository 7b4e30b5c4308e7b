package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"postroad/libmail/account"
)

// Limits on what strangers can make us do.
const (
	waitingLimit = 1000             // passwords that wait for a worker
	cacheLimit   = 10000            // right passwords remembered
	penaltyLimit = 10000            // addresses remembered
	penaltyMax   = 15 * time.Second // longest delay of an answer
	penaltyLife  = 2 * time.Minute  // an address is forgotten after that
	pairsKept    = 5                // wrong passwords of an address that do not count again
)

var errBusy = errors.New("too many passwords wait to be checked")

// checks checks passwords: a few at a time, as hashes are slow on purpose.
type checks struct {
	sources []source
	delay   time.Duration
	life    time.Duration
	workers chan struct{}
	waiting chan struct{}
	decoy   string // a hash that takes as long as a real one
	key     []byte // for what is remembered of passwords

	mu        sync.Mutex
	right     map[[32]byte]time.Time
	penalties map[netip.Prefix]*penalty
}

// A penalty is what an address has earned with wrong passwords.
type penalty struct {
	count int
	last  time.Time
	pairs [][32]byte // wrong pairs of user and password, the latest last
}

func newChecks(sources []source, life, delay time.Duration) *checks {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return &checks{sources: sources, delay: delay, life: life, key: key, decoy: account.Hash("decoy"),
		workers: make(chan struct{}, max(1, runtime.NumCPU())), waiting: make(chan struct{}, waitingLimit),
		right: map[[32]byte]time.Time{}, penalties: map[netip.Prefix]*penalty{}}
}

// find finds a user in the first source that knows the name.
func (c *checks) find(name string) (*identity, source, error) {
	err := errUnknown
	for _, s := range c.sources {
		who, e := s.find(name)
		if e == nil {
			return who, s, nil
		}
		if !errors.Is(e, errUnknown) && !errors.Is(e, errName) {
			err = e // somebody who may know can't be asked: nobody says no
		}
	}
	return nil, nil, err
}

// password checks a password. who is nil when it is wrong; an error means
// that nobody knows now. Users who do not exist cost a hash too.
func (c *checks) password(ctx context.Context, name, password string) (who *identity, err error) {
	who, from, err := c.find(name)
	if err != nil && !errors.Is(err, errUnknown) {
		return nil, err
	}
	var pair [32]byte
	if who != nil {
		pair = c.pair(name+"\x00"+who.stored, password)
	}
	if who != nil && c.remembered(pair) {
		return c.enabled(who), nil
	}
	select {
	case c.waiting <- struct{}{}:
		defer func() { <-c.waiting }()
	default:
		return nil, errBusy
	}
	select {
	case c.workers <- struct{}{}:
		defer func() { <-c.workers }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if who == nil {
		_, _ = account.Verify(password, c.decoy) // only the time counts
		return nil, nil
	}
	ok, err := from.check(who, password)
	if err != nil || !ok {
		return nil, err
	}
	c.remember(pair)
	return c.enabled(who), nil
}

// enabled is nobody for an account that may not log in.
func (c *checks) enabled(who *identity) *identity {
	if who.Disabled {
		return nil
	}
	return who
}

// pair stands for a user and a password in memory.
func (c *checks) pair(name, password string) (sum [32]byte) {
	m := hmac.New(sha256.New, c.key)
	m.Write([]byte(name + "\x00" + password))
	m.Sum(sum[:0])
	return sum
}

func (c *checks) remembered(pair [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.right[pair]
	return ok && time.Now().Before(until)
}

func (c *checks) remember(pair [32]byte) {
	if c.life <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.right) >= cacheLimit {
		clear(c.right)
	}
	c.right[pair] = time.Now().Add(c.life)
}

// forget drops all that is remembered of passwords.
func (c *checks) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.right)
}

// network is what an address is counted as: IPv4 alone, IPv6 by /48, as a
// site has that many.
func network(ip string) (netip.Prefix, bool) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Prefix{}, false
	}
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

// wrong says how late a wrong password is answered: the delay, doubled with
// each different wrong one that the address has tried lately. The same wrong
// password again, as from a phone that has an old one, does not double it.
func (c *checks) wrong(ip string, pair [32]byte) time.Duration {
	net, ok := network(ip)
	if !ok || c.delay <= 0 {
		return c.delay
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	p := c.penalties[net]
	if p == nil || now.Sub(p.last) > penaltyLife {
		if len(c.penalties) >= penaltyLimit {
			clear(c.penalties)
		}
		p = &penalty{}
		c.penalties[net] = p
	}
	p.last = now
	again := false
	for _, old := range p.pairs {
		again = again || old == pair
	}
	if !again {
		p.count++
		p.pairs = append(p.pairs, pair)
		if len(p.pairs) > pairsKept {
			p.pairs = p.pairs[1:]
		}
	}
	delay := c.delay
	for i := 1; i < p.count && delay < penaltyMax; i++ {
		delay *= 2
	}
	return min(delay, max(penaltyMax, c.delay))
}

// welcome clears what an address has earned.
func (c *checks) welcome(ip string) {
	if net, ok := network(ip); ok {
		c.mu.Lock()
		delete(c.penalties, net)
		c.mu.Unlock()
	}
}
