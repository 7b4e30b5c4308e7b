// Imapd lets people read their mail by IMAP.
//
// # Synopsis
//
//	imapd [generic options of a daemon]
//	imapd -w -c directory
//
// # Description
//
// imapd is one program in two roles. As a service of master.cf it is the
// front: it has no rights, holds TLS, and knows the commands before login
// only. When authd says yes, it hands the client over, through userd, to a
// worker: imapd started with -w and with the user's rights, which serves the
// user's Maildir. All sessions of a user are in one worker and share what is
// known about a mailbox, so that each hears of the others' changes at once.
//
// The Maildir with its dovecot-uidlist, dovecot-keywords and subscriptions is
// the truth. postroad-index, beside them, only keeps what would be slow to
// find out again, and may be removed at any time.
//
// RFC 3501, RFC 2177 (IDLE), RFC 2342 (NAMESPACE), RFC 2971 (ID), RFC 3348
// (CHILDREN), RFC 3502 (MULTIAPPEND), RFC 3516 (BINARY), RFC 3691 (UNSELECT),
// RFC 4315 (UIDPLUS), RFC 4731 (ESEARCH), RFC 4959 (SASL-IR), RFC 5032
// (WITHIN), RFC 5161 (ENABLE), RFC 5182 (SEARCHRES), RFC 5255 (I18NLEVEL=1),
// RFC 5256 (SORT, THREAD), RFC 5258 (LIST-EXTENDED), RFC 5267 (ESORT), RFC
// 5819 (LIST-STATUS), RFC 5957 (SORT=DISPLAY), RFC 6154 (SPECIAL-USE), RFC
// 6851 (MOVE), RFC 6855 (UTF8=ACCEPT), RFC 7162 (CONDSTORE, QRESYNC), RFC 7888
// (LITERAL+), RFC 7889 (APPENDLIMIT), RFC 8438 (STATUS=SIZE), RFC 8970
// (PREVIEW), RFC 9208 (QUOTA).
//
// # Parameters
//
// auth_service_name, login_plaintext_auth, login_tls_cert_file,
// login_tls_chain_files, login_tls_key_file, login_tls_security_level,
// login_tls_wrappermode, message_size_limit, myhostname, userd_service_name.
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
	server.Run(server.Program{Name: "imapd", Open: f.open, Start: f.start})
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
	f.login = login.New(env.Conf, "imap")
	s := server.Inet(func(ctx context.Context, c net.Conn) { f.serve(ctx, login.NewClient(c)) })
	s.Changed = func() string {
		if f.tls.Stale() {
			return "certificate"
		}
		return ""
	}
	s.Panicked = func(c net.Conn) {
		_, _ = c.Write([]byte("* BYE [SERVERBUG] Internal error\r\n")) // the client may be gone
	}
	return s, nil
}
