// Postcat prints queue files in human-readable form.
//
// # Synopsis
//
//	postcat [-bdefhoqrv] [-c config_dir] [-s offset] [file...]
//
// # Description
//
// Without a file it reads standard input. Options -b, -e and -h select the
// parts to print; by default all three.
//
//	-b      body
//	-c dir  directory of main.cf
//	-d      record types in decimal
//	-e      envelope: what surrounds the content
//	-f      file name before each line
//	-h      header
//	-o      offset of each record
//	-q      the arguments are queue ids: search the queue for them
//	-r      do not follow pointers (with -v)
//	-s n    start at this offset
//	-v      records as they are, with names, pointers and padding
//
// # Parameters
//
// queue_directory, hash_queue_names, hash_queue_depth.
//
// # Exit status
//
// 0, or 1 when a file cannot be read.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
	"postroad/libmail/queue"
)

const usage = "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] " +
	"[-f (file name prefix)] [-h (header text)] [-o (print offsets)] [-q (access queue)] [-r (raw order)] [-s offset] [-v] [file(s)...]"

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help") {
		fmt.Print(getopt.Help(usage, "postcat(1)"))
		return
	}
	log := maillog.New(filepath.Base(os.Args[0]), maillog.Terminal(os.Stderr))
	out := bufio.NewWriter(os.Stdout)
	err := run(os.Args[1:], os.Stdin, out, log)
	if errOut := out.Flush(); err == nil {
		err = errOut
	}
	if err != nil {
		log.Fatal("%v", err)
	}
}

// options of the command line.
type options struct {
	configDir string
	search    bool // -q
	printing
}

func parse(args []string) (o options, files []string, err error) {
	files, err = getopt.Parse(args, "bc:defhoqrs:v", func(option byte, value string) error {
		switch option {
		case 'b':
			o.body = true
		case 'c':
			o.configDir = value
		case 'd':
			o.decimal = true
		case 'e':
			o.envelope = true
		case 'f':
			o.pathname = true
		case 'h':
			o.header = true
		case 'o':
			o.offsets = true
		case 'q':
			o.search = true
		case 'r':
			o.raw = true
		case 's':
			if o.start, err = strconv.ParseInt(value, 10, 62); err != nil || o.start < 0 {
				return fmt.Errorf("bad offset: %s", value)
			}
		case 'v':
			o.verbose = true
		}
		return nil
	})
	if errors.Is(err, getopt.ErrUsage) {
		return o, nil, getopt.Usage(err, usage)
	}
	if !o.body && !o.envelope && !o.header {
		o.body, o.envelope, o.header = true, true, true
	}
	return o, files, err
}

func run(args []string, in *os.File, out io.Writer, log *maillog.Logger) error {
	o, files, err := parse(args)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		f, err := seekable(in)
		if err != nil {
			return err
		}
		defer f.Close()
		return (&printer{printing: o.printing, out: out, log: log, path: "stdin", zone: time.Local}).print(f)
	}
	open := openFile
	if o.search {
		c, err := conf.Load(o.configDir)
		if err != nil {
			return err
		}
		open = finder(c)
	}
	for _, name := range files {
		f, path, err := open(name)
		if err != nil {
			return err
		}
		err = (&printer{printing: o.printing, out: out, log: log, path: path, zone: time.Local}).print(f)
		if errClose := f.Close(); err == nil {
			err = errClose
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func openFile(name string) (*os.File, string, error) {
	f, err := os.Open(name)
	return f, name, err
}

// seekable is f, or a copy of it if f is a pipe.
func seekable(f *os.File) (*os.File, error) {
	if _, err := f.Seek(0, io.SeekCurrent); err == nil {
		return f, nil
	}
	t, err := os.CreateTemp("", "postcat")
	if err != nil {
		return nil, err
	}
	err = os.Remove(t.Name())
	if err == nil {
		_, err = io.Copy(t, f)
	}
	if err != nil {
		t.Close() // nobody will read it
		return nil, err
	}
	return t, nil
}

// finder looks for a queue id where messages may be. It looks twice, because
// a message may move from a queue not yet seen to one already seen.
func finder(c *conf.Config) func(id string) (*os.File, string, error) {
	root := c.String("queue_directory")
	spool := queue.New(queue.Options{
		Root:   root,
		Hashed: c.List("hash_queue_names"),
		Depth:  c.Int("hash_queue_depth"),
	})
	return func(id string) (*os.File, string, error) {
		if !queue.ValidID(id) {
			return nil, "", fmt.Errorf("bad mail queue ID: %s", id)
		}
		var err error
		for range 2 {
			for _, q := range []string{queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred, queue.Hold, queue.Saved} {
				path := spool.Path(q, id)
				var f *os.File
				if f, err = os.Open(filepath.Join(root, path)); err == nil {
					return f, path, nil
				}
				if !errors.Is(err, fs.ErrNotExist) {
					return nil, "", err
				}
			}
		}
		var cause *fs.PathError
		errors.As(err, &cause)
		return nil, "", fmt.Errorf("open queue file %s: %w", id, cause.Err)
	}
}
