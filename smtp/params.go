package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	"postroad/libmail/smtpwire"
	"postroad/libmail/table"
)

// params are the settings of the client. Names are without the "smtp_" or
// "lmtp_" that they have in main.cf.
type params struct {
	lmtp     bool
	prefix   string // "smtp" or "lmtp"
	myhost   string
	myorigin string

	// Destinations and addresses.
	port             string
	knownPorts       map[string]int
	fallbackRelay    []string
	relayhost        string
	bestMX           string // best_mx_transport
	protocols        resolver.Protocols
	interfaces       []netip.Addr // of this host (inet_interfaces)
	own              []netip.Addr // addresses that mean this host: these and those of proxies
	dnsLevel         dnsLevel
	dns              resolver.Options
	ignoreMXError    bool
	ignoreSRVError   bool
	srvServices      []string
	srvFallback      bool
	deferNoMXAddress bool
	preference       resolver.Protocols // All: none
	randomize        bool
	balance          bool
	addressLimit     int
	sessionLimit     int
	bind4, bind6     netip.Addr
	bindEnforce      bool
	cnameOverrides   bool
	windowSize       int

	// Time limits.
	connect, helo, starttls, xforward, mail, rcpt time.Duration
	dataInit, dataXfer, dataDone, rset, quit      time.Duration
	perRequest                                    bool
	minRate                                       int

	// Reuse of connections.
	keepOnDemand bool
	keepAlways   *table.MatchList
	keepIdle     time.Duration
	keepTime     time.Duration
	keepCount    int
	keepMax      int // connections that may wait at once

	// The conversation.
	heloName         string
	alwaysEHLO       bool
	neverEHLO        bool
	skip5xxGreeting  bool
	skipQuitReply    bool
	discard          smtpwire.Keywords
	discardMaps      *table.Maps
	replyFilter      *table.Maps
	pixWords         []string
	pixMaps          *table.Maps
	pixAge           time.Duration
	pixPause         time.Duration
	xforwardWanted   bool
	dummyAuth        bool
	quoteEnvelope    bool
	verifyTarget     step
	softBounce       bool
	lineLimit        int // line_length_limit: of replies
	debugPeers       *table.MatchList
	helpfulWarnings  bool
	notifyProtocol   bool
	notifyData       bool
	errorNotice      string // error_notice_recipient
	mailName         string
	obsoleteFrom     bool // header_from_format = obsolete
	logTLS           bool
	requireTLS       bool // requiretls_enable
	tlsRequired      bool // tls_required_enable
	minBackoff       time.Duration
	requireTLSPolicy requirePolicy

	// The content.
	outLimit         int // smtp_line_length_limit
	keepStrayCR      bool
	noConversion     bool // disable_mime_output_conversion
	headerLimit      int
	boundaryLimit    int
	nestingLimit     int
	addressTokens    int
	generic          *table.Maps
	genericExtension table.Extension
	headerChecks     checks
	flags            string // flags= of master.cf: D O R X
	finalDelivery    bool

	sasl saslParams
	tls  tlsParams
}

// dnsLevel is smtp_dns_support_level.
type dnsLevel int

const (
	dnsEnabled dnsLevel = iota
	dnsDisabled
	dnsSecure
)

// A source reads parameters of one of the two clients.
type source struct {
	*conf.Config
	prefix string
	tables table.Options // of addresses and names
	text   table.Options // of text that is not folded
	err    error
}

func (s *source) str(name string) string          { return s.String(s.prefix + "_" + name) }
func (s *source) yes(name string) bool            { return s.Bool(s.prefix + "_" + name) }
func (s *source) num(name string) int             { return s.Int(s.prefix + "_" + name) }
func (s *source) limit(name string) time.Duration { return s.Duration(s.prefix + "_" + name) }
func (s *source) words(name string) []string      { return conf.SplitWords(s.str(name)) }
func (s *source) fail(name string, err error)     { s.failAll(s.prefix+"_"+name, err) }
func (s *source) maps(name string) *table.Maps    { return s.mapsWith(name, s.tables) }
func (s *source) own(smtpName, lmtpName string) string {
	if s.prefix == "lmtp" {
		return lmtpName
	}
	return smtpName
}

