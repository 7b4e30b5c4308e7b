package main

import "strings"

// builtin are the templates of our own, which bounce_template_file may
// replace. Subjects and the From header are Postfix's, because people sort
// their mail by them.
func builtin(w *words) templates {
	from := "Mail Delivery System <MAILER-DAEMON>"
	if w.conf.String("header_from_format") == "obsolete" {
		from = "MAILER-DAEMON (Mail Delivery System)"
	}
	t := templates{words: w}
	for c, b := range [...]struct{ subject, postmaster, text string }{
		failure: {"Undelivered Mail Returned to Sender", "Postmaster Copy: Undelivered Mail", failureText},
		delay:   {"Delayed Mail (still being retried)", "Postmaster Warning: Delayed Mail", delayText},
		success: {"Successful Mail Delivery Report", "", successText},
		verify:  {"Mail Delivery Status Report", "", verifyText},
	} {
		t.of[c] = &template{
			class: class(c), origin: "[built-in]", charset: "us-ascii", from: from,
			subject: b.subject, postmasterSubject: b.postmaster,
			text: strings.Split(strings.Trim(b.text, "\n"), "\n"),
		}
	}
	return t
}

const failureText = `
Mail system of $myhostname:

Your message did not reach the recipients below, and will not be tried
again. You find the reasons here, and your message attached.

If you need help, write to postmaster and include this report; your own
text may be left out of it.

                   The mail system
`

const delayText = `
Mail system of $myhostname:

        This is only a warning. Please do not send your message again.

Your message has been waiting for more than $delay_warning_time_hours hour(s). Delivery will be
tried until the message is $maximal_queue_lifetime_days day(s) old.

If you need help, write to postmaster and include this report; your own
text may be left out of it.

                   The mail system
`

const successText = `
Mail system of $myhostname:

Your message was delivered to the destinations below. You will hear no
more of those that are mailboxes; other systems may still report on
the rest.

                   The mail system
`

const verifyText = `
Mail system of $myhostname:

This is the report that you asked for, of how your message is delivered.

                   The mail system
`
