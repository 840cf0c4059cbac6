package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	sipmsg "github.com/emiago/sipgo/sip"
)

// A Script is a scenario, read. Its file has one thing a line; "#" begins a
// comment, alone or after a space. Lines before the first ">" say what the world is made of:
//
//	country us                       whose tones and cadences
//	proxies 3                        p1, p2, p3
//	outbound proxy.example.net p3    what is configured, in order
//	name proxy.example.net 10 A p1   a DNS record; the first for a name replaces all
//	transport udp                    udp, tcp or tls
//	certificate proxy.example.net    names in the proxies' certificates
//	impostor p1                      its certificate is for another name
//	expires 60s                      of the registration
//	keepalive 15s                    of the line
//	password wrong                   what the agent says
//	hybrid 12                        the telephone throws back what it hears, 12 dB softer
//	handset 16000                    it is an IP telephone, whose handset has so many samples a second
//	far seals                        they offer SRTP when they call, and nothing else
//	far codec G722                   what far ends offer when they call; else G.711
//	far ptime 40                     how much sound they want in a packet, ms
//	far deaf                         they take no telephone-event
//	config no_answer = "4s"          one more line of the agent's [[line]]
//	port caller_id = "off"           one of its [[port]]
//	loopback no                      this scenario needs the virtual network
//
// Lines that begin with ">" are done, one after the other:
//
//	boot, stop                       the agent
//	wait 40s
//	lift, hang up, flash, press 5551234#, pulse 5551234, whistle 800 2s
//	measure mouth, measure ear       a burst of noise: when does it come out, and how loud?
//	measure ear 5551234              not in the latest call, but in that one
//	measure mouth 5000Hz             a tone: how loud does it come out?
//	kill p1, silence p1, off p1, revive p1, reset p1
//	refuse p1 503 INVITE 10s         method and Retry-After may be left out
//	challenge p1                     it asks for credentials for ever
//	slow p1 200ms, lose p1 30%
//	minimum 120s                     shorter registrations get 423
//	dns silent, dns normal, dns slow 3s
//	name proxy.example.net 10 A p2   all records of the name, separated by ","
//	link down, link up
//	call 5559876 20s                 the user is called; the caller gives up after a time, or not
//	call 5559876 ALICE               by somebody with a name; "anonymous" and "unavailable" have no number
//	call 5559876 as 5551111 BOB      and the network knows better: P-Asserted-Identity
//	far hangs up, far holds, far resumes, far presses 5
//	far garbles 2s                   it sends what is no sound, or none that was agreed on, and no reports
//	far 5551234 hangs up             not the latest far end, but that one
//	stranger INVITE                  somebody unknown sends a request to the agent
//	stranger whistles 2s             he sends sound, 1500 Hz, and reports to where the call's should go
//	hold on 40s for the ear hears busy   wait, at most so long, until something is in the transcript
type Script struct {
	Name    string
	Options Options
	names   [][]string // records, by name
	steps   []step
}

type step struct {
	line int
	text string
}

// ReadScript reads a scenario. Its errors name file and line.
func ReadScript(name string, text []byte) (*Script, error) {
	s := &Script{Name: name}
	n := 0
	for raw := range strings.Lines(string(text)) {
		n++
		line, _, _ := strings.Cut(raw, " # ")
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '>':
			s.steps = append(s.steps, step{n, strings.TrimSpace(line[1:])})
		case len(s.steps) > 0:
			return nil, fmt.Errorf("%s:%d: %q stands after the first \">\": what the world is made of comes before", name, n, line)
		default:
			if err := s.build(strings.Fields(line), line); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
		}
	}
	return s, nil
}

