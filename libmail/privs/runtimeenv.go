package privs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// ShedRuntimeEnv is the first call of a set-gid or set-uid command. When its
// environment holds settings of the Go runtime (GODEBUG, GOTRACEBACK, ...) it
// runs the program anew without them: they took force before main, and they
// come from a user who has fewer rights. name is for the complaint when that
// fails, which ends the program.
func ShedRuntimeEnv(name string) {
	if os.Getegid() == os.Getgid() && os.Geteuid() == os.Getuid() {
		return
	}
	env := os.Environ()
	clean := withoutRuntimeSettings(env)
	if len(clean) == len(env) {
		return
	}
	err := syscall.Exec("/proc/self/exe", os.Args, clean)
	fmt.Fprintf(os.Stderr, "%s: fatal: start without GO variables: %v\n", name, err)
	os.Exit(1)
}

// withoutRuntimeSettings leaves GOTRACEBACK=none, which the runtime itself puts
// into the environment of every set-gid program: to shed it would never end.
func withoutRuntimeSettings(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return strings.HasPrefix(e, "GO") && e != "GOTRACEBACK=none"
	})
}
