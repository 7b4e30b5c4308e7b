package main

import (
	"sync"
	"sync/atomic"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

// A service is what all sessions of the process share.
type service struct {
	name     string // in master.cf, for the limits on clients
	params   *params
	log      *maillog.Logger
	clock    server.Clock
	stress   func() bool
	restart  func(reason string)
	stopping <-chan struct{}

	house
	tables        tables
	lists         lists
	accessParents table.Parents // how access tables name parent domains
	rulers        rulers

	cleanup      *proto.CleanupClient
	resolver     *addressResolver
	verify       *proto.VerifyClient
	flush        *proto.FlushClient
	anvil        counter // nil: no limits
	dns          *resolver.Resolver
	native       *resolver.Resolver // the hosts file before the DNS, as the C library has it
	saslServer   saslServer         // nil: no authentication
	saslSettings saslSettings
	encryption   *tlsServer // nil: no usable certificate

	freeSpace func() (int64, error) // in the file system of the queue
	listings  cache[listing]        // of DNS lists
	buffers   contentBuffers
	batches   sync.Pool
	sequence  atomic.Uint32 // of transactions
	idlers    idlers
}

// tables are the lookup tables that are no part of a restriction list.
type tables struct {
	discardKeywords                                         *table.Maps
	commandFilter                                           table.Table // nil: none
	rejectFilter, rejectFooter                              *table.Maps
	localRcpts, virtualMailbox                              *table.Maps
	relayRcpts                                              *table.Maps
	senderCanonical, rcptCanonical, canonical, virtualAlias *table.Maps
	senderLogin                                             *table.Maps
	rblReply                                                *table.Maps
	relayCerts, dnsFilter                                   *table.Maps
}

// lists are the match lists.
type lists struct {
	mynetworks, relayMX             *table.MatchList
	verp, xclient, xforward         *table.MatchList
	unlimited, bareLFExclusions     *table.MatchList
	saslExceptions                  *table.MatchList
	noopCommands, forbiddenCommands *table.MatchList
	logPermit, mechanismFilter      *table.MatchList
}

// load opens all tables and parses the restriction lists.
func (sv *service) load(o table.Options) (err error) {
	c := sv.params.conf
	if sv.house, err = openHouse(c, o); err != nil {
		return err
	}
	o.Local = sv.isHome
	sv.accessParents = table.ParentsOf("smtpd_access_maps", c.List("parent_domain_matches_subdomains"))
	sv.freeSpace = freeSpace
	if err := sv.openTables(o); err != nil {
		return err
	}
	return sv.loadRules(o)
}

// openTables opens every table that a parameter names, while the program may
// still read them.
func (sv *service) openTables(o table.Options) error {
	c := sv.params.conf
	var err error
	open := func(to **table.Maps, name string) {
		if err == nil {
			*to, err = table.OpenMaps(name, c.List(name), o)
		}
	}
	t := &sv.tables
	open(&t.discardKeywords, "smtpd_discard_ehlo_keyword_address_maps")
	open(&t.rejectFilter, "smtpd_reject_filter_maps")
	open(&t.rejectFooter, "smtpd_reject_footer_maps")
	open(&t.localRcpts, "local_recipient_maps")
	open(&t.virtualMailbox, "virtual_mailbox_maps")
	open(&t.relayRcpts, "relay_recipient_maps")
	open(&t.senderCanonical, "sender_canonical_maps")
	open(&t.rcptCanonical, "recipient_canonical_maps")
	open(&t.canonical, "canonical_maps")
	open(&t.virtualAlias, "virtual_alias_maps")
	open(&t.senderLogin, "smtpd_sender_login_maps")
	open(&t.rblReply, "rbl_reply_maps")
	open(&t.relayCerts, "relay_clientcerts")
	open(&t.dnsFilter, "smtpd_dns_reply_filter")
	if spec := c.String("smtpd_command_filter"); err == nil && spec != "" {
		t.commandFilter, err = table.Open(spec, o)
	}
	if err == nil {
		err = sv.openLists(o)
	}
	return err
}

func (sv *service) openLists(o table.Options) error {
	c := sv.params.conf
	parents := c.List("parent_domain_matches_subdomains")
	var err error
	open := func(to **table.MatchList, name, feature string, kind table.ListKind) {
		if err == nil {
			*to, err = table.OpenMatchList(name, kind, c.String(name), table.ParentsOf(feature, parents), o)
		}
	}
	l := &sv.lists
	open(&l.mynetworks, "mynetworks", "mynetworks", table.NameAddrList)
	open(&l.relayMX, "permit_mx_backup_networks", "permit_mx_backup_networks", table.NameAddrList)
	open(&l.verp, "smtpd_authorized_verp_clients", "", table.NameAddrList)
	open(&l.xclient, "smtpd_authorized_xclient_hosts", "", table.NameAddrList)
	open(&l.xforward, "smtpd_authorized_xforward_hosts", "", table.NameAddrList)
	open(&l.unlimited, "smtpd_client_event_limit_exceptions", "smtpd_client_event_limit_exceptions", table.NameAddrList)
	open(&l.bareLFExclusions, "smtpd_forbid_bare_newline_exclusions", "mynetworks", table.NameAddrList)
	open(&l.saslExceptions, "smtpd_sasl_exceptions_networks", "", table.NameAddrList)
	open(&l.noopCommands, "smtpd_noop_commands", "", table.StringList)
	open(&l.forbiddenCommands, "smtpd_forbidden_commands", "", table.StringList)
	open(&l.logPermit, "smtpd_log_access_permit_actions", "", table.StringList)
	open(&l.mechanismFilter, "smtpd_sasl_mechanism_filter", "", table.StringList)
	return err
}

// listed reports whether the client is on a list. When the list cannot be
// read, nobody is on it: these lists give privileges.
func (s *session) listed(l *table.MatchList) bool {
	match, err := l.Match(s.client.name, s.client.addr)
	return match && err == nil // the list has logged it
}

// listedWord is listed for a command verb, where an error matters to nobody.
func (s *session) listedWord(l *table.MatchList, word string) bool {
	match, err := l.Match(word, "")
	return match && err == nil
}
