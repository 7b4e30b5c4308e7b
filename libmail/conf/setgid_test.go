package conf

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSetgidDirectories(t *testing.T) {
	dir := t.TempDir()
	text := "alternate_config_directories = /etc/one\nmulti_instance_directories = /etc/two\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule, dir string
		elevated  bool
		ok        bool
	}{
		{"the user's own rights open any directory", "/tmp/mine", false, true},
		{"with more rights it must be the default", dir, true, true},
		{"or an alternate one", "/etc/one", true, true},
		{"or an instance", "/etc/two", true, true},
		{"and no other", "/tmp/mine", true, false},
		{"and not a path below a listed one", "/etc/one/../two", true, false},
	} {
		if err := checkSetgid(c.dir, c.elevated, dir); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
}

func TestCleanEnv(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("import_environment = KEEP_ME, SET_ME=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	saved := os.Environ()
	t.Cleanup(func() {
		for _, e := range saved {
			for i := 1; i < len(e); i++ {
				if e[i] == '=' {
					os.Setenv(e[:i], e[i+1:])
					break
				}
			}
		}
	})
	t.Setenv("KEEP_ME", "kept")
	t.Setenv("DROP_ME", "dropped")
	c.CleanEnv()
	if got := os.Environ(); len(got) != 2 || os.Getenv("KEEP_ME") != "kept" || os.Getenv("SET_ME") != "1" {
		t.Errorf("environment %q", got)
	}
}