// build takes a line that says what the world is made of.
func (s *Script) build(f []string, line string) (err error) {
	if len(f) < 2 {
		return fmt.Errorf("%q wants a value", line)
	}
	o := &s.Options
	switch f[0] {
	case "country":
		o.Country = f[1]
	case "proxies":
		o.Proxies, err = strconv.Atoi(f[1])
	case "outbound":
		o.Outbound = f[1:]
	case "name":
		s.names = append(s.names, f[1:])
	case "transport":
		o.Transport = f[1]
	case "certificate":
		o.CertFor = f[1:]
	case "impostor":
		o.Impostor = f[1]
	case "expires":
		o.Expires, err = time.ParseDuration(f[1])
	case "keepalive":
		o.KeepAlive, err = time.ParseDuration(f[1])
	case "password":
		o.Password = strings.Join(f[1:], " ")
	case "hybrid":
		o.Hybrid, err = strconv.Atoi(f[1])
	case "handset":
		o.Handset, err = strconv.Atoi(f[1])
		if err == nil && !slices.Contains(hal.Rates[:], o.Handset) {
			err = fmt.Errorf("want: handset and one of %v", hal.Rates)
		}
	case "far":
		err = s.far(f[1:])
	case "config":
		o.Config = append(o.Config, strings.TrimSpace(strings.TrimPrefix(line, "config")))
	case "port":
		o.PortLines = append(o.PortLines, strings.TrimSpace(strings.TrimPrefix(line, "port")))
	case "top":
		o.Top = append(o.Top, strings.TrimSpace(strings.TrimPrefix(line, "top")))
	case "loopback":
		o.Virtual = f[1] == "no"
	default:
		err = fmt.Errorf("%q is no part of a world: country, proxies, outbound, name, transport, certificate, impostor, expires, keepalive, password, hybrid, handset, far, config, port, top, loopback", f[0])
	}
	return err
}

// far takes a line that says what far ends are like.
func (s *Script) far(f []string) (err error) {
	o := &s.Options
	switch {
	case f[0] == "deaf":
		o.FarDeaf = true
	case f[0] == "seals":
		o.FarSeals = true
	case f[0] == "codec" && len(f) == 2 && slices.Contains(others, f[1]):
		o.FarCodec = f[1]
	case f[0] == "ptime" && len(f) == 2:
		o.FarPtime, err = strconv.Atoi(f[1])
	default:
		err = fmt.Errorf("want: far deaf, far seals, far ptime 40, or far codec and one of %s", strings.Join(others, ", "))
	}
	return err
}

// Play plays a scenario and writes what happened. In a testing/synctest bubble
// it takes no time; with Options.Real it plays on loopback as time goes by. dir
// is for the agent's state.
func Play(ctx context.Context, s *Script, dir string, real bool, out io.Writer) error {
	if real && s.Options.Virtual {
		return fmt.Errorf("%s needs the virtual network (it says \"loopback no\"): go test ./internal/lab -run /%s", s.Name, s.Name)
	}
	o := s.Options
	o.Dir, o.Real = dir, real
	j := NewJournal(out, real)
	w, err := NewWorld(o, j)
	if err != nil {
		return err
	}
	for name, records := range s.byName() {
		if err := w.Name(name, records...); err != nil {
			w.Close()
			return err
		}
	}
	for _, st := range s.steps {
		if err := w.Beat(ctx); err != nil {
			break
		}
		j.Add(Done, "%s", st.text)
		if err := w.Do(ctx, st.text); err != nil {
			j.Flush()
			j.Mute()
			w.Close()
			return fmt.Errorf("%s:%d: %s: %w", s.Name, st.line, st.text, err)
		}
	}
	w.Beat(ctx)
	j.Flush()
	j.Mute()
	return w.Close()
}

// byName is the records of each name.
func (s *Script) byName() map[string][]string {
	out := make(map[string][]string)
	for _, f := range s.names {
		out[f[0]] = append(out[f[0]], strings.Join(f[1:], " "))
	}
	return out
}

