package main

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"postroad/libmail/getopt"
)

// A mode is a set of what the options ask for.
type mode uint32

const (
	saslServer mode = 1 << iota
	saslClient
	bounceExpanded
	class
	defaults
	edit
	fold
	fields
	hideName
	hideValue
	asJSON
	locks
	mapTypes
	entries
	explicit
	override
	mainCF
	params
	bounceTemplate
	tlsInfo
	expand
	remove
	comment
	allParams // -PP
)

// optionNames follow the order of the modes.
var optionNames = []string{"-a", "-A", "-b", "-C", "-d", "-e", "-f", "-F", "-h", "-H", "-j", "-l", "-m", "-M", "-n",
	"-o", "-p", "-P", "-t", "-T", "-x", "-X", "-#", "-PP"}

func (m mode) String() string {
	var names []string
	for i, n := range optionNames {
		if m&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " ")
}

// majors are the options that say what the command is about.
const majors = saslServer | saslClient | bounceExpanded | locks | mapTypes | bounceTemplate | mainCF | entries | fields | params | tlsInfo

// exclusive are sets of options of which only one may be given.
var exclusive = []mode{
	majors,
	allParams | edit | comment | remove,
	defaults | edit | explicit | comment | remove,
	fold | edit | comment | remove,
	expand | edit | comment | remove,
	override | defaults | edit | comment | remove,
	hideName | edit | comment | remove | hideValue,
}

// companions are the only options that an option may stand with.
var companions = map[mode]mode{
	saslServer: 0, saslClient: 0, bounceExpanded: 0, locks: 0, mapTypes: 0, tlsInfo: 0, bounceTemplate: 0,
	mainCF:    edit | remove | comment | fold | hideName | class | expand | defaults | explicit | override | hideValue | asJSON,
	entries:   edit | remove | comment | fold | override | expand | asJSON,
	fields:    edit | fold | hideName | override | expand | hideValue | asJSON,
	params:    edit | remove | fold | hideName | override | expand | hideValue | asJSON | allParams,
	allParams: fold | hideName | override | expand | hideValue | asJSON | params,
	asJSON:    mainCF | entries | fields | params | override | expand | explicit | defaults,
	class:     mainCF | defaults | explicit,
}

// options are the command line.
type options struct {
	mode      mode
	dir       string
	classes   classes
	overrides []string
	tls       string
	quiet     bool
	args      []string
}

const usage = "usage: postconf [-aAbdeEfFhHjlmMnpPqtvxX#] [-c config_dir] [-C class] [-o name=value] [-T what] [name...]"

// flagModes are the options without a value.
var flagModes = map[byte]mode{'a': saslServer, 'A': saslClient, 'b': bounceExpanded, 'd': defaults, 'e': edit, 'f': fold,
	'F': fields, '#': comment, 'h': hideName, 'H': hideValue, 'j': asJSON, 'l': locks, 'm': mapTypes, 'M': entries, 'n': explicit,
	'p': mainCF, 't': bounceTemplate, 'x': expand, 'X': remove}

// parseOptions reads the command line and refuses what contradicts itself.
func parseOptions(args []string) (options, error) {
	o := options{classes: anyClass}
	args, err := getopt.Parse(args, "aAbc:C:defFhHjlmMno:pPqtT:vxX#", func(letter byte, value string) error {
		if strings.IndexByte("cCoT", letter) >= 0 {
			return o.valued(letter, value)
		}
		o.flag(letter)
		return nil
	})
	if errors.Is(err, getopt.ErrUsage) {
		return o, getopt.Usage(err, usage)
	}
	if err != nil {
		return o, err
	}
	o.args = args
	if o.mode&majors == 0 {
		o.mode |= mainCF
	}
	if o.mode&(mainCF|entries|fields|params) != 0 && len(args) > 0 && strings.Contains(args[0], "=") {
		o.mode |= edit
	}
	return o, o.check()
}

func (o *options) flag(letter byte) {
	switch m, known := flagModes[letter]; {
	case known:
		o.mode |= m
	case letter == 'P' && o.mode&params != 0:
		o.mode |= allParams
	case letter == 'P':
		o.mode |= params
	case letter == 'q':
		o.quiet = true
	} // -v has nothing more to tell
}

func (o *options) valued(letter byte, value string) error {
	switch letter {
	case 'c':
		o.dir = value
	case 'C':
		o.mode |= class
		var ok bool
		if o.classes, ok = parseClasses(value); !ok {
			return fmt.Errorf("option -C: bad class %q: the choice is builtin, service, user, all", value)
		}
	case 'o':
		o.mode |= override
		o.overrides = append(o.overrides, value)
	case 'T':
		if o.mode&tlsInfo != 0 {
			return errors.New("option -T can be given once")
		}
		o.mode |= tlsInfo
		o.tls = value
	}
	return nil
}

func (o *options) check() error {
	for _, set := range exclusive {
		if both := set & o.mode; bits.OnesCount32(uint32(both)) > 1 {
			return fmt.Errorf("specify one of %s", both)
		}
	}
	for i := range optionNames {
		m := mode(1) << i
		allowed, limited := companions[m]
		if excess := o.mode &^ (m | allowed); limited && o.mode&m != 0 && excess != 0 {
			return fmt.Errorf("with option %s, do not specify %s", m, excess)
		}
	}
	changes := o.mode & (edit | comment | remove)
	switch {
	case o.mode&edit != 0 && len(o.args) == 0:
		return errors.New("-e requires name=value argument")
	case changes != 0 && len(o.args) == 0:
		return errors.New("missing service or parameter argument")
	}
	return nil
}
