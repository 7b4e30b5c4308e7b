package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/smtpwire"
)

// A mode is what the command is asked to do.
type mode int

const (
	enqueue mode = iota
	aliases
	list
	daemon
	smtp // on standard input
	flush
	nothing
)

// noRecipients is the name of a mode, for complaints, when it takes no
// recipients.
func (m mode) noRecipients(o *options) string {
	switch m {
	case enqueue:
		switch {
		case o.flushSite != "":
			return "flush site"
		case o.flushID != "":
			return "flush queue_id"
		}
		return ""
	case list:
		return "display queue mode"
	case flush:
		return "flush queue mode"
	case daemon:
		return "daemon mode"
	case aliases:
		return "alias initialization mode"
	case smtp:
		return "stand-alone mode"
	}
	return ""
}

// options are what the command line says.
type options struct {
	mode       mode
	recipients []string
	sender     string
	senderSet  bool
	fullName   string
	encoding   string
	context    string // rewriting rule for header addresses
	extract    bool   // -t
	ignoreDot  bool   // -i
	trace      int    // flags of a delivery request: -bv, -v
	notify     smtpwire.Notify
	ret        int
	envelopeID string
	verp       string
	sendOpts   int
	aliasFile  string
	flushSite  string
	flushID    string
	queueTime  bool // -q30m
	verbose    int
}

// letters are the options of sendmail, with ':' after those that have a value.
const letters = "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx"

// verboseArgs passes -v on.
func (o *options) verboseArgs() []string {
	var args []string
	for range o.verbose {
		args = append(args, "-v")
	}
	return args
}

// configDir looks for -C before anything else is known.
func configDir(args []string) (dir string) {
	find := func(option byte, value string) error {
		if option == 'C' {
			if dir = value; filepath.Base(value) == "main.cf" {
				dir = filepath.Dir(value)
			}
		}
		return nil
	}
	// What is wrong with the options shows when they are read for good.
	_, _ = scan(args, nil, find)
	return dir
}

// scan is getopt with what getopt cannot: -q and -XV without a value, and the
// old forms of -XV. odd, which may be nil, gets these.
func scan(args []string, odd func(arg string), each func(option byte, value string) error) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		if arg == "-q" || arg == "-XV" || oldVERP(args) {
			if odd != nil {
				odd(arg)
			}
			args = args[1:]
			continue
		}
		// One argument at a time, with its value if that is the next.
		if arg == "--" || len(arg) < 2 || arg[0] != '-' {
			break
		}
		n := 1
		if needsValue(arg) {
			n = min(2, len(args))
		}
		if _, err := getopt.Parse(args[:n], letters, each); err != nil {
			return nil, err
		}
		args = args[n:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	return args, nil
}

// needsValue reports whether the last option of a cluster takes its value from
// the next argument.
func needsValue(arg string) bool {
	for i := 1; i < len(arg); i++ {
		at := strings.IndexByte(letters, arg[i])
		if at >= 0 && arg[i] != ':' && strings.HasPrefix(letters[at+1:], ":") {
			return i == len(arg)-1
		}
	}
	return false
}

// oldVERP reports whether the first argument is -V for VERP, as before
// Postfix 2.3: "-V xy" or "-Vxy" with two characters.
func oldVERP(args []string) bool {
	if args[0] == "-V" {
		return len(args) > 1 && len(args[1]) == 2
	}
	return strings.HasPrefix(args[0], "-V") && len(args[0]) == 4
}

func usage(name string) string { return "usage: " + name + " [options]" }

// parse reads the command line.
func parse(name string, args []string, c *conf.Config, log *maillog.Logger) (*options, error) {
	p := &parser{options: options{context: proto.RuleLocal}, conf: c, log: log}
	switch name {
	case "mailq":
		p.mode = list
	case "newaliases":
		p.mode = aliases
	case "smtpd":
		p.mode = daemon
	}
	rest, err := scan(args, p.odd, p.option)
	if errors.Is(err, getopt.ErrUsage) {
		err = getopt.Usage(err, usage(name))
	}
	if err == nil {
		err = p.oddErr
	}
	if err == nil {
		err = p.conflicts()
	}
	p.recipients = rest
	return &p.options, err
}

// A parser takes options one by one.
type parser struct {
	options
	conf   *conf.Config
	log    *maillog.Logger
	oddErr error
}

// odd takes an option that getopt cannot read.
func (p *parser) odd(arg string) {
	switch {
	case arg == "-q" && p.mode == daemon:
		p.log.Warning("ignoring -q option in daemon mode")
	case arg == "-q":
		p.mode = flush
	case arg == "-XV":
		p.verp = p.conf.String("default_verp_delimiters")
	case arg == "-V":
		p.log.Warning("option -V is deprecated with Postfix 2.3; specify -XV instead")
		p.verp = p.conf.String("default_verp_delimiters")
	default:
		p.log.Warning("option %s is deprecated with Postfix 2.3; specify -X%s instead", arg, arg[1:])
		p.setVERP(arg[2:])
	}
}

func (p *parser) setVERP(delims string) {
	filter := p.conf.String("verp_delimiter_filter")
	if len(delims) != 2 || strings.IndexByte(filter, delims[0]) < 0 || strings.IndexByte(filter, delims[1]) < 0 {
		p.oddErr = fmt.Errorf("-V requires two characters from %s", filter)
		return
	}
	p.verp = delims
}

