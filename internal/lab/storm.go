package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// A Storm is a day on which everything goes wrong, drawn from a seed: proxies
// are killed, fall silent, go off and refuse, names vanish, datagrams are lost,
// the cable is pulled, and a person telephones at the wrong moment. Laws are
// checked every second. Afterwards all is well again, and the line must come
// back and a call must work.
type Storm struct {
	Seed   uint64
	Length time.Duration
}

// A broken law.
type broken struct {
	at   time.Duration
	law  string
	what string
}

// Laws that hold in any storm.
const (
	lawBell  = "no bell rings while the receiver is off the hook"
	lawIdle  = "two seconds after the receiver was put down the port is at rest"
	lawHeard = "nobody hears a far end that has not answered"
	lawTone  = "who lifts the receiver hears something within a second"
	lawBack  = "while one configured proxy answers, the line comes back"
	lawLamp  = "the voip lamp shines steadily or beats only for a registered line"
	lawEnd   = "after the storm the line is registered and a call works"
)

// stormBound is within which the line must be back once a proxy answers: the
// longest wait between tours is 300 s (RFC 5626 section 4.5 has 1800), half as
// long again for jitter, and a minute for the tour itself.
const stormBound = 510 * time.Second

// storming is a storm while it blows. Owned by the goroutine of Run.
type storming struct {
	*World
	r      *rand.Rand
	start  time.Time
	broken []broken

	healthy  map[*Proxy]time.Time // since when it is well; absent: it is not
	linkUp   time.Time            // zero: the cable is pulled
	lost     time.Time            // when the line was last registered, or could not be
	offHook  time.Time            // zero: the receiver is on its hook
	onHook   time.Time
	restless bool      // a law about this receiver was already told
	dialled  bool      // since it was lifted
	lastTalk time.Time // a far end was last seen in an answered call
}

// Run blows and returns the laws that were broken, as sentences. It must be
// called in a testing/synctest bubble; the world is started by it.
func (s Storm) Run(ctx context.Context, w *World) ([]string, error) {
	b := &storming{
		World: w, r: rand.New(rand.NewPCG(s.Seed, 0x73746f726d)), start: time.Now(),
		healthy: make(map[*Proxy]time.Time), linkUp: time.Now(), onHook: time.Now(), lost: time.Now(),
	}
	for _, p := range w.proxies {
		b.healthy[p] = time.Now()
	}
	if err := w.Start(); err != nil {
		return nil, err
	}
	next := time.Now()
	for time.Since(b.start) < s.Length {
		if err := b.pass(ctx, time.Second); err != nil {
			return nil, err
		}
		if time.Now().Before(next) {
			continue
		}
		if err := b.strike(); err != nil {
			return nil, err
		}
		next = time.Now().Add(time.Duration(2+b.r.IntN(90)) * time.Second)
	}
	if err := b.calm(ctx); err != nil {
		return nil, err
	}
	var out []string
	for _, x := range b.broken {
		out = append(out, fmt.Sprintf("at %v: %s: %s", x.at.Truncate(time.Millisecond), x.law, x.what))
	}
	return out, nil
}

// pass lets time pass, and looks at the laws.
func (b *storming) pass(ctx context.Context, d time.Duration) error {
	if err := b.Wait(ctx, d); err != nil {
		return err
	}
	if err := b.Beat(ctx); err != nil {
		return err
	}
	b.look()
	return nil
}

func (b *storming) law(law, format string, args ...any) {
	if len(b.broken) < 20 {
		b.broken = append(b.broken, broken{time.Since(b.start), law, fmt.Sprintf(format, args...)})
	}
}

// look checks the laws that can be seen at any moment.
func (b *storming) look() {
	now := time.Now()
	snap := b.agent.Snapshot()
	port := snap.Ports[0]
	off := !b.offHook.IsZero()

	if off && b.Port.Ringing() {
		b.law(lawBell, "the port is %s", port.State)
	}
	if b.Provider.Talking() > 0 {
		b.lastTalk = now
	}
	if h := b.Hearing(); h == "1000 Hz" && now.Sub(b.lastTalk) > 2*time.Second {
		b.law(lawHeard, "the port is %s", port.State)
	}
	if !off && now.Sub(b.onHook) > 2*time.Second && !b.restless {
		if port.Hook != "on" || port.State != "idle" && port.State != "ringing" {
			b.restless = true
			b.law(lawIdle, "%s, %s", port.Hook, port.State)
		}
	}
	if off && now.Sub(b.offHook) > time.Second && now.Sub(b.offHook) < 3*time.Second && b.Hearing() == "nothing" && !b.restless &&
		!b.dialled && port.State != "talking" {
		b.restless = true
		b.law(lawTone, "the port is %s", port.State)
	}
	line := snap.Lines[0]
	for _, l := range b.Lamps {
		shown := l.Shown()
		if l.name == "voip" && (shown == "solid" || shown == "heartbeat") && line.State != "registered" {
			b.law(lawLamp, "it shows %s while the line is %s", shown, line.State)
		}
	}
	if at, _ := b.Provider.Registered(user); at != "" || b.linkUp.IsZero() {
		b.lost = now
	}
	if now.Sub(b.lost) > stormBound {
		for _, p := range b.proxies {
			if since, well := b.healthy[p]; well && now.Sub(since) > stormBound {
				b.law(lawBack, "%s is well since %v, the line is %s: %s", p.Name, since.Sub(b.start), line.State, line.Why)
				b.lost = now // tell it once
			}
		}
	}
}

