package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/control"
	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/media/tone"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/outbound"
)

var diagnoseCommand = command{
	name: "diagnose", args: "[--config FILE]", short: "try the way to the provider step by step, and say what to do",
	long: `
Walks from the wire to the telephone: link, address, names, each proxy address,
account, ports, sound, each with the time it took. It asks the name servers and the
proxies itself (with an OPTIONS, over a connection of its own) and sends sound from
this machine to itself, so it works with and without a running agent; accounts, ports
and the sound of the last calls are as the running agent sees them.
A step that fails only because of an earlier one is not blamed. The last line says
what to do. Exit 1 when there is something to do.`,
	run: diagnose,
}

// How long one step may take: a proxy that needs longer would be left by the
// agent too.
const (
	nameTime  = 5 * time.Second
	proxyTime = 4 * time.Second
)

// A step is one thing that was tried.
type step struct {
	kind status.Kind
	ok   bool
	note bool // neither right nor wrong
	took time.Duration
	said string
}

// A walk is all steps so far.
type walk struct {
	out   io.Writer
	from  netip.Addr // our address toward the provider; the zero Addr while none is known
	steps []step
	found []status.Trouble
}

func (w *walk) tell(s step, who string) {
	if s.kind == status.None {
		panic("a step of no kind")
	}
	w.steps = append(w.steps, s)
	mark := "ok"
	switch {
	case s.note:
		mark = "-"
	case !s.ok:
		mark = "FAILS"
		w.found = append(w.found, status.Trouble{Kind: s.kind, Who: who, What: s.said})
	}
	time := ""
	if s.took > 0 {
		time = took(s.took)
	}
	fmt.Fprintf(w.out, "%-8s %-6s %8s  %s\n", s.kind, mark, time, s.said)
}

func diagnose(c *call) error {
	if err := c.none(); err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	roots, err := loadRoots(cfg)
	if err != nil {
		return err
	}
	var snap *status.Snapshot
	if r, err := control.Ask(context.Background(), cfg.Control, control.Request{Do: control.Status}, nil); err == nil {
		snap = r.Status
	} else if !errors.Is(err, control.ErrNotRunning) {
		fmt.Fprintf(c.err, "the running agent cannot be asked: %v\n", err)
	}

	w := &walk{out: c.out}
	names := lookUp(cfg)
	remember(names, snap)
	results := knock(names, roots)
	dead := deadLines(cfg, names, results)
	reached := slices.ContainsFunc(results, func(r knocked) bool { return r.err == nil })

	w.link(reached)
	w.address(cfg, names, reached)
	for _, n := range names {
		w.name(n, dead)
	}
	for _, r := range results {
		w.proxy(r, dead)
	}
	w.agent(snap)
	w.sound(snap)
	return w.verdict(snap)
}

// link looks for an interface that is up. What was reached proves that there
// is a way.
func (w *walk) link(reached bool) {
	began := time.Now()
	all, err := net.Interfaces()
	var up []string
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagRunning != 0 {
			up = append(up, i.Name)
		}
	}
	s := step{kind: status.Link, took: time.Since(began)}
	switch {
	case len(up) > 0:
		s.ok, s.said = true, strings.Join(up, ", ")
	case err != nil:
		s.note, s.said = true, "the interfaces cannot be listed: "+err.Error()
	case reached:
		s.note, s.said = true, "only the machine itself (loopback)"
	default:
		s.said = "no interface has a carrier"
	}
	w.tell(s, "")
}

// address asks the kernel which of our addresses leads outward.
func (w *walk) address(cfg *config.Config, names []named, reached bool) {
	began := time.Now()
	var to netip.AddrPort
	switch {
	case len(cfg.DNS.Servers) > 0:
		to = cfg.DNS.Servers[0]
	default:
		to = netip.MustParseAddrPort("192.0.2.1:5060") // RFC 5737: nobody is there, but the default route leads there
	}
	for _, n := range names {
		if len(n.answer.Targets) > 0 {
			to = n.answer.Targets[0].Addr
			break
		}
	}
	s := step{kind: status.Address}
	conn, err := net.Dial("udp", to.String()) // sends nothing
	s.took = time.Since(began)
	if err == nil {
		from, _, _ := net.SplitHostPort(conn.LocalAddr().String())
		conn.Close()
		s.ok, s.said = true, from
		w.from, _ = netip.ParseAddr(from)
	} else {
		s.said, s.note = "there is no way to "+to.Addr().String()+": "+plainly(context.Background(), err).Error(), reached
	}
	w.tell(s, "")
}

