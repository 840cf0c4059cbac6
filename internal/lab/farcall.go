package lab

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// A farCall is one call of a far end, told by one goroutine from its first
// ring to its end. Fields without a remark are set before that goroutine
// starts; those below are guarded by prov.mu.
type farCall struct {
	prov   *Provider
	number string
	caller Caller // of a call that the far end makes

	id                  string
	local, remote       string // URIs
	localTag, remoteTag string

	proxy    *Proxy // by which the call goes
	hop      hop
	tx       *serverTx // the INVITE of the agent; nil when the far end calls
	target   sipmsg.Uri
	media    media
	seq      uint32
	version  int // of our SDP
	answered bool
	named    bool // it is told of by its number: there was another one once
	over     bool
	sound    *mouthAndEar
	keys     []byte // to be pressed

	news chan news
}

// news is what a call's goroutine is told.
type news struct {
	kind newsKind
}

type newsKind uint8

const (
	tick newsKind = iota
	cancelled
	ended // by BYE
	acked
	pracked
	hangUp
	hold
	resume
	press
	closing
)

// newCall makes a call by the proxy. Called with mu held.
func (v *Provider) newCall(p *Proxy, number string) *farCall {
	c := &farCall{prov: v, proxy: p, number: number, seq: 1, news: make(chan news, 16)}
	for _, o := range v.calls {
		if o.answered && o.number != number {
			o.named, c.named = true, true
		}
	}
	v.lastCall = c
	return c
}

// Tell tells what the far end does: which, where there is another one. Not called
// with mu held.
func (c *farCall) Tell(format string, args ...any) { c.do(func() { c.tell(format, args...) }) }

// tell is Tell with mu held.
func (c *farCall) tell(format string, args ...any) {
	who := "the far end"
	if c.named {
		who = c.number
	}
	c.prov.tell(who+format, args...)
}

// call names the call likewise. Called with mu held.
func (c *farCall) call() string {
	if c.named {
		return "the call with " + c.number
	}
	return "the call"
}

// post tells the call's goroutine something. Called with mu held.
func (c *farCall) post(n news) {
	select {
	case c.news <- n:
	default: // more than 16 things at once is a storm; the call will end anyway
	}
}

// wait waits for news; a negative time waits for nothing else.
func (c *farCall) wait(d time.Duration) newsKind {
	var after <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case n := <-c.news:
		return n.kind
	case <-after:
		return tick
	case <-c.prov.stop:
		return closing
	}
}

// do runs a step with the provider's lock.
func (c *farCall) do(f func()) {
	c.prov.mu.Lock()
	defer c.prov.mu.Unlock()
	f()
}

// finish forgets the call.
func (c *farCall) finish() {
	c.do(func() {
		c.over = true
		delete(c.prov.calls, c.id)
		if c.prov.lastCall == c {
			c.prov.lastCall = nil
		}
	})
	if c.sound != nil {
		c.sound.close()
	}
}

// take is a call to the far end.
func (c *farCall) take() {
	defer c.finish()
	b := behaviourOf(c.number)
	if b.status != 0 {
		if k := c.wait(50 * time.Millisecond); k == cancelled {
			c.say(487, "")
			return
		}
		c.say(b.status, "")
		return
	}
	if !c.open(b.voice) {
		return
	}
	if k := c.wait(b.ring); k != tick {
		c.giveIn(k)
		return
	}
	switch {
	case b.early:
		c.Tell(" plays before it answers")
		c.say(183, c.answerSDP())
		c.listen()
	case b.reliable:
		c.Tell(" rings and wants to know that it was heard")
		if !c.sayReliably() {
			return
		}
	default:
		c.Tell(" rings")
		c.say(180, "")
	}
	if k := c.wait(b.answer); k != tick {
		c.giveIn(k)
		return
	}
	c.do(func() { c.answered = true; c.prov.counts.Answered++; c.tell(" answers") })
	c.say(200, c.answerSDP())
	c.listen()
	for {
		switch k := c.wait(timerB); k {
		case acked:
			c.talk()
			return
		case tick:
			c.prov.Tell("nobody acknowledges the far end's answer")
			c.bye()
			return
		case hangUp:
			c.bye()
			return
		case ended, closing:
			return
		}
	}
}

// giveIn ends a call that was not answered.
func (c *farCall) giveIn(k newsKind) {
	switch k {
	case cancelled, ended:
		c.prov.Tell("the caller gives up")
		c.say(487, "")
	case hangUp:
		c.Tell(" declines")
		c.say(603, "")
	}
}

