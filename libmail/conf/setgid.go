package conf

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// LoadSetgid is Load for a command that may have more rights than the user
// who runs it (postqueue, postdrop). Then it refuses a directory other than
// the default one, unless the default main.cf lists it in
// alternate_config_directories or multi_instance_directories.
func LoadSetgid(dir string, overrides ...string) (*Config, error) {
	if err := checkSetgid(dir, elevated(), DefaultDir); err != nil {
		return nil, err
	}
	return Load(dir, overrides...)
}

// elevated reports whether this process has rights that its user has not.
// The superuser has all.
func elevated() bool {
	return os.Geteuid() != os.Getuid() || os.Getegid() != os.Getgid() && os.Getuid() != 0
}

// checkSetgid decides whether dir may be used.
func checkSetgid(dir string, elevated bool, defaultDir string) error {
	found := FindDir(dir)
	if !elevated || found == defaultDir {
		return nil
	}
	c, err := Read(defaultDir)
	if err != nil {
		return err
	}
	listed := append(c.List("alternate_config_directories"), c.List("multi_instance_directories")...)
	if slices.Contains(listed, found) && !strings.Contains(found, "/../") {
		return nil
	}
	return fmt.Errorf("unauthorized configuration directory name: %s: specify \"alternate_config_directories = %s\" in %s/main.cf",
		found, found, defaultDir)
}

// CleanEnv empties the environment of this process but for what
// import_environment lists: names that are kept, and name=value.
func (c *Config) CleanEnv() {
	var keep [][2]string
	for _, item := range c.List("import_environment") {
		name, value, set := strings.Cut(item, "=")
		if !set {
			value, set = os.LookupEnv(name)
		}
		if set {
			keep = append(keep, [2]string{name, value})
		}
	}
	os.Clearenv()
	for _, e := range keep {
		// Setenv fails for an empty name or a NUL only, which no list holds.
		_ = os.Setenv(e[0], e[1])
	}
}
