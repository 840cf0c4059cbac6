package lab

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// A Proxy is one address of the provider: a SIP proxy and registrar in front
// of the far ends. It asks for credentials with nonces of its own, so what one
// proxy gave another does not take. It listens on UDP and TCP, and on TLS at
// the next port when it was given a certificate.
type Proxy struct {
	Name string

	prov  *Provider
	place Place
	port  uint16
	cert  *tls.Certificate

	// guarded by prov.mu
	faults  Faults
	killed  bool
	socket  net.PacketConn
	ears    []net.Listener
	conns   map[net.Conn]struct{}
	servers map[string]*serverTx
	clients map[string]*clientTx
	nonces  map[string]bool
	counted int // nonces given
	done    sync.WaitGroup
}

// Faults are what is wrong with a proxy. The zero Faults is a healthy one.
type Faults struct {
	Silent    bool               // takes everything and says nothing
	Refuse    map[string]Refusal // by method; "" is every method
	Challenge bool               // asks for credentials again and again
	Delay     time.Duration      // before it reads anything
	Loss      float64            // of the datagrams that come, 0 to 1
}

// A Refusal is a final response that is given without a reason of its own.
type Refusal struct {
	Code       int
	RetryAfter time.Duration // 0: none
}

// A serverTx is a request that came, with what was said last.
type serverTx struct {
	req   *sipmsg.Request
	hop   hop
	last  []byte
	acked bool // for INVITE: no more retransmissions
}

// A clientTx is a request that was sent.
type clientTx struct {
	req       *sipmsg.Request
	hop       hop
	responses chan *sipmsg.Response // closed after the final one, or when nobody answered
	heard     bool
	final     bool
	ack       []byte // for a 2xx: sent again when it comes again
}

// start opens the sockets of the proxy. Not called with mu held.
func (p *Proxy) start() error {
	ctx := context.Background()
	at := fmt.Sprintf(":%d", p.port)
	pc, err := p.place.ListenPacket(ctx, "udp", at)
	if err != nil {
		return err
	}
	l, err := p.place.Listen(ctx, "tcp", at)
	if err != nil {
		pc.Close()
		return err
	}
	ears := []net.Listener{l}
	if p.cert != nil {
		l, err := p.place.Listen(ctx, "tcp", fmt.Sprintf(":%d", p.port+1))
		if err != nil {
			pc.Close()
			ears[0].Close()
			return err
		}
		ears = append(ears, l)
	}
	p.prov.mu.Lock()
	defer p.prov.mu.Unlock()
	p.killed = false
	p.socket, p.ears = pc, ears
	p.servers, p.clients = make(map[string]*serverTx), make(map[string]*clientTx)
	p.nonces = make(map[string]bool)
	p.done.Go(func() { p.readPackets(pc) })
	p.done.Go(func() { p.accept(ears[0], "tcp") })
	if p.cert != nil {
		p.done.Go(func() { p.accept(ears[1], "tls") })
	}
	return nil
}

// Kill ends the proxy's process as kill -9 does: its sockets are gone, the
// kernel answers for it with ICMP and resets.
func (p *Proxy) Kill() {
	p.prov.mu.Lock()
	if !p.killed {
		p.killed = true
		p.socket.Close()
		for _, l := range p.ears {
			l.Close()
		}
		p.resetAll()
	}
	p.prov.mu.Unlock()
	p.done.Wait()
}

// Reset breaks the connections that clients have to the proxy.
func (p *Proxy) Reset() {
	p.prov.mu.Lock()
	defer p.prov.mu.Unlock()
	p.resetAll()
}

func (p *Proxy) resetAll() {
	for c := range p.conns {
		raw := c
		if t, ok := c.(*tls.Conn); ok {
			raw = t.NetConn()
		}
		raw.(interface{ SetLinger(int) error }).SetLinger(0)
		raw.Close()
	}
}

// Revive starts the process again after Kill, and heals all faults.
func (p *Proxy) Revive() error {
	p.prov.mu.Lock()
	killed := p.killed
	p.faults = Faults{}
	p.prov.mu.Unlock()
	if h, ok := p.place.(*Host); ok {
		h.Off(false)
	}
	if killed {
		return p.start()
	}
	return nil
}

// Off takes the whole machine off the network. On loopback, where no machine
// can be taken off, it is silent.
func (p *Proxy) Off() {
	if h, ok := p.place.(*Host); ok {
		h.Off(true)
		return
	}
	p.Break(func(f *Faults) { f.Silent = true })
}

// Break changes what is wrong with the proxy.
func (p *Proxy) Break(change func(*Faults)) {
	p.prov.mu.Lock()
	defer p.prov.mu.Unlock()
	change(&p.faults)
}

