package conf

// paramsPostroad are the parameters that Postfix does not have.
var paramsPostroad = []Param{
	{"account_file", "$config_directory/accounts", Path, "len 1..", "Mail users, in the form of Dovecot's passwd-file; changed by postroad user."},
	{"account_user", "vmail", Text, "", "Account whose rights mail users have that account_file gives no uid."},
	{"anvil_service_name", "anvil", Socket, "len 1..", "Service of master.cf that counts clients."},
	{"auth_default_domain", "$mydomain", Text, "", "Domain of a login without one, for users in account_file."},
	{"auth_failure_delay", "2s", Time, "0..", "How late authd answers a wrong password; later after several from one address."},
	{"auth_mechanisms", "plain login scram-sha-256 scram-sha-1", List, "", "SASL mechanisms that authd offers."},
	{"auth_service_name", "auth", Socket, "len 1..", "Service of master.cf that checks passwords: authd."},
	{"auth_sources", "accounts", List, "", "Where authd finds users, in this order: accounts (account_file), system (this host's)."},
	{"auth_success_cache_time", "5m", Time, "0..", "How long authd remembers a right password; 0 for not at all."},
	{"auth_ticket_key_file", "$data_directory/ticket.key", Path, "len 1..", "Key with which authd signs the tickets that userd checks; made where it is missing."},
	{"lmtpd_quota_full_tempfail", "no", Bool, "", "Whether lmtpd lets mail to a full mailbox wait (452) instead of refusing it (552)."},
	{"lmtpd_subaddress_folder", "no", Bool, "", "Whether lmtpd delivers user+folder to that folder, where the user has it."},
	{"local_passwd_file", "", Path, "", "File in the form of passwd(5) with the local users, in place of the system's accounts."},
	{"login_plaintext_auth", "no", Bool, "", "Whether mail readers may send a password without TLS from other hosts."},
	{"login_tls_cert_file", "$smtpd_tls_cert_file", Path, "", "Certificate of imapd and pop3d."},
	{"login_tls_chain_files", "$smtpd_tls_chain_files", List, "", "Private keys and certificates of imapd and pop3d, each with its chain."},
	{"login_tls_key_file", "$smtpd_tls_key_file", Path, "", "Private key of imapd and pop3d."},
	{"login_tls_security_level", "may", Enum, "none|may|encrypt", "Whether imapd and pop3d offer TLS, or demand it."},
	{"login_tls_wrappermode", "no", Bool, "", "TLS from the first byte, for the services imaps and pop3s."},
	{"mail_location", "maildir:~/Maildir", Text, "len 1..", "Where the mail of a user is: maildir:PATH or mbox:PATH, ~ is the home directory."},
	{"pop3_uidl_format", "%08Xu%08Xv", Text, "len 1..", "POP3 unique ids: %u UID, %v UIDVALIDITY, %f file name; a number's form before the letter, as %08Xu."},
	{"userd_service_name", "userd", Socket, "len 1..", "Service of master.cf that finds the worker of a user who logged in: userd."},
}