// A named is a configured proxy, who has it, and what its name stands for.
type named struct {
	lines  []string
	text   string // as configured
	proxy  outbound.Proxy
	answer outbound.Answer
	took   time.Duration
	err    error
}

// lookUp finds the addresses of all proxies, each once.
func lookUp(cfg *config.Config) (names []named) {
	r := outbound.NewResolver(outbound.ResolverConfig{Servers: cfg.DNS.Servers, ResolvConf: cfg.DNS.ResolvConf, Timeout: cfg.DNS.Timeout})
	for _, l := range cfg.Lines {
		for k, p := range l.Proxies() {
			i := slices.IndexFunc(names, func(n named) bool { return n.proxy == p })
			if i < 0 {
				i, names = len(names), append(names, named{proxy: p, text: l.OutboundProxy[k]})
			}
			names[i].lines = append(names[i].lines, l.Name)
		}
	}
	var all sync.WaitGroup
	for i := range names {
		all.Go(func() {
			n := &names[i]
			ctx, cancel := context.WithTimeout(context.Background(), nameTime)
			defer cancel()
			began := time.Now()
			n.answer, n.err = r.Lookup(ctx, n.proxy)
			n.took = time.Since(began)
			if errors.Is(n.err, context.DeadlineExceeded) {
				n.err = fmt.Errorf("%s: no name server answered within %s", n.proxy.Host, took(nameTime))
			}
		})
	}
	all.Wait()
	return names
}

// remember takes the addresses that the running agent still knows of names that
// cannot be resolved.
func remember(names []named, snap *status.Snapshot) {
	if snap == nil {
		return
	}
	for i := range names {
		n := &names[i]
		for _, l := range snap.Lines {
			if n.err == nil || !slices.Contains(n.lines, l.Name) {
				continue
			}
			for _, p := range l.Ring {
				addr, err := netip.ParseAddrPort(p.Address)
				t := outbound.Target{Addr: addr, Dest: p.Address, Transport: n.proxy.Transport, TLSName: n.proxy.TLSName, Proxy: n.proxy.String()}
				if p.Name == n.text && err == nil && !slices.Contains(n.answer.Targets, t) {
					n.answer.Targets = append(n.answer.Targets, t)
				}
			}
		}
	}
}

// A knocked is an address that was tried.
type knocked struct {
	named  *named
	target outbound.Target
	took   time.Duration
	said   string // what it answered
	err    error
}

// knock tries every address, all at once.
func knock(names []named, roots *x509.CertPool) (results []knocked) {
	for i := range names {
		for _, t := range names[i].answer.Targets {
			results = append(results, knocked{named: &names[i], target: t})
		}
	}
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			r := &results[i]
			ctx, cancel := context.WithTimeout(context.Background(), proxyTime)
			defer cancel()
			began := time.Now()
			r.said, r.err = options(ctx, r.target, roots)
			r.took = time.Since(began)
		})
	}
	all.Wait()
	return results
}

// deadLines are the lines of which no proxy answers.
func deadLines(cfg *config.Config, names []named, results []knocked) (dead []string) {
	for _, l := range cfg.Lines {
		if !slices.ContainsFunc(results, func(r knocked) bool { return r.err == nil && slices.Contains(r.named.lines, l.Name) }) {
			dead = append(dead, l.Name)
		}
	}
	return dead
}

// matters reports whether a line that has this proxy has no other that answers,
// and which. One of several that is dead is what the ring is for.
func (n *named) matters(dead []string) (who string, matters bool) {
	for _, l := range n.lines {
		if slices.Contains(dead, l) {
			return "line " + l, true
		}
	}
	return "", false
}

// name tells what a name stands for.
func (w *walk) name(n named, dead []string) {
	if n.proxy.Addr.IsValid() {
		return
	}
	s := step{kind: status.DNS, ok: n.err == nil, took: n.took}
	if n.err != nil {
		who, matters := n.matters(dead)
		s.note, s.said = !matters, n.err.Error()
		switch {
		case len(n.answer.Targets) > 0:
			s.said += "; the agent goes on with the addresses it knows"
		case s.note:
			s.said += "; another proxy serves"
		}
		w.tell(s, who)
		return
	}
	var addrs []string
	for _, t := range n.answer.Targets {
		addrs = append(addrs, t.Dest)
	}
	s.said = n.text + " is " + strings.Join(addrs, ", ") + ", for " + n.answer.TTL.Round(time.Second).String()
	w.tell(s, "")
}

