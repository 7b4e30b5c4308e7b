// Pop3d lets people read their mail by POP3.
//
// # Synopsis
//
//	pop3d [generic options of a daemon]
//	pop3d -w -c directory
//
// # Description
//
// pop3d is one program in two roles. As a service of master.cf it is the
// front: it has no rights, holds TLS, and knows the commands before login
// only. When authd says yes, it hands the client over, through userd, to a
// worker: pop3d started with -w and with the user's rights, which serves the
// user's Maildir.
//
// A message is deleted at QUIT, never before.
//
// RFC 1939, RFC 2449 (CAPA, PIPELINING, RESP-CODES, EXPIRE), RFC 2595 (STLS),
// RFC 3206 (SYS, AUTH), RFC 5034 (AUTH), RFC 6856 (UTF8).
//
// # Parameters
//
// auth_service_name, login_plaintext_auth, login_tls_cert_file,
// login_tls_chain_files, login_tls_key_file, login_tls_security_level,
// login_tls_wrappermode, myhostname, pop3_uidl_format, userd_service_name.
package main

import (
	"context"
	"net"
	"os"

	"postroad/libmail/login"
	"postroad/libmail/server"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-w" {
		work(os.Args[2:])
		return
	}
	f := &front{}
	server.Run(server.Program{Name: "pop3d", Open: f.open, Start: f.start})
}

// A front is the program before login.
type front struct {
	env   *server.Env
	login *login.Front
	tls   *login.TLS
	name  string // myhostname
}

func (f *front) open(env *server.Env) (err error) {
	f.env = env
	f.name = env.Conf.String("myhostname")
	f.tls, err = login.OpenTLS(env.Conf, env.Log)
	return err
}

func (f *front) start(env *server.Env) (server.Service, error) {
	f.login = login.New(env.Conf, "pop3")
	s := server.Inet(func(ctx context.Context, c net.Conn) { f.serve(ctx, login.NewClient(c)) })
	s.Changed = func() string {
		if f.tls.Stale() {
			return "certificate"
		}
		return ""
	}
	s.Panicked = func(c net.Conn) {
		_, _ = c.Write([]byte("-ERR [SYS/TEMP] internal error\r\n")) // the client may be gone
	}
	return s, nil
}