// say responds to the INVITE.
func (c *farCall) say(code int, sdp string) {
	c.do(func() {
		res := c.response(c.tx, code, sdp)
		c.proxy.respond(c.tx, res)
	})
}

// response makes one within the dialog. Called with mu held.
func (c *farCall) response(tx *serverTx, code int, sdp string) *sipmsg.Response {
	res := reply(tx.req, tx.hop, code, c.localTag)
	if code < 300 {
		if res.GetHeader("Record-Route") == nil {
			res.AppendHeader(sipmsg.NewHeader("Record-Route", c.recordRoute()))
		}
		res.AppendHeader(sipmsg.NewHeader("Contact", c.contact()))
	}
	if sdp != "" {
		setBody(res, sdp)
	}
	return res
}

func (c *farCall) recordRoute() string {
	return fmt.Sprintf("<sip:%s;transport=%s;lr>", c.proxy.Addr(), c.hop.name)
}

func (c *farCall) contact() string {
	return fmt.Sprintf("<sip:%s@%s:5060>", c.number, c.prov.far.Addr())
}

// sayReliably rings as RFC 3262 wants it: the 180 again until PRACK comes.
func (c *farCall) sayReliably() bool {
	c.do(func() {
		res := c.response(c.tx, 180, "")
		res.AppendHeader(sipmsg.NewHeader("Require", "100rel"))
		res.AppendHeader(sipmsg.NewHeader("RSeq", "1"))
		c.proxy.respond(c.tx, res)
	})
	d := t1
	for range 7 {
		switch k := c.wait(d); k {
		case pracked:
			c.Tell(" knows that its ringing is heard")
			return true
		case tick:
			c.do(func() { c.tx.hop.send(c.tx.last) })
			d *= 2
		default:
			c.giveIn(k)
			return false
		}
	}
	c.prov.Tell("nobody acknowledges the far end's ringing")
	c.say(504, "")
	return false
}

// open opens the far end's sound.
func (c *farCall) open(voice Voice) bool {
	s, err := openSound(c.prov.far, voice, func(what string) {
		c.Tell(" hears %s", what)
	})
	if err != nil {
		c.Tell(" has no socket: %v", err)
		c.say(500, "")
		return false
	}
	c.sound = s
	return true
}

// answerSDP answers the media that was offered.
func (c *farCall) answerSDP() string {
	c.prov.mu.Lock()
	defer c.prov.mu.Unlock()
	c.version++
	m := c.media
	switch m.direction {
	case "sendonly":
		m.direction = "recvonly"
	case "recvonly":
		m.direction = "sendonly"
	}
	return writeSDP(c.sound.at, m, c.version, c.prov.wants())
}

// listen starts the far end's sound with what is known of the other side.
func (c *farCall) listen() {
	c.prov.mu.Lock()
	m := c.media
	c.prov.mu.Unlock()
	switch m.direction { // what they may do, we may not
	case "sendonly":
		m.direction = "recvonly"
	case "recvonly":
		m.direction = "sendonly"
	}
	c.sound.talk(m)
}

// talk is a call from its answer to its end.
func (c *farCall) talk() {
	for {
		switch c.wait(-1) {
		case ended:
			return
		case closing:
			return
		case hangUp:
			c.Tell(" hangs up")
			c.bye()
			return
		case hold:
			c.reinvite("sendonly")
		case resume:
			c.reinvite("sendrecv")
		case press:
			c.press()
		}
	}
}

// way finds a proxy that answers and the hop to the agent: the call's own, or
// the one that holds the registration now. Called with mu held.
func (c *farCall) way() (*Proxy, hop) {
	if c.proxy.up() && !c.hop.reliable() {
		return c.proxy, c.hop
	}
	for _, b := range c.prov.bindings {
		if b.proxy.up() && b.proxy != c.proxy {
			return b.proxy, b.hop
		}
		if b.proxy == c.proxy && c.proxy.up() {
			return b.proxy, b.hop
		}
	}
	return c.proxy, c.hop
}

