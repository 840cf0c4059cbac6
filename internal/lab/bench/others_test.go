package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The comparison: what a user waits for when a proxy dies, with the agent and
// with another telephone, by the same faults in the same run. scripts/peers-bench
// runs it and writes docs/peers.md.

// A telephone is anything that registers and calls.
type telephone interface {
	start(t *testing.T, b *Bench, proxy, transport string) // returns when it is registered
	lift(t *testing.T)                                     // hears the dial tone
	press(t *testing.T)                                    // all keys but the last
	dial(t *testing.T)                                     // the last key
	stop()
}

// never is what a run says that waited in vain.
const (
	never = time.Duration(1<<63 - 1)
	limit = 150 * time.Second
)

// A cell is one line of the tables.
type cell struct {
	measure   string // a measure's name
	fault     string
	mode      Mode
	dnsDead   bool
	proxy     string
	transport string
	median    time.Duration // bars for the agent; 0: none
	worst     time.Duration
}

// A measure is a table of its own, and a way to run its cells.
type measure struct {
	name, title string
	run         func(t *testing.T, c cell, b *Bench, p telephone) time.Duration
}

var measures = []measure{
	{"dial", "The user dials a second after the fault: from the last key to the 180 of a living proxy", dialled},
	{"idle", "Nobody touches the telephone: from the fault to a registration at a living proxy", moved},
	{"next", "A call two seconds after the line has moved: from the last key to the 180", next},
	{"dead", "All proxies dead for 95 s: from the return of the first to a registration", returned},
	{"back", "The first proxy returns while the line is well at another: until it is registered there again", failedBack},
}

// bars are those of an entrant, 0 where there is none.
func (c cell) bars(entrant int) (median, worst time.Duration) {
	switch entrant {
	case 0:
		return c.median, c.worst
	case 1:
		return 0, 4 * time.Second
	}
	return 0, 0
}

func cells() (all []cell) {
	type fault struct {
		name    string
		mode    Mode
		dnsDead bool
	}
	killed, silent, busy := fault{"killed", Killed, false}, fault{"silent", Silent, false}, fault{"503", Busy, false}
	both := []fault{killed, silent, busy, {"killed, DNS dead", Killed, true}, {"silent, DNS dead", Silent, true}}
	add := func(measure string, f fault, proxy, transport string, median, worst time.Duration) {
		all = append(all, cell{measure, f.name, f.mode, f.dnsDead, proxy, transport, median, worst})
	}
	for _, v := range variants {
		for _, f := range both {
			median, worst := 150*time.Millisecond, 500*time.Millisecond
			if f.mode == Silent {
				median, worst = 1500*time.Millisecond, 3*time.Second
			}
			add("dial", f, v.proxy, "udp", median, worst)
			add("idle", f, v.proxy, "udp", 0, 20*time.Second)
		}
	}
	for _, f := range []fault{killed, silent} {
		add("dial", f, "srv.lab.test", "tcp", 0, 3*time.Second)
		add("idle", f, "srv.lab.test", "tcp", 0, 20*time.Second)
		add("next", f, "proxy.lab.test", "udp", 0, 500*time.Millisecond)
		add("next", f, "srv.lab.test", "udp", 0, 500*time.Millisecond)
		add("dead", f, "proxy.lab.test", "udp", 0, 5*time.Second)
	}
	add("dead", fault{"killed, DNS dead", Killed, true}, "proxy.lab.test", "udp", 0, 5*time.Second)
	add("back", killed, "srv.lab.test", "udp", 0, 0)
	return all
}

// settle lets names grow stale (their TTL is 10 s) and keep-alives take any
// phase.
func settle() { time.Sleep(12*time.Second + rand.N(15*time.Second)) }

// quiet keeps moments of tenths of a second apart from each other: two cores
// measure them.
var quiet = make(chan struct{}, 4)

func strike(b *Bench, c cell) time.Time {
	began := time.Now()
	b.Proxies[0].Set(c.mode)
	if c.dnsDead {
		b.DNS.Set(Dumb)
	}
	return began
}

func since(began time.Time, e Event, err error) time.Duration {
	if err != nil {
		return never
	}
	return e.At.Sub(began)
}

func dialled(t *testing.T, c cell, b *Bench, p telephone) time.Duration {
	settle()
	defer hush()()
	p.lift(t)
	struck := strike(b, c)
	p.press(t)
	time.Sleep(time.Until(struck.Add(time.Second)))
	return untilRings(t, b, p)
}

// hush waits for quiet and returns what ends it; who takes longer than five
// seconds is not hurt by company.
func hush() (free func()) {
	quiet <- struct{}{}
	free = sync.OnceFunc(func() { <-quiet })
	time.AfterFunc(5*time.Second, free)
	return free
}