// strike does one thing that was drawn.
func (b *storming) strike() error {
	p := b.proxies[b.r.IntN(len(b.proxies))]
	switch n := b.r.IntN(100); {
	case n < 22:
		return b.hurt(p)
	case n < 42:
		b.healthy[p] = time.Now()
		return b.do("revive " + p.Name)
	case n < 50:
		modes := []DNSMode{DNSSilent, DNSServfail, DNSRefused, DNSNXDomain, DNSEmpty, DNSWrongID, DNSGarbage, DNSTruncate, DNSHuge, DNSBogon, DNSKilled}
		return b.do("dns " + string(modes[b.r.IntN(len(modes))]))
	case n < 56:
		return b.do("dns normal")
	case n < 60:
		return b.pull()
	case n < 63:
		loss := float64(b.r.IntN(3)) * 0.1
		b.Journal.Add(Done, "the network loses %.0f%%", loss*100)
		b.home.Lose(loss)
		return nil
	case n < 80:
		return b.person()
	case n < 90:
		b.try(fmt.Sprintf("call 5559876 %ds", 5+b.r.IntN(40)))
	case n < 95:
		b.try([]string{"far hangs up", "far holds", "far resumes"}[b.r.IntN(3)])
	default:
		b.try("stranger INVITE")
	}
	return nil
}

// do does something of the scenario language that must be possible.
func (b *storming) do(text string) error {
	b.Journal.Add(Done, "%s", text)
	return b.Do(context.Background(), text)
}

// try does something that may be impossible just now.
func (b *storming) try(text string) {
	b.Journal.Add(Done, "%s", text)
	if err := b.Do(context.Background(), text); err != nil {
		b.Journal.Add(Done, "(%v)", err)
	}
}

// hurt does something to a proxy.
func (b *storming) hurt(p *Proxy) error {
	faults := []string{"kill %s", "silence %s", "off %s", "refuse %s 503", "refuse %s 503 REGISTER 20s", "refuse %s 503 INVITE",
		"refuse %s 408 REGISTER", "refuse %s 500 REGISTER", "challenge %s", "slow %s 700ms", "lose %s 40%%", "reset %s"}
	text := fmt.Sprintf(faults[b.r.IntN(len(faults))], p.Name)
	if !strings.HasPrefix(text, "reset") { // a proxy whose connections break is well
		delete(b.healthy, p)
	}
	return b.do(text)
}

// pull pulls the cable, or plugs it in.
func (b *storming) pull() error {
	if b.linkUp.IsZero() {
		b.linkUp = time.Now()
		return b.do("link up")
	}
	b.linkUp = time.Time{}
	return b.do("link down")
}

// person does what a person does with a telephone.
func (b *storming) person() error {
	b.restless = false
	switch {
	case b.offHook.IsZero():
		b.offHook, b.dialled = time.Now(), false
		if err := b.do("lift"); err != nil {
			return err
		}
		if b.r.IntN(4) > 0 {
			b.dialled = true
			numbers := []string{"5551234#", "5550000#", "5551180#", "5551100#", "5550486#", "5550404#", "555", "*", "5551234"}
			b.try("press " + numbers[b.r.IntN(len(numbers))])
		}
		return nil
	case b.r.IntN(4) == 0:
		return b.do("flash")
	default:
		b.offHook, b.onHook = time.Time{}, time.Now()
		return b.do("hang up")
	}
}

// calm heals everything; then the line must come back and a call must work.
func (b *storming) calm(ctx context.Context) error {
	for _, p := range b.proxies {
		if err := b.do("revive " + p.Name); err != nil {
			return err
		}
	}
	b.do("dns normal")
	b.do("link up")
	b.home.Lose(0)
	if b.offHook.IsZero() {
		b.offHook = time.Now()
		b.do("lift") // it may ring
		b.pass(ctx, time.Second)
	}
	b.offHook, b.onHook = time.Time{}, time.Now()
	b.linkUp = time.Now()
	for _, p := range b.proxies {
		b.healthy[p] = time.Now()
	}
	if err := b.do("hang up"); err != nil {
		return err
	}
	for time.Since(b.linkUp) < stormBound {
		if err := b.pass(ctx, time.Second); err != nil {
			return err
		}
	}
	if state := b.agent.Snapshot().Lines[0].State; state != "registered" {
		b.law(lawEnd, "the line is %s", state)
	}
	heardBy := b.heard()
	b.offHook = time.Now()
	b.do("lift")
	b.do("press 5551234#")
	b.pass(ctx, 5*time.Second)
	if h := b.Hearing(); h != "1000 Hz" {
		b.law(lawEnd, "the ear hears %s instead of the far end", h)
	}
	b.try("whistle 1800 1s")
	b.pass(ctx, time.Second)
	if !heardBy("the far end hears 1800 Hz") {
		b.law(lawEnd, "the far end does not hear us")
	}
	b.offHook, b.onHook = time.Time{}, time.Now()
	b.restless = false
	b.do("hang up")
	return b.pass(ctx, 5*time.Second)
}

// heard returns a function that tells whether a text was in the journal since.
func (b *storming) heard() func(string) bool {
	var mu sync.Mutex
	seen := make(map[string]bool)
	b.Journal.Tap(func(_ Source, text string) {
		mu.Lock()
		defer mu.Unlock()
		seen[text] = true
	})
	return func(text string) bool {
		mu.Lock()
		defer mu.Unlock()
		return seen[text]
	}
}
