// Package mailtest runs one program or the whole suite in a temporary
// directory and plays dialogs with it, for tests.
package mailtest
