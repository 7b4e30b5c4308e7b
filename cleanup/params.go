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
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

// params are the settings of cleanup (postconf(5)).
type params struct {
	hostname        string
	alwaysBCC       string
	alwaysHeaders   bool
	bodyCheckLimit  int64
	strayCRLF       bool // replace by a blank
	warnTime        time.Duration
	detect8Bit      bool
	verpBounces     bool
	verpFilter      string
	duplicates      int
	emptyRcpt       string
	longIDs         bool
	originalRcpt    bool
	charset         string // of full names
	maxTokens       int
	commentNames    bool // From: address (name)
	maxHeader       int
	maxHops         int
	quoteLogged     bool
	maxLine         int
	drop            map[string]bool // headers, by name in lower case
	reject, strip   *byteSet
	maxMessage      int64
	headersEnd      string // non_empty_end_of_header_action
	propagateCanon  table.Extension
	propagateAlias  table.Extension
	maxAttrs        int
	remoteDomain    string
	requireTLS      bool // requiretls_enable
	requireTLSField bool
	tlsRequired     bool
	utf8            bool
	softBounce      bool
	undisclosed     string
	maxAliasAddress int
	maxAliases      int
	maxAliasDepth   int
	decimals        int // delay_logging_resolution_limit
	mime            message.Options
}

func newParams(c *conf.Config) (p params, err error) {
	p = params{
		hostname:  c.String("myhostname"),
		alwaysBCC: c.String("always_bcc"), alwaysHeaders: c.Bool("always_add_missing_headers"),
		bodyCheckLimit: c.Size("body_checks_size_limit"), strayCRLF: c.Bool("cleanup_replace_stray_cr_lf"),
		warnTime: c.Duration("delay_warning_time"), detect8Bit: c.Bool("detect_8bit_encoding_header"),
		verpBounces: !c.Bool("disable_verp_bounces"), verpFilter: c.String("verp_delimiter_filter"),
		duplicates: c.Int("duplicate_filter_limit"),
		emptyRcpt:  c.String("empty_address_recipient"), longIDs: c.Bool("enable_long_queue_ids"),
		originalRcpt: c.Bool("enable_original_recipient"), charset: c.String("full_name_encoding_charset"),
		maxTokens: c.Int("header_address_token_limit"), commentNames: c.String("header_from_format") == "obsolete",
		maxHeader: int(c.Size("header_size_limit")), maxHops: c.Int("hopcount_limit"),
		quoteLogged: c.String("info_log_address_format") == "external", maxLine: int(c.Size("line_length_limit")),
		drop:       lowerSet(c.List("message_drop_headers")),
		maxMessage: c.Size("message_size_limit"), headersEnd: c.String("non_empty_end_of_header_action"),
		maxAttrs: c.Int("queue_file_attribute_count_limit"), remoteDomain: c.String("remote_header_rewrite_domain"),
		requireTLS: c.Bool("requiretls_enable"), requireTLSField: c.Bool("requiretls_esmtp_header"),
		tlsRequired: c.Bool("tls_required_enable"), utf8: c.Bool("smtputf8_enable"), softBounce: c.Bool("soft_bounce"),
		undisclosed:     c.String("undisclosed_recipients_header"),
		maxAliasAddress: c.Int("virtual_alias_address_length_limit"),
		maxAliases:      c.Int("virtual_alias_expansion_limit"), maxAliasDepth: c.Int("virtual_alias_recursion_limit"),
		decimals: c.Int("delay_logging_resolution_limit"),
	}
	extensions := c.List("propagate_unmatched_extensions")
	if slices.Contains(extensions, "canonical") {
		p.propagateCanon = table.Propagate
	}
	if slices.Contains(extensions, "virtual") {
		p.propagateAlias = table.Propagate
	}
	if p.reject, err = newByteSet(c, "message_reject_characters"); err != nil {
		return p, err
	}
	if p.strip, err = newByteSet(c, "message_strip_characters"); err != nil {
		return p, err
	}
	p.mime, err = mimeOptions(c, p.headersEnd)
	return p, err
}

// mimeOptions are the options for a message that is checked. Mail that
// bounces or is forwarded is not; see beginContent.
func mimeOptions(c *conf.Config, headersEnd string) (message.Options, error) {
	o := message.Options{
		HeaderLimit:   int(c.Size("header_size_limit")),
		BoundaryLimit: c.Int("mime_boundary_length_limit"),
		NestingLimit:  c.Int("mime_nesting_limit"),
		IgnoreMIME:    c.Bool("disable_mime_input_processing"),
		Downgrade:     c.Bool("force_mime_input_conversion"),
	}
	if o.IgnoreMIME {
		if o.Downgrade {
			return o, fmt.Errorf("do not specify both disable_mime_input_processing=yes and force_mime_input_conversion=yes")
		}
		return o, nil
	}
	headers := c.Bool("strict_8bitmime") || c.Bool("strict_7bit_headers")
	body := c.Bool("strict_8bitmime") || c.Bool("strict_8bitmime_body")
	domain := c.Bool("strict_mime_encoding_domain")
	if headers {
		o.Report |= message.EightBitHeader
	}
	if body {
		o.Report |= message.EightBitBody
	}
	if domain {
		o.Report |= message.EncodedComposite
	}
	if headersEnd != "fix_quietly" {
		o.Report |= message.NonEmptyHeadersEnd
	}
	if headers || body || domain || len(c.List("header_checks")) > 0 ||
		len(c.List("mime_header_checks")) > 0 || len(c.List("nested_header_checks")) > 0 {
		o.Report |= message.TooDeep
	}
	return o, nil
}

