package main

import (
	"fmt"
	"strconv"
	"sync"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// batchSize is how many bytes of records go to cleanup in one write.
const batchSize = 64 << 10

// A destination takes a message: cleanup, or the postdrop command when a user
// without privileges runs us (sendmail -bs).
type destination interface {
	Records(batch []byte) // encoded ones; the first error is kept
	Finish() (status int, reason string, err error)
	Abort()
}

// A queueFile is a message on its way into the queue, record by record.
type queueFile struct {
	id    string
	to    destination
	batch []byte
	pool  *sync.Pool
}

func newQueueFile(id string, to destination, pool *sync.Pool) *queueFile {
	return &queueFile{id: id, to: to, pool: pool}
}

// put adds a record. Errors show at finish.
func (q *queueFile) put(t record.Type, data string) {
	q.room(len(data))
	q.batch = record.AppendString(q.batch, t, data)
}

func (q *queueFile) putBytes(t record.Type, data []byte) {
	q.room(len(data))
	q.batch = record.Append(q.batch, t, data)
}

// room sends the batch when another record does not fit.
func (q *queueFile) room(n int) {
	if len(q.batch)+n+8 > batchSize && len(q.batch) > 0 {
		q.send()
	}
}

func (q *queueFile) send() {
	q.to.Records(q.batch)
	q.batch = q.batch[:0]
}

// attr adds a named attribute, also an empty one.
func (q *queueFile) attr(name, value string) {
	q.room(len(name) + 1 + len(value))
	q.batch = record.AppendString(q.batch, record.Attr, name+"="+value)
}

// content makes room for the message itself: the batch of an envelope is small.
func (q *queueFile) content() {
	if cap(q.batch) >= batchSize {
		return
	}
	large, ok := q.pool.Get().(*[]byte)
	if !ok {
		b := make([]byte, 0, batchSize)
		large = &b
	}
	q.batch = append((*large)[:0], q.batch...)
}

// finish ends the message and waits for the verdict. Only status 0 without an
// error means that the message is in the queue, on stable storage.
func (q *queueFile) finish() (status int, reason string, err error) {
	q.send()
	q.release()
	return q.to.Finish()
}

// abort drops the message.
func (q *queueFile) abort() {
	q.release()
	q.to.Abort()
}

func (q *queueFile) release() {
	if cap(q.batch) >= batchSize {
		b := q.batch[:0]
		q.pool.Put(&b)
	}
	q.batch = nil
}

// openQueue asks cleanup for a queue file and writes what is known by now.
func (s *session) openQueue() *reply {
	var err error
	if s.alone {
		s.mail.queue, err = s.openPostdrop()
	} else {
		s.mail.queue, err = s.openCleanup()
	}
	if err != nil {
		s.log.Warning("%v", err)
		r := say(451, "4.3.0", "Error: queue file write error")
		r.class = resourceTrouble
		return &r
	}
	s.mail.id = s.mail.queue.id
	s.writeEnvelope()
	s.log.Queued(s.mail.id, s.client.namaddr, s.origin())
	return nil
}

func (s *session) openCleanup() (*queueFile, error) {
	flags := s.params.cleanupFlags
	switch {
	case s.mail.utf8:
		flags |= proto.CleanupUTF8
	case s.params.autoUTF8:
		flags |= proto.CleanupAutoUTF8
	}
	if s.mail.reqTLS {
		flags |= proto.CleanupReqTLS
	}
	sub, err := s.cleanup.Open(flags)
	if err != nil {
		return nil, fmt.Errorf("unable to connect to the cleanup service: %w", err)
	}
	return newQueueFile(sub.ID, sub, &s.batches), nil
}

// writeEnvelope writes the records that come before the recipients.
func (s *session) writeEnvelope() {
	m, q := &s.mail, s.mail.queue
	if !s.alone {
		q.put(record.Time, fmt.Sprintf("%d %d", m.arrival.Unix(), m.arrival.Nanosecond()/1000))
		if s.params.contentFilter != "" {
			q.put(record.Filter, s.params.contentFilter)
		}
		q.attr("log_ident", s.forwarded().ident)
		q.attr("rewrite_context", s.forwarded().context)
		for _, a := range s.saslAttributes() {
			q.attr(a[0], a[1])
		}
		if m.envid != "" {
			q.attr("envelope_id", m.envid)
		}
		if m.ret != 0 {
			q.attr("ret_flags", strconv.Itoa(int(m.ret)))
		}
	}
	q.put(record.Sender, *m.sender)
	if m.encoding != "" {
		q.attr("encoding", m.encoding)
	}
	if !s.alone {
		s.writeClient()
	}
	if m.verp != "" {
		q.put(record.Verp, m.verp)
	}
}

// writeClient writes who sent the message: as the log and later hosts shall
// see it, and as filters shall. Unknown values are written too, so that nobody
// takes the message for one from this host.
func (s *session) writeClient() {
	q, c, f := s.mail.queue, &s.client, s.forwarded()
	q.attr("log_client_name", f.name)
	q.attr("log_client_address", f.addr)
	q.attr("log_client_port", f.port)
	q.attr("log_message_origin", f.namaddr)
	if f.helo != "" {
		q.attr("log_helo_name", f.helo)
	}
	q.attr("log_protocol_name", f.protocol)

	q.attr("client_name", c.name)
	q.attr("reverse_client_name", c.reverseName)
	q.attr("client_address", c.addr)
	q.attr("client_port", c.port)
	q.attr("server_address", c.serverAddr)
	q.attr("server_port", c.serverPort)
	if s.helo != "" {
		q.attr("helo_name", s.helo)
	}
	q.attr("protocol_name", s.protocol)
	q.attr("client_address_type", strconv.Itoa(c.family))
}

// saslAttributes are the name-value pairs about authentication.
func (s *session) saslAttributes() [][2]string {
	var list [][2]string
	for _, a := range [][2]string{{"sasl_method", s.sasl.method}, {"sasl_username", s.sasl.user}, {"sasl_sender", s.mail.auth}} {
		if a[1] != "" {
			list = append(list, a)
		}
	}
	return list
}

// origin is what follows the client in the line that begins a message.
func (s *session) origin() string {
	text := ""
	for _, a := range s.saslAttributes() {
		text += ", " + a[0] + "=" + maillog.Printable(a[1])
	}
	if f := s.mail.forward; f != nil {
		if f.ident != "" {
			text += ", orig_queue_id=" + f.ident
		}
		if f.hasClient {
			text += ", orig_client=" + f.namaddr
		}
	}
	return text
}
