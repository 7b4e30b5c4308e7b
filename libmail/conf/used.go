package conf

// usedNames lists the parameters that some program reads. It is written by
// "go generate ./libmail/conf"; a test compares it with the source tree.
var usedNames = map[string]bool{}

// Used reports whether some program of this source tree reads the parameter.
func Used(name string) bool {
	if usedNames[name] {
		return true
	}
	service, ending := splitDerived(name)
	return service != "" && usedNames["transport_"+ending]
}
