package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// options are what master, or a person, says on the command line.
type options struct {
	configDir    string
	service      string   // -n
	kind         string   // -t
	overrides    []string // -o, as "name=value"
	unprivileged bool     // -u
	chroot       bool     // -c
	stdio        bool     // -S
	verbose      int      // -v, as often as given
	sockets      int      // -s
	maxProc      int      // -m; 0: no limit, -1: default_process_limit
	args         []string // what follows the options
}

// withValue are the options that take a value. -e, -i and -r are Postfix's
// for other skeletons of its; they are accepted wherever it accepts them.
const withValue = "nosmtier"

// usage is what --help says; master(8) writes these command lines.
func usage(program string) string {
	return "usage: " + program + " [-l|-z|-m sessions] [-n service] [-t type] [-u] [-c] [-s sockets] [-S] [-v] [-o name=value]... [arguments]\n" +
		"It is started by master(8), as master.cf says."
}

// parseArgs reads a daemon's command line:
//
//	PROGRAM [-l|-z|-m N] [-n service] [-t type] [-u] [-c] [-s sockets] [-S]
//	        [-v] [-o name=value]... [arguments]
//
// They are Postfix's, as master passes them (-l: one session at a time,
// -z: any number); -m is ours.
func parseArgs(program string, argv []string) (options, error) {
	o := options{service: program, kind: "unix", sockets: 1, maxProc: -1, configDir: os.Getenv("MAIL_CONFIG")}
	if len(argv) > 0 {
		o.service = filepath.Base(argv[0])
	}
	if os.Getenv("MAIL_VERBOSE") != "" {
		o.verbose = 1
	}
	rest := argv[min(1, len(argv)):]
	for len(rest) > 0 {
		arg := rest[0]
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		rest = rest[1:]
		if arg == "--" {
			break
		}
		if strings.HasPrefix(arg, "--") {
			return o, fmt.Errorf("%s: no such option", arg)
		}
		var err error
		if rest, err = o.cluster(arg[1:], rest); err != nil {
			return o, err
		}
	}
	o.args = rest
	if o.sockets < 0 || o.sockets > 1000 {
		return o, fmt.Errorf("-s %d: not a number of sockets", o.sockets)
	}
	return o, nil
}

// cluster takes the letters of one argument, and a value from rest when the
// last one needs it.
func (o *options) cluster(letters string, rest []string) ([]string, error) {
	for i := 0; i < len(letters); i++ {
		letter := letters[i]
		if strings.IndexByte(withValue, letter) < 0 {
			if err := o.flag(letter); err != nil {
				return rest, err
			}
			continue
		}
		value := letters[i+1:]
		if value == "" {
			if len(rest) == 0 {
				return rest, fmt.Errorf("-%c: value missing", letter)
			}
			value, rest = rest[0], rest[1:]
		}
		return rest, o.value(letter, value)
	}
	return rest, nil
}

// flag takes an option without value.
func (o *options) flag(letter byte) error {
	switch letter {
	case 'c':
		o.chroot = true
	case 'u':
		o.unprivileged = true
	case 'S':
		o.stdio = true
	case 'v':
		o.verbose++
	case 'l':
		o.maxProc = 1
	case 'z':
		o.maxProc = 0
	case 'd', 'D', 'V': // Postfix's debugging aids: nothing of ours to switch
	default:
		return fmt.Errorf("-%c: no such option", letter)
	}
	return nil
}

// value takes an option with its value.
func (o *options) value(letter byte, value string) error {
	switch letter {
	case 'n':
		o.service = value
	case 't':
		o.kind = value
	case 'o':
		name, text, found := strings.Cut(value, "=")
		name = strings.TrimSpace(name)
		if !found || name == "" {
			return errors.New("-o " + value + ": name=value expected")
		}
		o.overrides = append(o.overrides, name+"="+strings.TrimSpace(text))
	case 's', 'm':
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("-%c %s: not a number", letter, value)
		}
		if letter == 's' {
			o.sockets = n
		} else {
			o.maxProc = n
		}
	}
	return nil
}