// Do does one thing of a scenario.
func (w *World) Do(ctx context.Context, text string) error {
	f := strings.Fields(text)
	if len(f) == 0 {
		return fmt.Errorf("nothing to do")
	}
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	switch f[0] {
	case "boot":
		return w.Start()
	case "stop":
		return w.Stop()
	case "wait":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return err
		}
		return w.Wait(ctx, d)
	case "hold":
		return w.holdOn(ctx, text)
	case "measure":
		return w.measure(ctx, arg(1), f[min(2, len(f)):])
	case "lift", "hang", "flash", "press", "pulse", "whistle":
		if w.hand == nil {
			return fmt.Errorf("the agent does not run, so its telephone is dead")
		}
		return w.move(f[0], arg(1), arg(2))
	case "kill", "silence", "off", "revive", "reset", "refuse", "challenge", "slow", "lose":
		p, err := w.Proxy(arg(1))
		if err != nil {
			return err
		}
		return w.breakProxy(p, f[0], f[2:])
	case "minimum":
		d, err := time.ParseDuration(arg(1))
		w.Provider.Minimum(d)
		return err
	case "dns":
		if arg(1) == "slow" {
			d, err := time.ParseDuration(arg(2))
			if err != nil {
				return err
			}
			return w.DNS.Set(DNSNormal, d)
		}
		return w.DNS.Set(DNSMode(arg(1)), 0)
	case "name":
		var records []string
		for _, r := range strings.Split(strings.Join(f[2:], " "), ",") {
			if r = strings.TrimSpace(r); r != "" {
				records = append(records, r)
			}
		}
		return w.Name(arg(1), records...)
	case "link":
		if w.home == nil {
			return fmt.Errorf("loopback has no link to pull")
		}
		w.home.LinkDown(arg(1) == "down")
	case "call":
		caller, err := callerOf(f[1:])
		if err != nil {
			return err
		}
		return w.Provider.Call(user, caller)
	case "far":
		if arg(1) == "garbles" {
			return w.garble(ctx, arg(2))
		}
		return w.Provider.Far(strings.Join(f[1:], " "))
	case "stranger":
		if arg(1) == "whistles" {
			return w.whistleIn(ctx, arg(2))
		}
		return w.stranger(ctx, arg(1))
	default:
		return fmt.Errorf("nobody knows how to do %q", f[0])
	}
	return nil
}

// callerOf reads who calls, and for how long.
func callerOf(f []string) (c Caller, err error) {
	if len(f) == 0 {
		return c, fmt.Errorf("want: call 5559876 ALICE 20s")
	}
	c.Number, f = f[0], f[1:]
	if len(f) > 0 {
		if d, err := time.ParseDuration(f[len(f)-1]); err == nil {
			c.GiveUp, f = d, f[:len(f)-1]
		}
	}
	if i := slices.Index(f, "as"); i >= 0 {
		if len(f) < i+2 {
			return c, fmt.Errorf("want: call 5559876 as 5551111 BOB")
		}
		c.Asserted, f = fmt.Sprintf("%q <sip:%s@%s>", strings.Join(f[i+2:], " "), f[i+1], domain), f[:i]
	}
	c.Name = strings.Join(f, " ")
	return c, nil
}

// move moves the receiver, or a finger, or the lips.
func (w *World) move(what, arg, length string) error {
	switch what {
	case "lift":
		w.hand.Lift()
	case "hang":
		w.HangUp()
	case "flash":
		w.fingers.Go(w.hand.Flash) // takes its time, while other things may happen
	case "press":
		return w.hand.Press(arg)
	case "pulse":
		return w.hand.Dial(arg)
	case "whistle":
		hz, err := strconv.ParseUint(arg, 10, 16)
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(length)
		if err != nil {
			return err
		}
		rate := hal.RateOf(w.Port)
		samples := make([]int16, d*time.Duration(rate)/time.Second)
		sine(samples, rate, uint16(hz), 0)
		return w.hand.Play(samples)
	}
	return nil
}

