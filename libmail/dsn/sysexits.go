package dsn

import "fmt"

// sysexits is what the exit statuses of sysexits.h mean to a delivery.
var sysexits = map[int]struct{ status, text string }{
	64: {"5.3.0", "command line usage error"},
	65: {"5.6.0", "data format error"},
	66: {"5.3.0", "cannot open input"},
	67: {"5.1.1", "user unknown"},
	68: {"5.1.2", "host name unknown"},
	69: {"5.3.0", "service unavailable"},
	70: {"5.3.0", "internal software error"},
	71: {"4.3.0", "system resource problem"},
	72: {"5.3.0", "critical OS file missing"},
	73: {"5.2.0", "can't create user output file"},
	74: {"5.3.0", "input/output error"},
	75: {"4.3.0", "temporary failure"},
	76: {"5.5.0", "remote error in protocol"},
	77: {"5.7.0", "permission denied"},
	78: {"5.3.5", "local configuration error"},
}

// An Exit is how a delivery command ended.
type Exit struct {
	Command  string // for the report
	Status   int    // exit status, when Signal is 0
	Signal   int    // the signal that killed it, or 0
	TimedOut bool   // it was killed at its time limit
	Output   string // what it printed, one line
}

// Outcome says what the end of a command means to the delivery, as Postfix
// does: status 0 is success; output that begins with a status code decides;
// then sysexits.h; everything else is a permanent failure, but a command that
// a signal killed may be tried again.
func (e Exit) Outcome() Outcome {
	said := ""
	if e.Output != "" {
		said = ". Command output: " + e.Output
	}
	o := Outcome{DiagType: "x-unix", DiagText: e.Output}
	known, sysexit := sysexits[e.Status]
	switch {
	case e.TimedOut:
		o.Status = "5.3.0"
		o.Reason = fmt.Sprintf("Command time limit exceeded: %q%s", e.Command, said)
	case e.Signal != 0:
		o.Status = "4.3.0"
		o.Reason = fmt.Sprintf("Command died with signal %d: %q%s", e.Signal, e.Command, said)
	case e.Status == 0:
		return Outcome{Status: "2.0.0", Reason: "delivered to command: " + e.Command}
	case prefixLen(e.Output) > 0:
		o.Status, o.DiagText = Split(e.Output, "5.3.0")
		if o.Status[0] == '2' {
			o.Status = "5.3.0"
		}
		o.Reason = o.DiagText
	case sysexit:
		o.Status, o.Reason = known.status, known.text+said
		if o.DiagText == "" {
			o.DiagText = known.text
		}
	default:
		o.Status = "5.3.0"
		o.Reason = fmt.Sprintf("Command died with status %d: %q%s", e.Status, e.Command, said)
	}
	if o.DiagText == "" {
		o.DiagText = o.Reason
	}
	return o
}
