package bench

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The bars run a real agent in real time: `make bars` names the binary in
// ATA_AGENT. They are the promise of the README's first table; each case here
// runs once, scripts/peers-bench repeats those that are compared with others.

// The names under which the three addresses are to be found.
var variants = []struct{ name, proxy string }{
	{"A", "proxy.lab.test"},
	{"SRV", "srv.lab.test"},
}

// A table collects what the cases measured, for one print at the end.
type table struct {
	sync.Mutex
	rows []string
}

func (r *table) row(t *testing.T, format string, args ...any) {
	r.Lock()
	r.rows = append(r.rows, fmt.Sprintf("%-34s ", strings.TrimPrefix(t.Name(), "TestBars/bars/"))+fmt.Sprintf(format, args...))
	r.Unlock()
}

func (r *table) add(t *testing.T, took, bar time.Duration) {
	r.row(t, "%8.2f s   bar %6.2f s", took.Seconds(), bar.Seconds())
	if took > bar {
		t.Errorf("took %v, the bar is %v", took.Round(10*time.Millisecond), bar)
	}
}

func (r *table) print() {
	sort.Strings(r.rows)
	fmt.Println(strings.Join(r.rows, "\n"))
}

var faults = []struct {
	name       string
	mode       Mode
	dial, idle time.Duration // bars, for the worst of many runs
}{
	{"killed", Killed, 500 * time.Millisecond, 20 * time.Second},
	{"silent", Silent, 3000 * time.Millisecond, 20 * time.Second},
	{"503", Busy, 500 * time.Millisecond, 20 * time.Second},
}

func TestBars(t *testing.T) {
	var results table
	t.Run("bars", func(t *testing.T) {
		alone := func(name string, f func(*testing.T, *table)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, &results)
			})
		}
		// The long ones first: what can wait beside them will.
		for _, f := range faults[:2] {
			alone("all-dead-60s/"+f.name, func(t *testing.T, r *table) { allDead(t, r, f.mode) })
		}
		alone("hundred-calls", hundredCalls)
		alone("flapping-60s", flapping)
		alone("loss-30-percent-60s", lossy)
		for _, v := range variants {
			for _, f := range faults {
				for _, dns := range []Fault{Well, Dumb} {
					name := v.name + "/" + f.name
					if dns == Dumb {
						name += "/dns-dead"
					}
					alone("dial/"+name, func(t *testing.T, r *table) { dial(t, r, v.proxy, "udp", f.mode, dns, f.dial) })
					alone("idle/"+name, func(t *testing.T, r *table) { idle(t, r, setup{proxy: v.proxy}, f.mode, dns, f.idle) })
				}
			}
		}
		for name, f := range map[string]Fault{"servfail": ServFail, "nxdomain": NXDomain, "empty": Empty, "wrong-id": WrongID} {
			alone("dial/A/killed/dns-"+name, func(t *testing.T, r *table) {
				dial(t, r, "proxy.lab.test", "udp", Killed, f, 500*time.Millisecond)
			})
		}
		alone("slow-path", slow)
		for _, f := range faults {
			alone("dial/tcp/"+f.name, func(t *testing.T, r *table) { dial(t, r, "srv.lab.test", "tcp", f.mode, Well, f.dial) })
		}
		for _, f := range faults {
			alone("idle/keepalive-3s/"+f.name, func(t *testing.T, r *table) {
				idle(t, r, setup{line: []string{`keepalive = "3s"`}}, f.mode, Well, 4*time.Second)
			})
		}
		alone("refused-at-refresh", refused)
		alone("call-survives", survives)
		alone("call-for-us-after-failover", incoming)
		alone("digest-leak", leak)
		alone("mipsel-resident", small)
		alone("cable", link)
	})
	t.Run("flood", func(t *testing.T) { flood(t, &results) })
	results.print()
}

