package lab

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// A Provider is what stands behind the proxies: accounts, registrations, and
// far ends that are called and call. A call survives its proxy, as the call of
// a provider with more than one does.
//
// Far ends do what their number says:
//
//	5551234   rings, answers after 3 s and whistles 1000 Hz
//	5550000   answers at once and echoes
//	5551180   rings and never answers
//	5551183   plays early media before it answers after 5 s
//	5551477   as 5551234, and whistles 1477 Hz
//	5551100   requires its 180 to be acknowledged (100rel), then answers
//	5550NNN   is refused with the status NNN: 5550486 is busy, 5550404 unknown
//	other     is unknown
//
// Those who call whistle or echo as their number says, others whistle 1000 Hz.
type Provider struct {
	Domain     string
	Granted    time.Duration // the longest registration granted; 0: 1 hour
	MinExpires time.Duration // shorter ones get 423; 0: any
	FarSeals   bool          // far ends that call offer SRTP and nothing else
	FarCodec   string        // what far ends offer when they call, by its name in SDP; "" is G.711
	FarPtime   int           // how much sound far ends want in a packet, ms; 0 is 20
	FarDeaf    bool          // far ends take no telephone-event

	far    Place
	events func(string) // told what happens, one at a time
	seed   uint64

	mu       sync.Mutex
	accounts map[string]string
	proxies  []*Proxy
	bindings map[string]*binding
	calls    map[string]*farCall
	lastCall *farCall
	closed   bool
	stop     chan struct{}
	done     sync.WaitGroup
	counts   Counts
}

// sound is that of the far end with a number, or of the latest where that is "";
// nil if there is none.
func (v *Provider) sound(number string) *mouthAndEar {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.calls {
		if c.number == number || number == "" && c == v.lastCall {
			return c.sound
		}
	}
	return nil
}

// Counts are what a provider counted.
type Counts struct {
	Registrations int // accepted
	Calls         int // that reached a far end
	Answered      int
}

// A binding is a registration: where the user is reached, through which proxy.
type binding struct {
	proxy   *Proxy
	hop     hop
	contact sipmsg.Uri
	until   time.Time
}

// NewProvider makes a provider for the domain whose far ends have their sound
// at the place. It tells what happens in sentences, one at a time, and must not
// be called back from there.
func NewProvider(domain string, far Place, seed uint64, tell func(string)) *Provider {
	return &Provider{
		Domain:   domain,
		far:      far,
		events:   tell,
		seed:     seed,
		accounts: make(map[string]string),
		bindings: make(map[string]*binding),
		calls:    make(map[string]*farCall),
		stop:     make(chan struct{}),
	}
}

// Account lets a user register with the password.
func (v *Provider) Account(user, password string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.accounts[user] = password
}

// Proxy starts a proxy at the place. ca may be nil: then it speaks no TLS.
// names are what its certificate is good for.
func (v *Provider) Proxy(name string, place Place, port uint16, ca *Authority, names ...string) (*Proxy, error) {
	p := &Proxy{
		Name:  name,
		prov:  v,
		place: place,
		port:  port,
		conns: make(map[net.Conn]struct{}),
	}
	if ca != nil {
		cert := ca.Issue(names...)
		p.cert = &cert
	}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.proxies = append(v.proxies, p)
	return p, nil
}

// Close ends all proxies and far ends and waits for them.
func (v *Provider) Close() error {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return nil
	}
	v.closed = true
	close(v.stop)
	v.mu.Unlock()
	for _, p := range v.proxies {
		p.Kill()
	}
	v.done.Wait()
	return nil
}

// Counts returns what was counted.
func (v *Provider) Counts() Counts {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts
}

// Registered is the name of the proxy that holds the user's registration, and
// until when; "" when there is none.
func (v *Provider) Registered(user string) (string, time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := v.bindings[user]
	if b == nil || time.Now().After(b.until) {
		return "", time.Time{}
	}
	return b.proxy.Name, b.until
}

// Talking is how many calls of far ends are answered and not ended.
func (v *Provider) Talking() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, c := range v.calls {
		if c.answered {
			n++
		}
	}
	return n
}

