// Package record is the alphabet of a queue file: typed, length-prefixed records.
//
//	+------+--------------------+----------------+
//	| type | length, base 128   | data           |
//	| 1    | 1..4, low 7 first  | length bytes   |
//	+------+--------------------+----------------+
//
// A length byte with the high bit set has a successor. Data may hold any
// byte; there is no terminator. The same records travel over the cleanup and
// postdrop sockets.
package record

// A Type is the first byte of a record; it says what the data mean. The
// letters are those of Postfix queue files.
type Type byte

// The types of a queue file, in the order in which they may first appear.
const (
	Size      Type = 'C' // sizes, counts and flags; first record, rewritten in place
	Time      Type = 'T' // arrival time, "seconds microseconds"
	Attr      Type = 'A' // "name=value"
	FullName  Type = 'F' // full name of a local submitter
	Inspector Type = 'I' // obsolete: transport of a content inspector
	Filter    Type = 'L' // content filter "transport:nexthop", outside the content
	Sender    Type = 'S' // envelope sender, empty for the null sender
	DSNRcpt   Type = 'o' // socket only: original recipient of RCPT ORCPT
	DSNNotify Type = 'n' // socket only: notification mask of RCPT NOTIFY
	DSNEnvID  Type = 'i' // socket only: envelope id of MAIL ENVID
	DSNReturn Type = '<' // socket only: MAIL RET
	OrigRcpt  Type = 'O' // recipient before rewriting, precedes its Rcpt
	Rcpt      Type = 'R' // recipient still to be delivered
	Done      Type = 'D' // recipient delivered or bounced; was a Rcpt
	Cancelled Type = '/' // recipient deleted by a milter; was a Rcpt
	Warn      Type = 'W' // time of the delay warning, negative once sent
	Killed    Type = 'K' // record taken out of force; was an Attr
	Redirect  Type = '>' // one recipient in place of all others
	Verp      Type = 'V' // two VERP delimiter characters
	Content   Type = 'M' // start of the message content
	Text      Type = 'N' // a line, or the last piece of a long line
	Continued Type = 'L' // a piece of a long line, inside the content
	Padding   Type = 'w' // room for an edit in place
	Extracted Type = 'X' // end of the content, start of the extracted segment
	Receipt   Type = 'r' // obsolete: Return-Receipt-To
	ErrorsTo  Type = 'e' // obsolete: Errors-To
	Priority  Type = 'P' // obsolete: priority of the message
	Pointer   Type = 'p' // decimal offset of the next record, 0 for none
	End       Type = 'E' // end of the message; a file without it is no mail
	Flags     Type = 'f' // socket only: cleanup flags
	Delay     Type = 'd' // socket only: delivery delay
	Milters   Type = 'm' // socket only: number of milters
	Created   Type = 'c' // in memory only: the attribute create_time
)

// MaxSize is the largest length that four length bytes can say.
const MaxSize = 1<<28 - 1

// Sets of types that a segment may hold; Pointer is allowed everywhere.
const (
	EnvelopeTypes  = "MCTcFILSDRO/WVA>K<ion"
	ContentTypes   = "XLNw"
	ExtractedTypes = "EDRO/PreAFIL>Kon"

	// What postdrop accepts from an unprivileged submitter.
	PostEnvelopeTypes  = "MCFSRVAin"
	PostContentTypes   = "XLN"
	PostExtractedTypes = "EAR"

	// A recipient list that is free of other records.
	EnvelopeRcptTypes  = "MDRO/Kon"
	ExtractedRcptTypes = "EDRO/Kon"
)

// In reports whether t is one of the types in set.
func (t Type) In(set string) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == byte(t) {
			return true
		}
	}
	return false
}

// names are the words with which postcat(1) shows a record.
var names = map[Type]string{
	Size: "message_size", Time: "message_arrival_time", Created: "queue_file_create_time",
	FullName: "sender_fullname", Inspector: "content_inspector", Filter: "content_filter",
	Sender: "sender", Done: "done_recipient", Cancelled: "canceled_recipient",
	Rcpt: "recipient", OrigRcpt: "original_recipient", Warn: "warning_message_time",
	Attr: "named_attribute", Pointer: "pointer_record", Killed: "killed_record",
	Content: "message_content", Text: "regular_text", Padding: "padding",
	Extracted: "extracted_info", Receipt: "return_receipt", ErrorsTo: "errors_to",
	Priority: "priority", Verp: "verp_delimiters", End: "message_end", Redirect: "redirect_to",
	Flags: "flags", DSNReturn: "dsn_return_flags", DSNEnvID: "dsn_envelope_id",
	DSNRcpt: "dsn_original_recipient", DSNNotify: "dsn_notify_flags",
}

// String returns the name that postcat(1) prints for t. Filter and Continued
// share a letter; String says content_filter for both.
func (t Type) String() string {
	if s, ok := names[t]; ok {
		return s
	}
	return "unknown_record_type"
}
