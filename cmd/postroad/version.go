package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"postroad/libmail/conf"
)

// version tells what was built from which sources, and whose behaviour it has.
func (s *system) version([]string) error {
	version, revision := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = " (" + setting.Value[:min(12, len(setting.Value))] + ")"
			}
		}
	}
	p, _ := conf.Find("mail_version") // a test of the catalogue knows it
	_, err := fmt.Fprintf(s.out, "postroad %s%s, behaves as Postfix %s, built with %s\n", version, revision, p.Default, runtime.Version())
	return err
}
