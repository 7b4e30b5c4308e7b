package makemap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"postroad/libmail/addr"
	"postroad/libmail/table"
)

// make creates one table of its source file, or adds standard input to it.
func (j *job) make(name string) error {
	typ, path, _ := strings.Cut(name, ":")
	if typ == "proxy" {
		return errors.New("can't create maps via the proxy service")
	}
	o := j.BuildOptions
	in, source := j.in, "stdin"
	var info fs.FileInfo
	if j.mode == update {
		o.Contents = table.Update
		if f, ok := j.in.(*os.File); ok {
			var err error
			if info, err = f.Stat(); err != nil {
				return fmt.Errorf("fstat %s: %w", path, err)
			}
		}
	} else {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() // it is only read
		if info, err = f.Stat(); err != nil {
			return err
		}
		in, source = f, path
	}
	if info != nil {
		if info.Mode().IsRegular() && !j.plainMode {
			o.Mode = 0o644 & (info.Mode().Perm() | 0o700)
		}
		if err := j.becomeOwner(info, path, source); err != nil {
			return err
		}
	}
	b, err := table.NewBuilder(name, o)
	if err != nil {
		return err
	}
	defer b.Abort()
	if err := j.read(b, in, source); err != nil {
		return err
	}
	if j.Finish != nil {
		if err := j.Finish(b); err != nil {
			return err
		}
	}
	return b.Commit()
}

// read adds the entries of a source.
func (j *job) read(b *table.Builder, in io.Reader, source string) error {
	src := table.NewSource(in, source, j.log)
	for {
		line, n, ok := src.Next()
		if !ok {
			return src.Err()
		}
		if j.UTF8 && !addr.IsASCII(line) && !utf8.ValidString(line) {
			j.log.Warning("%s, line %d: non-UTF-8 input \"%s\" -- ignoring this line", source, n, line)
			continue
		}
		key, value, err := j.Split(line)
		if err != nil {
			j.log.Warning("%s, line %d: %v", source, n, err)
			if value == "" {
				continue
			}
		}
		if j.FileValues {
			if value, err = table.FileValue(value); err != nil {
				j.log.Warning("%s, line %d: %v: skipping this entry", source, n, err)
				continue
			}
		}
		if err := b.Add(key, value); err != nil {
			return err
		}
	}
}

// becomeOwner makes root the owner of the source file, so that the table gets
// the same owner, and who may write the source gains nothing by a mistake
// here. A source of root's in somebody else's folder is warned of.
func (j *job) becomeOwner(source fs.FileInfo, path, name string) error {
	st, ok := source.Sys().(*syscall.Stat_t)
	if !ok || j.keepRoot || os.Getuid() != 0 {
		return nil
	}
	if st.Uid != 0 {
		return setEffective(int(st.Uid), int(st.Gid))
	}
	if err := setEffective(0, 0); err != nil { // after a table of another owner
		return err
	}
	dir := filepath.Dir(path)
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
		j.log.Warning("Creating root-owned database file(s) %s.* in non-root-owned directory %s. Files %s, %s.*, and directory %s "+
			"should have the same owner. Please fix ownership to avoid a privilege-escalation attack.", path, dir, name, path, dir)
	}
	return nil
}

// setEffective changes the effective user and group of all threads.
func setEffective(uid, gid int) error {
	if os.Geteuid() == uid {
		return nil
	}
	if os.Geteuid() != 0 {
		if err := syscall.Setresuid(-1, 0, -1); err != nil {
			return fmt.Errorf("seteuid 0: %w", err)
		}
	}
	if err := syscall.Setresgid(-1, gid, -1); err != nil {
		return fmt.Errorf("setegid %d: %w", gid, err)
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("setgroups %d: %w", gid, err)
	}
	if err := syscall.Setresuid(-1, uid, -1); err != nil {
		return fmt.Errorf("seteuid %d: %w", uid, err)
	}
	return nil
}

// delete takes keys out of all tables.
func (j *job) delete() (found bool, err error) {
	var builders []*table.Builder
	defer func() {
		for _, b := range builders {
			b.Abort()
		}
	}()
	for _, name := range j.tables {
		o := j.BuildOptions
		o.Contents = table.Existing
		b, err := table.NewBuilder(name, o)
		if err != nil {
			return false, err
		}
		builders = append(builders, b)
	}
	deleted := make([]bool, len(builders))
	one := func(key string) error {
		for i, b := range builders {
			if b.Delete(key) {
				found, deleted[i] = true, true
			}
		}
		return nil
	}
	if j.key == "-" {
		err = eachLine(j.in, one)
	} else {
		err = one(j.key)
	}
	for i, b := range builders {
		if err == nil && deleted[i] {
			err = b.Commit()
		}
	}
	return found, err
}