// Addr is the address of the proxy with its SIP port.
func (p *Proxy) Addr() netip.AddrPort { return netip.AddrPortFrom(p.place.Addr(), p.port) }

// up tells whether the proxy answers. Called with mu held.
func (p *Proxy) up() bool {
	if h, ok := p.place.(*Host); ok {
		h.net.mu.Lock()
		defer h.net.mu.Unlock()
		if h.off {
			return false
		}
	}
	return !p.killed && !p.faults.Silent
}

func (p *Proxy) readPackets(pc net.PacketConn) {
	buf := make([]byte, 65535)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			if isClosed(err) {
				return
			}
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		h := hop{pc: pc, to: from, name: "udp"}
		p.prov.mu.Lock()
		lost := p.faults.Loss > 0 && draw(p.prov.seed, p.Name) < p.faults.Loss
		p.prov.mu.Unlock()
		if lost {
			continue
		}
		if stun := stunAnswer(b, from); stun != nil {
			if !p.silent() {
				pc.WriteTo(stun, from)
			}
			continue
		}
		p.receive(b, h)
	}
}

func (p *Proxy) silent() bool {
	p.prov.mu.Lock()
	defer p.prov.mu.Unlock()
	return p.faults.Silent || p.killed
}

func (p *Proxy) accept(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if name == "tls" {
			c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*p.cert}})
		}
		p.prov.mu.Lock()
		if p.killed {
			p.prov.mu.Unlock()
			c.Close()
			return
		}
		p.conns[c] = struct{}{}
		p.prov.mu.Unlock()
		p.done.Go(func() {
			defer func() {
				c.Close()
				p.prov.mu.Lock()
				delete(p.conns, c)
				p.prov.mu.Unlock()
			}()
			readStream(c, p.silent, func(b []byte) { p.receive(b, hop{conn: c, name: name}) })
		})
	}
}

// receive takes a message, late when the proxy is slow.
func (p *Proxy) receive(b []byte, h hop) {
	p.prov.mu.Lock()
	delay := p.faults.Delay
	p.prov.mu.Unlock()
	if delay == 0 {
		p.handle(b, h)
		return
	}
	time.AfterFunc(delay, func() { p.handle(b, h) })
}

func (p *Proxy) handle(b []byte, h hop) {
	if len(strings.TrimSpace(string(b))) == 0 {
		return // a keep-alive; RFC 5626 section 3.5.1 answers it on connections only
	}
	msg, err := sipmsg.ParseMessage(b)
	p.prov.mu.Lock()
	defer p.prov.mu.Unlock()
	switch {
	case p.killed || p.faults.Silent || p.prov.closed:
	case err != nil:
		p.prov.tell("%s gets something that is no SIP: %v", p.Name, err)
	default:
		switch m := msg.(type) {
		case *sipmsg.Request:
			p.request(m, h)
		case *sipmsg.Response:
			p.response(m)
		}
	}
}

// request serves one request. Called with mu held.
func (p *Proxy) request(req *sipmsg.Request, h hop) {
	via, call := req.Via(), req.CallID()
	if via == nil || call == nil || req.CSeq() == nil || req.From() == nil || req.To() == nil {
		p.prov.tell("%s gets a %s without the mandatory headers", p.Name, req.Method)
		return
	}
	branch, _ := via.Params.Get("branch")
	method := req.Method
	if method == sipmsg.ACK {
		method = sipmsg.INVITE
	}
	key := branch + "|" + via.Host + "|" + string(method)
	if tx := p.servers[key]; tx != nil {
		switch {
		case req.Method == sipmsg.ACK:
			tx.acked = true
		case tx.last != nil:
			h.send(tx.last)
		}
		return
	}
	if req.Method == sipmsg.ACK { // of a 2xx: a transaction of its own
		if c := p.prov.calls[call.Value()]; c != nil {
			c.acknowledged(req)
		}
		return
	}
	tx := &serverTx{req: req, hop: h}
	p.servers[key] = tx
	servers := p.servers
	time.AfterFunc(keepDone, func() {
		p.prov.mu.Lock()
		defer p.prov.mu.Unlock()
		delete(servers, key)
	})
	p.serve(tx)
}

