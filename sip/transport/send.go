package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
)

// maxDatagram is what fits a UDP datagram over IPv4.
const maxDatagram = 65507

// ErrInjection is the refusal of a message whose headers, once written, would
// not be the headers that were put in: a value holds a CR, LF or NUL.
var ErrInjection = errors.New("a header holds a line end")

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Send writes a message to a target. It does not wait for the peer. Over TCP
// and TLS the connection must have been opened by [Transport.Connect] and be
// alive. The error is [ErrInjection] or a [Fault].
func (t *Transport) Send(to outbound.Target, msg sip.Message) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	msg.StringWrite(buf)
	if err := intact(buf.Bytes(), msg); err != nil {
		return err
	}
	if t.witness == nil {
		return t.write(to, buf.Bytes())
	}
	// Before it is sent, so that the answer is seen after it.
	sight := Sight{Sent: true, Transport: to.Transport, Remote: to.Addr, Text: buf.Bytes()}
	if to.Transport == outbound.UDP {
		sight.Local, _ = addrPort(t.socket.LocalAddr())
	} else if s := t.stream(hop{to.Transport, to.Addr}); s != nil {
		sight.Local = s.local.Addr
	}
	t.witness.Witness(sight)
	err := t.write(to, buf.Bytes())
	if err != nil {
		t.witness.Witness(Sight{Sent: true, Transport: to.Transport, Local: sight.Local, Remote: to.Addr, Fault: err})
	}
	return err
}

func (t *Transport) write(to outbound.Target, b []byte) error {
	if to.Transport == outbound.UDP {
		if len(b) > maxDatagram {
			return Fault{to.Addr, to.Transport, OwnSide, fmt.Errorf("a message of %d bytes fits no datagram", len(b))}
		}
		return t.socket.write(b, to.Addr)
	}
	s := t.stream(hop{to.Transport, to.Addr})
	if s == nil {
		return Fault{to.Addr, to.Transport, Lost, net.ErrClosed}
	}
	if _, err := s.Write(b); err != nil {
		return Fault{to.Addr, to.Transport, Lost, err}
	}
	return nil
}

// Intact reports whether a message, once written, would have exactly the
// headers it holds. sipgo writes values as they are: a display name with a
// line end in it becomes a header of its own.
func Intact(msg sip.Message) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	msg.StringWrite(buf)
	return intact(buf.Bytes(), msg)
}

// intact checks what was written by counting: as many lines as there are
// headers and a start line, nothing that could end a line elsewhere, and
// after the empty line as many bytes as the body has.
func intact(b []byte, msg sip.Message) error {
	head, body, ok := bytes.Cut(b, crlf2)
	if !ok || len(body) != len(msg.Body()) {
		return ErrInjection
	}
	lines := 1
	for {
		i := bytes.IndexAny(head, "\r\n\x00")
		if i < 0 {
			break
		}
		if head[i] != '\r' || i+1 >= len(head) || head[i+1] != '\n' {
			return ErrInjection
		}
		lines++
		head = head[i+2:]
	}
	if h, ok := msg.(interface{ Headers() []sip.Header }); !ok || lines != 1+len(h.Headers()) {
		return ErrInjection
	}
	return nil
}

var crlf2 = []byte("\r\n\r\n")