func untilRings(t *testing.T, b *Bench, p telephone) time.Duration {
	began := time.Now()
	p.dial(t)
	e, err := b.Wait(began, limit, Is(Rang, 0))
	return since(began, e, err)
}

func moved(_ *testing.T, c cell, b *Bench, _ telephone) time.Duration {
	settle()
	began := strike(b, c)
	e, err := b.Wait(began, limit, Is(Registered, 0))
	return since(began, e, err)
}

func next(t *testing.T, c cell, b *Bench, p telephone) time.Duration {
	settle()
	began := strike(b, c)
	if _, err := b.Wait(began, limit, Is(Registered, 0)); err != nil {
		return never
	}
	time.Sleep(2 * time.Second)
	defer hush()()
	p.lift(t)
	p.press(t)
	return untilRings(t, b, p)
}

func returned(_ *testing.T, c cell, b *Bench, _ telephone) time.Duration {
	settle()
	for _, p := range b.Proxies {
		p.Set(c.mode)
	}
	if c.dnsDead {
		b.DNS.Set(Dumb)
	}
	time.Sleep(95 * time.Second)
	began := time.Now()
	b.Proxies[0].Set(Answer)
	e, err := b.Wait(began, limit, Is(Registered))
	return since(began, e, err)
}

func failedBack(_ *testing.T, c cell, b *Bench, _ telephone) time.Duration {
	settle()
	began := strike(b, c)
	if _, err := b.Wait(began, limit, Is(Registered, 0)); err != nil {
		return never
	}
	began = time.Now()
	b.Proxies[0].Set(Answer)
	e, err := b.Wait(began, 2*limit, func(e Event) bool { return e.Kind == Registered && e.Proxy == 0 })
	return since(began, e, err)
}

// ours is the agent.
type ours struct {
	line []string
	*agent
}

func (p *ours) start(t *testing.T, b *Bench, proxy, transport string) {
	p.agent = run(t, b, setup{proxy: proxy, transport: transport, line: p.line})
}

func (p *ours) lift(*testing.T)  { p.phone("lift") }
func (p *ours) press(*testing.T) { p.phone("press", "555") }
func (p *ours) dial(*testing.T)  { p.phone("press", "#") }

// baresip is Debian's, with an account as its manual has it.
type baresip struct {
	cmd  *exec.Cmd
	ctrl string
}