func (s *source) failAll(name string, err error) {
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("%s: %w", name, err)
	}
}

// localDomains tells which domains are those of this host: user@domain may
// then stand in a table without its domain.
func (s *source) localDomains() func(domain string) (bool, error) {
	list, err := table.OpenMatchList("mydestination", table.DomainList, s.String("mydestination"),
		table.ParentsOf("mydestination", s.List("parent_domain_matches_subdomains")), s.tables)
	s.failAll("mydestination", err)
	own := s.OwnAddresses()
	return func(domain string) (bool, error) {
		if a, err := addr.ParseLiteral(domain); err == nil {
			return slices.Contains(own, a), nil
		}
		return list.Match(domain, "")
	}
}

// mapsWith opens the tables of a parameter.
func (s *source) mapsWith(name string, o table.Options) *table.Maps {
	full := s.prefix + "_" + name
	m, err := table.OpenMaps(full, conf.SplitList(s.String(full)), o)
	s.failAll(full, err)
	return m
}

func (s *source) addr(name string) netip.Addr {
	text := s.str(name)
	if text == "" {
		return netip.Addr{}
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	a, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimPrefix(text, "IPv6:"), "ipv6:"))
	s.fail(name, err)
	return a
}

// readParams reads main.cf for the client that prefix names. The tables that
// it opens need the rights of the program's start.
func readParams(c *conf.Config, log *maillog.Logger, prefix string, args []string, stale func(string)) (*params, error) {
	s := &source{Config: c, prefix: prefix, tables: table.Options{
		UTF8: c.Bool("smtputf8_enable"), Log: log, Stale: stale, Proxy: proto.TableProxy(c),
		Delimiters: addr.Delimiters{Set: c.String("recipient_delimiter"),
			OwnerRequest: c.Bool("owner_request_special"), DoubleBounce: c.String("double_bounce_sender")},
		MaxReply: int(c.Size("socketmap_max_reply_size")), MaxQuery: int(c.Size("socketmap_max_query_size")),
	}}
	s.text = s.tables
	s.text.Fold, s.text.Delimiters = table.FoldNone, addr.Delimiters{}
	s.tables.Local = s.localDomains()
	p := &params{prefix: prefix, lmtp: prefix == "lmtp", myhost: c.String("myhostname"), myorigin: c.String("myorigin")}
	p.destinations(s)
	p.limits(s)
	p.reuse(s)
	p.conversation(s)
	p.content(s, args)
	p.sasl.read(s)
	p.tls.read(s)
	return p, s.err
}

func (p *params) destinations(s *source) {
	p.port = s.str("tcp_port")
	p.knownPorts = knownPorts(s.String("known_tcp_ports"))
	p.fallbackRelay = s.words("fallback_relay")
	if !p.lmtp {
		p.relayhost, p.bestMX = s.String("relayhost"), s.String("best_mx_transport")
	}
	f := s.Families()
	if f.V4 {
		p.protocols |= resolver.IPv4
	}
	if f.V6 {
		p.protocols |= resolver.IPv6
	}
	p.interfaces = s.OwnAddresses()
	p.own = slices.Clone(p.interfaces)
	for _, w := range s.List("proxy_interfaces") {
		if a, err := netip.ParseAddr(strings.Trim(w, "[]")); err == nil {
			p.own = append(p.own, a)
		}
	}
	switch level := s.str("dns_support_level"); {
	case level == "disabled", level == "" && s.Bool("disable_dns_lookups"):
		p.dnsLevel = dnsDisabled
	case level == "dnssec":
		p.dnsLevel = dnsSecure
	}
	p.readDNS(s)
	p.ignoreMXError, p.deferNoMXAddress = s.Bool("ignore_mx_lookup_error"), s.yes("defer_if_no_mx_address_found")
	p.srvServices, p.srvFallback = s.List("use_srv_lookup"), s.Bool("allow_srv_lookup_fallback")
	p.ignoreSRVError = s.Bool("ignore_srv_lookup_error")
	switch s.str("address_preference") {
	case "ipv4":
		p.preference = resolver.IPv4
	case "ipv6":
		p.preference = resolver.IPv6
	}
	p.randomize, p.balance = s.yes("randomize_addresses"), s.yes("balance_inet_protocols")
	p.addressLimit, p.sessionLimit = s.num("mx_address_limit"), s.num("mx_session_limit")
	p.bind4, p.bind6, p.bindEnforce = s.addr("bind_address"), s.addr("bind_address6"), s.yes("bind_address_enforce")
	p.cnameOverrides = s.yes("cname_overrides_servername")
	p.windowSize = s.Int("tcp_windowsize")
}

