package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/board"
	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/agent"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// Options say what a World is made of. The zero value is three proxies behind
// one name, on a virtual network.
type Options struct {
	Real      bool   // kernel sockets on loopback instead of the virtual network
	Dir       string // for the agent's state; needed
	Seed      uint64
	Country   string        // "us" when empty
	Proxies   int           // 3 when 0
	Outbound  []string      // what is configured; ["proxy.example.net"] when empty
	Transport string        // "udp" when empty
	Expires   time.Duration // asked for and granted; 60 s when 0
	KeepAlive time.Duration // 15 s when 0
	Password  string        // what the agent says; the right one when empty
	CertFor   []string      // names in the proxies' certificates; the outbound names when empty
	Impostor  string        // the proxy whose certificate is for another name
	Hybrid    int           // sim.Options.Hybrid of the telephone
	Handset   int           // the telephone is an IP telephone's handset of that rate; 0: it is one on a line. Not with Launch
	FarSeals  bool          // Provider.FarSeals
	FarCodec  string        // Provider.FarCodec
	FarPtime  int           // Provider.FarPtime
	FarDeaf   bool          // Provider.FarDeaf
	Config    []string      // more lines of the agent's [[line]]
	PortLines []string      // lines of its [[port]], which there is none without
	Top       []string      // more lines of the agent's configuration, before [[line]]
	Random    func() float64
	Launch    func(config string) (stop func() error, err error) // starts an agent in a process of its own; nil: in ours
	Virtual   bool                                               // the scenario cannot be played on loopback
}

// A World is a provider, a network, and an agent with a telephone.
type World struct {
	Journal  *Journal
	Provider *Provider
	DNS      *NameServer
	Net      *Network // nil in the real world
	Port     telephone
	Lamps    []*Lamp

	o       Options
	proxies []*Proxy
	country *country.Country
	ca      *Authority
	start   time.Time
	sipPort uint16
	dnsPort uint16
	home    *Host // where the agent is; nil in the real world
	agent   struct {
		*agent.Agent
		stop context.CancelFunc
		done chan error
	}
	unhear func()
	ear    struct {
		sync.Mutex
		*Ear
	}
	strange Place // where a stranger is, once there was one
	hand    hand
	outside *outsider      // the agent's process, when it is not ours
	fingers sync.WaitGroup // that are still pressing
}

// A telephone is a simulated one, and its socket.
type telephone interface {
	hal.Port
	hal.Hand
	OffHook() bool
	Listen(hear func([]int16)) (stop func())
}

// The addresses of the virtual world, and of the real one.
const (
	user     = "100"
	password = "correct horse"
	domain   = "example.net"
	outbound = "proxy.example.net"
)

func (o *Options) defaults() {
	o.Country = cmp.Or(o.Country, "us")
	o.Proxies = cmp.Or(o.Proxies, 3)
	o.Transport = cmp.Or(o.Transport, "udp")
	o.Expires = cmp.Or(o.Expires, time.Minute)
	o.KeepAlive = cmp.Or(o.KeepAlive, 15*time.Second)
	o.Password = cmp.Or(o.Password, password)
	if len(o.Outbound) == 0 {
		o.Outbound = []string{outbound}
	}
	if o.Random == nil {
		// Always the same, so that it does not matter who asks first; and not
		// 0.5, which lets a retry and a probe begin at one instant.
		o.Random = func() float64 { return 0.37 }
	}
}

// place is where the machine of that name stands: "p1", "dns", "far",
// "stranger".
func (w *World) place(name string) Place {
	last := map[string]byte{"dns": 53, "far": 100, "stranger": 66}[name]
	var n byte
	if _, err := fmt.Sscanf(name, "p%d", &n); err == nil {
		last = n
	}
	switch {
	case w.o.Real:
		return Loopback{netip.AddrFrom4([4]byte{127, 0, 5, last})}
	case name == "stranger":
		return w.Net.Host("203.0.113.66")
	}
	return w.Net.Host(fmt.Sprintf("10.0.0.%d", last))
}

