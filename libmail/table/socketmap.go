package table

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Limits of the socketmap: protocol (socketmap_table(5)).
const (
	socketmapTimeout  = 100 * time.Second
	socketmapMaxReply = 100000
	socketmapMaxQuery = 10000
)

// A socketmap asks a server that serves several tables, in netstrings:
//
//	C: 26:virtual user@example.com ,
//	S: 8:OK value,    or NOTFOUND, TEMP reason, TIMEOUT reason, PERM reason
type socketmap struct {
	t     *front
	table string
	pool  pool
}

// openSocketmap opens socketmap:inet:host:port:table or
// socketmap:unix:path:table. The connection is made by the first lookup.
func openSocketmap(t *front, name string) (contents, error) {
	if t.o.Trust&NoServer != 0 {
		return nil, fmt.Errorf("socketmap:%s map is not allowed for security-sensitive data", name)
	}
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return nil, errors.New("socketmap requires server:socketmap argument")
	}
	server, table := name[:i], name[i+1:]
	network, addr, ok := strings.Cut(server, ":")
	var err error
	switch {
	case ok && network == "unix":
	case ok && network == "inet":
		network = "tcp"
		addr, err = hostPort(addr)
	default:
		err = fmt.Errorf("need inet:host:port or unix:path instead of %q", server)
	}
	if err != nil {
		return nil, err
	}
	return &socketmap{t: t, table: table, pool: pool{dial: dialer(network, addr)}}, nil
}

func (s *socketmap) get(key string) (string, bool, error) {
	limit := s.t.o.MaxQuery
	if limit <= 0 {
		limit = socketmapMaxQuery
	}
	if len(key) > limit { // such a key is in no table
		s.t.warn().Warning("table %s query too large: '%.100s', returning 'not found'", s.t.name, key)
		return "", false, nil
	}
	query := s.table + " " + key
	reply, dead, err := s.ask(strconv.Itoa(len(query)) + ":" + query + ",")
	if err != nil && dead { // a server that was restarted meanwhile
		s.pool.drop()
		reply, _, err = s.ask(strconv.Itoa(len(query)) + ":" + query + ",")
	}
	if err != nil {
		s.t.warn().Warning("table %s lookup error: %v", s.t.name, err)
		return "", false, err
	}
	return s.parse(reply)
}

// ask makes one exchange. dead says that a kept connection was at its end.
func (s *socketmap) ask(request string) (reply string, dead bool, err error) {
	c, err := s.pool.take()
	if err != nil {
		return "", false, err
	}
	c.deadline(socketmapTimeout)
	if _, err = io.WriteString(c, request); err == nil {
		reply, err = s.netstring(c)
	}
	if err != nil {
		c.Close() // it is of no use any more
		return "", c.reused && !errors.Is(err, errNetstring), err
	}
	s.pool.put(c)
	return reply, false, nil
}

var errNetstring = errors.New("netstring format error")

// netstring reads length:text,
func (s *socketmap) netstring(c *pooled) (string, error) {
	limit := s.t.o.MaxReply
	if limit <= 0 {
		limit = socketmapMaxReply
	}
	n := 0
	for digits := 0; ; digits++ {
		b, err := c.r.ReadByte()
		if err != nil {
			return "", err
		}
		if b == ':' && digits > 0 {
			break
		}
		if b < '0' || b > '9' {
			return "", errNetstring
		}
		if n = 10*n + int(b-'0'); n > limit {
			return "", fmt.Errorf("%w: reply is longer than %d bytes", errNetstring, limit)
		}
	}
	text := make([]byte, n+1)
	if _, err := io.ReadFull(c.r, text); err != nil {
		return "", err
	}
	if text[n] != ',' {
		return "", errNetstring
	}
	return string(text[:n]), nil
}

// parse reads a reply.
func (s *socketmap) parse(reply string) (string, bool, error) {
	word, text, _ := strings.Cut(reply, " ")
	class := map[string]string{"TEMP": "temporary", "TIMEOUT": "timeout", "PERM": "permanent"}[word]
	switch {
	case word == "OK":
		return text, true, nil
	case word == "NOTFOUND":
		return "", false, nil
	case class == "":
		class = "unknown"
	}
	err := fmt.Errorf("socketmap server %s error", class)
	if text = trimSpace(text); text != "" {
		err = fmt.Errorf("%w: %.200q", err, text)
	}
	s.t.warn().Warning("%s %v", s.t.name, err)
	return "", false, err
}

func (s *socketmap) close() error { return s.pool.close() }

func (s *socketmap) owner() Owner { return Owner{} }
