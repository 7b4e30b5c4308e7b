package proto

// The queue manager's triggers: single bytes on public/qmgr, several in one
// write. Cleanup may name the message that it queued, so that the queue
// manager need not scan for it, and keeps its connection:
//
//	W       wakeup: look for new mail
//	D       look at deferred mail
//	I       scan incoming
//	F       forget dead transports and destinations
//	A       ignore the time stamps of deferred mail
//	N id NL new message id in incoming
const (
	TriggerWakeup   = 'W'
	TriggerDeferred = 'D'
	TriggerIncoming = 'I'
	TriggerFlush    = 'F'
	TriggerAll      = 'A'
	TriggerNew      = 'N'
)

// FlushQueue asks for a delivery attempt of everything that waits (postqueue -f).
const FlushQueue = "FDAI"
