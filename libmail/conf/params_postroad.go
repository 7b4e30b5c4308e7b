package conf

// paramsPostroad are the parameters that Postfix does not have.
var paramsPostroad = []Param{
	{"local_passwd_file", "", Path, "", "File in the form of passwd(5) with the local users, in place of the system's accounts."},
}