// proxy tells whether an address answers.
func (w *walk) proxy(r knocked, dead []string) {
	s := step{kind: status.Proxy, ok: r.err == nil, took: r.took, said: place(r.target.Dest, r.named.text) + ": "}
	if r.err == nil {
		s.said += r.said
		w.tell(s, "")
		return
	}
	who, matters := r.named.matters(dead)
	s.note = !matters
	s.said += r.err.Error()
	if s.note {
		s.said += "; another one serves"
	}
	w.tell(s, who)
}

// options asks a proxy whether it is there. Any answer says yes; what it
// answers is told.
func options(ctx context.Context, t outbound.Target, roots *x509.CertPool) (string, error) {
	network := "udp"
	if t.Transport != outbound.UDP {
		network = "tcp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, t.Dest)
	if err != nil {
		return "", plainly(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	said := ""
	if t.Transport == outbound.TLS {
		secure := tls.Client(conn, &tls.Config{ServerName: t.TLSName, RootCAs: roots})
		if t.TLSName == "" {
			secure = tls.Client(conn, &tls.Config{ServerName: t.Addr.Addr().String(), RootCAs: roots})
		}
		if err := secure.HandshakeContext(ctx); err != nil {
			return "", fmt.Errorf("TLS: %w", plainly(ctx, err))
		}
		conn, said = secure, "TLS, "
	}

	ask := optionsFor(t, conn.LocalAddr().String())
	// RFC 3261 section 17.1.2.2: a request over UDP is sent again after T1, 2*T1, ...
	buf := make([]byte, 4096)
	for wait := 500 * time.Millisecond; ; wait *= 2 {
		if _, err := io.WriteString(conn, ask); err != nil {
			return "", plainly(ctx, err)
		}
		if network == "tcp" {
			wait = proxyTime
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(buf)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return "", plainly(ctx, err)
		}
		first, _, _ := strings.Cut(string(buf[:n]), "\r\n")
		answer, ok := strings.CutPrefix(first, "SIP/2.0 ")
		if !ok {
			return "", errors.New("what answers there does not speak SIP")
		}
		return said + "answers " + oneLine(answer), nil
	}
}

func optionsFor(t outbound.Target, local string) string {
	id := rand.Text()
	transport := strings.ToUpper(t.Transport.String())
	return strings.Join([]string{
		"OPTIONS sip:" + t.Dest + " SIP/2.0",
		"Via: SIP/2.0/" + transport + " " + local + ";branch=z9hG4bK" + id + ";rport",
		"Max-Forwards: 70",
		"From: <sip:diagnose@" + local + ">;tag=" + id[:10],
		"To: <sip:" + t.Dest + ">",
		"Call-ID: " + id,
		"CSeq: 1 OPTIONS",
		"Content-Length: 0",
		"", "",
	}, "\r\n")
}

var errNoAnswer = fmt.Errorf("no answer within %s", took(proxyTime))

// plainly takes the system call and the addresses off an error of package net:
// they have been said.
func plainly(ctx context.Context, err error) error {
	var number syscall.Errno
	switch op := (*net.OpError)(nil); {
	case ctx.Err() != nil:
		return errNoAnswer
	case errors.As(err, &number):
		return number
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// agent tells account and ports as the running agent sees them.
func (w *walk) agent(snap *status.Snapshot) {
	if snap == nil {
		w.tell(step{kind: status.Account, note: true, said: "not known: no agent is running"}, "")
		w.tell(step{kind: status.Hardware, note: true, said: "not known: no agent is running"}, "")
		return
	}
	for _, l := range snap.Lines {
		s := step{kind: status.Account, ok: l.State == status.Registered, said: "line " + l.Name + ": " + string(l.State)}
		switch {
		case s.ok:
			s.said += " through " + place(l.Proxy, l.ProxyName) + " for " + ago(l.Since, snap.At)
		default:
			if l.Why != "" {
				s.said += ": " + l.Why
			}
			// Only a provider who was reached can have refused.
			s.note = snap.Kind != status.Account
		}
		w.tell(s, "line "+l.Name)
	}
	for _, p := range snap.Ports {
		s := step{kind: status.Hardware, ok: p.Fault == "", said: "port " + p.Name + " (" + p.Kind + "): " + p.Hook + " hook, " + p.State}
		if p.Fault != "" {
			s.said = p.Fault
		}
		w.tell(s, "port "+p.Name)
	}
}

// sound tells whether this machine can send and hear it, and how it went in the
// last call of each port.
func (w *walk) sound(snap *status.Snapshot) {
	began := time.Now()
	from := w.from
	if !from.IsValid() {
		from = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	s := step{kind: status.Audio}
	heard, err := loop(from)
	s.took = time.Since(began)
	switch {
	case err != nil:
		s.said = "sound cannot be sent: " + plainly(context.Background(), err).Error()
	case heard < loopFrames/2:
		s.said = fmt.Sprintf("of %d ms of sound from %s to itself %d ms are heard", 10*loopFrames, from, 10*heard)
	default:
		s.ok, s.said = true, "this machine sends sound from "+from.String()+" and hears it"
	}
	w.tell(s, "")
	if snap == nil {
		return
	}
	for _, p := range snap.Ports {
		if p.Line == "" {
			continue
		}
		s := step{kind: status.Audio, note: p.Sound == nil, ok: p.Sound.Complaint() == "", said: "port " + p.Name + ": no call yet"}
		if c := p.Sound; c != nil {
			s.said = fmt.Sprintf("port %s: %s: %d packets sent, %d came, %d lost, jitter %s", p.Name, when(&p, snap.At), c.Sent, c.Received, max(0, c.Lost), took(time.Duration(c.Jitter)))
			if c.RTT > 0 {
				s.said += ", there and back " + took(time.Duration(c.RTT))
			}
			if c.MOS > 0 {
				s.said += fmt.Sprintf(", MOS %.1f", c.MOS)
			}
			if !s.ok {
				s.said += ": " + c.Complaint()
			}
		}
		w.tell(s, "port "+p.Name)
	}
}

const loopFrames = 30 // of 10 ms

// loop sends 300 ms of a tone from this machine to itself, as a call would, and
// returns how many frames of it are heard.
func loop(from netip.Addr) (heard int, err error) {
	var kernel net.ListenConfig
	log := slog.New(slog.DiscardHandler)
	local := from.String()
	a, err := rtp.Open(context.Background(), &kernel, local, log)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	b, err := rtp.Open(context.Background(), &kernel, local, log)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	r := rtp.Remote{Codec: rtp.PCMU, Send: true, Receive: true}
	r.Addr = netip.AddrPortFrom(from, b.LocalPort())
	a.Start(r)
	r.Addr = netip.AddrPortFrom(from, a.LocalPort())
	b.Start(r)

	var player tone.Player
	player.Play(tone.Usual(tone.Dial))
	next := time.NewTicker(hal.FrameTime)
	defer next.Stop()
	var frame, silent hal.Frame
	for range loopFrames + 10 { // the jitter buffer holds some back
		player.Read(frame[:])
		a.Write(frame[:])
		b.Write(silent[:])
		a.Read(frame[:])
		b.Read(frame[:])
		if slices.ContainsFunc(frame[:], func(v int16) bool { return v > 500 }) {
			heard++
		}
		<-next.C
	}
	return min(heard, loopFrames), nil
}

// verdict says the first thing wrong and what to do. What the walk has not seen
// the agent may have.
func (w *walk) verdict(snap *status.Snapshot) error {
	fmt.Fprintln(w.out)
	first := status.First(w.found)
	switch {
	case first.Kind != status.None:
		fmt.Fprintf(w.out, "%s\n%s.\n", first.Sentence(), upper(first.Hint()))
	case snap == nil:
		fmt.Fprintln(w.out, "The way to the provider is free, but no agent is running: start it with ata-agent run.")
	case snap.Problem != "":
		fmt.Fprintf(w.out, "The way to the provider is free, but the agent says: %s\n%s.\n", snap.Problem, upper(snap.Hint))
	default:
		for _, s := range w.steps {
			if s.note && (s.kind == status.Proxy || s.kind == status.DNS) {
				fmt.Fprintf(w.out, "All lines work, yet not in every way: %s.\nNothing has to be done now; tell the provider, or correct the entry if it is wrong.\n", s.said)
				return nil
			}
		}
		fmt.Fprintln(w.out, "All is well; there is nothing to do.")
		return nil
	}
	return &told{exitFailed}
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
