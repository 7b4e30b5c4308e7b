package maillog

import "fmt"

// Connect logs a new client: "connect from NAME[ADDR]".
func (l *Logger) Connect(client string) { l.write(Info, "connect from "+client) }

// Queued logs that smtpd opened a queue file (wire.md §8.1); more holds
// further ", name=value" pairs.
func (l *Logger) Queued(id, client, more string) { l.write(Info, id+": client="+client+more) }

// Pickup logs that a maildrop file of a user was taken in; origID is its old
// id when it was requeued, else "".
func (l *Logger) Pickup(id string, uid int, sender, origID string) {
	text := fmt.Sprintf("%s: uid=%d from=<%s>", id, uid, sender)
	if origID != "" {
		text += " orig_id=" + origID
	}
	l.write(Info, text)
}

// MessageID logs the Message-ID header, with its angle brackets, under
// "message-id" or "resent-message-id".
func (l *Logger) MessageID(id, header, value string) {
	l.write(Info, id+": "+header+"="+value)
}

// Active logs that a message entered the active queue.
func (l *Logger) Active(id, sender string, size int64, rcpts int) {
	l.write(Info, fmt.Sprintf("%s: from=<%s>, size=%d, nrcpt=%d (queue active)", id, sender, size, rcpts))
}

// Removed logs that a message left the queue for good.
func (l *Logger) Removed(id string) { l.write(Info, id+": removed") }

// Expired logs that a message was given up; status is "expired" or
// "force-expired".
func (l *Logger) Expired(id, sender, status string) {
	l.write(Info, fmt.Sprintf("%s: from=<%s>, status=%s, returned to sender", id, sender, status))
}

// Notification logs that a notice about message id was queued as newID; kind
// is "sender non-delivery", "postmaster delay", "sender delivery status", ...
func (l *Logger) Notification(id, kind, newID string) {
	l.write(Info, id+": "+kind+" notification: "+newID)
}

// Corrupt logs that a damaged queue file is set aside.
func (l *Logger) Corrupt(id, from, to string) {
	l.write(Warning, fmt.Sprintf("saving corrupt file %q from queue %q to queue %q", id, from, to))
}
