package main

import "testing"

// external are the flags of mail from outside, internal those of sendmail.
const (
	external = 2 | 16 | 32 | 64
	internal = 1 | external | 512
)

var peerCases = []struct {
	name     string
	settings string
	messages map[string]submission
}{
	{"plain", "", map[string]submission{
		"remote": {external, `
			T 1700000000 123456
			A log_ident=X
			A rewrite_context=remote
			S a@example.org
			A log_client_name=client
			A log_message_origin=client[192.0.2.1]
			A log_helo_name=helo.example
			A log_protocol_name=ESMTP
			A notify_flags=2
			A dsn_orig_rcpt=rfc822;u@example.com
			O u@example.com
			R u@example.com
			O User
			R User
			M
			N Received: by x
			N Subject: hi
			N To: a, b
			N Bcc: c
			N
			N body
			L xxxx
			N yyy
			X
			E`},
		"local": {internal, `
			T 1700000000 1
			A rewrite_context=local
			F Real "Name"
			S user
			R other
			R Other+ext@example.com
			R other
			M
			N Received: by x
			N Subject: hi
			N To: John Doe <john>, "x y"@foo (comment), group: a@b, c;
			N Cc: a,b,c@example.net, verylongname.verylongname@verylongdomain.example.net, d
			N  e
			N
			N body
			X
			R extra
			E`},
		"no headers, null sender": {internal, `
			T 1700000000 1
			S
			R other
			M
			N Received: by x
			N
			N body
			X
			E`},
		"no headers": {internal, `
			T 1700000000 1
			F Full Name
			S user@example.org
			R other
			M
			N Received: by x
			N
			X
			E`},
		"resent": {internal, `
			T 1700000000 1
			F Full Name
			S user@example.org
			R other
			M
			N Received: by x
			N Resent-To: joe
			N From: jim
			N Message-Id: <1@2> x
			N
			X
			E`},
		"header without end": {internal, `
			T 1700000000 1
			S user@example.org
			R other
			M
			N Received: by x
			N From: jim
			N no header
			N body
			X
			E`},
		"no recipients": {external, `
			T 1700000000 1
			S user@example.org
			M
			N Received: by x
			N
			X
			E`},
		"no recipients, bounce": {internal, `
			T 1700000000 1
			S user@example.org
			M
			N Received: by x
			N
			X
			E`},
		"recipients extracted only": {internal, `
			T 1700000000 1
			S user@example.org
			M
			N Received: by x
			N
			X
			R one
			A notify_flags=1
			R two
			E`},
		"no sender":        {external, "T 1 1\nR x\nM\nN Received: x\nX\nE"},
		"no time":          {external, "S x\nR x\nM\nN Received: x\nX\nE"},
		"two senders":      {external, "T 1 1\nS x\nS y\nR x\nM\nN Received: x\nX\nE"},
		"bad record":       {external, "T 1 1\nS x\nR x\nM\nN Received: x\nQ \nX\nE"},
		"bad extracted":    {external, "T 1 1\nS x\nR x\nM\nN Received: x\nX\nN x\nE"},
		"bad attribute":    {external, "T 1 1\nA =x\nS x\nR x\nM\nN Received: x\nX\nE"},
		"null attribute":   {external, "T 1 1\nA a=\nS x\nR x\nM\nN Received: x\nX\nE"},
		"bad context":      {external, "T 1 1\nA rewrite_context=foo\nS x\nR x\nM\nN Received: x\nX\nE"},
		"bad notify":       {external, "T 1 1\nS x\nA notify_flags=3\nR x\nM\nN Received: x\nX\nE"},
		"bad ret":          {external, "T 1 1\nA ret_flags=3\nS x\nR x\nM\nN Received: x\nX\nE"},
		"envid ret":        {external, "T 1 1\nA ret_flags=1\nA envelope_id=abc\nS x\nR x\nM\nN Received: x\nX\nE"},
		"filter in mid":    {external, "T 1 1\nS x\nR x\nL smtp:x\nR y\nM\nN Received: x\nX\nE"},
		"requeued":         {external, "C 1 2 3 4 5 0\nT 1 1\nA create_time=5\nS x\nD y\nO z\nR z2\nM\nN Received: x\nX\nE"},
		"verp":             {external, "T 1 1\nS x@y\nV +=\nR x\nM\nN Received: x\nX\nE"},
		"verp bad":         {external, "T 1 1\nS x@y\nV ab\nR x\nM\nN Received: x\nX\nE"},
		"verp null":        {external, "T 1 1\nS \nV +=\nR x\nM\nN Received: x\nX\nE"},
		"hold":             {external | 4, "T 1 1\nS x@y\nR x\nM\nN Received: x\nX\nE"},
		"hold by record":   {external, "T 1 1\nS x@y\nf 4\nR x\nM\nN Received: x\nX\nE"},
		"bad flags":        {external, "T 1 1\nS x@y\nf 64\nR x\nM\nN Received: x\nX\nE"},
		"discard":          {external | 8, "T 1 1\nS x@y\nR x\nM\nN Received: x\nX\nE"},
		"empty recipient":  {external, "T 1 1\nS x@y\nR \nM\nN Received: x\nX\nE"},
		"mailer-daemon":    {external, "T 1 1\nS MAILER-DAEMON\nR x\nM\nN Received: x\nX\nE"},
		"odd addresses":    {external, "T 1 1\nS a b@c\nR x y\nR @foo,@bar:u@v.example\nR a!b\nR a%b@example.com\nR x@\nR x@y.\nM\nN Received: x\nX\nE"},
		"utf8":             {external, "T 1 1\nS ü@ä.example\nR ö@example.com\nM\nN Received: x\nN Subject: ü\nX\nE"},
		"utf8 detected":    {internal, "T 1 1\nS ü@ä.example\nR ö@example.com\nM\nN Received: x\nN Subject: ü\nX\nE"},
		"utf8 requested":   {external | 256, "T 1 1\nS x\nR ö@example.com\nM\nN Received: x\nN Subject: ü\nX\nE"},
		"8bit":             {external, "T 1 1\nA encoding=7bit\nS x\nR y\nM\nN Received: x\nN Content-Transfer-Encoding: 8BIT\nN\nN ü\nX\nE"},
		"long header line": {external, "T 1 1\nS x\nR y\nM\nN Received: x\nL A: x*\nL x*\nL x*\nN x*\nN\nN ü\nX\nE"},
		"long body line":   {external, "T 1 1\nS x\nR y\nM\nN Received: x\nN\nL x*\nN x*\nX\nE"},
		"message-ids":      {external, "T 1 1\nS x\nR y\nM\nN Received: x\nN Message-ID: <a@b>\nN Message-ID: <c@d>\nN Resent-Message-ID: <e@f>\nN\nX\nE"},
		"odd header":       {internal, "T 1 1\nS x\nR y\nM\nN Received: x\nN To : a@b\nN From: a@b <c@d>\nN Sender: <>\nN Reply-To: @\nN Errors-To: a b c\nN Return-Path: foo\nN Content-Length: 5\nN Resent-Bcc: x\nN\nX\nE"},
	}},
	{"remote domain", "remote_header_rewrite_domain = domain.invalid\nalways_add_missing_headers = yes\nundisclosed_recipients_header = To: nobody:;\ndelay_warning_time = 4h\nenable_original_recipient = no\n", map[string]submission{
		"remote": {external, "T 1 1\nA rewrite_context=remote\nS x@y\nO a@b\nR y\nO c@d\nR y\nM\nN Received: x\nN From: foo\nN\nX\nE"},
		"null":   {external, "T 1 1\nA rewrite_context=remote\nS \nR y\nR z\nM\nN Received: x\nN\nX\nE"},
		"local":  {external, "T 1 1\nA rewrite_context=local\nS x@y\nR y\nM\nN Received: x\nN From: foo\nN\nX\nE"},
	}},
	{"maps", `canonical_maps = inline:{{joe=Joe.User} {joe.user@example.com=j.user@canon.example} {@old.example=@new.example} {loop1@example.net=loop2@example.net} {loop2@example.net=loop1@example.net} {multi=a\,b}}
sender_canonical_maps = inline:{{sender=other.sender@example.org}}
recipient_canonical_maps = inline:{{rcpt=other.rcpt@example.org}}
virtual_alias_maps = inline:{{list = a, b, c+x, list} {team@example.com = joe, anna@example.net, team2} {team2=x1 x2} {@cat.example=postmaster} {deep1=deep2} {deep2=deep3} {deep3=a@deep.example}  {ext=base@ext.example}}
masquerade_domains = !keep.example.com example.com example.net
masquerade_exceptions = root, admin
recipient_delimiter = +
always_bcc = archive
sender_bcc_maps = inline:{{joe@example.com=boss} {@bcc.example=watch@example.com}}
recipient_bcc_maps = inline:{{anna@example.net=annas-boss}}
`, map[string]submission{
		"canonical":     {internal, "T 1 1\nS joe\nR joe\nR Joe+ext\nR u@OLD.example\nR loop1@example.net\nM\nN Received: x\nN From: joe\nN To: joe, u+x@old.example, multi\nX\nE"},
		"by role":       {internal, "T 1 1\nS sender\nR rcpt\nR sender\nM\nN Received: x\nN From: sender, rcpt\nN To: sender, rcpt, (c) rcpt\nX\nE"},
		"aliases":       {external, "T 1 1\nS x@y\nR list\nA notify_flags=4\nA dsn_orig_rcpt=rfc822;o\nO orig\nR team@example.com\nR any@cat.example\nR deep1\nR ext+foo\nM\nN Received: x\nX\nE"},
		"success":       {external, "T 1 1\nS x@y\nA notify_flags=2\nR list\nA notify_flags=10\nR deep1\nM\nN Received: x\nX\nE"},
		"masquerade":    {internal, "T 1 1\nS x@host.example.com\nR y@host.example.com\nM\nN Received: x\nN From: a@b.example.com, root@b.example.com, c@d.keep.example.com, e@keep.example.com, f@example.com, g@h.EXAMPLE.net\nX\nE"},
		"bcc":           {external, "T 1 1\nS joe@example.com\nR anna@example.net\nM\nN Received: x\nX\nE"},
		"bcc domain":    {external, "T 1 1\nS foo@bcc.example\nR anna@example.net\nM\nN Received: x\nX\nE"},
		"no bcc":        {external &^ 16, "T 1 1\nS joe@example.com\nR anna@example.net\nM\nN Received: x\nX\nE"},
		"no maps":       {external &^ 32, "T 1 1\nS joe@example.com\nR list\nM\nN Received: x\nN From: joe\nX\nE"},
		"probe of list": {external, "T 1 1\nA trace_flags=256\nS x@y\nR list\nM\nN Received: x\nX\nE"},
	}},
	{"limits", `virtual_alias_maps = inline:{{grow=grow1\,grow2} {grow1=a b c d e f} {chain1=chain2} {chain2=chain3} {chain3=chain4} {long=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}}
virtual_alias_expansion_limit = 5
virtual_alias_recursion_limit = 2
virtual_alias_address_length_limit = 20
message_size_limit = 5000
hopcount_limit = 3
header_size_limit = 1000
queue_file_attribute_count_limit = 3
duplicate_filter_limit = 2
`, map[string]submission{
		"expansion":   {external, "T 1 1\nS x\nR grow\nM\nN Received: x\nX\nE"},
		"recursion":   {external, "T 1 1\nS x\nR chain1\nM\nN Received: x\nX\nE"},
		"length":      {external, "T 1 1\nS x\nR long\nM\nN Received: x\nX\nE"},
		"hops":        {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN Received: y\nN Received: z\nN Received: zz\nN\nX\nE"},
		"hops bounce": {internal, "T 1 1\nS x@y\nR a\nA notify_flags=4\nR b@c\nM\nN Received: x\nN Received: y\nN Received: z\nN\nX\nE"},
		"header":      {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN A: x*\nN  more\nN B: c\nN\nX\nE"},
		"attributes":  {external, "T 1 1\nA a=1\nA b=2\nA c=3\nA d=4\nS x\nR a\nM\nN Received: x\nN\nX\nE"},
		"duplicates":  {external, "T 1 1\nS x\nR a\nR b\nR c\nR a\nR c\nM\nN Received: x\nN\nX\nE"},
	}},
	{"checks", `header_checks = regexp:{{/^Subject: reject/ REJECT} {/^Subject: rtext/ REJECT no such} {/^Subject: rdsn/ REJECT 5.9.9 no such} {/^Subject: soft/ REJECT 4.9.9 later} {/^Subject: two/ REJECT 2.9.9 later} {/^Subject: hold/ HOLD why} {/^Subject: discard/ DISCARD why} {/^Subject: filter/ FILTER smtp:x} {/^Subject: badfilter/ FILTER x} {/^Subject: redirect/ REDIRECT r@example.org} {/^Subject: bcc/ BCC b@example.org} {/^Subject: warn/ WARN text} {/^Subject: info/ INFO text} {/^Subject: prepend/ PREPEND X-New: a b} {/^Subject: badprepend/ PREPEND nothing} {/^Subject: replace(.*)/ REPLACE To: $1} {/^Subject: ignore/ IGNORE} {/^Subject: strip/ STRIP s} {/^Subject: dunno/ DUNNO x} {/^Subject: huh/ HUH x} {/^Subject: pass/ PASS x} {/^X-After/ HOLD} {/^X-Fold: a.*b/ WARN folded}}
mime_header_checks = regexp:{{/^Content-Type: text\/evil/ REJECT evil} {/^X-Part/ REPLACE X-Other: part}}
nested_header_checks = regexp:{{/^Subject: nested/ WARN nested}}
body_checks = regexp:{{/^reject/ REJECT body} {/^ignore/ IGNORE} {/^replace/ REPLACE other line} {/^prepend/ PREPEND new line} {/^warn/ WARN w}}
body_checks_size_limit = 300
`, checkMessages()},
	{"strict", "strict_8bitmime = yes\nstrict_mime_encoding_domain = yes\nmessage_strip_characters = \\0\\200\nmessage_reject_characters = \\001\n", map[string]submission{
		"8bit header":              {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN A: ü\nN\nX\nE"},
		"8bit body":                {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN\nN ü\nX\nE"},
		"8bit allowed for bounces": {32, "T 1 1\nS x\nR a\nM\nN Received: x\nN\nN ü\nX\nE"},
		"encoded multipart":        {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN Content-Type: multipart/mixed\nN Content-Transfer-Encoding: base64\nN\nN x\nX\nE"},
		"strip":                    {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN\nN a\\0b\nX\nE"},
		"reject":                   {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN\nN a\x01b\nX\nE"},
	}},
	{"no mime", "disable_mime_input_processing = yes\nmessage_drop_headers = subject, x-foo\nheader_checks = regexp:{{/^Content-Type/ WARN c}}\ndisable_verp_bounces = no\nsmtputf8_enable = no\nsoft_bounce = yes\n", map[string]submission{
		"parts":       {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN X-Foo: a\nN Content-Type: multipart/mixed; boundary=x\nN Subject: y\nN Bcc: z\nN\nN --x\nN Content-Type: text/plain\nN\nX\nE"},
		"utf8":        {internal, "T 1 1\nS ü@b\nR a\nM\nN Received: x\nN Subject: ü\nN\nX\nE"},
		"soft bounce": {internal, "T 1 1\nS x@y\nR a\nM\nN Received: x\nN\nN x\nX\nR\nE"},
	}},
	{"tables down", "virtual_alias_maps = fail:x\n", map[string]submission{
		"aliases": {external, "T 1 1\nS x\nR a\nM\nN Received: x\nN\nX\nE"},
	}},
	{"long ids", "enable_long_queue_ids = yes\nheader_from_format = obsolete\nbody_checks = fail:x\ninfo_log_address_format = internal\n", map[string]submission{
		"local": {internal, "T 1 1\nF Real (Name)\nS x y\nR a\nM\nN Received: x\nN\nX\nE"},
		"body":  {external, "T 1 1\nS x y\nR a\nM\nN Received: x\nN\nN x\nX\nE"},
	}},
}

func checkMessages() map[string]submission {
	m := map[string]submission{}
	for _, s := range []string{"reject", "rtext", "rdsn", "soft", "two", "hold", "discard", "filter", "badfilter", "redirect", "bcc", "warn",
		"info", "prepend", "badprepend", "replace", "replace@a, b", "ignore", "strip", "dunno", "huh", "pass"} {
		text := "T 1 1\nA log_message_origin=c[1.2.3.4]\nA log_protocol_name=SMTP\nA log_helo_name=h\nS x y@z\nR a\nR b c\nM\nN Received: x\nN Subject: " + s + "\nN X-After: y\nN\nN body\nX\nE"
		m["external "+s] = submission{external, text}
		m["bounce "+s] = submission{internal, text}
		m["no checks "+s] = submission{32, text}
	}
	for _, s := range []string{"reject", "ignore", "replace", "prepend", "warn"} {
		m["body "+s] = submission{external, "T 1 1\nS x@z\nR a\nM\nN Received: x\nN\nN " + s + "\nN after\nX\nE"}
		m["deep body "+s] = submission{external, "T 1 1\nS x@z\nR a\nM\nN Received: x\nN\nN x*\nN " + s + "\nN after\nX\nE"}
	}
	m["folded"] = submission{external, "T 1 1\nS x@z\nR a\nM\nN Received: x\nN X-Fold: a\nN  b\nN\nX\nE"}
	m["parts"] = submission{external, "T 1 1\nS x@z\nR a\nM\nN Received: x\nN Content-Type: multipart/mixed; boundary=x\nN\nN --x\nN X-Part: a\nN Subject: reject\nN\nN --x\nN Content-Type: message/rfc822\nN\nN Subject: nested\nN\nN --x--\nX\nE"}
	m["evil"] = submission{external, "T 1 1\nS x@z\nR a\nM\nN Received: x\nN Content-Type: text/evil\nN\nX\nE"}
	return m
}

// TestAgainstPostfix compares queue files, replies and log lines.
func TestAgainstPostfix(t *testing.T) {
	for _, c := range peerCases {
		t.Run(c.name, func(t *testing.T) {
			p := startPeer(t, c.settings)
			u := p.ours()
			for name, m := range c.messages {
				p.compare(u, name, m)
			}
		})
	}
}
