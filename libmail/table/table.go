// Package table is lookup tables: `type:name`, key to value, as in Postfix's
// DATABASE_README.
//
//	hash btree cdb lmdb      files made by postmap or postalias
//	texthash                 the source of such a file, read as it is
//	regexp pcre cidr         patterns, in order
//	inline static internal environ unix fail randmap
//	pipemap unionmap debug   tables made of tables
//	tcp socketmap proxy      a server answers
//	userdb userdb-uid userdb-gid   authd answers: mailbox, uid, gid of a user
//
// A table that cannot be opened or read answers every lookup with an error:
// the caller defers. It never answers "not found". Tables that stand in files
// are read again when the file changes; a file that has become unreadable
// leaves the old contents in force.
package table

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"postroad/libmail/addr"
)

// A Table maps a key to a value. Its methods may be called by any number of
// goroutines at once.
type Table interface {
	// Lookup finds the value of key. An error means that nobody knows: the
	// caller must try again later and must not take it as "not found".
	Lookup(key string) (value string, found bool, err error)
	Name() string // "hash:/etc/aliases"
	Close() error
}

// A Logger takes what the administrator must hear about a table. A
// *maillog.Logger is one.
type Logger interface {
	Info(format string, args ...any)
	Warning(format string, args ...any)
	Error(format string, args ...any)
}

// A Fold says which tables get their lookup keys in lower case.
type Fold int

const (
	FoldFixed Fold = iota // tables of fixed strings; patterns see the key as it is
	FoldNone              // no table: header and body text
	FoldAll               // patterns too
)

// Trust is the set of what a caller does not believe, because mailboxes,
// routes or commands depend on the answer.
type Trust uint

const (
	NoSubstitution Trust = 1 << iota // no $1 from the key in results of regexp: and pcre:
	NoProxy                          // open proxy:type:name directly as type:name
	NoServer                         // no tcp: and socketmap:, whose servers nobody authenticates

	Paranoid = NoSubstitution | NoProxy | NoServer
)

// A Duplicates says what happens to a key that a source file has twice. The
// first value stays in force, but for DupReplace.
type Duplicates int

const (
	DupError Duplicates = iota // the table is unavailable
	DupWarn
	DupIgnore
	DupReplace
)

// Options say how tables are opened. The zero value suits most address
// tables: keys are folded, nothing is logged.
type Options struct {
	DefaultType string // type of a name without one; "": such a name is an error (default_database_type, for commands)
	Fold        Fold
	Trust       Trust
	Duplicates  Duplicates
	UTF8        bool   // keys and values must be UTF-8, folding is Unicode's (smtputf8_enable)
	FileValues  bool   // a value in a source file names files whose contents, in base64, are the value (postmap -F)
	MustOpen    bool   // a table that cannot be opened is an error of Open (commands)
	Log         Logger // nil: quiet

	// For FindAddress and MapAddress.
	Delimiters addr.Delimiters                   // recipient_delimiter and what it spares
	Local      func(domain string) (bool, error) // whether mail for user@domain is mail for a local user; nil: never

	// Proxy opens proxy:type:name; nil makes such a table unavailable. spec is
	// without "proxy:".
	Proxy func(spec string, o Options) (Table, error)

	// Stale is called, at most once a table, when the file of a table has
	// changed and this process may no longer open it: privileges are
	// dropped, or a chroot hides it. The old contents stay in force; a new
	// process is needed to see the new ones. nil: only the log says so.
	Stale func(name string)

	MaxReply int // socketmap_max_reply_size, bytes; 0: 100000
	MaxQuery int // socketmap_max_query_size, bytes; 0: 10000
}

// An Owner says under whose control the contents of a table are.
type Owner struct {
	Known bool   // false: a server answered, or several users own parts
	UID   uint32 // 0: root
}

// An Error is a lookup that could not be made.
type Error struct {
	Table string // "hash:/etc/aliases"
	Key   string // "" when the table could not be opened
	Err   error
}

