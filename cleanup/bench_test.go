package main

import (
	"strings"
	"testing"
)

// BenchmarkAccept puts messages of 4 KiB through cleanup, 20 at a time, as
// smtpd sends them.
func BenchmarkAccept(b *testing.B) {
	u := newBench(b, nil)
	m := submission{external, "T 1700000000 123456\nA log_ident=X\nA rewrite_context=remote\nS a@example.org\nA log_client_name=client\nA log_client_address=192.0.2.1\nA log_client_port=25\n" +
		"A log_message_origin=client[192.0.2.1]\nA log_helo_name=helo.example\nA log_protocol_name=ESMTP\nA client_name=client\nA reverse_client_name=client\nA client_address=192.0.2.1\nA client_port=25\nA server_address=1\nA server_port=25\nA helo_name=h\nA protocol_name=ESMTP\nA client_address_type=2\n" +
		"A dsn_orig_rcpt=rfc822;u@example.com\nO u@example.com\nR u@example.com\nM\nN Received: from x\nN \tby y\nN From: <a@b>\nN To: <c@d>\nN Date: now\nN Message-Id: <x@y>\nN Subject: performance\nN\n" +
		strings.Repeat("N xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 57) + "X\nE"}
	records := m.records()
	b.SetParallelism(10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s, err := u.newSession(m.flags)
			if err != nil {
				b.Fatal(err)
			}
			for _, x := range records {
				s.Record(x.t, []byte(x.data))
			}
			if status, reason := s.Finish(); status != 0 {
				b.Fatal(status, reason)
			}
			u.spool.Remove("incoming", s.id)
		}
	})
}
