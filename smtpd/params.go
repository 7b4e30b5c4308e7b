package main

import (
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/proto"
	"postroad/libmail/smtpwire"
)

// params are the settings of main.cf, as postconf(5) describes them.
type params struct {
	conf *conf.Config

	hostname, mailName, banner       string
	calm, stressed                   limits
	lineLimit                        int
	messageLimit, minFree            int64
	recipientLimit, overshootLimit   int
	softErrorLimit, historyLimit     int
	errorSleep                       time.Duration
	minDataRate                      int
	heloRequired, delayReject        bool
	disableVRFY, strictRFC821        bool
	utf8, strictUTF8, autoUTF8       bool
	requireTLS                       bool
	discardKeywords                  smtpwire.Keywords
	forbidPipelining                 bool
	bareLFCode                       int
	bareLF                           bareLF
	softBounce                       bool
	footer, expansionFilter          string
	notifyClasses                    trouble
	delayOpen                        bool
	verpDelimiters, verpFilter       string
	portLogging, hideSession         bool
	saslHeader, tlsHeader            bool
	noUnknownCheck                   bool // receive_override_options
	cleanupFlags                     int
	contentFilter                    string
	peerLookup                       bool
	proxyProtocol                    string
	proxyTimeout                     time.Duration
	anvil                            anvilLimits
	rejectUnlistedRcpt               bool
	rejectUnlistedSender             bool
	allowUntrustedRouting            bool
	relayFirst                       bool
	showTable                        bool
	nullKey                          string
	doubleBounce                     string
	codes                            codes
	tempfailHelo, tempfailAddress    tempfail
	tempfailSender, tempfailRcpt     tempfail
	unverifiedSender, unverifiedRcpt string // reply text instead of the reason
	verifySender                     string
	verifySenderTTL                  time.Duration
	verifyPollDelay                  time.Duration
	rblReply                         string
	permitMXNetworks                 string
	delimiters                       addr.Delimiters
	addressForm                      string // info_log_address_format
	saslEnable, brokenAuth           bool
	saslResponseLimit                int
	compatibility, mailVersion       string
	tls                              tlsSettings
	families                         conf.Families
}

// limits are the settings that depend on $stress.
type limits struct {
	timeout, starttlsTimeout time.Duration
	perRequest               bool
	hardErrorLimit           int
	junkLimit                int
	verifyPolls              int
	stress                   string
}

func readLimits(c *conf.Config) limits {
	return limits{
		timeout:         c.Duration("smtpd_timeout"),
		starttlsTimeout: c.Duration("smtpd_starttls_timeout"),
		perRequest:      c.Bool("smtpd_per_request_deadline"),
		hardErrorLimit:  c.Int("smtpd_hard_error_limit"),
		junkLimit:       c.Int("smtpd_junk_command_limit"),
		verifyPolls:     c.Int("address_verify_poll_count"),
		stress:          c.String("stress"),
	}
}

// bareLF is what smtpd_forbid_bare_newline asks for.
type bareLF struct {
	strictEnd bool // content ends only at CRLF.CRLF
	reject    bool
	note      bool // in the line about the end of the session
}

// codes are the reply codes that main.cf may choose.
type codes struct {
	unknownClient, invalidHostname, unknownHostname, unknownAddress int
	relay, rbl, access, accessDefer, reject, deferAll, nonFQDN      int
	unverifiedSender, unverifiedSenderDefer                         int
	unverifiedRcpt, unverifiedRcptDefer                             int
	multiRcptBounce, plaintext                                      int
	unknownLocal, unknownAlias, unknownVirtual, unknownRelay        int
}

func readCodes(c *conf.Config) codes {
	return codes{
		unknownClient:         c.Int("unknown_client_reject_code"),
		invalidHostname:       c.Int("invalid_hostname_reject_code"),
		unknownHostname:       c.Int("unknown_hostname_reject_code"),
		unknownAddress:        c.Int("unknown_address_reject_code"),
		relay:                 c.Int("relay_domains_reject_code"),
		rbl:                   c.Int("maps_rbl_reject_code"),
		access:                c.Int("access_map_reject_code"),
		accessDefer:           c.Int("access_map_defer_code"),
		reject:                c.Int("reject_code"),
		deferAll:              c.Int("defer_code"),
		nonFQDN:               c.Int("non_fqdn_reject_code"),
		unverifiedSender:      c.Int("unverified_sender_reject_code"),
		unverifiedSenderDefer: c.Int("unverified_sender_defer_code"),
		unverifiedRcpt:        c.Int("unverified_recipient_reject_code"),
		unverifiedRcptDefer:   c.Int("unverified_recipient_defer_code"),
		multiRcptBounce:       c.Int("multi_recipient_bounce_reject_code"),
		plaintext:             c.Int("plaintext_reject_code"),
		unknownLocal:          c.Int("unknown_local_recipient_reject_code"),
		unknownAlias:          c.Int("unknown_virtual_alias_reject_code"),
		unknownVirtual:        c.Int("unknown_virtual_mailbox_reject_code"),
		unknownRelay:          c.Int("unknown_relay_recipient_reject_code"),
	}
}