// Open is how many calls of far ends are not ended.
func (v *Provider) Open() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.calls)
}

func (v *Provider) tell(format string, args ...any) {
	if v.events != nil && !v.closed {
		v.events(fmt.Sprintf(format, args...))
	}
}

// register takes a REGISTER whose credentials are good. Called with mu held.
func (v *Provider) register(p *Proxy, tx *serverTx) {
	req := tx.req
	user := req.To().Address.User
	if _, known := v.accounts[user]; !known {
		v.tell("%s refuses REGISTER: %s is unknown", p.Name, user)
		p.respond(tx, reply(req, tx.hop, 404, randomName()))
		return
	}
	expires := time.Hour
	if h := req.GetHeader("Expires"); h != nil {
		n, _ := strconv.Atoi(h.Value())
		expires = time.Duration(n) * time.Second
	}
	contact := req.Contact()
	if contact != nil {
		if e, ok := contact.Params.Get("expires"); ok {
			n, _ := strconv.Atoi(e)
			expires = time.Duration(n) * time.Second
		}
	}
	if expires > 0 && expires < v.MinExpires { // RFC 3261 section 10.3 step 7
		res := reply(req, tx.hop, 423, randomName())
		res.AppendHeader(sipmsg.NewHeader("Min-Expires", strconv.Itoa(int(v.MinExpires/time.Second))))
		v.tell("%s refuses REGISTER: 423 shorter than %v", p.Name, v.MinExpires)
		p.respond(tx, res)
		return
	}
	if v.Granted > 0 {
		expires = min(expires, v.Granted)
	}
	was := v.bindings[user]
	lapsed := ""
	if was != nil && time.Now().After(was.until) {
		lapsed = fmt.Sprintf(" (that at %s had run out)", was.proxy.Name)
		was = nil
	}
	res := reply(req, tx.hop, 200, randomName())
	switch {
	case expires == 0:
		if was != nil && was.proxy == p {
			delete(v.bindings, user)
			v.tell("%s forgets %s", p.Name, user)
		}
	case contact == nil: // a question
	default:
		v.counts.Registrations++
		v.bindings[user] = &binding{proxy: p, hop: tx.hop, contact: contact.Address, until: time.Now().Add(expires)}
		switch {
		case was == nil || was.proxy != p:
			v.tell("%s registers %s by %s for %v%s", p.Name, user, tx.hop.name, expires, lapsed)
		case was.hop.conn != tx.hop.conn:
			v.tell("%s registers %s again, by another connection", p.Name, user)
		}
		c := sipmsg.HeaderClone(contact).(*sipmsg.ContactHeader)
		c.Params.Remove("expires")
		c.Params.Add("expires", strconv.Itoa(int(expires/time.Second)))
		res.AppendHeader(c)
	}
	p.respond(tx, res)
}

// called brings an INVITE to the far end it is for. Called with mu held.
func (v *Provider) called(p *Proxy, tx *serverTx) {
	number := tx.req.Recipient.User
	v.tell("%s gets a call to %s", p.Name, number)
	v.counts.Calls++
	c := v.newCall(p, number)
	c.tx = tx
	c.hop = tx.hop
	c.id = tx.req.CallID().Value()
	c.localTag = randomName()
	c.remote = tx.req.From().Address.String()
	c.remoteTag, _ = tx.req.From().Params.Get("tag")
	c.local = tx.req.To().Address.String()
	if h := tx.req.Contact(); h != nil {
		c.target = h.Address
	}
	c.media = v.read(tx.req.Body())
	v.calls[c.id] = c
	p.respond(tx, reply(tx.req, tx.hop, 100, ""))
	v.done.Go(c.take)
}

// read is what far ends make of a body.
func (v *Provider) read(body []byte) media {
	m := readSDP(string(body))
	if v.FarDeaf {
		m.events = 0
	}
	return m
}