// dial: the proxy fails, then the user dials. How long from the last digit's
// tone to the 180 of another proxy?
func dial(t *testing.T, r *table, proxy, transport string, mode Mode, dns Fault, bar time.Duration) {
	b, a := start(t, setup{proxy: proxy, transport: transport})
	time.Sleep(time.Second)
	a.phone("lift")
	a.phone("press", "5551234")
	b.Proxies[0].Set(mode)
	b.DNS.Set(dns)
	began := time.Now()
	a.phone("press", "#")
	e, err := b.Wait(began, 40*time.Second, Is(Rang, 0))
	if err != nil {
		t.Fatalf("no 180 from another proxy: %v", err)
	}
	r.add(t, e.At.Sub(began), bar)

	// The registration follows the call.
	if _, err := b.Wait(began, 10*time.Second, Is(Registered, 0)); err != nil {
		t.Errorf("the registration did not follow the call: %v", err)
	}
	a.phone("wait", "talking", "--timeout", "5s")
	a.phone("hang-up")
	if _, err := b.Wait(began, 5*time.Second, Is(Ended, 0)); err != nil {
		t.Errorf("no BYE: %v", err)
	}
	// And the next call goes out at once.
	a.phone("wait", "idle", "--timeout", "5s")
	a.phone("lift")
	a.phone("press", "5551234")
	began = time.Now()
	a.phone("press", "#")
	e, err = b.Wait(began, 10*time.Second, Is(Rang, 0))
	if err != nil {
		t.Fatalf("the next call: %v", err)
	}
	if took := e.At.Sub(began); took > 500*time.Millisecond {
		t.Errorf("the next call took %v", took)
	}
}

// idle: nobody touches the telephone. How long until another proxy has
// accepted the registration?
func idle(t *testing.T, r *table, s setup, mode Mode, dns Fault, bar time.Duration) {
	b, _ := start(t, s)
	time.Sleep(time.Second)
	began := time.Now()
	b.Proxies[0].Set(mode)
	b.DNS.Set(dns)
	e, err := b.Wait(began, 60*time.Second, Is(Registered, 0))
	if err != nil {
		t.Fatalf("not registered elsewhere: %v", err)
	}
	r.add(t, e.At.Sub(began), bar)
}

// refused: a refresh is answered with 503, though keep-alives are well.
func refused(t *testing.T, r *table) {
	b, _ := start(t, setup{expires: 12})
	began := time.Now()
	b.Proxies[0].Set(BusyBook)
	no, err := b.Wait(began, 20*time.Second, Is(Refused))
	if err != nil {
		t.Fatalf("no refresh: %v", err)
	}
	e, err := b.Wait(began, 20*time.Second, Is(Registered, 0))
	if err != nil {
		t.Fatalf("not registered elsewhere: %v", err)
	}
	r.add(t, e.At.Sub(no.At), 500*time.Millisecond)
}

// allDead: all proxies fail for a minute, then one returns.
func allDead(t *testing.T, r *table, mode Mode) {
	b, _ := start(t, setup{})
	for _, p := range b.Proxies {
		p.Set(mode)
	}
	time.Sleep(60 * time.Second)
	began := time.Now()
	b.Proxies[1].Set(Answer)
	e, err := b.Wait(began, 60*time.Second, Is(Registered))
	if err != nil {
		t.Fatalf("not back: %v", err)
	}
	r.add(t, e.At.Sub(began), 5*time.Second)
}

// flapping: the preferred proxy is well for ten seconds, silent for ten, and so
// on. A line leaves it once and stays away for the minimum dwell, 60 s.
func flapping(t *testing.T, r *table) {
	b, _ := start(t, setup{expires: 12, line: []string{`keepalive = "3s"`}})
	began := time.Now()
	for i := range 6 {
		b.Proxies[0].Set([]Mode{Silent, Answer}[i%2])
		time.Sleep(10 * time.Second)
	}
	at, moves := 0, 0
	for _, e := range b.Events(began, Is(Registered)) {
		if e.Proxy != at {
			at = e.Proxy
			moves++
		}
	}
	r.row(t, "%8d moves bar %6d", moves, 2)
	if moves < 1 || moves > 2 {
		t.Errorf("%d moves in 60 s", moves)
	}
}

// lossy: three datagrams in ten are lost each way, and no proxy is dead.
func lossy(t *testing.T, r *table) {
	b, _ := start(t, setup{})
	began := time.Now()
	for _, p := range b.Proxies {
		p.Hinder(0, 0.3)
	}
	time.Sleep(60 * time.Second)
	away := b.Events(began, Is(Registered, 0))
	r.row(t, "%8d moves bar %6d", len(away), 0)
	if len(away) > 0 {
		t.Errorf("left a proxy that was not dead, after %v", away[0].At.Sub(began))
	}
}

