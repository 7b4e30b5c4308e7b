package account

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestVerify(t *testing.T) {
	const password = "sécret word"
	for _, stored := range []string{
		`{PLAIN}sécret word`,
		`{CRYPT}$2y$05$XMgJmGSnPSweEdlhp8YEveT5FW1lLybn3oXlilVGuJQMYOkZ1pIwm`,
		`{MD5-CRYPT}$1$JGWFdsKA$447Rb9xvyiBB7BHqP6EPi/`,
		`{SHA256-CRYPT}$5$IpggoUJzLWIrmg7/$SXctG3X8Nm083e0pwQ4Sgue1hoa1J6bSbh9ksvQqhYB`,
		`{SHA512-CRYPT}$6$EcYkpXX8kAypcriS$27w2olIudtva/vUkr2UrASKGgNJyHGbAILzES.TrhBZnYLKhePs2e5cFlcMJJUD1P5TN9UAKdAEtrBjPCA5BO1`,
		`{BLF-CRYPT}$2y$05$HFqCJZlslql7FjJ0V9Iry.sn5HnJl8/iI3SPcbum2yy/bYB8loA36`,
		`{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$r2JhPzIRBZuyTLRApWXqNQ$ERWVAg3mz950NDDsWoYeOjbLK2Nu467aBoqg3oXDsH8`,
		`{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$8OjlQx6qSrQqbE6tdUzgvg$OX3A95ERJWAm5KFYuaw745IkiIXXVWeTCOdnf3DlEsc`,
		`{PBKDF2}$1$SEI2nTF5XOohAbKf$5000$3cd328d91c0163d59ecea9dc35d9e4df196ddef2`,
		`{MD5}$1$G.DDZ48B$rFmhTkS/QI1iZHkFLvyTp1`,
		`{PLAIN-MD5}916e334e4740c6a05ccba82b86adc976`,
		`{LDAP-MD5}kW4zTkdAxqBcy6grhq3Jdg==`,
		`{SMD5}UwkHcebCjvr0S0Yiv+Rx6vWVHQw=`,
		`{SHA}1redAMU1Si1yCG0zYyDqOmt2Igo=`,
		`{SHA1}1redAMU1Si1yCG0zYyDqOmt2Igo=`,
		`{SSHA}Es2Aa/aT5o6ss/H5LAOOa1533n7+G/6u`,
		`{SHA256}uf+u2fWdwUMur4w4HzdZRc6Fdum/fF/4y95tvU1/ZZc=`,
		`{SSHA256}eYMrk8Prdi+vQgkI9UXe+aiv9I81oREVYBqcVP5MXO2zbdot`,
		`{SHA512}ayXKu9YPpwaYLa970/mbnEQXoxuldk26cGrafpervL9KuQdE5t/fIqL7OSn3E6zS1nmliaam0CDFddHWHZnvEg==`,
		`{SSHA512}bQCGu46BPgXzbKUASoK56vIeYYeLYs45oXxtkH3NBeo4qozzTGLKvtjZOFTGk08Co4lgH2q2tue7m048cftYiFzIOdU=`,
		`{SCRAM-SHA-1}4096,RWS3mWcFU9uRWI1yAIR6Lg==,mzLIUmgzPTY6xfkCJoHL1MTLRnY=,R0fAzVfff1ZEs15h1bZbPHUMz5k=`,
		`{SCRAM-SHA-256}4096,Q+8MnbJwZyA0m9jnJ1aqPQ==,36CXk7tUxb+YO6ZI6YHfI8CLpMugiKhs8W7gx2Vks2s=,OvzqWSCn0SJSADURI/fWPYcHmJ40euQhX5jNIE+A42E=`,
		`{SHA256.HEX}b9ffaed9f59dc1432eaf8c381f375945ce8576e9bf7c5ff8cbde6dbd4d7f6597`,
		Hash(password),
	} {
		if ok, err := Verify(password, stored); !ok || err != nil {
			t.Errorf("%.30s: %v, %v", stored, ok, err)
		}
		if ok, err := Verify(password+"x", stored); ok || err != nil {
			t.Errorf("%.30s takes a wrong password: %v, %v", stored, ok, err)
		}
	}
	for _, stored := range []string{"{NONE}x", "{CRYPT}$y$j9T$x$y", "{SHA}!", "{SCRAM-SHA-256}1,2", "{PBKDF2}$1$a$0$00", "{SSHA}YQ==", ""} {
		if ok, err := Verify(password, stored); ok || err == nil {
			t.Errorf("%s: %v, %v", stored, ok, err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for in, want := range map[string]string{
		"Alice@Example.COM": "alice@example.com", "bob": "bob@example.org", "a.b+c@x.y": "a.b+c@x.y",
		"../etc": "", "a/b@c": "", "a@b@c": "", "": "", "a\x00b": "", ".hidden": "", "a..b": "", "-f": "", "ü@x": "", "@x": "", "x@": "",
		"a%2f@b": "", "~a": "", strings.Repeat("a", 300): "",
	} {
		got, err := CheckName(in, "example.org")
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestListIsChangedInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	text := "# people\nalice@example.com:{PLAIN}a:5000:5000:Alice:/m/alice::quota=1G nologin\n\nbob:{PLAIN}b\n# end\n"
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	l := Open(path)
	alice, err := l.Find("alice@example.com")
	want := User{Name: "alice@example.com", Password: "{PLAIN}a", UID: 5000, GID: 5000, FullName: "Alice", Home: "/m/alice",
		Extra: []Field{{"quota", "1G"}, {"nologin", ""}}}
	if err != nil || !reflect.DeepEqual(alice, want) {
		t.Fatalf("got %+v, %v", alice, err)
	}
	alice.Password = "{PLAIN}new"
	alice.Set("quota", "2G")
	carol := User{Name: "carol@example.com", Password: "{PLAIN}c"}
	if err := errors.Join(l.Replace(alice), l.Remove("bob"), l.Add(carol)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "# people\nalice@example.com:{PLAIN}new:5000:5000:Alice:/m/alice::quota=2G nologin\n\n# end\ncarol@example.com:{PLAIN}c\n"; string(got) != want || err != nil {
		t.Errorf("file is %q, %v", got, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := l.Find("carol@example.com"); err != nil {
		t.Errorf("a user exists from the moment it is made: %v", err)
	}
	if _, err := l.Find("bob"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a removed user is unknown at once: %v", err)
	}
	for rule, err := range map[string]error{
		"a user can't be made twice":       l.Add(carol),
		"an unknown user can't change":     l.Replace(User{Name: "dave@example.com"}),
		"an unknown user can't be removed": l.Remove("dave@example.com"),
		"a colon can't be smuggled in":     l.Add(User{Name: "e@example.com", FullName: "x:0:0"}),
		"a line can't be smuggled in":      l.Add(User{Name: "e@example.com", Home: "/x\nroot:x"}),
		"a field can't be smuggled in":     l.Add(User{Name: "e@example.com", Extra: []Field{{"a", "b c=d"}}}),
	} {
		if err == nil {
			t.Error(rule)
		}
	}
}

func TestParallelEditsKeepAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := Open(path).Add(User{Name: fmt.Sprintf("u%d@example.com", i), Password: "{PLAIN}x"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	n := 0
	if err := Open(path).All(func(User) { n++ }); err != nil || n != 20 {
		t.Errorf("%d users, %v", n, err)
	}
}

func TestBrokenListIsNoEmptyList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	l := Open(path)
	if _, err := l.Find("a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a missing list has no users: %v", err)
	}
	if err := os.WriteFile(path, []byte("a:x:nan\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Find("a"); err == nil || errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), path+":1: ") {
		t.Errorf("a broken list says where: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("alice@example.com:{PLAIN}a:5000:5000:Alice:/m/alice::quota=1G nologin")
	f.Fuzz(func(t *testing.T, line string) {
		u, ok, err := parse(line)
		if !ok || err != nil || u.check() != nil {
			return
		}
		again, ok, err := parse(u.line())
		if !ok || err != nil || !reflect.DeepEqual(again, u) {
			t.Errorf("%q -> %+v -> %q -> %+v", line, u, u.line(), again)
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("{SSHA}YWFhYWFhYWFhYWFhYWFhYWFhYWFh")
	f.Add("$1$salt$x")
	f.Fuzz(func(t *testing.T, stored string) {
		if len(stored) > 200 || strings.Contains(stored, "$") { // costs are the administrator's choice
			return
		}
		Verify("x", stored)
	})
}
