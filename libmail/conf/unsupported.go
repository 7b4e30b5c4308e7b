package conf

import (
	"fmt"
	"slices"
	"strings"
)

// informational are parameters that describe an installation and that no mail
// program reads at run time, in Postfix neither.
var informational = []string{
	"daemon_directory", "command_directory", "html_directory", "mailq_path", "manpage_directory",
	"meta_directory", "newaliases_path", "readme_directory", "sample_directory", "sendmail_path",
	"shlib_directory", "mail_release_date",
}

// Unsupported lists what main.cf, and the -o options in master.cf, set without
// effect: parameters that no program of ours reads, names that are no
// parameter and that nothing refers to.
func (c *Config) Unsupported() []Warning {
	entries, err := ReadMaster(c.dir)
	if err != nil {
		entries = nil // LoadMaster reports it
	}
	var warnings []Warning
	refs := c.references(entries)
	for _, name := range c.order {
		if text := c.inVain(name, refs, entries); text != "" {
			warnings = append(warnings, Warning{c.set[name].where, name, text})
		}
	}
	for _, e := range entries {
		for _, o := range e.Overrides() {
			name, _, err := SplitNameValue(o)
			if err != nil {
				continue // the service reports it when it starts
			}
			if text := c.inVain(name, refs, entries); text != "" {
				warnings = append(warnings, Warning{fmt.Sprintf("master.cf:%d", e.Line), name, text})
			}
		}
	}
	return warnings
}

// commentable are the kinds in whose values a word with # is no pattern but a
// comment in the wrong place.
var commentable = []Kind{Match, Path, Transport, List, Flags}

// Warnings lists what is odd in main.cf without being an error: entries that
// are set twice, text that continues nothing, $names that nothing defines,
// comments after a value.
func (c *Config) Warnings() []Warning {
	warnings := slices.Clone(c.warnings)
	entries, err := ReadMaster(c.dir)
	if err != nil {
		entries = nil // LoadMaster reports it
	}
	local := map[string]bool{} // names that some service defines with -o
	for _, e := range entries {
		for _, o := range e.Overrides() {
			if name, _, err := SplitNameValue(o); err == nil {
				local[name] = true
			}
		}
	}
	for _, name := range c.order {
		if p, known := Find(name); known && p.Kind == Raw {
			continue
		}
		for _, ref := range ReferencedNames(c.set[name].value) {
			if _, known := Find(ref); !known && !c.IsSet(ref) && !local[ref] {
				warnings = append(warnings, Warning{c.set[name].where, name, "undefined parameter $" + ref + " counts as empty"})
			}
		}
		if p, _ := Find(name); slices.Contains(commentable, p.Kind) && strings.Contains(c.set[name].value, " #") {
			warnings = append(warnings, Warning{c.set[name].where, name, "a # after other text begins no comment: put the comment on a line of its own"})
		}
	}
	return warnings
}

// inVain says why a setting has no effect, or "".
func (c *Config) inVain(name string, refs map[string]bool, entries []Entry) string {
	if refs[name] || slices.Contains(informational, name) {
		return ""
	}
	p, known := Find(name)
	service, _ := splitDerived(name)
	_, inTable := index()[name]
	switch {
	case known && !inTable && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Fields[FieldName] == service }):
		return fmt.Sprintf("has no effect: master.cf has no service %q", service)
	case known && Used(name):
		return ""
	case p.Kind == Removed:
		return "has no effect: it was removed from Postfix long ago"
	case known:
		return "has no effect: it is not supported here"
	}
	return "has no effect: there is no such parameter and nothing refers to it; is it misspelled?"
}

// references collects the names that values refer to: $name, restriction
// classes, and the parameters <table>_<suffix> of tables such as ldap:table.
func (c *Config) references(entries []Entry) map[string]bool {
	refs := map[string]bool{}
	scan := func(value string) {
		for _, n := range ReferencedNames(value) {
			refs[n] = true
		}
		for _, table := range TableRefs(c.Expand(value)) {
			for _, n := range table.Parameters() {
				refs[n] = true
			}
		}
	}
	for _, name := range c.order {
		if p, known := Find(name); !known || p.Kind != Raw {
			scan(c.set[name].value)
		}
	}
	classes := c.String("smtpd_restriction_classes")
	for _, e := range entries {
		for _, o := range e.Overrides() {
			scan(o)
			if name, value, err := SplitNameValue(o); err == nil && name == "smtpd_restriction_classes" {
				classes += "," + value
			}
		}
	}
	for _, class := range SplitWords(classes) {
		refs[class] = true
	}
	for _, p := range Params() {
		if p.Kind == Legacy && Used(p.Name) {
			refs[p.Name] = true
		}
	}
	return refs
}