func (p *baresip) start(t *testing.T, b *Bench, proxy, transport string) {
	dir, lane := t.TempDir(), laneOf(b)
	p.ctrl = lane + ".90:4444"
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config", fmt.Sprintf(`sip_listen %[1]s.90:5060
net_interface %[1]s.90
dns_server %[2]s
audio_player aubridge,ear
audio_source aubridge,mouth
audio_alert aubridge,bell
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
ctrl_tcp_listen %[3]s
module_path /usr/lib/baresip/modules
module g711.so
module aubridge.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
`, lane, b.DNS.Addr, p.ctrl))
	write("accounts", fmt.Sprintf("<sip:%s@%s>;auth_user=%[1]s;auth_pass=%[3]s;outbound=\"sip:%[4]s;transport=%[5]s\";regint=60;audio_codecs=PCMU/8000/1\n",
		User, Domain, Password, proxy, transport))
	write("contacts", "")
	p.cmd = exec.Command("baresip", "-f", dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &said, &said
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	if _, err := b.Wait(began, 20*time.Second, Is(Registered)); err != nil {
		p.stop()
		t.Fatalf("first registration: %v\n%s", err, said.String())
	}
}

func (p *baresip) lift(*testing.T)  {}
func (p *baresip) press(*testing.T) {}

// dial sends a netstring to its control socket.
func (p *baresip) dial(t *testing.T) {
	c, err := net.Dial("tcp", p.ctrl)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := `{"command":"dial","params":"sip:555@` + Domain + `"}`
	fmt.Fprintf(c, "%d:%s,", len(text), text)
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	c.Read(make([]byte, 512))
}

func (p *baresip) stop() {
	if p.cmd == nil || p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Kill() // its farewell is not of interest
	p.cmd.Wait()
}

// samples are what the runs of a cell with one telephone took.
type samples []time.Duration

func (s samples) median() time.Duration {
	slices.Sort(s)
	return s[len(s)/2]
}

func (s samples) worst() time.Duration { return slices.Max(s) }

func seconds(d time.Duration) string {
	if d == never {
		return "never"
	}
	return fmt.Sprintf("%.2f", d.Seconds())
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func TestOthers(t *testing.T) {
	page := os.Getenv("PEERS_PAGE")
	if page == "" || os.Getenv("ATA_AGENT") == "" {
		t.Skip("takes a quarter of an hour: run with scripts/peers-bench")
	}
	entrants := []struct {
		name string
		runs int
		make func() telephone
	}{
		{"ata-agent", number("RUNS", 50), func() telephone { return &ours{} }},
		{"ata-agent, keepalive 3 s", number("RUNS", 50), func() telephone { return &ours{line: []string{`keepalive = "3s"`}} }},
		{"baresip", number("OTHERS", 3), func() telephone { return &baresip{} }},
	}
	_, err := exec.LookPath("baresip")
	if err != nil {
		entrants = entrants[:2]
	}
	var mu sync.Mutex
	results := map[string]samples{}
	key := func(c cell, who string) string {
		return strings.Join([]string{c.measure, c.fault, c.proxy, c.transport, who}, "/")
	}
	t.Run("runs", func(t *testing.T) {
		for _, c := range cells() {
			m := measures[slices.IndexFunc(measures, func(m measure) bool { return m.name == c.measure })]
			for i, e := range entrants {
				if i == 1 && (c.measure != "idle" || c.transport != "udp" || c.proxy != "proxy.lab.test") {
					continue // a shorter keep-alive changes the idle line only
				}
				for range e.runs {
					t.Run(key(c, e.name), func(t *testing.T) {
						t.Parallel()
						b, _ := newBench(t)
						p := e.make()
						p.start(t, b, c.proxy, c.transport)
						took := m.run(t, c, b, p)
						if _, worst := c.bars(i); worst > 0 && took > worst {
							t.Errorf("%s s, the bar is %v", seconds(took), worst)
						}
						p.stop()
						mu.Lock()
						results[key(c, e.name)] = append(results[key(c, e.name)], took)
						mu.Unlock()
					})
				}
			}
		}
	})

	var out strings.Builder
	fmt.Fprintf(&out, preface, versions(len(entrants) > 2))
	for _, m := range measures {
		fmt.Fprintf(&out, "\n## %s\n\n| fault | names | telephone | median | worst | runs | bars |\n|---|---|---|--:|--:|--:|---|\n", m.title)
		for _, c := range cells() {
			if c.measure != m.name {
				continue
			}
			for i, e := range entrants {
				s := results[key(c, e.name)]
				if len(s) == 0 {
					continue
				}
				names := map[string]string{"proxy.lab.test": "A", "srv.lab.test": "SRV"}[c.proxy]
				if c.transport == "tcp" {
					names += ", TCP"
				}
				median, worst := c.bars(i)
				bars := ""
				if median > 0 {
					bars = seconds(median)
				}
				if worst > 0 {
					bars = strings.TrimPrefix(bars+", "+seconds(worst), ", ")
				}
				fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %d | %s |\n", c.fault, names, e.name, seconds(s.median()), seconds(s.worst()), len(s), bars)
				if median > 0 && s.median() > median {
					t.Errorf("%s: median %s s, the bar is %v", key(c, e.name), seconds(s.median()), median)
				}
			}
		}
	}
	fmt.Print(out.String())
	if err := os.WriteFile(page, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

const preface = `# The agent beside other telephones

Written by ` + "`make peers-bench`" + `: the same faults, the same bench, the same run. Seconds; "never" is not within
150 s.

%s

Three proxies, each registrar and callee too, want digest with a nonce of their own, grant 60 s, and are found as three
A records or as SRV records of priority 10, 20, 30 with a TTL of 10 s. A fault strikes 12 to 27 s after the
registration, so that names have grown stale and timers stand anywhere. *Killed*: the sockets are closed; the kernel
answers with ICMP port unreachable, or RST. *Silent*: datagrams and connections are taken, nothing is answered. *503*:
every request is answered with it. *DNS dead*: the name server is silent from the same moment. All run at their
defaults but for what the tables name; the agent's keep-alive is 15 s. Bench and telephones share two cores and a
network namespace; the code is in ` + "`internal/lab/bench`" + `, with SIP and DNS parsers that are not the agent's.
The bars are for the agent: median, worst.
`

// versions says who runs.
func versions(baresip bool) string {
	said, _ := exec.Command(os.Getenv("ATA_AGENT"), "version").Output()
	first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	s := first + "."
	if baresip {
		said, _ = exec.Command("dpkg-query", "-W", "-f", "${Version}", "baresip-core").Output()
		s += " Debian's baresip " + string(said) + ", account with `outbound=`."
	}
	if _, err := exec.LookPath("asterisk"); err != nil {
		s += "\nDebian 12 has no Asterisk, so there is none here."
	}
	return s
}
