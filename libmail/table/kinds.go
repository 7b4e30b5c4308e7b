package table

import "slices"

// A kind is one type of table.
type kind struct {
	open    func(t *front, name string) (contents, error)
	pattern bool
	ext     string                          // what postmap makes of FILE: FILE.ext
	build   func(b *Builder) (maker, error) // nil: cannot be written
}

// kinds are the table types by name (DATABASE_README, postconf -m).
var kinds map[string]kind

func init() { // in init, because pipemap and others open tables themselves
	kinds = map[string]kind{
		"hash":      {open: openHash, ext: ".db", build: buildHash},
		"btree":     {open: openBtree, ext: ".db", build: buildBtree},
		"cdb":       {open: openCDB, ext: ".cdb", build: buildCDB},
		"lmdb":      {open: openLMDB},
		"texthash":  {open: openText},
		"inline":    {open: openInline},
		"internal":  {open: openInternal},
		"static":    {open: openStatic},
		"environ":   {open: openEnviron},
		"unix":      {open: openUnix},
		"regexp":    {open: openRegexp, pattern: true},
		"pcre":      {open: openPCRE, pattern: true},
		"cidr":      {open: openCIDR, pattern: true},
		"randmap":   {open: openRandom, pattern: true},
		"fail":      {open: openFail, pattern: true},
		"pipemap":   {open: openPipe},
		"unionmap":  {open: openUnion},
		"debug":     {open: openDebug},
		"tcp":       {open: openTCP, pattern: true},
		"socketmap": {open: openSocketmap, pattern: true},
		"proxy":     {open: openProxy},

		"userdb":     {open: openUserdb(userMailbox)},
		"userdb-uid": {open: openUserdb(userNumber("uid"))},
		"userdb-gid": {open: openUserdb(userNumber("gid"))},
	}
}

// Types lists the table types in the order of the alphabet.
func Types() []string {
	var names []string
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