// ReferencedNames lists every $name in text, in both branches of conditions.
func ReferencedNames(text string) []string {
	var names []string
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i+1 == len(text) {
			return names
		}
		if text[i+1] == '$' {
			text = text[i+2:]
			continue
		}
		text = text[i+1:]
		name := strings.TrimLeft(text, "({"+blanks)
		name = name[:nameLength(name)]
		braced := strings.HasPrefix(text, "{") || strings.HasPrefix(text, "(")
		comparison := braced && strings.HasPrefix(strings.TrimLeft(text[1:], blanks), "{")
		function := braced && strings.HasPrefix(strings.TrimLeft(text[1:], blanks), name+"{")
		if name != "" && !comparison && !function {
			names = append(names, name)
		}
	}
}

// TableSuffixes are the parameters of the database clients. Where a table's
// name is no path, as in ldap:users, they are taken from main.cf with the
// table's name before them: users_server_host.
var TableSuffixes = map[string][]string{
	"ldap": {"bind", "bind_dn", "bind_pw", "cache", "cache_expiry", "cache_size", "chase_referrals", "debuglevel",
		"dereference", "domain", "expansion_limit", "leaf_result_attribute", "query_filter", "recursion_limit",
		"result_attribute", "result_filter", "result_format", "sasl_authz_id", "sasl_mechs", "sasl_minssf", "sasl_realm",
		"scope", "search_base", "search_timeout", "server_host", "server_port", "size_limit", "special_result_attribute",
		"start_tls", "terminal_result_attribute", "timeout", "tls_ca_cert_dir", "tls_ca_cert_file", "tls_cert",
		"tls_cipher_suite", "tls_key", "tls_random_file", "tls_require_cert", "version"},
	"mysql": {"additional_conditions", "charset", "dbname", "domain", "expansion_limit", "hosts", "idle_interval",
		"option_file", "option_group", "password", "query", "require_result_set", "result_format", "retry_interval",
		"select_field", "select_function", "table", "tls_CAfile", "tls_CApath", "tls_cert_file", "tls_ciphers",
		"tls_key_file", "tls_verify_cert", "user", "where_field"},
	"pgsql": {"additional_conditions", "dbname", "domain", "encoding", "expansion_limit", "hosts", "idle_interval",
		"password", "query", "result_format", "retry_interval", "select_field", "select_function", "table", "user",
		"where_field"},
	"sqlite": {"additional_conditions", "dbpath", "domain", "expansion_limit", "query", "result_format",
		"select_field", "table", "where_field"},
	"memcache": {"backup", "data_size_limit", "domain", "flags", "key_format", "line_size_limit", "max_try",
		"memcache", "retry_pause", "timeout", "ttl"},
	"mongodb": {"collection", "dbname", "domain", "expansion_limit", "projection", "query_filter",
		"result_attribute", "result_format", "uri"},
}

// A TableRef is a lookup table that a value names.
type TableRef struct{ Type, Name string }

// TableRefs finds the tables in an expanded value, also those inside braces and
// behind proxy: and debug:. Other text with a colon looks like a table too.
func TableRefs(value string) []TableRef {
	var refs []TableRef
	for _, word := range SplitList(value) {
		if strings.HasPrefix(word, "{") {
			if inner, err := unbrace(word); err == nil {
				refs = append(refs, TableRefs(inner)...)
			}
			continue
		}
		kind, name, found := strings.Cut(strings.TrimLeft(word, "!"), ":")
		for found && (kind == "proxy" || kind == "debug") {
			kind, name, found = strings.Cut(name, ":")
		}
		switch {
		case !found || name == "":
		case strings.HasPrefix(name, "{") && (kind == "pipemap" || kind == "unionmap"):
			if inner, err := unbrace(name); err == nil {
				refs = append(refs, TableRefs(inner)...)
			}
		default:
			refs = append(refs, TableRef{kind, name})
		}
	}
	return refs
}

// Parameters lists what a table whose name is no path may take from main.cf.
func (r TableRef) Parameters() []string {
	if strings.HasPrefix(r.Name, "/") || strings.HasPrefix(r.Name, ".") || strings.HasPrefix(r.Name, "{") {
		return nil
	}
	var names []string
	for _, s := range TableSuffixes[r.Type] {
		names = append(names, r.Name+"_"+s)
	}
	return names
}
