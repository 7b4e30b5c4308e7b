package mailbox

import (
	"fmt"
	"os"
	"syscall"
)

// LockMbox takes the locks of an mbox file as AppendMbox does, for a program
// that changes the file by other means. The file is made where it is missing;
// it must be regular and have one name, whoever owns it. The caller calls
// unlock once.
func LockMbox(path string, o Mbox) (unlock func(), err error) {
	undot, err := dotlock(path, o)
	if err != nil {
		return nil, err
	}
	f, _, err := openMbox(path)
	if err == nil {
		if err = onlyName(f, path); err == nil {
			err = lockFile(f, o)
		}
		if err != nil {
			f.Close() // nothing was written
		}
	}
	if err != nil {
		undot()
		return nil, err
	}
	return func() {
		f.Close() // nothing was written; the kernel's locks end with it
		undot()
	}, nil
}

// onlyName refuses a file that is not a mailbox.
func onlyName(f *os.File, path string) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file: %w", path, ErrUnsafe)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Nlink != 1 {
		return fmt.Errorf("%s: file has %d links: %w", path, sys.Nlink, ErrUnsafe)
	}
	return nil
}
