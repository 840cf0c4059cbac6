package txn

import (
	"net/netip"

	"github.com/emiago/sipgo/sip"
)

// A Server is a request that somebody has sent us. Its methods may be called
// from any goroutine.
type Server struct{}

// Request returns what was asked. It must not be changed.
func (s *Server) Request() *sip.Request { return nil }

// From returns where it came from.
func (s *Server) From() netip.AddrPort { return netip.AddrPort{} }

// Tag returns the To tag of all responses to a request that had none: our
// half of the dialog. For a request inside a dialog it is that dialog's.
func (s *Server) Tag() string { return "" }

// Response builds a response with our tag; an empty reason means the usual
// one. It is sent by Respond.
func (s *Server) Response(code int, reason string, body []byte) *sip.Response { return nil }

// Respond sends a response; its To tag becomes ours. The 2xx of an INVITE is
// sent again until the ACK comes (RFC 3261 section 13.3.1.4). After a final
// response, and after Cancelled, it is an error.
func (s *Server) Respond(res *sip.Response) error { return nil }

// Acked delivers the ACK of our 2xx to an INVITE, and is then closed. Closed
// without an ACK it says that none has come in 32 s (or that the connection is
// lost): "the dialog is confirmed, but the session SHOULD be terminated. This
// is accomplished with a BYE" (RFC 3261 section 13.3.1.4). After any other
// final response it is closed without an ACK too.
func (s *Server) Acked() <-chan *sip.Request { return nil }

// Cancelled is closed when the caller has given up an INVITE that we have not
// finally answered. The 487 has been sent then.
func (s *Server) Cancelled() <-chan struct{} { return nil }