// slow: a path over a satellite answers after 1.2 s and is not dead.
func slow(t *testing.T, r *table) {
	needsBinary(t)
	b, _ := newBench(t)
	for _, p := range b.Proxies {
		p.Hinder(1200*time.Millisecond, 0)
	}
	a := run(t, b, setup{})
	a.phone("lift")
	a.phone("press", "5551234")
	began := time.Now()
	a.phone("press", "#")
	e, err := b.Wait(began, 10*time.Second, Is(Rang))
	if err != nil {
		t.Fatalf("no 180: %v", err)
	}
	r.add(t, e.At.Sub(began), 3*time.Second) // a challenge, and the call
	a.phone("wait", "talking", "--timeout", "10s")
	a.phone("hang-up")
	time.Sleep(3 * time.Second)
	if away := b.Events(time.Time{}, func(e Event) bool { return e.Proxy != 0 }); len(away) > 0 {
		t.Errorf("left a slow proxy: %+v", away[0])
	}
}

// survives: the proxy dies in a call; the call is not ended by it, and hanging
// up later sends the BYE through another proxy.
func survives(t *testing.T, _ *table) {
	b, a := start(t, setup{})
	a.phone("lift")
	a.phone("press", "5551234#")
	a.phone("wait", "talking", "--timeout", "5s")
	b.Proxies[0].Set(Killed)
	began := time.Now()
	if _, err := b.Wait(began, 25*time.Second, Is(Registered, 0)); err != nil {
		t.Errorf("the line did not move during the call: %v", err)
	}
	a.phone("wait", "talking", "--timeout", "1s")
	began = time.Now()
	a.phone("hang-up")
	if _, err := b.Wait(began, 10*time.Second, Is(Ended, 0)); err != nil {
		t.Errorf("no BYE through another proxy: %v", err)
	}
}

// incoming: after a failover a call that comes through the new proxy rings, is
// answered, and ends from here; and so does one from the proxy before, once
// that lives again, for the registration there has not expired.
func incoming(t *testing.T, r *table) {
	b, a := start(t, setup{line: []string{`keepalive = "3s"`}})
	began := time.Now()
	b.Proxies[0].Set(Killed)
	if _, err := b.Wait(began, 20*time.Second, Is(Registered, 0)); err != nil {
		t.Fatalf("not registered elsewhere: %v", err)
	}
	time.Sleep(100 * time.Millisecond) // the 200 is on its way
	b.Proxies[0].Set(Answer)
	for _, n := range []int{1, 0} {
		began = time.Now()
		if _, err := b.Proxies[n].Ring(); err != nil {
			t.Fatal(err)
		}
		e, err := b.Wait(began, 5*time.Second, Is(Rings))
		if err != nil {
			t.Fatalf("a call through proxy %d does not ring: %v", n+1, err)
		}
		if n == 1 {
			r.add(t, e.At.Sub(began), 500*time.Millisecond)
		}
		a.phone("lift")
		if _, err := b.Wait(began, 5*time.Second, Is(Talks)); err != nil {
			t.Fatalf("a call through proxy %d is not answered: %v", n+1, err)
		}
		a.phone("wait", "talking", "--timeout", "5s")
		a.phone("hang-up")
		if _, err := b.Wait(began, 5*time.Second, Is(Ended)); err != nil {
			t.Errorf("no BYE: %v", err)
		}
		a.phone("wait", "idle", "--timeout", "5s")
	}
}

// leak: a BYE of ours is challenged for a realm that is not our account's, by a
// stranger and then by the trusted proxy. Nobody gets credentials for it.
func leak(t *testing.T, _ *table) {
	const foreign = `Digest realm="evil.test", nonce="of-the-stranger", algorithm=MD5, qop="auth"`
	b, a := start(t, setup{})
	stranger := listen(t, laneOf(b)+".66:0")
	call := func() time.Time {
		a.phone("lift")
		a.phone("press", "5551234#")
		a.phone("wait", "talking", "--timeout", "5s")
		began := time.Now()
		a.phone("hang-up")
		return began
	}

	// The stranger knows all that stands in the BYE and is faster than the proxy.
	var byes atomic.Int32
	b.Proxies[0].OnBye(func(m message, from netip.AddrPort, _ sayer) bool {
		if byes.Add(1) > 1 {
			return false
		}
		for range 3 {
			stranger.WriteToUDPAddrPort([]byte(m.response("407 Proxy Authentication Required", from, "Proxy-Authenticate: "+foreign)), from)
		}
		return true
	})
	began := call()
	time.Sleep(3 * time.Second)
	if byes.Load() < 2 {
		t.Error("the BYE was not repeated: the stranger's answer was taken")
	}

	// The proxy itself asks for another realm.
	b.Proxies[0].OnBye(func(m message, from netip.AddrPort, say sayer) bool {
		say("407 Proxy Authentication Required", "Proxy-Authenticate: "+foreign)
		return true
	})
	call()
	time.Sleep(3 * time.Second)
	all := b.Events(began, Is(Ended))
	if len(all) < 3 {
		t.Errorf("%d BYEs, 3 were expected", len(all))
	}
	for _, e := range all {
		if strings.Contains(e.Detail, "evil.test") || strings.Contains(e.Detail, "of-the-stranger") {
			t.Errorf("credentials were given away: %s", e.Detail)
		}
	}
	if n := heard(stranger); n > 0 {
		t.Errorf("the stranger got %d datagrams", n)
	}
	a.phone("wait", "idle", "--timeout", "5s")
}

