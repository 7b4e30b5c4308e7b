// Package getopt is the options of commands, as getopt(3) reads them.
package getopt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUsage reports an option that there is not, or that lacks its value.
var ErrUsage = errors.New("usage")

// Parse calls each for every option in args, which do not begin with the
// program's name, and returns the arguments after the options. The letters of
// spec are the options; ':' follows one that takes a value, in the same
// argument ("-cDIR") or the next. Options end at the first argument that is
// none, or at "--". An error of each ends the parsing and is returned.
func Parse(args []string, spec string, each func(option byte, value string) error) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			return args[1:], nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			return args, nil
		}
		args = args[1:]
		for cluster := arg[1:]; cluster != ""; {
			option := cluster[0]
			cluster = cluster[1:]
			i := strings.IndexByte(spec, option)
			if option == ':' || i < 0 {
				if strings.HasPrefix(arg, "--") {
					return nil, fmt.Errorf("%w: unrecognized option '%s'", ErrUsage, arg)
				}
				return nil, fmt.Errorf("%w: invalid option -- '%c'", ErrUsage, option)
			}
			value := ""
			if strings.HasPrefix(spec[i+1:], ":") {
				switch {
				case cluster != "":
					value, cluster = cluster, ""
				case len(args) > 0:
					value, args = args[0], args[1:]
				default:
					return nil, fmt.Errorf("%w: option requires an argument -- '%c'", ErrUsage, option)
				}
			}
			if err := each(option, value); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// Usage makes of an error of Parse what a command says about it: its usage
// text, and the option that is wrong. An error of each stays what it is, and a
// nil err is a command line without the right number of arguments.
func Usage(err error, text string) error {
	if err != nil && !errors.Is(err, ErrUsage) {
		return err
	}
	if err == nil || err == ErrUsage {
		return errors.New(text)
	}
	return fmt.Errorf("%s (%s)", text, strings.TrimPrefix(err.Error(), ErrUsage.Error()+": "))
}

// HelpAsked reports whether the command line is nothing but one of the forms
// that ask for help: "--help", and "-h" where that is no other option.
func HelpAsked(args []string, forms ...string) bool {
	return len(args) == 1 && slices.Contains(forms, args[0])
}

// Help is the answer to "--help": the usage text, and where to read on.
func Help(usage, page string) string {
	return usage + "\nThe manual page " + page + " says the rest.\n"
}