// request makes a request within the dialog. Called with mu held.
func (c *farCall) request(method sipmsg.RequestMethod) *sipmsg.Request {
	c.seq++
	req := sipmsg.NewRequest(method, c.target)
	req.AppendHeader(sipmsg.NewHeader("Max-Forwards", "69"))
	from := fmt.Sprintf("<%s>;tag=%s", c.local, c.localTag)
	if c.caller.Name != "" {
		from = fmt.Sprintf("%q %s", c.caller.Name, from)
	}
	req.AppendHeader(sipmsg.NewHeader("From", from))
	to := fmt.Sprintf("<%s>", c.remote)
	if c.remoteTag != "" {
		to += ";tag=" + c.remoteTag
	}
	req.AppendHeader(sipmsg.NewHeader("To", to))
	req.AppendHeader(sipmsg.NewHeader("Call-ID", c.id))
	req.AppendHeader(sipmsg.NewHeader("CSeq", strconv.Itoa(int(c.seq))+" "+string(method)))
	if method == sipmsg.INVITE {
		req.AppendHeader(sipmsg.NewHeader("Contact", c.contact()))
	}
	req.SetBody(nil)
	return req
}

// exchange sends a request within the dialog and waits for its final response;
// nil when none came.
func (c *farCall) exchange(make func() *sipmsg.Request) (*sipmsg.Response, *clientTx) {
	var tx *clientTx
	c.do(func() {
		p, h := c.way()
		tx = p.ask(make(), h)
	})
	for {
		select {
		case res, ok := <-tx.responses:
			if !ok {
				return nil, tx
			}
			if res.StatusCode >= 200 {
				return res, tx
			}
		case <-c.prov.stop:
			return nil, tx
		}
	}
}

// bye ends an answered call.
func (c *farCall) bye() {
	res, _ := c.exchange(func() *sipmsg.Request { return c.request(sipmsg.BYE) })
	if res == nil {
		c.Tell("'s BYE is not answered")
	}
}

// press tells of a key by INFO.
func (c *farCall) press() {
	res, _ := c.exchange(func() *sipmsg.Request {
		req := c.request(sipmsg.INFO)
		req.AppendHeader(sipmsg.NewHeader("Content-Type", "application/dtmf-relay"))
		req.SetBody(fmt.Appendf(nil, "Signal=%c\r\nDuration=250\r\n", c.keys[0]))
		c.keys = c.keys[1:]
		return req
	})
	if res == nil || res.StatusCode != 200 {
		c.Tell("'s key is not taken")
	}
}

// reinvite changes the direction of the sound.
func (c *farCall) reinvite(direction string) {
	res, tx := c.exchange(func() *sipmsg.Request {
		req := c.request(sipmsg.INVITE)
		c.version++
		m := c.media
		m.direction = direction
		setBody(req, writeSDP(c.sound.at, m, c.version, c.prov.wants()))
		return req
	})
	if res == nil {
		c.Tell("'s re-INVITE is not answered")
		return
	}
	if res.StatusCode != 200 {
		c.Tell("'s re-INVITE is refused: %d", res.StatusCode)
		return
	}
	c.do(func() { c.accept(tx, res) })
	m := c.prov.read(res.Body())
	c.Tell(" is told: %s", m.direction)
	sound := m
	sound.direction = direction
	if direction == "sendonly" {
		sound.direction = "inactive" // holds, without music
	}
	c.sound.talk(sound)
}

// accept acknowledges a 2xx to our INVITE, and learns the dialog from it.
// Called with mu held.
func (c *farCall) accept(tx *clientTx, res *sipmsg.Response) {
	c.remoteTag, _ = res.To().Params.Get("tag")
	if h := res.Contact(); h != nil {
		c.target = h.Address
	}
	tx.ack = []byte(ackOf(tx.req, res, false).String())
	tx.hop.send(tx.ack)
}

// place is a call of the far end.
func (c *farCall) place() {
	defer c.finish()
	if !c.open(behaviourOf(c.number).voice) {
		return
	}
	var tx *clientTx
	c.do(func() {
		c.prov.tell("%s calls %s by %s", c.number, c.remote, c.proxy.Name)
		req := c.request(sipmsg.INVITE)
		req.AppendHeader(sipmsg.NewHeader("Record-Route", c.recordRoute()))
		if c.caller.Asserted != "" {
			req.AppendHeader(sipmsg.NewHeader("P-Asserted-Identity", c.caller.Asserted))
		}
		setBody(req, writeSDP(c.sound.at, c.prov.offers(), 1, c.prov.wants()))
		tx = c.proxy.ask(req, c.hop)
	})
	var giveUp <-chan time.Time
	if c.caller.GiveUp > 0 {
		t := time.NewTimer(c.caller.GiveUp)
		defer t.Stop()
		giveUp = t.C
	}
	rings := false
	for {
		select {
		case res, ok := <-tx.responses:
			switch {
			case !ok:
				c.prov.Tell("%s gets no answer", c.number)
				return
			case res.StatusCode == 180 && !rings:
				rings = true
				c.prov.Tell("%s hears that it rings", c.number)
			case res.StatusCode >= 300:
				c.prov.Tell("%s is told: %d %s", c.number, res.StatusCode, res.Reason)
				return
			case res.StatusCode >= 200:
				c.do(func() {
					c.accept(tx, res)
					c.answered = true
					c.media = c.prov.read(res.Body())
					c.prov.counts.Answered++
					c.prov.tell("%s is answered", c.number)
				})
				c.listen()
				c.talk()
				return
			}
		case <-giveUp:
			giveUp = nil
			c.prov.Tell("%s gives up", c.number)
			c.cancel(tx)
		case n := <-c.news:
			if n.kind == hangUp {
				c.prov.Tell("%s gives up", c.number)
				c.cancel(tx)
			}
		case <-c.prov.stop:
			return
		}
	}
}