func (e *Error) Error() string {
	if e.Key == "" {
		return e.Table + " is unavailable: " + e.Err.Error()
	}
	return fmt.Sprintf("%s lookup of %q: %v", e.Table, e.Key, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Sentinel causes of an Error.
var (
	ErrUnavailable = errors.New("table is unavailable") // the table could not be opened
	ErrValue       = errors.New("bad value")            // the table holds what it must not hold: an empty value, text that is not UTF-8
)

// Open opens one table. A table whose file is missing or broken, or whose type
// is unknown, is opened too, unless Options.MustOpen says otherwise: it logs an
// error, answers lookups with an *Error, and tries the file again as time goes
// by. A spec that is not of the form type:name is such a table as well.
func Open(spec string, o Options) (Table, error) {
	t := &front{o: o, name: spec}
	typ, name, ok := strings.Cut(spec, ":")
	if !ok && o.DefaultType != "" && spec != "" {
		typ, name, ok = o.DefaultType, spec, true
	}
	err := fmt.Errorf("open dictionary: expecting \"type:name\" form instead of \"%s\"", spec)
	if ok && typ != "" && name != "" {
		t.name = typ + ":" + name
		err = t.open(typ, name)
	}
	if err == nil {
		return t, nil
	}
	if o.MustOpen {
		return nil, err
	}
	t.warn().Error("%v", err)
	t.contents, t.pattern = &broken{t, err}, true
	return t, nil
}

// contents is what stands behind a table: a file, a list, a server.
type contents interface {
	get(key string) (value string, found bool, err error)
	close() error
}

// front is every table as its users see it: name, folding and UTF-8 rules are
// the same for all types.
type front struct {
	contents
	o       Options
	name    string
	pattern bool // keys are seen whole: no parts of addresses, no parent domains
}

// open makes the contents of type typ.
func (t *front) open(typ, name string) (err error) {
	kind, ok := kinds[typ]
	if !ok {
		return fmt.Errorf("unsupported dictionary type: %s", typ)
	}
	t.pattern = kind.pattern
	t.contents, err = kind.open(t, name)
	return err
}

func (t *front) Name() string { return t.name }

func (t *front) Close() error { return t.contents.close() }

// Lookup implements Table.
func (t *front) Lookup(key string) (value string, found bool, err error) {
	if t.o.UTF8 && !addr.IsASCII(key) && !utf8.ValidString(key) {
		t.warn().Warning("%s: non-UTF-8 key \"%s\": malformed UTF-8 or invalid codepoint", t.name, key)
		return "", false, nil // what is not UTF-8 is in no table
	}
	if t.o.Fold == FoldAll || t.o.Fold == FoldFixed && !t.pattern {
		key = fold(key, t.o.UTF8)
	}
	value, found, err = t.contents.get(key)
	if err != nil {
		return "", false, &Error{t.name, key, err}
	}
	if found && t.o.UTF8 && !addr.IsASCII(value) && !utf8.ValidString(value) {
		t.warn().Warning("%s: key \"%s\": non-UTF-8 value \"%s\"", t.name, key, value)
		return "", false, &Error{t.name, key, ErrValue}
	}
	return value, found, nil
}

// fold makes a key lower case; unicode says by which rules.
func fold(key string, unicode bool) string {
	if unicode {
		return addr.Fold(key)
	}
	for i := 0; i < len(key); i++ {
		if 'A' <= key[i] && key[i] <= 'Z' {
			b := []byte(key)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return key
}

// warn is where to complain.
func (t *front) warn() Logger {
	if t.o.Log == nil {
		return quiet{}
	}
	return t.o.Log
}

type quiet struct{}

func (quiet) Info(string, ...any)    {}
func (quiet) Warning(string, ...any) {}
func (quiet) Error(string, ...any)   {}

// broken stands for a table that could not be opened.
type broken struct {
	t   *front
	err error
}

func (b *broken) get(string) (string, bool, error) {
	b.t.warn().Warning("%s is unavailable. %v", b.t.name, b.err)
	return "", false, fmt.Errorf("%w: %w", ErrUnavailable, b.err)
}

func (b *broken) close() error { return nil }

// OwnerOf tells who owns the contents of t.
func OwnerOf(t Table) Owner {
	if f, ok := t.(*front); ok {
		if o, ok := f.contents.(interface{ owner() Owner }); ok {
			return o.owner()
		}
		return Owner{Known: true}
	}
	return Owner{}
}

// generation counts how often what stands behind a table was read again.
func generation(t Table) uint64 {
	if f, ok := t.(*front); ok {
		if g, ok := f.contents.(interface{ generation() uint64 }); ok {
			return g.generation()
		}
	}
	return 0
}

// fixed reports whether parts of addresses and names may be looked up in t.
func fixed(t Table) bool {
	switch t := t.(type) {
	case *front:
		if p, ok := t.contents.(proxied); ok {
			return fixed(p.group[0])
		}
		return !t.pattern
	case Patterned:
		return !t.Pattern()
	}
	return true
}

// Pattern reports whether the keys of t are patterns, which see whole addresses
// and names only.
func Pattern(t Table) bool { return !fixed(t) }

// Patterned is a Table of another package that can say that its keys are
// patterns: it is then asked about whole addresses and names only.
type Patterned interface {
	Table
	Pattern() bool
}

// Walk calls fn with each key and value of a table that can list them: the
// file types, inline and internal. Keys come as they are stored, without their
// trailing NUL, in no certain order. An error of fn ends the walk.
func Walk(t Table, fn func(key, value string) error) error {
	if f, ok := t.(*front); ok {
		if w, ok := f.contents.(walker); ok {
			return w.walk(fn)
		}
		if b, ok := f.contents.(*broken); ok {
			return b.err
		}
	}
	return fmt.Errorf("table %s does not support listing its contents", t.Name())
}

type walker interface {
	walk(fn func(key, value string) error) error
}