// breakProxy does something to a proxy.
func (w *World) breakProxy(p *Proxy, what string, f []string) error {
	switch what {
	case "kill":
		p.Kill()
	case "silence":
		p.Break(func(x *Faults) { x.Silent = true })
	case "off":
		p.Off()
	case "revive":
		return p.Revive()
	case "reset":
		p.Reset()
	case "challenge":
		p.Break(func(x *Faults) { x.Challenge = true })
	case "refuse":
		return refuse(p, f)
	case "slow":
		if len(f) != 1 {
			return fmt.Errorf("want: slow p1 200ms")
		}
		d, err := time.ParseDuration(f[0])
		p.Break(func(x *Faults) { x.Delay = d })
		return err
	case "lose":
		if len(f) != 1 {
			return fmt.Errorf("want: lose p1 30%%")
		}
		n, err := strconv.Atoi(strings.TrimSuffix(f[0], "%"))
		p.Break(func(x *Faults) { x.Loss = float64(n) / 100 })
		return err
	}
	return nil
}

func refuse(p *Proxy, f []string) error {
	if len(f) == 0 {
		return fmt.Errorf("want: refuse p1 503 INVITE 10s")
	}
	code, err := strconv.Atoi(f[0])
	if err != nil {
		return err
	}
	method, r := "", Refusal{Code: code}
	for _, word := range f[1:] {
		if d, err := time.ParseDuration(word); err == nil {
			r.RetryAfter = d
		} else {
			method = word
		}
	}
	p.Break(func(x *Faults) {
		fresh := map[string]Refusal{method: r}
		for m, r := range x.Refuse {
			if m != method {
				fresh[m] = r
			}
		}
		x.Refuse = fresh
	})
	return nil
}

// Minimum makes the registrars refuse shorter registrations.
func (v *Provider) Minimum(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.MinExpires = d
	v.Granted = max(v.Granted, d)
}

// holdOn waits until the transcript has a text.
func (w *World) holdOn(ctx context.Context, text string) error {
	rest, ok := strings.CutPrefix(text, "hold on ")
	limit, what, ok2 := strings.Cut(rest, " for ")
	d, err := time.ParseDuration(limit)
	if !ok || !ok2 || err != nil {
		return fmt.Errorf("want: hold on 40s for the ear hears busy")
	}
	return w.Journal.Await(ctx, d, what)
}

// stranger sends a request from an address that is no proxy's to where the
// line is registered from, and tells whether anything came back.
func (w *World) stranger(ctx context.Context, method string) error {
	to := w.Provider.contactOf(user)
	if to == nil {
		return fmt.Errorf("the line is not registered")
	}
	pc, err := w.strangers(ctx)
	if err != nil {
		return err
	}
	defer pc.Close()
	req := sipmsg.NewRequest(sipmsg.RequestMethod(method), sipmsg.Uri{Scheme: "sip", User: user, Host: domain})
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	for _, h := range [][2]string{
		{"Via", fmt.Sprintf("SIP/2.0/UDP %s:%s;branch=z9hG4bK%s;rport", w.strange.Addr(), port, randomName())},
		{"Max-Forwards", "70"},
		{"From", "<sip:nobody@stranger.invalid>;tag=1"},
		{"To", "<sip:" + user + "@" + domain + ">"},
		{"Call-ID", randomName()},
		{"CSeq", "1 " + method},
		{"Contact", fmt.Sprintf("<sip:nobody@%s:%s>", w.strange.Addr(), port)},
	} {
		req.AppendHeader(sipmsg.NewHeader(h[0], h[1]))
	}
	if method == "INVITE" {
		setBody(req, strings.ReplaceAll("v=0|o=- 1 1 IN IP4 203.0.113.66|s=-|c=IN IP4 203.0.113.66|t=0 0|m=audio 4000 RTP/AVP 0|", "|", "\r\n"))
	} else {
		req.SetBody(nil)
	}
	pc.WriteTo([]byte(req.String()), to)
	pc.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 4096)
	n, _, err := pc.ReadFrom(buf)
	if err != nil {
		w.Journal.Add(Machine, "the stranger gets no answer")
		return nil
	}
	first, _, _ := strings.Cut(string(buf[:n]), "\r\n")
	w.Journal.Add(Machine, "the stranger is answered: %s", first)
	return nil
}

// contactOf is where a user registered from.
func (v *Provider) contactOf(user string) net.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	if b := v.bindings[user]; b != nil && b.hop.conn == nil {
		return b.hop.to
	}
	return nil
}