// serve decides what is said to a new request. Called with mu held.
func (p *Proxy) serve(tx *serverTx) {
	req := tx.req
	method := string(req.Method)
	refusal, refused := p.faults.Refuse[method]
	if !refused && method != "CANCEL" && method != "BYE" {
		refusal, refused = p.faults.Refuse[""]
	}
	if refused {
		p.prov.tell("%s refuses %s: %d %s", p.Name, method, refusal.Code, reason(refusal.Code))
		res := reply(req, tx.hop, refusal.Code, randomName())
		if refusal.RetryAfter > 0 {
			res.AppendHeader(sipmsg.NewHeader("Retry-After", strconv.Itoa(int(refusal.RetryAfter/time.Second))))
		}
		p.respond(tx, res)
		return
	}
	switch req.Method {
	case sipmsg.REGISTER:
		if p.authorised(tx, 401) {
			p.prov.register(p, tx)
		}
	case sipmsg.OPTIONS:
		p.respond(tx, reply(req, tx.hop, 200, randomName()))
	case sipmsg.INVITE:
		switch c := p.prov.calls[req.CallID().Value()]; {
		case c != nil && req.To().Params.Has("tag"):
			c.again(p, tx)
		case req.To().Params.Has("tag"):
			p.respond(tx, reply(req, tx.hop, 481, ""))
		case p.authorised(tx, 407):
			p.prov.called(p, tx)
		}
	case sipmsg.CANCEL:
		p.cancel(tx)
	case sipmsg.BYE, sipmsg.UPDATE, sipmsg.PRACK, sipmsg.INFO:
		c := p.prov.calls[req.CallID().Value()]
		if c == nil {
			p.respond(tx, reply(req, tx.hop, 481, ""))
			return
		}
		c.inDialog(p, tx)
	case sipmsg.SUBSCRIBE:
		p.respond(tx, reply(req, tx.hop, 489, randomName()))
	default:
		p.respond(tx, reply(req, tx.hop, 405, randomName()))
	}
}

// cancel ends the INVITE of the same branch. Called with mu held.
func (p *Proxy) cancel(tx *serverTx) {
	branch, _ := tx.req.Via().Params.Get("branch")
	invite := p.servers[branch+"|"+tx.req.Via().Host+"|INVITE"]
	if invite == nil {
		p.respond(tx, reply(tx.req, tx.hop, 481, randomName()))
		return
	}
	p.respond(tx, reply(tx.req, tx.hop, 200, randomName()))
	if c := p.prov.calls[tx.req.CallID().Value()]; c != nil && c.tx == invite {
		c.post(news{kind: cancelled})
	}
}

// respond sends a response, and an INVITE's final one again until its ACK
// comes. Called with mu held.
func (p *Proxy) respond(tx *serverTx, res *sipmsg.Response) {
	tx.last = []byte(res.String())
	tx.hop.send(tx.last)
	if tx.req.Method == sipmsg.INVITE && res.StatusCode >= 200 && (res.StatusCode < 300 || !tx.hop.reliable()) {
		p.repeat(tx, tx.last, t1, time.Now())
	}
}

func (p *Proxy) repeat(tx *serverTx, b []byte, d time.Duration, since time.Time) {
	time.AfterFunc(d, func() {
		p.prov.mu.Lock()
		defer p.prov.mu.Unlock()
		if tx.acked || p.killed || p.prov.closed || time.Since(since) >= timerB {
			return
		}
		if !p.faults.Silent {
			tx.hop.send(b)
		}
		p.repeat(tx, b, min(2*d, t2), since)
	})
}

