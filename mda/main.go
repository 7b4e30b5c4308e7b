// Mda delivers messages as their recipient: the helper of local(8) and
// virtual(8).
//
// # Synopsis
//
//	mda [-w DIRECTORY]...
//
// # Description
//
// local and virtual start mda with the rights of one user and with a socket
// as descriptor 3. Each request on it names one delivery, to a Maildir, an
// mbox file or a command, and comes with the open queue file; mda makes the
// delivery durable before it replies. It also reads .forward and :include:
// files. It reads no configuration and writes no log.
//
// With -w, mda shuts itself in: it can write below those directories only,
// and run nothing. Without it, it can do what the user can, which is what a
// user's commands need.
//
// It ends when its client closes the socket.
package main

import (
	"fmt"
	"os"
	"time"

	"postroad/libmail/getopt"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
)

// patience bounds how long a client may take in the middle of a request.
const patience = time.Hour

const usage = "usage: mda [-w directory]...; it is started by local and virtual"

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage, "mda(8)"))
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "mda: fatal: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var write []string
	for ; len(args) >= 2 && args[0] == "-w"; args = args[2:] {
		write = append(write, args[1])
	}
	if len(args) > 0 {
		return getopt.Usage(fmt.Errorf("%w: unrecognized option '%s'", getopt.ErrUsage, args[0]), usage)
	}
	conn, err := privs.HelperConn()
	if err != nil {
		return err
	}
	if len(write) > 0 {
		box := privs.Sandbox{Write: write, Read: []string{"/etc/localtime", "/usr/share/zoneinfo"}, NoTCP: true}
		if _, err := box.Enforce(); err != nil {
			return err
		}
	}
	m := &mailman{}
	return proto.ServeMDA(ipc.NewConn(conn, patience), m.do)
}
