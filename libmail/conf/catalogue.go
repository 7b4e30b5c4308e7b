package conf

import (
	"slices"
	"strings"
	"sync"
)

// A Kind says how the value of a parameter reads.
type Kind uint8

// The kinds. Everything from Text to Removed is text for String and List; the
// kind tells a reader, and the checks of postroad check, what the text means.
const (
	Text         Kind = iota // any text
	Raw                      // text whose $names are replaced by its user, not here
	Path                     // a file or directory
	List                     // words between commas and blanks
	Tables                   // lookup tables, type:name
	Match                    // match list: names, addresses, tables, files, !exceptions
	Restrictions             // access restrictions of smtpd
	Enum                     // one of the words in Limits
	Flags                    // any of the words in Limits
	Transport                // transport:nexthop
	Socket                   // name of a service socket in master.cf
	Legacy                   // obsolete name that the default of a current parameter looks at
	Removed                  // obsolete name without any effect, in Postfix neither
	Bool                     // yes or no
	Int                      // whole number
	Size                     // bytes
	Time                     // whole number with a unit s, m, h, d, w
)

var kindNames = [...]string{"text", "raw text", "path", "list", "lookup tables", "match list",
	"restrictions", "word", "words", "transport", "service", "legacy", "removed", "yes/no", "number", "bytes", "time"}

// String is the kind as the documentation calls it.
func (k Kind) String() string { return kindNames[k] }

// A Param is one parameter of the catalogue.
type Param struct {
	Name    string
	Default string // as postconf -d shows it; computed ones are empty here
	Kind    Kind
	Limits  string // "1..", "200..599", "len 2..2", "ignore|enforce|drop", or ""
	Doc     string // one sentence
}

// tables are the parts of the catalogue, each one file.
func tables() [][]Param {
	return [][]Param{paramsAtoL, paramsMtoZ, paramsPostroad, paramsLMTP, paramsPostscreen, paramsSMTP, paramsSMTPD, paramsTLS}
}

var index = sync.OnceValue(func() map[string]*Param {
	m := make(map[string]*Param, 1100)
	for _, t := range tables() {
		for i := range t {
			m[t[i].Name] = &t[i]
		}
	}
	return m
})

// Params returns the catalogue sorted by name. Names that a service of
// master.cf brings into being are not in it; see Derived.
func Params() []Param {
	var all []Param
	for _, t := range tables() {
		all = append(all, t...)
	}
	slices.SortFunc(all, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Find returns the parameter of that name, also one that Derived describes.
func Find(name string) (Param, bool) {
	if p, ok := index()[name]; ok {
		return *p, true
	}
	if service, suffix := splitDerived(name); service != "" {
		return Derived(service, suffix), true
	}
	return Param{}, false
}

// A suffix makes the parameter <service>_<name>, whose default is $default.
type suffix struct {
	name, def string
	kind      Kind
	doc       string
}

// suffixes are what every delivery transport of master.cf has; the last one
// only pipe and spawn services have.
var suffixes = []suffix{
	{"recipient_limit", "default_recipient_limit", Int, "in-memory recipients of this transport"},
	{"extra_recipient_limit", "default_extra_recipient_limit", Int, "extra in-memory recipients when the transport's limit is reached"},
	{"recipient_refill_limit", "default_recipient_refill_limit", Int, "recipients read from the queue file in one go"},
	{"recipient_refill_delay", "default_recipient_refill_delay", Time, "longest wait before more recipients are read"},
	{"delivery_slot_cost", "default_delivery_slot_cost", Int, "deliveries that earn one slot for preemption by another message"},
	{"delivery_slot_loan", "default_delivery_slot_loan", Int, "slots lent to speed up the start of a preemption"},
	{"delivery_slot_discount", "default_delivery_slot_discount", Int, "percentage of the needed slots that is granted"},
	{"minimum_delivery_slots", "default_minimum_delivery_slots", Int, "slots below which a message is not preempted"},
	{"initial_destination_concurrency", "initial_destination_concurrency", Int, "parallel deliveries at first to one destination"},
	{"destination_concurrency_limit", "default_destination_concurrency_limit", Int, "most parallel deliveries to one destination"},
	{"destination_recipient_limit", "default_destination_recipient_limit", Int, "most recipients in one delivery"},
	{"destination_concurrency_positive_feedback", "default_destination_concurrency_positive_feedback", Text, "growth of the concurrency after a success"},
	{"destination_concurrency_negative_feedback", "default_destination_concurrency_negative_feedback", Text, "cut of the concurrency after a connection failure"},
	{"destination_concurrency_failed_cohort_limit", "default_destination_concurrency_failed_cohort_limit", Int, "failed rounds after which a destination counts as dead"},
	{"destination_rate_delay", "default_destination_rate_delay", Time, "pause between deliveries to one destination"},
	{"transport_rate_delay", "default_transport_rate_delay", Time, "pause between deliveries by this transport"},
	{"time_limit", "command_time_limit", Time, "how long the command of this service may run"},
}

// Suffixes lists the endings of the parameters that a delivery transport of
// master.cf brings into being, for pipe and spawn services with time_limit.
func Suffixes(program string) []string {
	var names []string
	for _, s := range suffixes {
		isLimit := s.name == "time_limit"
		switch program {
		case "local", "error", "virtual", "smtp", "lmtp":
			if isLimit {
				continue
			}
		case "pipe":
		case "spawn":
			if !isLimit {
				continue
			}
		default:
			continue
		}
		names = append(names, s.name)
	}
	return names
}

// Derived is the parameter <service>_<suffix>. The catalogue's own entry wins,
// such as local_destination_recipient_limit. It panics on an unknown suffix.
func Derived(service, suffix string) Param {
	name := service + "_" + suffix
	if p, ok := index()[name]; ok {
		return *p
	}
	for _, s := range suffixes {
		if s.name == suffix {
			return Param{Name: name, Default: "$" + s.def, Kind: s.kind,
				Limits: index()[s.def].Limits, Doc: "For the service " + service + ": " + s.doc + "."}
		}
	}
	panic("conf: no transport parameter ends in " + suffix)
}

// splitDerived cuts a name such as uucp_destination_rate_delay at its longest
// known suffix; service is empty if it has none.
func splitDerived(name string) (service, ending string) {
	for _, s := range suffixes {
		cut, found := strings.CutSuffix(name, "_"+s.name)
		if found && cut != "" && len(s.name) > len(ending) {
			service, ending = cut, s.name
		}
	}
	return service, ending
}
