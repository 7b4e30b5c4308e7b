package mailbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Usage sums up the messages of the Maildir dir and their bytes on disk, from
// their names where those tell.
func Usage(dir string) (bytes, messages int64, err error) {
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		for _, e := range entries {
			f, ok := parseName(e.Name())
			if !ok {
				continue
			}
			size := sizeIn(f.base, ",S=")
			if size < 0 {
				st, err := e.Info()
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					return 0, 0, err
				}
				size = st.Size()
			}
			bytes += size
			messages++
		}
	}
	return bytes, messages, nil
}