// hundredCalls, on two telephones at once, leave no more behind than the
// hundred before them: each call's transactions wait 32 s for stray packets.
func hundredCalls(t *testing.T, r *table) {
	short := []string{`flash_min = "70ms"`, `flash_max = "100ms"`}
	b, a := start(t, setup{more: append(append(append([]string{`[[port]]`, `name = "1"`}, short...), `[[port]]`, `name = "2"`), short...)})
	calls := func(n int) {
		var both sync.WaitGroup
		for _, port := range []string{"1", "2"} {
			both.Go(func() {
				for range n {
					for _, do := range [][]string{{"lift"}, {"press", "6#"}, {"wait", "talking", "--timeout", "10s"},
						{"hang-up"}, {"wait", "idle", "--timeout", "10s"}} {
						if err := a.port(port, do...); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		both.Wait()
	}
	calls(50)
	files, before := a.files(), a.resident()
	began := time.Now()
	calls(50)
	time.Sleep(2 * time.Second) // the last sockets are closed
	ended := len(b.Events(began, Is(Ended)))
	after := a.resident()
	r.row(t, "%8.2f MiB more, bar 2; files %d then %d", mib(after-before), files, a.files())
	if after-before > 2<<20 {
		t.Errorf("memory grew by %.1f MiB to %.1f", mib(after-before), mib(after))
	}
	if a.files() > files {
		t.Errorf("%d files are open, %d were", a.files(), files)
	}
	if ended != 100 {
		t.Errorf("%d of 100 calls ended with a BYE", ended)
	}
}

// small: what the agent has in memory on a router, counted as there: the pages
// of the emulated machine, not of the emulator.
func small(t *testing.T, r *table) {
	const bar = 10 << 20
	binary := os.Getenv("ATA_AGENT_MIPSLE")
	qemu, err := exec.LookPath("qemu-mipsel-static")
	if binary == "" || err != nil {
		t.Skip("needs qemu-mipsel-static, and a binary in ATA_AGENT_MIPSLE")
	}
	_, a := start(t, setup{binary: binary, runner: []string{qemu, "-cpu", "24Kc"}})
	time.Sleep(20 * time.Second) // one keep-alive, and the first collection
	smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", a.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// A 32-bit machine's memory is one region of the emulator's, and the
	// binary is mapped near its beginning, at 64 KiB.
	var base, at, resident, anonymous int64
	for line := range strings.SplitSeq(string(smaps), "\n") {
		words := strings.Fields(line)
		if len(words) >= 5 && strings.Contains(words[0], "-") {
			from, _, _ := strings.Cut(words[0], "-")
			at, _ = strconv.ParseInt(from, 16, 64)
			if base == 0 && strings.HasSuffix(line, binary) {
				base = at - 0x10000
			}
		}
		if base == 0 || at < base || at >= base+1<<31 || len(words) != 3 {
			continue
		}
		kb, _ := strconv.ParseInt(words[1], 10, 64)
		switch words[0] {
		case "Rss:":
			resident += kb << 10
		case "Anonymous:":
			anonymous += kb << 10
		}
	}
	r.row(t, "%8.2f MiB   bar %6.2f; not backed by the file: %.2f", mib(resident), mib(bar), mib(anonymous))
	if resident == 0 || resident > bar {
		t.Errorf("%.2f MiB are resident", mib(resident))
	}
}

// flood: strangers send INVITE, OPTIONS, REGISTER and rubbish, 2000 a second
// for 15 s. They get no answer, nothing rings, memory stays, and trusted calls
// succeed meanwhile, both ways. Nothing else runs beside it.
func flood(t *testing.T, r *table) {
	b, a := start(t, setup{})
	a.phone("lift") // one call first, so that all that a call needs is there
	a.phone("press", "5551234#")
	a.phone("wait", "talking", "--timeout", "5s")
	a.phone("hang-up")
	a.phone("wait", "idle", "--timeout", "5s")
	reg := b.Events(time.Time{}, Is(Registered))
	target := reg[len(reg)-1].From
	before := a.resident()

	var strangers []*net.UDPConn
	for i := range 20 {
		strangers = append(strangers, listen(t, fmt.Sprintf("%s.%d:0", laneOf(b), 200+i)))
	}
	const seconds, rate = 15, 2000
	sent := make(chan int)
	began := time.Now()
	go func() {
		n := 0
		for tick := time.NewTicker(5 * time.Millisecond); time.Since(began) < seconds*time.Second; <-tick.C {
			for due := int(time.Since(began).Seconds() * rate); n < due; n++ {
				c := strangers[n%len(strangers)]
				c.WriteToUDPAddrPort(rubbish(n, c.LocalAddr().String(), target.String()), target)
			}
		}
		sent <- n
	}()
	time.Sleep(3 * time.Second)
	if s := a.state(); s != "idle" {
		t.Errorf("the telephone is %s", s)
	}
	a.phone("lift")
	a.phone("press", "5551234")
	called := time.Now()
	a.phone("press", "#")
	if e, err := b.Wait(called, 5*time.Second, Is(Rang)); err != nil {
		t.Errorf("a call during the flood: %v", err)
	} else if took := e.At.Sub(called); took > 500*time.Millisecond {
		t.Errorf("a call during the flood took %v", took)
	}
	a.phone("wait", "talking", "--timeout", "5s")
	a.phone("hang-up")
	a.phone("wait", "idle", "--timeout", "5s")
	called = time.Now()
	b.Proxies[0].Ring()
	if _, err := b.Wait(called, 5*time.Second, Is(Rings)); err != nil {
		t.Errorf("a trusted call during the flood does not ring: %v", err)
	}
	a.phone("lift")
	a.phone("wait", "talking", "--timeout", "5s")
	a.phone("hang-up")
	peak := int64(0)
	n := 0
	for n == 0 {
		select {
		case n = <-sent:
		case <-time.After(100 * time.Millisecond):
			peak = max(peak, a.resident())
		}
	}
	a.phone("wait", "idle", "--timeout", "5s")
	back := 0
	for _, c := range strangers {
		back += heard(c)
	}
	r.row(t, "%8.2f MiB more, bar 2; %d sent, %d came back", mib(peak-before), n, back)
	if peak-before > 2<<20 {
		t.Errorf("memory grew by %.2f MiB to %.2f", mib(peak-before), mib(peak))
	}
	if back > 0 {
		t.Errorf("%d datagrams came back", back)
	}
	if n < seconds*rate*9/10 {
		t.Errorf("only %d were sent: the machine is too busy to measure this", n)
	}
	if a.log.Len() > 8<<10 {
		t.Errorf("the log has %d bytes", a.log.Len())
	}
}

// rubbish is the n-th datagram of a stranger.
func rubbish(n int, from, to string) []byte {
	method := []string{"INVITE", "OPTIONS", "REGISTER", ""}[n%4]
	if method == "" {
		return []byte(strings.Repeat(string(rune(n%256)), 1+n%700) + " SIP/2.0\r\nVia:")
	}
	body := ""
	if method == "INVITE" {
		body = "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
	}
	return fmt.Appendf(nil, "%s sip:%s@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:9@evil.test>;tag=%d\r\nTo: <sip:%s@%s>\r\nCall-ID: %d@evil\r\nCSeq: 1 %s\r\nContact: <sip:9@%s>\r\n"+
		"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s",
		method, User, to, from, n, n, User, Domain, n, method, from, len(body), body)
}

func listen(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// heard counts the datagrams that wait at c.
func heard(c *net.UDPConn) (n int) {
	buf := make([]byte, 2048)
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		_, err := c.Read(buf)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			return n
		}
		if err == nil {
			n++
		}
	}
}

// laneOf is the first three bytes of a bench's addresses.
func laneOf(b *Bench) string {
	host, _, _ := net.SplitHostPort(b.DNS.Addr)
	return host[:strings.LastIndexByte(host, '.')]
}
