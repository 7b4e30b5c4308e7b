package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/table"
)

// facts prints what this build can do, one word a line.
func facts(m mode, out io.Writer) error {
	var words []string
	switch {
	case m&mapTypes != 0:
		words = table.Types()
	case m&locks != 0:
		words = []string{"flock", "fcntl", "dotlock"}
	case m&saslServer != 0:
		words = []string{"dovecot"}
	case m&saslClient != 0:
		words = []string{"cyrus"}
	}
	_, err := io.WriteString(out, strings.Join(words, "\n")+"\n")
	return err
}

// tlsFacts prints what is known about TLS. The library is part of the Go
// version that built us, so that both versions are one.
func tlsFacts(what string, out io.Writer) error {
	switch what {
	case "compile-version", "run-version":
		_, err := fmt.Fprintf(out, "crypto/tls %s\n", runtime.Version())
		return err
	case "public-key-algorithms":
		_, err := io.WriteString(out, "RSA\nEC\nED25519\n")
		return err
	}
	return fmt.Errorf("unknown 'postconf -T' mode: %s", what)
}

// bounceTexts runs the bounce program, which owns the templates.
func bounceTexts(o options, out io.Writer) error {
	if len(o.args) > 1 {
		return fmt.Errorf("options -b and -t require at most one template file")
	}
	c, err := conf.Load(o.dir)
	if err != nil {
		return err
	}
	service := "expand_templates"
	if o.mode&bounceTemplate != 0 {
		service = "dump_templates"
	}
	args := []string{"-S", "-V", "-n", service}
	if len(o.args) == 1 {
		args = append(args, "-o", "bounce_template_file="+o.args[0])
	}
	cmd := exec.Command(filepath.Join(c.DaemonDirectory(), "bounce"), args...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+o.dir)
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &complaints
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w %s", cmd.Path, err, strings.TrimSpace(complaints.String()))
	}
	return nil
}
