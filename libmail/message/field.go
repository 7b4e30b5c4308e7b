package message

// A FieldType names a header that a mail system treats in its own way.
type FieldType uint8

// The known headers. The zero value is any other.
const (
	Other FieldType = iota
	ApparentlyTo
	Bcc
	Cc
	ContentDescription
	ContentDisposition
	ContentID
	ContentLength
	ContentTransferEncoding
	ContentType
	Date
	DeliveredTo
	DispositionNotificationTo
	ErrorsTo
	From
	MailFollowupTo
	MessageID
	MIMEVersion
	Received
	ReplyTo
	RequireTLS // Require-TLS-ESMTP
	ResentBcc
	ResentCc
	ResentDate
	ResentFrom
	ResentMessageID
	ResentReplyTo
	ResentSender
	ResentTo
	ReturnPath
	ReturnReceiptTo
	Sender
	TLSRequired // RFC 8689 §5
	To
)

// FieldFlags say how a known header is treated.
type FieldFlags uint8

const (
	SenderAddress FieldFlags = 1 << iota // holds addresses that are rewritten as senders
	RcptAddress                          // holds addresses that are rewritten as recipients
	Extract                              // its addresses are recipients of sendmail -t
	Resent                               // one of the Resent- headers (RFC 5322 §3.6.6)
	MIMEField                            // describes the body (RFC 2045)
)

// A Field is what is known about a header.
type Field struct {
	Name  string // in its usual capitalization
	Type  FieldType
	Flags FieldFlags
}

// fields are the known headers by their name in lower case.
var fields = map[string]*Field{
	"apparently-to":               {"Apparently-To", ApparentlyTo, RcptAddress},
	"bcc":                         {"Bcc", Bcc, RcptAddress | Extract},
	"cc":                          {"Cc", Cc, RcptAddress | Extract},
	"content-description":         {"Content-Description", ContentDescription, MIMEField},
	"content-disposition":         {"Content-Disposition", ContentDisposition, MIMEField},
	"content-id":                  {"Content-ID", ContentID, MIMEField},
	"content-length":              {"Content-Length", ContentLength, 0},
	"content-transfer-encoding":   {"Content-Transfer-Encoding", ContentTransferEncoding, MIMEField},
	"content-type":                {"Content-Type", ContentType, MIMEField},
	"date":                        {"Date", Date, 0},
	"delivered-to":                {"Delivered-To", DeliveredTo, 0},
	"disposition-notification-to": {"Disposition-Notification-To", DispositionNotificationTo, SenderAddress},
	"errors-to":                   {"Errors-To", ErrorsTo, SenderAddress},
	"from":                        {"From", From, SenderAddress},
	"mail-followup-to":            {"Mail-Followup-To", MailFollowupTo, SenderAddress},
	"message-id":                  {"Message-Id", MessageID, 0},
	"mime-version":                {"MIME-Version", MIMEVersion, MIMEField},
	"received":                    {"Received", Received, 0},
	"reply-to":                    {"Reply-To", ReplyTo, SenderAddress},
	"require-tls-esmtp":           {"Require-TLS-ESMTP", RequireTLS, 0},
	"resent-bcc":                  {"Resent-Bcc", ResentBcc, RcptAddress | Extract | Resent},
	"resent-cc":                   {"Resent-Cc", ResentCc, RcptAddress | Extract | Resent},
	"resent-date":                 {"Resent-Date", ResentDate, Resent},
	"resent-from":                 {"Resent-From", ResentFrom, SenderAddress | Resent},
	"resent-message-id":           {"Resent-Message-Id", ResentMessageID, Resent},
	"resent-reply-to":             {"Resent-Reply-To", ResentReplyTo, RcptAddress | Resent},
	"resent-sender":               {"Resent-Sender", ResentSender, SenderAddress | Resent},
	"resent-to":                   {"Resent-To", ResentTo, RcptAddress | Extract | Resent},
	"return-path":                 {"Return-Path", ReturnPath, SenderAddress},
	"return-receipt-to":           {"Return-Receipt-To", ReturnReceiptTo, SenderAddress},
	"sender":                      {"Sender", Sender, SenderAddress},
	"tls-required":                {"TLS-Required", TLSRequired, 0},
	"to":                          {"To", To, RcptAddress | Extract},
}

const longestField = len("disposition-notification-to")

// LookupField returns what is known about a header, given from its name to at
// least the colon, or nil. Case does not matter, nor do blanks before the colon.
func LookupField(header []byte) *Field {
	n := HeaderName(header)
	if n == 0 || n > longestField {
		return nil
	}
	var key [longestField]byte
	for i, c := range header[:n] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		key[i] = c
	}
	return fields[string(key[:n])]
}
