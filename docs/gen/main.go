//go:build ignore

// Gen makes documents from the sources; see the package comment in gen.go.
package main

import (
	"fmt"
	"os"

	"postroad/docs/gen"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "man":
		err = gen.WriteManual(".", os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "rfc":
		var table string
		table, err = gen.Citations(".")
		fmt.Print(table)
	default:
		err = fmt.Errorf("usage: go run docs/gen/main.go man DIRECTORY | rfc")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}
