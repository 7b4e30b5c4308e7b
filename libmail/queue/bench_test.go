package queue

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"postroad/libmail/record"
)

// syncs counts directory syncs.
type syncs struct {
	System
	dirs atomic.Int64
}

func (s *syncs) SyncDir(path string) error {
	s.dirs.Add(1)
	return s.System.SyncDir(path)
}

// BenchmarkCommit queues messages of 4 KiB, many at a time; the directory
// syncs of one message show how well they are shared.
func BenchmarkCommit(b *testing.B) {
	dir := b.TempDir()
	if err := os.MkdirAll(dir+"/"+Incoming, 0o700); err != nil {
		b.Fatal(err)
	}
	fs := &syncs{}
	s := New(Options{Root: dir, FS: fs, Now: time.Now, Warn: b.Logf})
	content := make([]byte, 4096)
	b.SetParallelism(20)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f, err := s.Create(Incoming, 0)
			if err != nil {
				b.Fatal(err)
			}
			f.Record(record.Text, content) // the error shows at Commit
			if err := f.Commit(0); err != nil {
				b.Fatal(err)
			}
			if err := s.Remove(Incoming, f.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(fs.dirs.Load())/float64(b.N), "dirsyncs/op")
}
