// Postalias makes the tables of local aliases, and asks them.
//
// # Synopsis
//
//	postalias [-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [type:]file...
//
// # Description
//
// Without -d, -i, -q and -s each FILE becomes FILE.db (hash, btree) or FILE.cdb
// (cdb), in one step. Its logical lines are a name, a colon, and addresses,
// commands and files separated by commas (aliases(5)); a line that starts with
// white space continues the one before; # begins a comment line. The type is
// default_database_type if none is given.
//
//	-c dir  directory of main.cf
//	-d key  delete a key ("-": those of standard input)
//	-f      keep upper case in keys
//	-i      add entries of standard input to a table
//	-j      JSON output, with -q and -s
//	-n, -N  store keys and values without, with a NUL at their end
//	-o      root stays root, and does not become the owner of FILE
//	-p      the table does not get the permissions of FILE
//	-q key  print the value of a key ("-": keys of standard input with values)
//	-r      a key that comes again replaces its value
//	-s      print all keys and values
//	-u      take bytes that are not UTF-8 for what they are
//	-v      say more
//	-w      a key that comes again is no reason to warn
//
// # Parameters
//
// default_database_type, smtputf8_enable, proxymap_service_name,
// queue_directory, and those of the log.
//
// # Exit status
//
// 0; 1 when a key was not found or deleted, and after an error.
package main

import (
	"errors"
	"slices"

	"postroad/libmail/addr"
	"postroad/libmail/makemap"
	"postroad/libmail/table"
)

func main() {
	makemap.Main(makemap.Tool{
		Usage:     "[-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
		Separator: ":\t",
		Split:     split,
		// The entry @ tells Sendmail and NIS that the file is complete.
		Finish: func(b *table.Builder) error { return b.Set("@", "@") },
	})
}

// split divides a line of an alias file (aliases(5)). The name loses its
// quotes, because local(8) looks names up without them; the value keeps them,
// because it is parsed again.
func split(line string) (key, value string, err error) {
	tokens := addr.Scan(line, 0)
	is := func(kinds ...addr.Kind) func(addr.Token) bool {
		return func(t addr.Token) bool { return slices.Contains(kinds, t.Kind) }
	}
	colon := slices.IndexFunc(tokens, is(':'))
	if colon < 1 || colon == len(tokens)-1 || slices.ContainsFunc(tokens[:colon], is(',')) {
		return "", "", errors.New("need name:value pair")
	}
	name := tokens[:colon]
	if slices.ContainsFunc(name, is('@', '%')) {
		return "", "", errors.New("name must be local and have no domain")
	}
	return addr.Internal(name), addr.External(tokens[colon+1:]), nil
}
