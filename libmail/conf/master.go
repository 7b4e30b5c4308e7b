package conf

import "time"

// A Service is one entry of master.cf (master(5)).
type Service struct {
	Name         string        // first column: "smtp", "127.0.0.1:25", "public/cleanup" without its folder
	Type         string        // inet, unix, unix-dgram, fifo, pass
	Private      bool          // socket below private/, not public/
	Unprivileged bool          // runs as $mail_owner
	Chroot       bool          // runs in $queue_directory
	Wakeup       time.Duration // 0: never
	WakeupIfUsed bool          // wake up only after it was used once
	MaxProc      int           // 0: no limit
	Command      string        // program, relative to $daemon_directory
	Args         []string      // arguments after the program name
	Line         int           // line in master.cf
}

// LoadMaster reads master.cf in dir. c gives the defaults that depend on main.cf.
func LoadMaster(dir string, c *Config) ([]Service, error) { return nil, nil }
