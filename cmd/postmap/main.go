// Postmap makes lookup tables, and asks them.
//
// # Synopsis
//
//	postmap [-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [type:]file...
//
// # Description
//
// Without -d, -i, -q and -s each FILE becomes FILE.db (hash, btree) or FILE.cdb
// (cdb), in one step. Its logical lines are a key, white space, and a value; a
// line that starts with white space continues the one before; # begins a
// comment line. The type is default_database_type if none is given.
//
//	-b      with -q -: standard input is a message, the keys are its body lines
//	-c dir  directory of main.cf
//	-d key  delete a key ("-": those of standard input)
//	-f      keep upper case in keys
//	-F      values are names of files, whose contents are stored
//	-h      with -q -: standard input is a message, the keys are its headers
//	-i      add entries of standard input to a table
//	-j      JSON output, with -q and -s
//	-m      MIME awareness, with -b or -h
//	-n, -N  store keys and values without, with a NUL at their end
//	-o      root stays root, and does not become the owner of FILE
//	-p      the table does not get the permissions of FILE
//	-q key  print the value of a key ("-": keys of standard input with values)
//	-r      a key that comes again replaces its value
//	-s      print all keys and values
//	-u      take bytes that are not UTF-8 for what they are
//	-U      demand UTF-8, with -b or -h
//	-v      say more
//	-w      a key that comes again is no reason to warn
//
// # Parameters
//
// default_database_type, smtputf8_enable, header_size_limit,
// mime_boundary_length_limit, mime_nesting_limit, socketmap_max_query_size,
// socketmap_max_reply_size, proxymap_service_name, queue_directory, and those
// of the log.
//
// # Exit status
//
// 0; 1 when a key was not found or deleted, and after an error.
package main

import (
	"errors"

	"postroad/libmail/makemap"
	"postroad/libmail/table"
)

func main() {
	var m messageKeys
	var forceUTF8, fileValues bool
	makemap.Main(makemap.Tool{
		Usage:     "[-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
		Letters:   "bFhmU",
		Separator: "\t",
		Split:     split,
		Option: func(letter byte) error {
			switch letter {
			case 'b':
				m.body = true
			case 'F':
				fileValues = true
			case 'h':
				m.header = true
			case 'm':
				m.mime = true
			case 'U':
				forceUTF8 = true
			}
			return nil
		},
		Adjust: func(o *makemap.Options) error {
			o.FileValues = fileValues
			m.setLimits(o.Conf)
			switch {
			case (m.body || m.header || m.mime) && !o.Query("-"):
				return errors.New("specify -b -h or -m only with \"-q -\"")
			case m.mime && !m.body && !m.header:
				o.Log.Warning("ignoring -m option without -b or -h")
			case m.body || m.header:
				o.UTF8 = o.UTF8 && forceUTF8
			}
			return nil
		},
		Keys: m.keys,
	})
}

// split divides a line of a source file (postmap(1)).
func split(line string) (key, value string, err error) {
	key, value, err = table.SplitEntry(line)
	if err == nil && table.LooksLikeAlias(key) {
		err = errors.New("record is in \"key: value\" format; is this an alias file?")
	}
	return key, value, err
}
