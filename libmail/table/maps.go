package table

// Maps is a list of tables that is searched in order: the value of a parameter
// such as virtual_alias_maps.
type Maps struct {
	title  string
	tables []Table
	o      Options
}

// OpenMaps opens each "type:name" of list (conf.Config.List of a parameter).
// title is the parameter's name, for the log.
func OpenMaps(title string, list []string, o Options) (*Maps, error) {
	m := &Maps{title: title, o: o}
	for _, spec := range list {
		t, err := Open(spec, o)
		if err != nil {
			return nil, err
		}
		m.tables = append(m.tables, t)
	}
	return m, nil
}

// Title is the name that OpenMaps was given.
func (m *Maps) Title() string { return m.title }

// Tables lists the tables in order.
func (m *Maps) Tables() []Table { return m.tables }

// Empty reports whether there is no table at all. A nil Maps is empty.
func (m *Maps) Empty() bool { return m == nil || len(m.tables) == 0 }

// Find returns the first value that a table has for key. The first table that
// cannot answer ends the search with an error. An empty key is not found; an
// empty value is an error of configuration.
func (m *Maps) Find(key string) (value string, found bool, err error) {
	return m.find(key, false)
}

// FindPartial is Find in tables of fixed strings only: for keys that are a
// part of an address or name, which patterns must not see.
func (m *Maps) FindPartial(key string) (value string, found bool, err error) {
	return m.find(key, true)
}

func (m *Maps) find(key string, partial bool) (string, bool, error) { return "", false, nil }

// Changed reports whether a table was read again since the last call.
func (m *Maps) Changed() bool { return false }

// Close closes the tables.
func (m *Maps) Close() error { return nil }

// A Strategy is the set of keys that FindAddress tries, in the order of the
// constants.
type Strategy uint

const (
	FindFull           Strategy = 1 << iota // user+ext@domain
	FindNoExtension                         // user@domain
	FindLocalIfLocal                        // user+ext, user if the domain is local
	FindLocalAtIfLocal                      // user+ext@, user@ if the domain is local
	FindAtDomain                            // @domain
	FindDomain                              // domain
	FindParents                             // with FindDomain: its parents too, as parent.example
	FindDotParents                          // with FindDomain: its parents too, as .parent.example
	FindLocalAt                             // user+ext@, user@ whatever the domain
	FindDefault        = FindFull | FindNoExtension | FindLocalIfLocal | FindAtDomain
)

// FindAddress searches the tables for an address in internal (unquoted) form
// and for what Strategy derives from it; keys are tried in external form and,
// where that differs, in internal form. extension is what had to be cut from
// the local part to find a value, with its delimiter.
func (m *Maps) FindAddress(address string, s Strategy) (value, extension string, found bool, err error) {
	return "", "", false, nil
}

// MapAddress looks an address (internal form) up with FindDefault and returns
// the addresses of the value in internal form, or found = false. A value
// @domain keeps the local part. canon makes each address of the value
// canonical (external form in and out; trivial-rewrite does it); nil leaves
// them alone. With Propagate the extension that was cut is put on each result
// (propagate_unmatched_extensions).
func (m *Maps) MapAddress(address string, x Extension, canon func(address string) (string, error)) (addresses []string, found bool, err error) {
	return nil, false, nil
}

// An Extension says what MapAddress does with an extension that matched
// nothing.
type Extension int

const (
	Drop Extension = iota
	Propagate
)

// Parents says in which form a table or list has a domain that shall match its
// subdomains.
type Parents int

const (
	DotParents   Parents = iota // as .example.com
	PlainParents                // as example.com
)

// ParentsOf tells the form that parent_domain_matches_subdomains (its List)
// asks for in the feature of that name, such as "relay_domains".
func ParentsOf(feature string, list []string) Parents {
	for _, name := range list {
		if name == feature {
			return PlainParents
		}
	}
	return DotParents
}

// FindDomain looks up a domain and then its parents (access(5)).
func (m *Maps) FindDomain(domain string, p Parents) (value string, found bool, err error) {
	return "", false, nil
}

// FindIP looks up an address in its text form and then its networks, made by
// cutting octets of IPv4 and groups of IPv6 from the right (access(5)).
func (m *Maps) FindIP(ip string) (value string, found bool, err error) { return "", false, nil }
