// Package makemap is what postmap and postalias share: making, asking,
// listing and changing tables.
//
//	FILE --> FILE.db or FILE.cdb     create
//	standard input --> FILE.db       -i, added to what is there
//	-q key, -s, -d key               ask, list, delete
package makemap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

// A Tool is what differs between the two commands.
type Tool struct {
	Usage   string // after the program's name
	Letters string // options beyond those of both, as for getopt
	Option  func(letter byte) error

	// Separator stands between key and value in what -s and -q - print.
	Separator string

	// Split divides a line of a source file. Its error is a warning about
	// the line; with a key it is a warning only.
	Split func(line string) (key, value string, err error)

	// Finish, which may be nil, adds what every file of the command has.
	Finish func(b *table.Builder) error

	// Adjust, which may be nil, changes how tables are opened and checks the
	// options of the tool against the others.
	Adjust func(o *Options) error

	// Keys, which may be nil, makes the keys of "-q -" of standard input: it
	// calls ask for each. Without it each line is a key.
	Keys func(in io.Reader, ask func(key string) error) error
}

// Options are the options of the command line.
type Options struct {
	Conf      *conf.Config
	configDir string
	verbose   int
	mode      mode
	key       string // of -q and -d
	json      bool   // -j
	noUTF8    bool   // -u
	keepRoot  bool   // -o
	plainMode bool   // -p

	table.BuildOptions
}

// mode is what is done.
type mode byte

const (
	create mode = 0
	update mode = 'i'
	query  mode = 'q'
	remove mode = 'd'
	list   mode = 's'
)

// Query reports whether -q is given with this key.
func (o *Options) Query(key string) bool { return o.mode == query && o.key == key }

// job is the command at work.
type job struct {
	Tool
	Options
	log    *maillog.Logger
	in     io.Reader
	out    *bufio.Writer
	tables []string // type:name
}

// Main is the main function of a command. Its exit status is 0, 1 where
// nothing was found or deleted, and 1 after an error.
func Main(t Tool) {
	program := filepath.Base(os.Args[0])
	if forms := helpForms(t.Letters); getopt.HelpAsked(os.Args[1:], forms...) {
		fmt.Print(getopt.Help(t.usage(program), program+"(1)"))
		return
	}
	log := maillog.New(program, maillog.Terminal(os.Stderr))
	syscall.Umask(0o022)
	j := &job{Tool: t, log: log, in: os.Stdin, out: bufio.NewWriter(os.Stdout)}
	err := j.parse(program, os.Args[1:])
	if err == nil {
		err = j.configure(program)
	}
	found := false
	if err == nil {
		found, err = j.run()
	}
	if flushErr := j.out.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		j.log.Fatal("%v", err)
	}
	if !found {
		os.Exit(1)
	}
}

// helpForms are the ways to ask a command for help that has these letters.
func helpForms(letters string) []string {
	if strings.Contains(letters, "h") {
		return []string{"--help"}
	}
	return []string{"--help", "-h"}
}

func (t Tool) usage(program string) string { return "usage: " + program + " " + t.Usage }

// parse reads the command line.
func (j *job) parse(program string, args []string) error {
	j.Duplicates = table.DupWarn
	rest, err := getopt.Parse(args, "c:d:fijnNopq:rsuvw"+j.Letters, j.option)
	switch {
	case errors.Is(err, getopt.ErrUsage), err == nil && len(rest) == 0 && j.mode != list:
		return getopt.Usage(err, j.usage(program))
	case err == nil && j.json && j.mode != query && j.mode != list:
		return errors.New("option -j requires -q or -s")
	}
	j.tables = rest
	return err
}

// option takes one option.
func (j *job) option(letter byte, value string) error {
	switch letter {
	case 'c':
		j.configDir = value
	case 'd', 'i', 'q', 's':
		if j.mode != create {
			return errors.New("specify only one of -d -i -q or -s")
		}
		j.mode, j.key = mode(letter), value
	case 'f':
		j.Fold = table.FoldNone
	case 'j':
		j.json = true
	case 'n':
		j.Null = table.NullOmit
	case 'N':
		j.Null = table.NullAppend
	case 'o':
		j.keepRoot = true
	case 'p':
		j.plainMode = true
	case 'r':
		j.Duplicates = table.DupReplace
	case 'u':
		j.noUTF8 = true
	case 'v':
		j.verbose++
	case 'w':
		j.Duplicates = table.DupIgnore
	default:
		return j.Tool.Option(letter)
	}
	return nil
}

// configure reads main.cf.
func (j *job) configure(program string) error {
	c, err := conf.Load(j.configDir)
	if err != nil {
		return err
	}
	j.Conf = c
	j.log = server.CommandLog(c, program).Verbose(j.verbose)
	j.Log = j.log
	j.MustOpen = true
	j.DefaultType = c.String("default_database_type")
	j.UTF8 = c.Bool("smtputf8_enable") && !j.noUTF8
	j.MaxReply, j.MaxQuery = int(c.Size("socketmap_max_reply_size")), int(c.Size("socketmap_max_query_size"))
	j.Proxy = proto.TableProxy(c)
	for i, name := range j.tables {
		if !strings.Contains(name, ":") {
			j.tables[i] = j.DefaultType + ":" + name
		}
	}
	if j.Adjust != nil {
		return j.Adjust(&j.Options)
	}
	return nil
}

// run does what is asked for.
func (j *job) run() (found bool, err error) {
	switch {
	case j.mode == query && j.key == "-":
		return j.queryAll()
	case j.mode == query:
		return j.queryOne()
	case j.mode == remove:
		return j.delete()
	case j.mode == list:
		return j.list()
	}
	for _, name := range j.tables {
		if err := j.make(name); err != nil {
			return false, err
		}
	}
	return true, nil
}