// openDNS starts the name server, and settles which ports the world uses: in
// the real world high ones that nobody has.
func (w *World) openDNS() (err error) {
	place := w.place("dns")
	w.sipPort, w.dnsPort = 5060, 53
	if !w.o.Real {
		w.DNS, err = NewNameServer(place, w.dnsPort)
		return err
	}
	for w.sipPort, w.dnsPort = 15060, 15353; w.sipPort < 25000; w.sipPort, w.dnsPort = w.sipPort+1000, w.dnsPort+1000 {
		if w.DNS, err = NewNameServer(place, w.dnsPort); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no free port for the name server: %w", err)
}

// NewWorld builds the world. The agent is not started.
func NewWorld(o Options, j *Journal) (*World, error) {
	o.defaults()
	w := &World{Journal: j, o: o, start: time.Now()}
	if !o.Real {
		w.Net = NewNetwork(o.Seed)
		w.home = w.Net.Host("10.0.1.1")
	}
	var err error
	if w.country, err = country.Get(o.Country); err != nil {
		return nil, err
	}
	if err := w.openDNS(); err != nil {
		return nil, err
	}
	w.Provider = NewProvider(domain, w.place("far"), o.Seed, func(s string) { j.Add(Machine, "%s", s) })
	w.Provider.Account(user, password)
	w.Provider.Granted = o.Expires
	w.Provider.FarSeals = o.FarSeals
	w.Provider.FarCodec, w.Provider.FarPtime, w.Provider.FarDeaf = o.FarCodec, o.FarPtime, o.FarDeaf
	names := o.CertFor
	if o.Transport == "tls" {
		w.ca = NewAuthority()
		if len(names) == 0 {
			for _, n := range o.Outbound {
				names = append(names, w.hostOf(n))
			}
		}
	}
	var addresses []string
	for i := range o.Proxies {
		name := fmt.Sprintf("p%d", i+1)
		certFor := names
		if name == o.Impostor {
			certFor = []string{"impostor.invalid"}
		}
		p, err := w.Provider.Proxy(name, w.place(name), w.sipPort, w.ca, certFor...)
		if err != nil {
			w.Close()
			return nil, err
		}
		w.proxies = append(w.proxies, p)
		addresses = append(addresses, "10 A "+name)
	}
	if err := w.Name(outbound, addresses...); err != nil {
		return nil, err
	}
	w.plugIn()
	return w, nil
}

// plugIn connects a telephone and looks at its bell, its display, its ear and the
// lamps.
func (w *World) plugIn() {
	d := &display{tell: func(what string) { w.Journal.Add(Display, "%s", what) }}
	o := sim.Options{Hybrid: w.o.Hybrid, Bell: func(c hal.Cadence) {
		d.ring(c)
		if c.Steps[0] == 0 {
			w.Journal.Add(BellRung, "the bell stops")
		} else {
			w.Journal.Add(BellRung, "the bell rings")
		}
	}, Polarity: func(reversed bool) {
		d.reverse(reversed)
		w.Journal.Add(BellRung, "%s", map[bool]string{true: "the line is reversed", false: "the line is as it was"}[reversed])
	}}
	undisplay := func() {}
	if w.o.Handset > 0 {
		w.Port = sim.NewHandset("1", w.o.Handset, o)
	} else {
		port := sim.New("1", o)
		d.say = func(key []int16) { w.fingers.Go(func() { port.Play(key) }) }
		undisplay = port.ListenWires(func(f []int16) { d.hear(f, port.OffHook()) })
		w.Port = port
	}
	w.hand = w.Port
	if w.o.Country == "jp" {
		d.hand = w.Port
	}
	w.ear.Ear = NewEar(hal.RateOf(w.Port), Tones(w.country), func(what string) { w.Journal.Add(EarHears, "the ear hears %s", what) })
	unhear := w.Port.Listen(func(f []int16) {
		w.ear.Lock()
		defer w.ear.Unlock()
		w.ear.Hear(f)
	})
	w.unhear = func() { unhear(); undisplay() }
	w.Lamps = nil
	for _, name := range []string{"power", "voip", "phone1"} {
		w.Lamps = append(w.Lamps, &Lamp{name: name, journal: w.Journal})
	}
}

// Tones are the sounds of a country's exchange that an ear should know.
func Tones(c *country.Country) []Sound {
	var out []Sound
	for _, name := range []tone.Name{tone.Dial, tone.Busy, tone.Ringback, tone.Congestion, tone.Stutter, tone.Howler, tone.CallWaiting} {
		t := c.Tone(name)
		s := Sound{Name: string(name)}
		for _, st := range t.Steps {
			step := Step{Time: time.Duration(st.Ms) * time.Millisecond, Once: st.Once || !t.Loop}
			for _, f := range st.Hz {
				if f != 0 {
					step.Hz = append(step.Hz, f)
				}
			}
			slices.Sort(step.Hz)
			s.Steps = append(s.Steps, step)
		}
		same := slices.ContainsFunc(out, func(o Sound) bool {
			return slices.EqualFunc(o.Steps, s.Steps, func(a, b Step) bool {
				return a.Time == b.Time && slices.Equal(a.Hz, b.Hz)
			})
		})
		if len(s.Steps) > 0 && !same {
			out = append(out, s)
		}
	}
	return out
}

// A Lamp tells the journal what it shows.
type Lamp struct {
	name    string
	journal *Journal

	mu    sync.Mutex
	shown hal.Pattern
}

// Name is the lamp's.
func (l *Lamp) Name() string { return l.name }

// Show shows a pattern.
func (l *Lamp) Show(p hal.Pattern) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := cmp.Or(l.shown.Name, "off")
	l.shown = p
	if now := cmp.Or(p.Name, "off"); now != was {
		l.journal.Add(LampLit, "%s lamp: %s", l.name, now)
	}
	return nil
}