// authorised checks the credentials of a request, and asks for them when they
// are not good. Called with mu held.
func (p *Proxy) authorised(tx *serverTx, code int) bool {
	name, ask := "Authorization", "WWW-Authenticate"
	if code == 407 {
		name, ask = "Proxy-Authorization", "Proxy-Authenticate"
	}
	var given map[string]string
	for _, h := range tx.req.GetHeaders(name) {
		if m := authParams(h.Value()); m["realm"] == p.prov.Domain {
			given = m
		}
	}
	stale := false
	if given != nil && !p.faults.Challenge {
		password, known := p.prov.accounts[given["username"]]
		switch {
		case !p.nonces[given["nonce"]]:
			stale = true
		case known && given["response"] == digestResponse(given, given["username"], password, string(tx.req.Method)):
			return true
		default:
			p.prov.tell("%s refuses %s: wrong credentials", p.Name, tx.req.Method)
			p.respond(tx, reply(tx.req, tx.hop, 403, randomName()))
			return false
		}
	}
	p.counted++
	nonce := fmt.Sprintf("%x", md5.Sum(fmt.Appendf(nil, "%s %d", p.Name, p.counted)))
	p.nonces[nonce] = true
	challenge := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=MD5, qop="auth"`, p.prov.Domain, nonce)
	if stale {
		challenge += ", stale=true"
	}
	res := reply(tx.req, tx.hop, code, randomName())
	res.AppendHeader(sipmsg.NewHeader(ask, challenge))
	p.respond(tx, res)
	return false
}

// ask sends a request to the agent and delivers what it answers. Called with
// mu held.
func (p *Proxy) ask(req *sipmsg.Request, h hop) *clientTx {
	branch := sipmsg.RFC3261BranchMagicCookie + randomName()
	transport := strings.ToUpper(h.name)
	req.PrependHeader(sipmsg.NewHeader("Via", fmt.Sprintf("SIP/2.0/%s %s;branch=%s;rport", transport, p.Addr(), branch)))
	tx := &clientTx{req: req, hop: h, responses: make(chan *sipmsg.Response, 32)}
	key := branch + "|" + string(req.Method)
	clients := p.clients
	clients[key] = tx
	h.send([]byte(req.String()))
	if !h.reliable() {
		p.again(tx, t1)
	}
	time.AfterFunc(timerB, func() {
		p.prov.mu.Lock()
		defer p.prov.mu.Unlock()
		if !tx.heard && !tx.final {
			tx.final = true
			close(tx.responses)
		}
	})
	return tx
}

func (p *Proxy) again(tx *clientTx, d time.Duration) {
	time.AfterFunc(d, func() {
		p.prov.mu.Lock()
		defer p.prov.mu.Unlock()
		if tx.heard || tx.final || p.prov.closed {
			return
		}
		if p.up() {
			tx.hop.send([]byte(tx.req.String()))
		}
		if tx.req.Method != sipmsg.INVITE {
			d = min(2*d, t2)
		} else {
			d *= 2
		}
		p.again(tx, d)
	})
}

// response gives a response to its request. Called with mu held.
func (p *Proxy) response(res *sipmsg.Response) {
	if res.Via() == nil || res.CSeq() == nil {
		return
	}
	branch, _ := res.Via().Params.Get("branch")
	tx := p.clients[branch+"|"+string(res.CSeq().MethodName)]
	if tx == nil {
		return
	}
	tx.heard = true
	if tx.final {
		if tx.ack != nil && res.StatusCode >= 200 {
			tx.hop.send(tx.ack)
		}
		return
	}
	if res.StatusCode >= 200 {
		tx.final = true
		if tx.req.Method == sipmsg.INVITE && res.StatusCode >= 300 {
			tx.ack = []byte(ackOf(tx.req, res, true).String())
			tx.hop.send(tx.ack)
		}
	}
	select {
	case tx.responses <- res:
	default: // a flood of provisional responses; nobody needs the 33rd
	}
	if tx.final {
		close(tx.responses)
	}
}

// ackOf acknowledges a final response: on the INVITE's own branch when it was
// not a 2xx (RFC 3261 section 17.1.1.3), else to the Contact (13.2.2.4).
func ackOf(invite *sipmsg.Request, res *sipmsg.Response, sameBranch bool) *sipmsg.Request {
	target := invite.Recipient
	if c := res.Contact(); c != nil && !sameBranch {
		target = c.Address
	}
	ack := sipmsg.NewRequest(sipmsg.ACK, target)
	via := sipmsg.HeaderClone(invite.Via()).(*sipmsg.ViaHeader)
	if !sameBranch {
		via.Params.Remove("branch")
		via.Params.Add("branch", sipmsg.RFC3261BranchMagicCookie+randomName())
	}
	ack.AppendHeader(via)
	ack.AppendHeader(sipmsg.NewHeader("Max-Forwards", "70"))
	sipmsg.CopyHeaders("From", invite, ack)
	sipmsg.CopyHeaders("To", res, ack)
	sipmsg.CopyHeaders("Call-ID", invite, ack)
	ack.AppendHeader(&sipmsg.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sipmsg.ACK})
	ack.SetBody(nil)
	return ack
}

// stunAnswer answers a STUN binding request (RFC 8489) as a SIP server that
// follows RFC 5626 does; nil when it is none.
func stunAnswer(b []byte, from net.Addr) []byte {
	if len(b) < 20 || binary.BigEndian.Uint16(b) != 0x0001 || binary.BigEndian.Uint32(b[4:]) != 0x2112a442 {
		return nil
	}
	a := from.(*net.UDPAddr).AddrPort()
	ip := a.Addr().Unmap().As4()
	out := append([]byte{0x01, 0x01, 0, 12}, b[4:20]...)
	out = append(out, 0, 0x20, 0, 8, 0, 1)
	out = binary.BigEndian.AppendUint16(out, a.Port()^0x2112)
	return binary.BigEndian.AppendUint32(out, binary.BigEndian.Uint32(ip[:])^0x2112a442)
}