// option takes one option. Unknown letters do not get here; those that have no
// case are accepted for Sendmail's sake.
func (p *parser) option(letter byte, value string) error {
	switch letter {
	case 'n':
		return fmt.Errorf("-%c option not supported", letter)
	case 'B':
		return p.body(value)
	case 'F':
		p.fullName = value
	case 'G':
		p.context = proto.RuleRemote
	case 'I':
		p.mode = aliases
	case 'N':
		var ok bool
		if p.notify, ok = smtpwire.ParseNotify(value); !ok {
			p.log.Warning("bad -N option value: '%s' -- ignored", value)
			p.notify = 0
		}
	case 'O':
		p.setting(value)
	case 'R':
		p.returns(value)
	case 'V':
		p.setEnvelopeID(value)
	case 'X':
		if !strings.HasPrefix(value, "V") {
			return unsupported(letter, value)
		}
		p.setVERP(value[1:])
	case 'b':
		return p.setMode(value)
	case 'f', 'r':
		p.sender, p.senderSet = value, true
	case 'i':
		p.ignoreDot = true
	case 'o':
		return p.oldOption(value)
	case 'q':
		return p.queueOption(value)
	case 't':
		p.extract = true
	case 'v':
		p.verbose++
	}
	return nil
}

func unsupported(letter byte, value string) error {
	return fmt.Errorf("unsupported: -%c%.1s", letter, value)
}

func (p *parser) body(value string) error {
	switch value { // RFC 6152
	case "8BITMIME":
		p.encoding = "8bit"
	case "7BIT":
		p.encoding = "7bit"
	default:
		return errors.New("-B option needs 8BITMIME or 7BIT")
	}
	return nil
}

func (p *parser) returns(value string) {
	switch strings.ToUpper(value) { // RFC 3461 §4.3
	case "FULL":
		p.ret = proto.RetFull
	case "HDRS":
		p.ret = proto.RetHeaders
	default:
		p.log.Warning("bad -R option value -- ignored")
	}
}

// setEnvelopeID takes -V (RFC 3461 §4.4).
func (p *parser) setEnvelopeID(value string) {
	printable := strings.IndexFunc(value, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) < 0
	switch {
	case len(value) > 100:
		p.log.Warning("too long -V option value -- ignored")
	case !printable:
		p.log.Warning("bad syntax in -V option value -- ignored")
	default:
		p.envelopeID = value
	}
}

// setMode takes -b.
func (p *parser) setMode(value string) error {
	modes := map[string]mode{"d": daemon, "l": daemon, "h": nothing, "H": nothing, "i": aliases, "m": enqueue, "p": list, "s": smtp}
	if value == "" {
		return unsupported('b', value)
	}
	if value[:1] == "v" {
		p.trace |= proto.DeliverVerify
		return nil
	}
	m, ok := modes[value[:1]]
	if !ok {
		return unsupported('b', value)
	}
	if m == daemon && p.mode == flush {
		p.log.Warning("ignoring -q option in daemon mode")
	}
	p.mode = m
	return nil
}

// setting takes -O name=value.
func (p *parser) setting(value string) {
	name, answer, _ := strings.Cut(value, "=")
	settings := map[string]struct {
		parameter string
		bit       int
	}{
		"requiretls": {"requiretls_enable", proto.SendOptRequireTLS},
		"smtputf8":   {"smtputf8_enable", proto.SendOptUTF8},
	}
	s, ok := settings[strings.ToLower(name)]
	switch {
	case !ok:
	case !p.conf.Bool(s.parameter):
		p.log.Warning("ignoring option '-O %s', because the configuration is '%s = no'", value, s.parameter)
	case strings.EqualFold(answer, "yes"):
		p.sendOpts |= s.bit
	case strings.EqualFold(answer, "no"):
		p.sendOpts &^= s.bit
	default:
		p.log.Warning("bad -O option: '%s' -- ignored", value)
	}
}

// oldOption takes -o.
func (p *parser) oldOption(value string) error {
	switch {
	case strings.HasPrefix(value, "A") && len(value) == 1:
		return errors.New("-oA requires pathname")
	case strings.HasPrefix(value, "A"):
		p.aliasFile = value[1:]
	case strings.HasPrefix(value, "i"):
		p.ignoreDot = true
	}
	return nil
}

// queueOption takes -q with a value.
func (p *parser) queueOption(value string) error {
	switch {
	case value != "" && '0' <= value[0] && value[0] <= '9':
		p.queueTime = true
	case strings.HasPrefix(value, "R"):
		if p.flushSite = value[1:]; p.flushSite == "" {
			return errors.New("specify: -qRsitename")
		}
	case strings.HasPrefix(value, "I"):
		if p.flushID = value[1:]; p.flushID == "" {
			return errors.New("specify: -qIqueueid")
		}
	default:
		return fmt.Errorf("-q%.1s is not implemented", value)
	}
	return nil
}

// conflicts looks for options that do not go together.
func (p *parser) conflicts() error {
	verify := p.trace&proto.DeliverVerify != 0
	switch {
	case p.extract && p.mode != enqueue:
		return errors.New("-t can be used only in delivery mode")
	case p.flushSite != "" && p.mode != enqueue:
		return errors.New("-qR can be used only in delivery mode")
	case p.flushID != "" && p.mode != enqueue:
		return errors.New("-qI can be used only in delivery mode")
	case verify && p.extract:
		return errors.New("-t option cannot be used with -bv")
	case verify && p.notify != 0:
		return errors.New("-N option cannot be used with -bv")
	case verify && p.ret != 0:
		return errors.New("-R option cannot be used with -bv")
	case verify && p.verbose == 1:
		return errors.New("-v option cannot be used with -bv")
	}
	if p.verbose == 1 && p.mode == enqueue {
		p.verbose = 0
		p.trace |= proto.DeliverRecord
	}
	return nil
}
