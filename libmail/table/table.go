// Package table is lookup tables: `type:name`, key to value, as in Postfix's
// DATABASE_README.
//
//	hash btree cdb lmdb      files made by postmap or postalias
//	texthash                 the source of such a file, read as it is
//	regexp pcre cidr         patterns, in order
//	inline static internal environ unix fail randmap
//	pipemap unionmap debug   tables made of tables
//	tcp socketmap proxy      a server answers
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

// A Trust says what a caller must not believe.
type Trust int

const (
	TrustAll      Trust = iota
	TrustOwnFiles       // no $1 substitution, no proxy:, no tcp: or socketmap: results: mailboxes and commands depend on it
)

// Options say how tables are opened. The zero value suits most address
// tables: keys are folded, nothing is logged.
type Options struct {
	DefaultType string // type of a name without one; "": such a name is an error (default_database_type, commands only)
	Fold        Fold
	Trust       Trust
	UTF8        bool   // keys and values must be UTF-8, folding is Unicode's (smtputf8_enable)
	Log         Logger // nil: quiet
	FileValues  bool   // a value in a source file names files whose contents, in base64, are the value (postmap -F)

	// For FindAddress and MapAddress.
	Delimiters string                            // recipient_delimiter: each character is one
	Local      func(domain string) (bool, error) // whether mail for user@domain is mail for a local user; nil: never

	// Proxy opens proxy:type:name; nil makes such a table unavailable. spec is
	// without "proxy:".
	Proxy func(spec string, o Options) (Table, error)

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

// ErrUnavailable is in the chain of each error of a table that could not be
// opened.
var ErrUnavailable = errors.New("table is unavailable")

// Open opens one table. A table whose file is missing or broken, or whose type
// is unknown, is opened too: it logs an error once, answers lookups with an
// *Error, and tries the file again as time goes by. Open itself fails only
// when spec is not of the form type:name.
func Open(spec string, o Options) (Table, error) {
	typ, name, ok := strings.Cut(spec, ":")
	if !ok && o.DefaultType != "" && spec != "" {
		typ, name, ok = o.DefaultType, spec, true
	}
	if !ok || typ == "" || name == "" {
		return nil, fmt.Errorf("open table: expecting \"type:name\" form instead of %q", spec)
	}
	return unavailable{typ + ":" + name}, nil
}

// OwnerOf tells who owns the contents of t.
func OwnerOf(t Table) Owner {
	if o, ok := t.(interface{ owner() Owner }); ok {
		return o.owner()
	}
	return Owner{}
}

// unavailable is a table that cannot be used.
type unavailable struct{ name string }

func (u unavailable) Lookup(key string) (string, bool, error) {
	return "", false, &Error{Table: u.name, Key: key, Err: ErrUnavailable}
}
func (u unavailable) Name() string { return u.name }
func (u unavailable) Close() error { return nil }