// Shown is the name of the pattern shown.
func (l *Lamp) Shown() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cmp.Or(l.shown.Name, "off")
}

// Close leaves the lamp as it is.
func (l *Lamp) Close() error { return nil }

// Name replaces the DNS records of a name: "10 A p1", "10 SRV 10 0 5060
// p1.example.net.". p1, p2, ... are replaced by the proxies' addresses.
func (w *World) Name(name string, records ...string) error {
	for i, r := range records {
		f := strings.Fields(r)
		for k, word := range f {
			f[k] = w.address(word)
		}
		records[i] = strings.Join(f, " ")
	}
	return w.DNS.Records(name, records...)
}

// address is the address of a proxy by its name; any other word is returned
// as it is.
func (w *World) address(word string) string {
	for _, p := range w.proxies {
		if p.Name == word {
			return p.Addr().Addr().String()
		}
	}
	return word
}

// hostOf is the host of an outbound entry as the certificate names it.
func (w *World) hostOf(entry string) string {
	host, _, _ := strings.Cut(entry, ":")
	return host
}

// Proxy finds a proxy by its name.
func (w *World) Proxy(name string) (*Proxy, error) {
	for _, p := range w.proxies {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no proxy %q", name)
}

// ConfigFile is the agent's configuration for this world.
func (w *World) ConfigFile() string {
	var b strings.Builder
	fmt.Fprintf(&b, "board = \"sim\"\ncountry = %q\nstate_dir = %q\ncontrol = %q\n", w.o.Country, w.o.Dir, filepath.Join(w.o.Dir, "sock"))
	for _, line := range w.o.Top {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "\n[dns]\nservers = [\"%s\"]\n", netip.AddrPortFrom(w.DNS.place.Addr(), w.dnsPort))
	if w.ca != nil {
		fmt.Fprintf(&b, "\n[tls]\nroots = %q\n", w.rootsFile())
	}
	var out []string
	for _, o := range w.o.Outbound {
		o = w.address(o)
		if w.o.Real && !strings.Contains(o, ":") {
			port := w.sipPort
			if w.o.Transport == "tls" {
				port++
			}
			o = fmt.Sprintf("%s:%d", o, port)
		}
		out = append(out, fmt.Sprintf("%q", o))
	}
	fmt.Fprintf(&b, "\n[[line]]\nuser = %q\npassword = %q\ndomain = %q\noutbound_proxy = [%s]\ntransport = %q\nexpires = \"%v\"\nkeepalive = \"%v\"\n",
		user, w.o.Password, domain, strings.Join(out, ", "), w.o.Transport, w.o.Expires, w.o.KeepAlive)
	for _, line := range w.o.Config {
		fmt.Fprintln(&b, line)
	}
	if len(w.o.PortLines) > 0 {
		fmt.Fprintf(&b, "\n[[port]]\n%s\n", strings.Join(w.o.PortLines, "\n"))
	}
	return b.String()
}

func (w *World) rootsFile() string { return filepath.Join(w.o.Dir, "roots.pem") }

// Start starts the agent.
func (w *World) Start() error {
	if w.ca != nil {
		if err := os.WriteFile(w.rootsFile(), w.ca.PEM(), 0o600); err != nil {
			return err
		}
	}
	if w.o.Launch != nil {
		return w.launch()
	}
	cfg, err := config.Parse("scenario", []byte(w.ConfigFile()))
	if err != nil {
		return fmt.Errorf("the scenario's configuration:\n%w\n%s", err, w.ConfigFile())
	}
	if w.Port == nil {
		w.plugIn()
	}
	var lamps []board.Lamp
	for _, l := range w.Lamps {
		lamps = append(lamps, board.Lamp{Role: l.name, Lamp: l})
	}
	ac := agent.Config{
		Config:  cfg,
		Ports:   []hal.Port{w.Port},
		Lamps:   lamps,
		Random:  w.o.Random,
		Version: "lab",
		Logger:  slog.New(&logHandler{journal: w.Journal}),
	}
	if w.home != nil {
		ac.Network = w.home
		ac.Links = func() (up, addressed bool) { return w.home.up(), w.home.up() }
		ac.Changes = w.home.Changes
	}
	if w.ca != nil {
		ac.Roots = w.ca.Roots()
	}
	a, err := agent.New(ac)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	w.agent.Agent, w.agent.stop, w.agent.done = a, stop, make(chan error, 1)
	done := w.agent.done
	go func() { done <- a.Run(ctx) }()
	return nil
}

// Stop stops the agent as SIGTERM does.
func (w *World) Stop() error {
	if o := w.outside; o != nil {
		w.outside, w.hand = nil, nil
		return o.close()
	}
	if w.agent.Agent == nil {
		return errors.New("the agent does not run")
	}
	w.agent.stop()
	err := <-w.agent.done
	w.agent.Agent = nil
	w.unhear()
	w.Port.Close()
	w.Port, w.hand = nil, nil
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// Close ends everything, and waits for it.
func (w *World) Close() error {
	var errs []error
	if w.agent.Agent != nil || w.outside != nil {
		errs = append(errs, w.Stop())
	}
	if w.Port != nil {
		w.unhear()
		w.Port.Close()
	}
	w.fingers.Wait()
	if w.Provider != nil {
		errs = append(errs, w.Provider.Close())
	}
	if w.DNS != nil {
		errs = append(errs, w.DNS.Close())
	}
	w.Journal.Flush()
	return errors.Join(errs...)
}

// Hearing is what the ear hears now.
func (w *World) Hearing() string {
	if w.outside != nil {
		w.outside.mu.Lock()
		defer w.outside.mu.Unlock()
		return w.outside.ear.Now()
	}
	w.ear.Lock()
	defer w.ear.Unlock()
	return w.ear.Now()
}

// HangUp puts the receiver down; who does not hold it to the ear hears nothing.
func (w *World) HangUp() {
	w.hand.HangUp()
	w.ear.Lock()
	defer w.ear.Unlock()
	w.ear.Reset()
}

// Wait lets time pass.
func (w *World) Wait(ctx context.Context, d time.Duration) error { return wait(ctx, d) }

// Beat waits for the next moment at which a hand may act: in virtual time 7 ms
// after a frame of sound begins, so that it shares its instant with none.
func (w *World) Beat(ctx context.Context) error {
	if w.o.Real {
		return nil
	}
	const frame, phase = 10 * time.Millisecond, 7 * time.Millisecond
	into := time.Since(w.start) % frame
	d := (phase - into + frame) % frame
	if d == 0 {
		d = frame
	}
	return wait(ctx, d)
}

// logHandler writes the agent's log into the journal.
type logHandler struct {
	journal *Journal
	attrs   []slog.Attr
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	if r.Level >= slog.LevelError {
		b.WriteString("error: ")
	}
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.DurationValue(a.Value.Duration().Round(time.Millisecond))
		}
		if !a.Equal(slog.Attr{}) {
			fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.journal.Add(Log, "%s", b.String())
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{journal: h.journal, attrs: append(slices.Clip(h.attrs), attrs...)}
}

func (h *logHandler) WithGroup(string) slog.Handler { return h }