// cancel takes back an INVITE, RFC 3261 section 9.1: same branch, same number.
func (c *farCall) cancel(tx *clientTx) {
	c.do(func() {
		req := sipmsg.NewRequest(sipmsg.CANCEL, tx.req.Recipient)
		req.AppendHeader(sipmsg.HeaderClone(tx.req.Via()))
		req.AppendHeader(sipmsg.NewHeader("Max-Forwards", "69"))
		sipmsg.CopyHeaders("From", tx.req, req)
		sipmsg.CopyHeaders("To", tx.req, req)
		sipmsg.CopyHeaders("Call-ID", tx.req, req)
		req.AppendHeader(&sipmsg.CSeqHeader{SeqNo: tx.req.CSeq().SeqNo, MethodName: sipmsg.CANCEL})
		req.SetBody(nil)
		tx.hop.send([]byte(req.String()))
	})
}

// acknowledged takes the ACK of our 2xx. Called with mu held.
func (c *farCall) acknowledged(ack *sipmsg.Request) {
	if c.tx == nil || c.tx.acked {
		return
	}
	c.tx.acked = true
	c.post(news{kind: acked})
}

// inDialog takes BYE, UPDATE, PRACK and INFO. Called with mu held.
func (c *farCall) inDialog(p *Proxy, tx *serverTx) {
	switch tx.req.Method {
	case sipmsg.BYE:
		c.prov.tell("%s ends %s (BYE)", p.Name, c.call())
		c.learn(p, tx)
		p.respond(tx, reply(tx.req, tx.hop, 200, c.localTag))
		c.answered = false
		delete(c.prov.calls, c.id)
		c.post(news{kind: ended})
	case sipmsg.PRACK:
		c.post(news{kind: pracked})
		p.respond(tx, reply(tx.req, tx.hop, 200, c.localTag))
	case sipmsg.UPDATE:
		c.again(p, tx)
	case sipmsg.INFO:
		c.tell(" is told %q by INFO", strings.TrimSpace(strings.ReplaceAll(string(tx.req.Body()), "\r\n", " ")))
		p.respond(tx, reply(tx.req, tx.hop, 200, c.localTag))
	default:
		p.respond(tx, reply(tx.req, tx.hop, 200, c.localTag))
	}
}

// learn takes the way a request within the dialog came. Called with mu held.
func (c *farCall) learn(p *Proxy, tx *serverTx) { c.proxy, c.hop = p, tx.hop }

// again takes a re-INVITE or UPDATE of the agent. Called with mu held.
func (c *farCall) again(p *Proxy, tx *serverTx) {
	if !c.answered {
		p.respond(tx, reply(tx.req, tx.hop, 491, c.localTag))
		return
	}
	c.learn(p, tx)
	if h := tx.req.Contact(); h != nil {
		c.target = h.Address
	}
	sdp := ""
	if body := tx.req.Body(); len(body) > 0 {
		was := c.media
		c.media = c.prov.read(body)
		c.version++
		m := c.media
		switch m.direction {
		case "sendonly":
			m.direction = "recvonly"
		case "recvonly":
			m.direction = "sendonly"
		}
		what := c.media.direction
		if now := c.media.codecName(); now != was.codecName() {
			what += ", " + now
		}
		c.prov.tell("%s changes the sound of %s: %s", p.Name, c.call(), what)
		sdp = writeSDP(c.sound.at, m, c.version, c.prov.wants())
		c.sound.talk(m)
	}
	if tx.req.Method == sipmsg.INVITE {
		c.tx = tx // its ACK is awaited
	}
	p.respond(tx, c.response(tx, 200, sdp))
}

// Tell tells what happens. Not called with mu held.
func (v *Provider) Tell(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tell(format, args...)
}
