package main

import (
	"bufio"
	"net"
	"testing"
	"time"
)

// TestFirstRequest: the time of the first request begins with the connection,
// so that a server under stress (smtpd_per_request_deadline) greets.
func TestFirstRequest(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	x := newWire(ours, func() pace { return pace{timeout: time.Minute, requests: true} }, &contentBuffers{})
	defer ours.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := x.w.WriteString("220 mx.example.com ESMTP\r\n")
		if err == nil {
			err = x.w.Flush()
		}
		sent <- err
	}()
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(theirs).ReadString('\n') // an error leaves it short
		line <- text
	}()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := <-line; got != "220 mx.example.com ESMTP\r\n" {
		t.Errorf("got %q", got)
	}
}