// tempfail is what a check that cannot be made does: defer at once, or defer
// what would be permitted (reject_tempfail_action).
type tempfail uint8

const (
	deferIfPermit tempfail = iota
	deferAtOnce
)

func readTempfail(c *conf.Config, name string) tempfail {
	if c.String(name) == "defer" {
		return deferAtOnce
	}
	return deferIfPermit
}

// anvilLimits are the limits on events of one client in anvil_rate_time_unit;
// 0 is no limit.
type anvilLimits struct {
	connections, connectionRate, messages, recipients, newTLS, auth int
	prefix4, prefix6                                                int
}

func (l anvilLimits) any() bool {
	return l.connections|l.connectionRate|l.messages|l.recipients|l.newTLS|l.auth != 0
}

func readAnvilLimits(c *conf.Config) anvilLimits {
	return anvilLimits{
		connections:    c.Int("smtpd_client_connection_count_limit"),
		connectionRate: c.Int("smtpd_client_connection_rate_limit"),
		messages:       c.Int("smtpd_client_message_rate_limit"),
		recipients:     c.Int("smtpd_client_recipient_rate_limit"),
		newTLS:         c.Int("smtpd_client_new_tls_session_rate_limit"),
		auth:           c.Int("smtpd_client_auth_rate_limit"),
		prefix4:        c.Int("smtpd_client_ipv4_prefix_length"),
		prefix6:        c.Int("smtpd_client_ipv6_prefix_length"),
	}
}

// troubleNames are the words of notify_classes that concern this server.
var troubleNames = map[string]trouble{
	"policy":   policyTrouble,
	"protocol": protocolTrouble,
	"resource": resourceTrouble,
	"software": softwareTrouble,
	"bounce":   bounceTrouble,
	"data":     dataTrouble,
}