// readDNS sets the options of the resolver.
func (p *params) readDNS(s *source) {
	p.dns = resolver.Options{Protocols: p.protocols}
	for _, w := range s.words("dns_resolver_options") {
		switch strings.ToLower(w) {
		case "res_defnames":
			p.dns.Search |= resolver.DefNames
		case "res_dnsrch":
			p.dns.Search |= resolver.DNSrch
		default:
			s.fail("dns_resolver_options", fmt.Errorf("unknown option %q", w))
		}
	}
	for _, w := range s.words("host_lookup") {
		switch w {
		case "dns":
			p.dns.Sources |= resolver.DNS
		case "native":
			p.dns.Sources |= resolver.Native
		}
	}
	if p.dnsLevel == dnsDisabled {
		p.dns.Sources = resolver.Native
	}
	filter := s.mapsWith("dns_reply_filter", s.tables)
	if !filter.Empty() {
		p.dns.Filter = func(record string) (bool, error) {
			action, found, err := filter.Find(record)
			if err != nil || !found {
				return false, err
			}
			if word, _, _ := strings.Cut(action, " "); !strings.EqualFold(word, "IGNORE") {
				return false, fmt.Errorf("%s: unknown DNS filter action: %q", filter.Title(), action)
			}
			s.tables.Log.Info("ignoring DNS RR: %s", record)
			return true, nil
		}
	}
}

// knownPorts reads known_tcp_ports: "smtp=25, smtps=submissions=465".
func knownPorts(text string) map[string]int {
	ports := map[string]int{}
	for _, entry := range conf.SplitWords(text) {
		names := strings.Split(entry, "=")
		var n int
		if _, err := fmt.Sscan(names[len(names)-1], &n); err != nil {
			continue // the service is looked up in the system's database then
		}
		for _, name := range names[:len(names)-1] {
			ports[name] = n
		}
	}
	return ports
}

func (p *params) limits(s *source) {
	p.connect, p.helo, p.starttls = s.limit("connect_timeout"), s.Duration(s.own("smtp_helo_timeout", "lmtp_lhlo_timeout")), s.limit("starttls_timeout")
	p.xforward, p.mail, p.rcpt = s.limit("xforward_timeout"), s.limit("mail_timeout"), s.limit("rcpt_timeout")
	p.dataInit, p.dataXfer, p.dataDone = s.limit("data_init_timeout"), s.limit("data_xfer_timeout"), s.limit("data_done_timeout")
	p.rset, p.quit = s.limit("rset_timeout"), s.limit("quit_timeout")
	p.perRequest, p.minRate = s.yes("per_request_deadline"), s.num("min_data_rate")
}

func (p *params) reuse(s *source) {
	p.keepOnDemand = s.yes("connection_cache_on_demand")
	p.keepIdle, p.keepTime = s.limit("connection_cache_time_limit"), s.limit("connection_reuse_time_limit")
	p.keepCount = s.num("connection_reuse_count_limit")
	p.keepMax = max(s.Int("default_process_limit"), 100)
	list, err := table.OpenMatchList(s.prefix+"_connection_cache_destinations", table.StringList,
		s.str("connection_cache_destinations"), table.DotParents, s.tables)
	s.fail("connection_cache_destinations", err)
	p.keepAlways = list
}

