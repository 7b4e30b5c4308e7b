package conf

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// computed returns the default of a parameter that depends on the machine or
// on the running process. A setting in main.cf wins over it.
func (c *Config) computed(name string) (string, bool) {
	switch name {
	case "myhostname":
		return c.hostname(), true
	case "mydomain":
		_, domain, found := strings.Cut(c.String("myhostname"), ".")
		if !found {
			domain = defaultDomain
		}
		return domain, true
	case "mynetworks":
		return c.networks(), true
	case "config_directory":
		return c.dir, true
	case "process_id":
		return strconv.Itoa(os.Getpid()), true
	case "process_name":
		return filepath.Base(os.Args[0]), true
	case "daemon_directory":
		return programDirectory(index()[name].Default, daemonProbe), true
	case "command_directory":
		return programDirectory(index()[name].Default, commandProbe), true
	}
	return "", false
}

const defaultDomain = "localdomain"

// hostname is the kernel's name for this machine. A name without a dot gets
// $mydomain if main.cf sets that, else "localdomain"; the DNS is not asked,
// because every program would hang when it does not answer.
func (c *Config) hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost" // the kernel always has a name; a chroot may hide it
	}
	if strings.Contains(name, ".") {
		return name
	}
	if c.IsSet("mydomain") && !strings.Contains(c.set["mydomain"].value, "$") {
		return name + "." + c.set["mydomain"].value
	}
	return name + "." + defaultDomain
}

// module is what the build information of our programs says.
const module = "postroad"

// A probe is a program of ours that shows where others are: beside it, or away
// from the running program as the Makefile installs.
type probe struct{ program, away string }

var (
	daemonProbe  = probe{"master", "../libexec/postroad"}
	commandProbe = probe{"postqueue", "../../sbin"}
)

// DaemonDirectory is the directory of the programs that master starts:
// $daemon_directory if our master is there, else where it is as seen from the
// running program. A main.cf that came with Postfix names Postfix's own
// programs, which do not understand ours.
func (c *Config) DaemonDirectory() string {
	return programDirectory(c.String("daemon_directory"), daemonProbe)
}

// CommandDirectory is the directory of the commands that people and scripts
// type: $command_directory if our postqueue is there, else where it is as seen
// from the running program.
func (c *Config) CommandDirectory() string {
	return programDirectory(c.String("command_directory"), commandProbe)
}

// programDirectory looks for our programs in the configured directory, beside
// the running program, and away from it. If they are nowhere, the
// configuration's word counts.
func programDirectory(configured string, p probe) string {
	self := selfDirectory()
	for _, dir := range []string{configured, self, filepath.Join(self, p.away)} {
		if isOurs(filepath.Join(dir, p.program)) {
			return dir
		}
	}
	return configured
}

var selfDirectory = sync.OnceValue(func() string {
	path, err := os.Executable()
	if err != nil {
		return "" // no /proc: the configured directory is used
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Dir(path)
})

// isOurs reports whether the file is a program built from this module.
func isOurs(path string) bool {
	info, err := buildinfo.ReadFile(path)
	return err == nil && (info.Main.Path == module || strings.HasPrefix(info.Path, module+"/"))
}
