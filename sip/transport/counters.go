package transport

import "sync/atomic"

// Counters say what has come and what became of it, since Open. Datagrams,
// except where it says otherwise.
type Counters struct {
	Received   uint64 // given to the parser
	Stranger   uint64 // dropped: from an address that is not trusted
	TooBig     uint64 // dropped: longer than 8 KiB
	TooFast    uint64 // dropped: more than a proxy has to say
	Unparsable uint64 // given to the parser and not understood
	KeepAlive  uint64 // STUN and line ends
	ICMP       uint64 // entries of the error queue
	ReadErrors uint64 // errors of the socket that nothing explained
	Reopened   uint64 // sockets replaced
}

type counters struct {
	received, stranger, tooBig, tooFast, unparsable, keepAlive, icmp, readErrors, reopened atomic.Uint64
}

// Counters returns what was counted so far.
func (t *Transport) Counters() Counters {
	c := &t.count
	return Counters{
		Received:   c.received.Load(),
		Stranger:   c.stranger.Load(),
		TooBig:     c.tooBig.Load(),
		TooFast:    c.tooFast.Load(),
		Unparsable: c.unparsable.Load(),
		KeepAlive:  c.keepAlive.Load(),
		ICMP:       c.icmp.Load(),
		ReadErrors: c.readErrors.Load(),
		Reopened:   c.reopened.Load(),
	}
}