func (p *params) conversation(s *source) {
	p.heloName = s.String(s.own("smtp_helo_name", "lmtp_lhlo_name"))
	if !p.lmtp {
		p.alwaysEHLO, p.neverEHLO = s.Bool("smtp_always_send_ehlo"), s.Bool("smtp_never_send_ehlo")
	}
	p.skip5xxGreeting, p.skipQuitReply = s.yes("skip_5xx_greeting"), s.yes("skip_quit_response")
	discard := s.own("smtp_discard_ehlo_keywords", "lmtp_discard_lhlo_keywords")
	var unknown []string
	p.discard, unknown = smtpwire.ParseKeywords(s.String(discard))
	if len(unknown) > 0 {
		s.failAll(discard, fmt.Errorf("unknown EHLO keyword %q", unknown[0]))
	}
	p.discardMaps = s.maps(strings.TrimPrefix(s.own("smtp_discard_ehlo_keyword_address_maps", "lmtp_discard_lhlo_keyword_address_maps"), s.prefix+"_"))
	p.replyFilter = s.mapsWith("reply_filter", s.text)
	p.pixWords, p.pixMaps = s.words("pix_workarounds"), s.maps("pix_workaround_maps")
	p.pixAge, p.pixPause = s.limit("pix_workaround_threshold_time"), s.limit("pix_workaround_delay_time")
	p.xforwardWanted, p.dummyAuth = s.yes("send_xforward_command"), s.yes("send_dummy_mail_auth")
	p.quoteEnvelope = s.yes("quote_rfc821_envelope")
	p.verifyTarget = stepRcpt
	if s.str("address_verify_target") == "data" {
		p.verifyTarget = stepData
	}
	p.softBounce, p.helpfulWarnings = s.Bool("soft_bounce"), s.Bool("helpful_warnings")
	p.lineLimit = int(s.Size("line_length_limit"))
	var err error
	p.debugPeers, err = table.OpenMatchList("debug_peer_list", table.NameAddrList, s.String("debug_peer_list"),
		table.ParentsOf("debug_peer_list", s.List("parent_domain_matches_subdomains")), s.tables)
	s.failAll("debug_peer_list", err)
	classes := s.List("notify_classes")
	p.notifyProtocol, p.notifyData = slices.Contains(classes, "protocol"), slices.Contains(classes, "data")
	p.errorNotice, p.mailName = s.String("error_notice_recipient"), s.String("mail_name")
	p.obsoleteFrom = s.String("header_from_format") == "obsolete"
	p.logTLS = s.yes("log_tls_feature_status")
	p.requireTLS, p.tlsRequired = s.Bool("requiretls_enable"), s.Bool("tls_required_enable")
	p.minBackoff = s.Duration("minimal_backoff_time")
	p.requireTLSPolicy.read(s, s.str("requiretls_policy"))
}

func (p *params) content(s *source, args []string) {
	p.outLimit = int(s.Size(s.prefix + "_line_length_limit"))
	p.keepStrayCR = !s.Bool("cleanup_replace_stray_cr_lf")
	p.noConversion = s.Bool("disable_mime_output_conversion")
	p.headerLimit, p.boundaryLimit = int(s.Size("header_size_limit")), s.Int("mime_boundary_length_limit")
	p.nestingLimit, p.addressTokens = s.Int("mime_nesting_limit"), s.Int("header_address_token_limit")
	p.generic = s.maps("generic_maps")
	if slices.Contains(s.List("propagate_unmatched_extensions"), "generic") {
		p.genericExtension = table.Propagate
	}
	p.headerChecks.read(s)
	for _, arg := range args {
		flags, ok := strings.CutPrefix(arg, "flags=")
		if !ok || strings.Trim(flags, "DORX") != "" {
			s.failAll("master.cf", fmt.Errorf("unknown argument %q", arg))
		}
		p.flags = flags
	}
	p.finalDelivery = strings.Contains(p.flags, "X") || p.lmtp && s.Bool("lmtp_assume_final")
}
