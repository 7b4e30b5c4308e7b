// Package maillog is the mail log: one function per event, one grammar.
//
// A line is Postfix's, so that programs which read its log read ours:
//
//	Nov 22 07:40:50 mx postfix/smtpd[4711]: 4A1B2: client=host.example[192.0.2.1]
//
// The sink makes all before "4A1B2"; everything behind it is made here.
package maillog

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// A Level is the severity of a line.
type Level int

// Levels; all but Info put their name before the text.
const (
	Info Level = iota
	Warning
	Error
	Fatal
	Panic
)

func (l Level) prefix() string {
	return [...]string{"", "warning: ", "error: ", "fatal: ", "panic: "}[l]
}

// A Sink takes finished lines: syslog, postlogd, a stream. Write never
// blocks for long and has no error: losing a log line loses no mail.
type Sink interface {
	Write(level Level, tag, text string)
}

// A Logger writes the log of one program. Its methods may be called by many
// goroutines.
type Logger struct {
	tag     string
	sink    Sink
	verbose int
	exit    func(code int)
}

// New makes a Logger. The tag is what stands before the process id,
// "postfix/smtpd".
func New(tag string, sink Sink) *Logger {
	return &Logger{tag: tag, sink: sink, exit: os.Exit}
}

// Discard is a Logger that drops all lines, for tests.
func Discard() *Logger { return New("test", discard{}) }

type discard struct{}

func (discard) Write(Level, string, string) {}

// Verbose returns a Logger whose Debug lines appear when level is above 0
// (the -v option, as often as it was given).
func (l *Logger) Verbose(level int) *Logger {
	v := *l
	v.verbose = level
	return &v
}

// ExitStatus returns a Logger whose Fatal ends the program with another status
// than 1, as sendmail and postqueue do.
func (l *Logger) ExitStatus(status int) *Logger {
	e := *l
	e.exit = func(int) { os.Exit(status) }
	return &e
}

// Also returns a Logger whose lines go to s too.
func (l *Logger) Also(s Sink) *Logger {
	a := *l
	a.sink = Tee(s, l.sink)
	return &a
}

// Tagged returns a Logger with another tag, for a program that logs in the
// name of others.
func (l *Logger) Tagged(tag string) *Logger {
	t := *l
	t.tag = tag
	return &t
}

// Log writes a line of any level and does not end the program, whatever the
// level is.
func (l *Logger) Log(level Level, text string) { l.write(level, text) }

// Tag is what stands before the process id.
func (l *Logger) Tag() string { return l.tag }

func (l *Logger) write(level Level, text string) {
	l.sink.Write(level, l.tag, level.prefix()+Printable(text))
}

// Debug logs for somebody who asked with -v.
func (l *Logger) Debug(format string, args ...any) {
	if l.verbose > 0 {
		l.write(Info, fmt.Sprintf(format, args...))
	}
}

// Info logs what is normal.
func (l *Logger) Info(format string, args ...any) {
	l.write(Info, fmt.Sprintf(format, args...))
}

// Warning logs what somebody should look at.
func (l *Logger) Warning(format string, args ...any) {
	l.write(Warning, fmt.Sprintf(format, args...))
}

// Error logs what went wrong with one piece of work.
func (l *Logger) Error(format string, args ...any) {
	l.write(Error, fmt.Sprintf(format, args...))
}

// Fatal logs why the program can't do its work, and ends it with status 1.
func (l *Logger) Fatal(format string, args ...any) {
	l.write(Fatal, fmt.Sprintf(format, args...))
	l.exit(1)
}

// Panic logs a bug of ours, without ending the program.
func (l *Logger) Panic(format string, args ...any) {
	l.write(Panic, fmt.Sprintf(format, args...))
}

// Printable makes text from outside fit for one log line: control characters
// and bytes that are not UTF-8 become '?'.
func Printable(text string) string {
	clean := true
	for i := 0; i < len(text); i++ {
		if text[i] < ' ' || text[i] >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError && n == 1 {
			b.WriteByte('?')
		} else {
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}