func readParams(c *conf.Config) (*params, error) {
	calm, err := c.With("stress=")
	if err != nil {
		return nil, err
	}
	stressed, err := c.With("stress=yes")
	if err != nil {
		return nil, err
	}
	p := &params{
		conf: c, calm: readLimits(calm), stressed: readLimits(stressed), codes: readCodes(c), anvil: readAnvilLimits(c),
		hostname:              c.String("myhostname"),
		mailName:              c.String("mail_name"),
		mailVersion:           c.String("mail_version"),
		compatibility:         c.String("compatibility_level"),
		banner:                c.String("smtpd_banner"),
		lineLimit:             c.Int("line_length_limit"),
		messageLimit:          c.Size("message_size_limit"),
		minFree:               c.Size("queue_minfree"),
		recipientLimit:        c.Int("smtpd_recipient_limit"),
		overshootLimit:        c.Int("smtpd_recipient_overshoot_limit"),
		softErrorLimit:        c.Int("smtpd_soft_error_limit"),
		historyLimit:          c.Int("smtpd_history_flush_threshold"),
		errorSleep:            c.Duration("smtpd_error_sleep_time"),
		minDataRate:           c.Int("smtpd_min_data_rate"),
		heloRequired:          c.Bool("smtpd_helo_required"),
		delayReject:           c.Bool("smtpd_delay_reject"),
		disableVRFY:           c.Bool("disable_vrfy_command"),
		strictRFC821:          c.Bool("strict_rfc821_envelopes"),
		utf8:                  c.Bool("smtputf8_enable"),
		strictUTF8:            c.Bool("strict_smtputf8"),
		autoUTF8:              hasWord(c.List("smtputf8_autodetect_classes"), "smtpd", "all"),
		requireTLS:            c.Bool("requiretls_enable"),
		forbidPipelining:      c.Bool("smtpd_forbid_unauth_pipelining"),
		bareLFCode:            c.Int("smtpd_forbid_bare_newline_reject_code"),
		bareLF:                readBareLF(c.String("smtpd_forbid_bare_newline")),
		softBounce:            c.Bool("soft_bounce"),
		footer:                c.String("smtpd_reject_footer"),
		expansionFilter:       unescape(c.String("smtpd_expansion_filter")),
		delayOpen:             c.Bool("smtpd_delay_open_until_valid_rcpt"),
		verpDelimiters:        c.String("default_verp_delimiters"),
		verpFilter:            c.String("verp_delimiter_filter"),
		portLogging:           c.Bool("smtpd_client_port_logging"),
		hideSession:           c.Bool("smtpd_hide_client_session"),
		saslHeader:            c.Bool("smtpd_sasl_authenticated_header"),
		tlsHeader:             c.Bool("smtpd_tls_received_header"),
		contentFilter:         c.String("content_filter"),
		peerLookup:            c.Bool("smtpd_peername_lookup"),
		proxyProtocol:         c.String("smtpd_upstream_proxy_protocol"),
		proxyTimeout:          c.Duration("smtpd_upstream_proxy_timeout"),
		rejectUnlistedRcpt:    c.Bool("smtpd_reject_unlisted_recipient"),
		rejectUnlistedSender:  c.Bool("smtpd_reject_unlisted_sender"),
		allowUntrustedRouting: c.Bool("allow_untrusted_routing"),
		relayFirst:            c.Bool("smtpd_relay_before_recipient_restrictions"),
		showTable:             c.Bool("show_user_unknown_table_name"),
		nullKey:               c.String("smtpd_null_access_lookup_key"),
		doubleBounce:          c.String("double_bounce_sender"),
		tempfailHelo:          readTempfail(c, "unknown_helo_hostname_tempfail_action"),
		tempfailAddress:       readTempfail(c, "unknown_address_tempfail_action"),
		tempfailSender:        readTempfail(c, "unverified_sender_tempfail_action"),
		tempfailRcpt:          readTempfail(c, "unverified_recipient_tempfail_action"),
		unverifiedSender:      c.String("unverified_sender_reject_reason"),
		unverifiedRcpt:        c.String("unverified_recipient_reject_reason"),
		verifySender:          c.String("address_verify_sender"),
		verifySenderTTL:       c.Duration("address_verify_sender_ttl"),
		verifyPollDelay:       c.Duration("address_verify_poll_delay"),
		rblReply:              c.String("default_rbl_reply"),
		permitMXNetworks:      c.String("permit_mx_backup_networks"),
		addressForm:           c.String("info_log_address_format"),
		saslEnable:            c.Bool("smtpd_sasl_auth_enable"),
		brokenAuth:            c.Bool("broken_sasl_auth_clients"),
		families:              c.Families(),
		saslResponseLimit:     c.Int("smtpd_sasl_response_limit"),
		delimiters: addr.Delimiters{
			Set:          c.String("recipient_delimiter"),
			OwnerRequest: c.Bool("owner_request_special"),
			DoubleBounce: c.String("double_bounce_sender"),
		},
	}
	for _, word := range c.List("notify_classes") {
		p.notifyClasses |= troubleNames[word]
	}
	p.discardKeywords, _ = smtpwire.ParseKeywords(c.String("smtpd_discard_ehlo_keywords")) // unknown words are for other versions
	p.readOverrides(c.List("receive_override_options"))
	p.tls, err = readTLS(c)
	return p, err
}

// readOverrides turns receive_override_options into flags for cleanup. smtpd
// runs no milters, and so cleanup must not run those for local submissions.
func (p *params) readOverrides(words []string) {
	p.cleanupFlags = proto.CleanupFilter | proto.CleanupBCC | proto.CleanupMap | proto.CleanupReply
	for _, word := range words {
		switch word {
		case "no_unknown_recipient_checks":
			p.noUnknownCheck = true
		case "no_address_mappings":
			p.cleanupFlags &^= proto.CleanupBCC | proto.CleanupMap
		case "no_header_body_checks":
			p.cleanupFlags &^= proto.CleanupFilter
		}
	}
}

func readBareLF(word string) bareLF {
	switch word {
	case "no":
		return bareLF{}
	case "reject":
		return bareLF{strictEnd: true, reject: true}
	case "note":
		return bareLF{strictEnd: true, note: true}
	}
	return bareLF{strictEnd: true}
}

func hasWord(list []string, words ...string) bool {
	for _, have := range list {
		for _, w := range words {
			if strings.EqualFold(have, w) {
				return true
			}
		}
	}
	return false
}

// unescape reads the backslash sequences of smtpd_expansion_filter.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' || i+1 == len(text) {
			b.WriteByte(c)
			continue
		}
		i++
		switch c = text[i]; c {
		case 'a':
			c = '\a'
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'v':
			c = '\v'
		case '0', '1', '2', '3', '4', '5', '6', '7':
			n := 0
			end := min(i+3, len(text))
			for ; i < end && text[i] >= '0' && text[i] <= '7'; i++ {
				n = n<<3 | int(text[i]-'0')
			}
			i--
			c = byte(n)
		}
		b.WriteByte(c)
	}
	return b.String()
}