// classes are the kinds of addresses that a map applies to.
type classes struct {
	envelopeSender, envelopeRcpt, headerSender, headerRcpt bool
}

func classesOf(words []string) classes {
	return classes{
		slices.Contains(words, "envelope_sender"), slices.Contains(words, "envelope_recipient"),
		slices.Contains(words, "header_sender"), slices.Contains(words, "header_recipient"),
	}
}

// tables are the lookup tables of cleanup.
type tables struct {
	canonical, senderCanonical, rcptCanonical *table.Maps
	canonFor, senderCanonFor, rcptCanonFor    classes
	aliases                                   *table.Maps
	senderBCC, rcptBCC                        *table.Maps
	headerChecks, mimeChecks, nestedChecks    *table.Maps
	bodyChecks                                *table.Maps
	masquerade                                []masqueradeRule
	masqueradeExcept                          *table.MatchList
	masqueradeFor                             classes
}

func openTables(env *server.Env, local *localDomains) (t tables, err error) {
	c := env.Conf
	address := table.Options{
		UTF8: c.Bool("smtputf8_enable"), Log: env.Log, Local: local.match,
		Delimiters: addr.Delimiters{Set: c.String("recipient_delimiter"),
			OwnerRequest: c.Bool("owner_request_special"), DoubleBounce: c.String("double_bounce_sender")},
		Stale: func(name string) { env.Restart("table " + name + " has changed") },
		Proxy: proto.TableProxy(c),
	}
	text := table.Options{Fold: table.FoldNone, Log: env.Log, Stale: address.Stale, Proxy: address.Proxy}
	for _, m := range []struct {
		maps  **table.Maps
		title string
		specs []string
		o     table.Options
	}{
		{&t.canonical, "canonical_maps", c.List("canonical_maps"), address},
		{&t.senderCanonical, "sender_canonical_maps", c.List("sender_canonical_maps"), address},
		{&t.rcptCanonical, "recipient_canonical_maps", c.List("recipient_canonical_maps"), address},
		{&t.aliases, "virtual_alias_maps", c.List("virtual_alias_maps"), address},
		{&t.senderBCC, "sender_bcc_maps", c.List("sender_bcc_maps"), address},
		{&t.rcptBCC, "recipient_bcc_maps", c.List("recipient_bcc_maps"), address},
		{&t.headerChecks, "header_checks", c.List("header_checks"), text},
		{&t.mimeChecks, "mime_header_checks", c.List("mime_header_checks"), text},
		{&t.nestedChecks, "nested_header_checks", c.List("nested_header_checks"), text},
		{&t.bodyChecks, "body_checks", c.List("body_checks"), text},
	} {
		if *m.maps, err = table.OpenMaps(m.title, m.specs, m.o); err != nil {
			return t, err
		}
	}
	t.canonFor = classesOf(c.List("canonical_classes"))
	t.senderCanonFor = classesOf(c.List("sender_canonical_classes"))
	t.rcptCanonFor = classesOf(c.List("recipient_canonical_classes"))
	t.masqueradeFor = classesOf(c.List("masquerade_classes"))
	t.masquerade = masqueradeRules(c.List("masquerade_domains"))
	t.masqueradeExcept, err = table.OpenMatchList("masquerade_exceptions", table.StringList,
		c.String("masquerade_exceptions"), table.DotParents, address)
	return t, err
}

// localDomains are the domains of this host (mydestination, inet_interfaces,
// proxy_interfaces, myorigin), whose users may stand in tables without domain.
type localDomains struct {
	origin string
	names  *table.MatchList
	own    []netip.Addr
}

func newLocalDomains(c *conf.Config, log *maillog.Logger) (*localDomains, error) {
	l := &localDomains{origin: addr.Fold(c.String("myorigin")), own: c.OwnAddresses()}
	l.own = append(l.own, c.ProxyAddresses()...)
	var err error
	l.names, err = table.OpenMatchList("mydestination", table.StringList, c.String("mydestination"),
		table.DotParents, table.Options{Log: log, UTF8: c.Bool("smtputf8_enable")})
	return l, err
}

// match reports whether mail for a domain is for a local user.
func (l *localDomains) match(domain string) (bool, error) {
	if addr.Fold(domain) == l.origin {
		return true, nil
	}
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" || strings.HasSuffix(domain, ".") {
		return false, nil
	}
	if found, err := l.names.Match(domain, ""); found || err != nil {
		return found, err
	}
	ip, err := addr.ParseLiteral(domain)
	return err == nil && slices.Contains(l.own, ip), nil
}

func lowerSet(words []string) map[string]bool {
	set := map[string]bool{}
	for _, w := range words {
		set[strings.ToLower(w)] = true
	}
	return set
}