// offers is what far ends offer when they call.
func (v *Provider) offers() media {
	m := media{codec: 255, name: v.FarCodec, events: 96, direction: "sendrecv"}
	switch {
	case v.FarCodec == "G722":
		m.codec = 9 // RFC 3551 table 4
	case v.FarCodec != "":
		m.codec = 111 // neither the agent's number nor that of its events
	}
	if v.FarDeaf {
		m.events = 0
	}
	if v.FarSeals {
		m.seal = farKey
	}
	return m
}

// wants is how much sound far ends want in a packet, in ms.
func (v *Provider) wants() int { return cmp.Or(v.FarPtime, 20) }

// A Caller is a far end that calls.
type Caller struct {
	Number   string        // "anonymous" withholds it, "unavailable" is one that nobody knows
	Name     string        // in From; "" is none
	Asserted string        // the whole of P-Asserted-Identity; "" is none
	GiveUp   time.Duration // 0: never
}

// from is the URI of From: RFC 3323 section 4.1.1.3, 3GPP TS 23.003 section 13.7.
func (c Caller) from(domain string) string {
	switch c.Number {
	case "anonymous":
		domain = "anonymous.invalid"
	case "unavailable":
		domain = "unknown.invalid"
	}
	return fmt.Sprintf("sip:%s@%s", c.Number, domain)
}

// Call lets a user be called, by the proxy that holds the registration.
func (v *Provider) Call(user string, caller Caller) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := v.bindings[user]
	if b == nil || time.Now().After(b.until) {
		return fmt.Errorf("%s is not registered anywhere", user)
	}
	c := v.newCall(b.proxy, caller.Number)
	c.caller = caller
	c.hop = b.hop
	c.id = randomName() + "@" + v.Domain
	c.localTag = randomName()
	c.local = caller.from(v.Domain)
	c.remote = fmt.Sprintf("sip:%s@%s", user, v.Domain)
	c.target = b.contact
	v.calls[c.id] = c
	v.done.Go(c.place)
	return nil
}

// Far makes the latest far end do something: "hangs up", "holds", "resumes",
// "presses 5"; or another one, with its number before that.
func (v *Provider) Far(what string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.lastCall
	for _, other := range v.calls {
		if rest, ok := strings.CutPrefix(what, other.number+" "); ok {
			c, what = other, rest
		}
	}
	if c == nil {
		return fmt.Errorf("no far end has a call")
	}
	key, presses := strings.CutPrefix(what, "presses ")
	switch {
	case presses && len(key) == 1:
		c.keys = append(c.keys, key[0])
		c.post(news{kind: press})
	case what == "hangs up":
		c.post(news{kind: hangUp})
	case what == "holds":
		c.post(news{kind: hold})
	case what == "resumes":
		c.post(news{kind: resume})
	default:
		return fmt.Errorf("a far end cannot do %q: hangs up, holds, resumes or presses 5", what)
	}
	return nil
}

// behaviour is what the far end of a number does.
type behaviour struct {
	status   int           // refuses with it
	ring     time.Duration // until it rings
	early    bool          // sound with 183 instead of 180
	reliable bool          // RFC 3262
	answer   time.Duration // after it rings; negative: never
	voice    Voice
}

func behaviourOf(number string) behaviour {
	switch number {
	case "5551234":
		return behaviour{ring: 50 * time.Millisecond, answer: 3 * time.Second}
	case "5551477":
		return behaviour{ring: 50 * time.Millisecond, answer: 3 * time.Second, voice: High}
	case "5550000":
		return behaviour{ring: 50 * time.Millisecond, voice: Echo}
	case "5551180":
		return behaviour{ring: 50 * time.Millisecond, answer: -1}
	case "5551183":
		return behaviour{ring: 50 * time.Millisecond, early: true, answer: 5 * time.Second}
	case "5551100":
		return behaviour{ring: 50 * time.Millisecond, reliable: true, answer: 3 * time.Second}
	}
	if code, ok := strings.CutPrefix(number, "5550"); ok && len(code) == 3 {
		if n, err := strconv.Atoi(code); err == nil && n >= 300 && n <= 699 {
			return behaviour{status: n}
		}
	}
	return behaviour{status: 404}
}
