package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/proto"
)

// command runs a command with the rights of the user's account, with the
// message on its standard input.
func (d *delivery) command(u *mailUser, text string) (final bool) {
	if d.m.TraceOnly() {
		return d.report(u.recipient, dsn.Outcome{Status: "2.0.0", Reason: "delivers to command: " + text})
	}
	dir := "."
	if d.commandDir != "" {
		path, ok := d.expand(u, d.commandDir, d.commandDirFilter)
		if !ok {
			return d.fail(u.recipient, "4.3.5", "command_execution_directory: bad value for %s", u.user)
		}
		dir = path
	}
	r, err := d.mda.Ask(u.account, nil, &proto.MDARequest{
		Action: proto.MDACommand, Command: text, Shell: d.shell, Dir: dir, Env: d.environment(u),
		Head: d.head(u.recipient, "command"), Offset: d.m.Offset, Limit: d.commandLimit,
	}, d.m.File.File())
	if err != nil {
		return d.fail(u.recipient, "4.3.0", "command %q: %v", text, err)
	}
	return d.report(u.recipient, r.Outcome)
}

// environment is all that a command finds in its environment. Values that
// come from a peer keep only what command_expansion_filter allows.
func (d *delivery) environment(u *mailUser) []string {
	env := []string{"PATH=/usr/bin:/bin"}
	if u.account.Name != d.defaultPrivs { // that is nobody's home
		env = append(env, "HOME="+u.account.Home)
		if u.account.Shell != "" {
			env = append(env, "SHELL="+u.account.Shell)
		}
	}
	for _, v := range []struct{ name, value string }{
		{"LOGNAME", cmp.Or(u.user, u.account.Name)},
		{"USER", cmp.Or(u.user, u.account.Name)},
		{"SENDER", addr.Quote(u.sender)},
		{"RECIPIENT", addr.Quote(u.rcpt.Address)},
		{"ORIGINAL_RECIPIENT", addr.Quote(u.rcpt.Orig)},
		{"LOCAL", u.local},
		{"DOMAIN", u.domain},
		{"EXTENSION", u.ext},
		{"ENVID", d.m.EnvelopeID},
		{"CLIENT_HOSTNAME", d.m.Client.Name},
		{"CLIENT_ADDRESS", d.m.Client.Addr},
		{"CLIENT_HELO", d.m.Client.Helo},
		{"CLIENT_PROTOCOL", d.m.Client.Proto},
		{"SASL_METHOD", d.m.SASL.Method},
		{"SASL_SENDER", d.m.SASL.Sender},
		{"SASL_USERNAME", d.m.SASL.Username},
	} {
		if v.value != "" || v.name == "SENDER" {
			env = append(env, v.name+"="+filtered(v.value, d.commandFilter))
		}
	}
	return append(env, d.exports()...)
}

// exports is what export_environment lets through: NAME=value sets, NAME passes
// on what we have.
func (d *delivery) exports() []string {
	var env []string
	for _, e := range d.exported {
		if strings.Contains(e, "=") {
			env = append(env, e)
		} else if v, ok := os.LookupEnv(e); ok {
			env = append(env, fmt.Sprintf("%s=%s", e, v))
		}
	}
	return env
}
