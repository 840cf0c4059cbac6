package peers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A part is a program that runs until the test ends.
type part struct {
	*exec.Cmd
	log *log
}

// A log is what a part says. It is written while it is read.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (p *part) said() string {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return p.log.b.String()
}

// groups holds the process groups that run, for the case that somebody
// interrupts the tests and no cleanup is reached.
var groups sync.Map

func TestMain(m *testing.M) {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		groups.Range(func(group, _ any) bool {
			syscall.Kill(-group.(int), syscall.SIGKILL)
			return true
		})
		os.Exit(1)
	}()
	os.Exit(m.Run())
}

// run starts a program in a process group of its own, so that its children end
// with it.
func run(t *testing.T, name string, args ...string) *part {
	t.Helper()
	p := &part{exec.Command(name, args...), new(log)}
	p.Stdout, p.Stderr = p.log, p.log
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.WaitDelay = time.Second
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	groups.Store(p.Process.Pid, true)
	t.Cleanup(func() {
		defer groups.Delete(p.Process.Pid)
		p.signal(syscall.SIGCONT)
		p.signal(syscall.SIGTERM)
		ended := make(chan struct{})
		go func() { p.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
		}
		p.signal(syscall.SIGKILL) // what its children had not heard
		<-ended
		if t.Failed() {
			tail := p.said()
			t.Logf("%s said:\n%s", filepath.Base(name), tail[max(0, len(tail)-4000):])
		}
	})
	return p
}

func (p *part) signal(s syscall.Signal) { syscall.Kill(-p.Process.Pid, s) }

// A world is a provider, its far ends, and an agent, on addresses of its own:
// .1 .2 .3 proxies, .20 SIPp, .21 baresip, .22 .23 callers, .53 names.
type world struct {
	t       *testing.T
	net     string // the first three bytes of those addresses
	dir     string
	binary  string
	config  string
	names   *part
	proxies [3]*part
	agent   *part
}

var worlds atomic.Int32

func newWorld(t *testing.T, proxy, transport string, more ...string) *world {
	t.Helper()
	binary := os.Getenv("ATA_AGENT")
	if binary == "" {
		t.Skip("needs Debian's kamailio, nsd, sip-tester and baresip: run with make peers")
	}
	w := &world{t: t, net: fmt.Sprint("127.0.", 30+worlds.Add(1)), dir: t.TempDir(), binary: binary}
	w.fill(w.dir, "peers.zone")
	w.certify()
	w.names = run(t, "nsd", "-d", "-c", w.fill(w.dir, "nsd.conf"))
	for i := range w.proxies {
		w.startProxy(i)
	}
	w.config = filepath.Join(w.dir, "ata-agent.toml")
	text := fmt.Sprintf(`board = "sim"
country = "us"
state_dir = %q
control = %q
[dns]
servers = ["%s.53:5353"]
[[line]]
user = "100"
password = "secret-of-100"
domain = "peers.test"
outbound_proxy = [%q]
transport = %q
expires = "60s"
%s
[tls]
roots = %q
`, w.dir, filepath.Join(w.dir, "c.sock"), w.net, proxy, transport, strings.Join(more, "\n"), w.pem())
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.listening(w.net + ".1:5060")
	w.agent = run(t, binary, "run", "--config", w.config)
	w.registered(10*time.Second, "")
	return w
}

// pem is a file with the certificate that everybody in the world shows and trusts,
// and its key.
func (w *world) pem() string { return filepath.Join(w.dir, "peers.pem") }

func (w *world) certify() {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peers.test"}, DNSNames: []string{"peers.test", "*.peers.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(w.pem(), text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// fill copies a file of testdata into dir with its placeholders replaced.
func (w *world) fill(dir, file string, replace ...string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		w.t.Fatal(err)
	}
	out := filepath.Join(dir, file)
	replace = append(replace, "NET", w.net, "DIR", w.dir)
	if err := os.WriteFile(out, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) startProxy(i int) {
	modules, _ := filepath.Glob("/usr/lib/*/kamailio/modules")
	if len(modules) == 0 {
		w.t.Fatal("kamailio's modules are not under /usr/lib/*/kamailio")
	}
	dir := filepath.Join(w.dir, fmt.Sprint("kamailio", i+1))
	os.MkdirAll(dir, 0o700)
	conf := w.fill(dir, "kamailio.cfg", "ADDRESS", fmt.Sprintf("%s.%d", w.net, i+1), "MODULES", modules[0]+"/")
	w.proxies[i] = run(w.t, "kamailio", "-DD", "-E", "-m", "32", "-M", "8", "-Y", dir, "-P", filepath.Join(dir, "pid"), "-f", conf)
}

// listening waits until something listens on a TCP address.
func (w *world) listening(addr string) {
	w.t.Helper()
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("nobody listens on %s", addr)
}

type status struct {
	Lines []struct {
		State, Proxy string
		Ring         []struct{ Address, State string }
	}
	Ports []struct {
		Hook, State string
		Sound       sound
	}
	Problem string
}

func (w *world) status() (s status) {
	w.t.Helper()
	out, err := exec.Command(w.binary, "status", "--json", "--config", w.config).Output()
	if err != nil {
		return s
	}
	if err := json.Unmarshal(out, &s); err != nil {
		w.t.Fatalf("%v in %s", err, out)
	}
	return s
}

// registered waits until the line is registered at a proxy other than not, and
// returns how long that took and where it is.
func (w *world) registered(limit time.Duration, not string) (time.Duration, string) {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		s := w.status()
		if len(s.Lines) > 0 && s.Lines[0].State == "registered" && s.Lines[0].Proxy != not {
			return time.Since(began), s.Lines[0].Proxy
		}
		if time.Since(began) > limit {
			w.t.Fatalf("not registered after %v: %+v", limit, s)
		}
	}
}

func (w *world) phone(args ...string) {
	w.t.Helper()
	if out, err := exec.Command(w.binary, append([]string{"phone", "--config", w.config, "1"}, args...)...).CombinedOutput(); err != nil {
		w.t.Fatalf("phone %v: %v: %s", args, err, out)
	}
}

// call lifts, dials and waits until the far end has answered.
func (w *world) call(number string, limit time.Duration) time.Duration {
	w.t.Helper()
	w.phone("lift")
	w.phone("press", number)
	began := time.Now()
	w.phone("press", "#")
	w.phone("wait", "talking", "--timeout", limit.String())
	return time.Since(began)
}

func (w *world) hangUp() {
	w.t.Helper()
	w.phone("hang-up")
	w.phone("wait", "idle", "--timeout", "5s")
}

// hear speaks a tone of hz into the mouth and returns what the ear heard meanwhile.
func (w *world) hear(hz float64) []int16 {
	w.t.Helper()
	in, out := filepath.Join(w.dir, "in.wav"), filepath.Join(w.dir, "out.wav")
	writeWAV(w.t, in, sine(hz, 3))
	done := make(chan struct{})
	go func() {
		defer close(done)
		exec.Command(w.binary, "phone", "--config", w.config, "1", "record", out, "--for", "3s").Run()
	}()
	w.phone("play", in)
	<-done
	return readWAV(w.t, out)
}

func sine(hz float64, seconds int) []int16 {
	tone := make([]int16, 8000*seconds)
	for i := range tone {
		tone[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/8000))
	}
	return tone
}

// share is how much of the sound is at hz where it is clearest, 0 to 1. A quarter of
// a second is looked at: while a jitter buffer moves, a tone's phase does.
func share(sound []int16, hz float64) float64 {
	const span = 2000
	best := 0.0
	for at := 0; at+span <= len(sound); at += span / 4 {
		var re, im, power float64
		for i, s := range sound[at : at+span] {
			x := float64(s)
			re += x * math.Cos(2*math.Pi*hz*float64(i)/8000)
			im += x * math.Sin(2*math.Pi*hz*float64(i)/8000)
			power += x * x
		}
		if power > span*100*100 { // louder than -47 dBm0: not a whisper of noise
			best = max(best, (re*re+im*im)/(span/2)/power)
		}
	}
	return best
}

func (w *world) wants(sound []int16, hz float64, who string) {
	w.t.Helper()
	if s := share(sound, hz); s < 0.8 {
		w.t.Errorf("%s heard %.0f %% of %.0f Hz in %d samples", who, 100*s, hz, len(sound))
	}
}

func (w *world) sipp() *part {
	return run(w.t, "sipp", "-sn", "uas", "-i", w.net+".20", "-p", "5060", "-mi", w.net+".20",
		"-rtp_echo", "-nostdin", "-mp", "16000")
}

// A softphone is baresip. It answers by itself, plays 440 Hz and keeps what it hears
// as WAV; a call's end it tells with its RTCP counts.
//
// Debian 12 has 1.0.0: net_interface takes an address where loopback is meant,
// its sine source knows 48 kHz stereo only, so the tone comes from a file, and the
// player is a bridge to nowhere, for sndfile listens before the player.
type softphone struct {
	*part
	w   *world
	dir string
}

// baresip starts one at an address of the world, with what its account says beside
// and commands that it is given.
func (w *world) baresip(host int, user, account string, commands ...string) softphone {
	dir := filepath.Join(w.dir, fmt.Sprint("baresip", host))
	os.MkdirAll(dir, 0o700)
	tone := filepath.Join(dir, "tone.wav")
	writeWAV(w.t, tone, sine(440, 60))
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	write("config", fmt.Sprintf(`sip_listen %[1]s:5060
sip_certificate %[4]s
sip_cafile %[4]s
net_interface %[1]s
audio_player aubridge,ear
audio_source aufile,%[3]s
audio_alert aubridge,bell
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
snd_path %[2]s
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module rtcpsummary.so
module_app account.so
module_app menu.so
`, fmt.Sprintf("%s.%d", w.net, host), dir, tone, w.pem()))
	write("accounts", fmt.Sprintf("<sip:%s@%s.%d>;regint=0;answermode=auto;audio_codecs=PCMU/8000/1%s\n", user, w.net, host, account))
	write("contacts", "")
	args := []string{"-f", dir}
	for _, c := range commands {
		args = append(args, "-e", c)
	}
	return softphone{run(w.t, "baresip", args...), w, dir}
}

func (p softphone) heard() []int16 {
	p.w.t.Helper()
	for range 40 {
		// A file's header is written when the call ends.
		files, _ := filepath.Glob(filepath.Join(p.dir, "dump-*-dec.wav"))
		if len(files) > 0 {
			if sound := readWAV(p.w.t, files[len(files)-1]); len(sound) > 8000 {
				return sound
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.w.t.Fatal("baresip kept no sound")
	return nil
}

func TestCallsWithSound(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "proxy.peers.test", transport)
			w.sipp()
			softphone := w.baresip(21, "700", "")
			time.Sleep(500 * time.Millisecond)

			w.call("600", 5*time.Second)
			w.wants(w.hear(1000), 1000, "the ear, through SIPp's echo,")
			w.hangUp()

			w.call("700", 5*time.Second)
			w.wants(w.hear(1300), 440, "the ear, from baresip,")
			w.hangUp()
			time.Sleep(500 * time.Millisecond)
			w.wants(softphone.heard(), 1300, "baresip")

			// A call for us.
			caller := exec.Command("sipp", w.net+".1:5060", "-sf", "testdata/caller.xml", "-s", "100", "-i", w.net+".22",
				"-mi", w.net+".22", "-mp", "17000", "-m", "1", "-d", "5000", "-rtp_echo", "-nostdin", "-timeout", "30s")
			var said bytes.Buffer
			caller.Stdout, caller.Stderr = &said, &said
			if err := caller.Start(); err != nil {
				t.Fatal(err)
			}
			w.phone("wait", "ringing", "--timeout", "5s")
			w.phone("lift")
			w.phone("wait", "talking", "--timeout", "5s")
			w.wants(w.hear(800), 800, "the ear, from the caller's echo,")
			if err := caller.Wait(); err != nil {
				t.Errorf("the caller: %v\n%s", err, said.String())
			}
			w.hangUp()
		})
	}
}

// A far end is put on hold for a caller and taken back when that one hangs up: SIPp,
// which looks at what it is told and echoes, and baresip, which has something of its
// own to say.
func TestTwoCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "proxy.peers.test", "udp")
	held := run(t, "sipp", "-sf", "testdata/held.xml", "-i", w.net+".20", "-p", "5060", "-mi", w.net+".20",
		"-rtp_echo", "-nostdin", "-mp", "16000", "-m", "1", "-timeout", "60s")
	w.baresip(21, "700", "")
	time.Sleep(500 * time.Millisecond)
	for _, far := range []struct {
		number string
		hz     float64 // 0: it echoes
	}{{"600", 0}, {"700", 440}} {
		hears := func(say float64, when string) {
			t.Helper()
			want := far.hz
			if want == 0 {
				want = say
			}
			w.wants(w.hear(say), want, "the ear, from "+far.number+" "+when+",")
		}
		w.call(far.number, 5*time.Second)
		hears(1300, "at first")
		run(t, "sipp", w.net+".1:5060", "-sf", "testdata/caller.xml", "-s", "100", "-i", w.net+".22",
			"-mi", w.net+".22", "-mp", "17000", "-m", "1", "-d", "6000", "-rtp_echo", "-nostdin", "-timeout", "30s")
		w.phone("wait", "callwaiting", "--timeout", "5s")
		w.phone("flash")
		w.phone("wait", "holding", "--timeout", "5s")
		w.wants(w.hear(800), 800, "the ear, from the caller's echo,")
		w.phone("wait", "talking", "--timeout", "10s")
		hears(1700, "again")
		w.hangUp()
	}
	if err := held.Wait(); err != nil {
		t.Errorf("SIPp, held: %v", err)
	}
}

func TestProxyDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, proxy string
		signal      syscall.Signal
		dnsDead     bool
		bar         time.Duration
	}{
		{"A/kill", "proxy.peers.test", syscall.SIGKILL, false, 1500 * time.Millisecond},
		{"A/stop", "proxy.peers.test", syscall.SIGSTOP, false, 6 * time.Second},
		{"SRV/kill", "srv.peers.test", syscall.SIGKILL, false, 1500 * time.Millisecond},
		{"SRV/stop", "srv.peers.test", syscall.SIGSTOP, false, 6 * time.Second},
		{"SRV/kill, names dead", "srv.peers.test", syscall.SIGKILL, true, 1500 * time.Millisecond},
		{"A/stop, names dead", "proxy.peers.test", syscall.SIGSTOP, true, 6 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.proxy, "udp")
			w.sipp()
			time.Sleep(500 * time.Millisecond)

			// In a call: it goes on.
			w.call("600", 5*time.Second)
			_, used := w.registered(time.Second, "")
			i := int(used[len(w.net)+1] - '1')
			if c.dnsDead {
				w.names.signal(syscall.SIGSTOP)
			}
			w.proxies[i].signal(c.signal)
			w.wants(w.hear(1000), 1000, "the ear, after the proxy died,")
			took, now := w.registered(25*time.Second, used)
			t.Logf("registered at %s %.1f s later", now, took.Seconds())
			w.hangUp()

			// The next call goes out at once; the one after a second death as soon as it is noticed.
			if took := w.call("600", 5*time.Second); took > 1500*time.Millisecond {
				t.Errorf("the next call took %v", took)
			}
			w.hangUp()
			i = int(now[len(w.net)+1] - '1')
			w.proxies[i].signal(c.signal)
			took = w.call("600", 10*time.Second)
			t.Logf("a call through the second dead proxy was answered after %.2f s", took.Seconds())
			if took > c.bar {
				t.Errorf("that is over %v", c.bar)
			}
			w.hangUp()
			w.registered(10*time.Second, now)
		})
	}
}

// A hundred calls, fifty on each of two telephones at once, leave nothing
// behind: no socket, no growth to speak of.
func TestHundredCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "proxy.peers.test", "udp", `[[port]]`, `name = "1"`, `[[port]]`, `name = "2"`)
	w.sipp()
	time.Sleep(500 * time.Millisecond)
	proc := fmt.Sprintf("/proc/%d", w.agent.Process.Pid)
	measure := func() (files int, rss int64) {
		fds, _ := os.ReadDir(proc + "/fd")
		statm, _ := os.ReadFile(proc + "/statm")
		fmt.Sscan(strings.Fields(string(statm))[1], &rss)
		return len(fds), rss * int64(os.Getpagesize())
	}
	calls := func(n int) {
		var both sync.WaitGroup
		for _, port := range []string{"1", "2"} {
			both.Go(func() {
				for i := range n {
					for _, do := range [][]string{{"lift"}, {"press", "600#"}, {"wait", "talking", "--timeout", "10s"},
						{"hang-up"}, {"wait", "idle", "--timeout", "10s"}} {
						args := append([]string{"phone", "--config", w.config, port}, do...)
						if out, err := exec.Command(w.binary, args...).CombinedOutput(); err != nil {
							t.Errorf("call %d of telephone %s: %v: %v: %s", i, port, do, err, out)
							return
						}
					}
				}
			})
		}
		both.Wait()
	}
	calls(5)
	files, rss := measure()
	calls(50)
	time.Sleep(time.Second)
	files2, rss2 := measure()
	t.Logf("files %d then %d, resident %.1f then %.1f MiB", files, files2, float64(rss)/(1<<20), float64(rss2)/(1<<20))
	if files2 > files {
		t.Errorf("%d files are open, %d were", files2, files)
	}
	if rss2 > rss+(2<<20) {
		t.Errorf("memory grew by %d bytes", rss2-rss)
	}
}

func writeWAV(t *testing.T, file string, samples []int16) {
	t.Helper()
	var b bytes.Buffer
	n := uint32(2 * len(samples))
	b.WriteString("RIFF")
	binary.Write(&b, binary.LittleEndian, 36+n)
	b.WriteString("WAVEfmt ")
	binary.Write(&b, binary.LittleEndian, []uint32{16})
	binary.Write(&b, binary.LittleEndian, []uint16{1, 1})
	binary.Write(&b, binary.LittleEndian, []uint32{8000, 16000})
	binary.Write(&b, binary.LittleEndian, []uint16{2, 16})
	b.WriteString("data")
	binary.Write(&b, binary.LittleEndian, n)
	binary.Write(&b, binary.LittleEndian, samples)
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readWAV takes 16-bit mono; a length that was never filled in is as long as the file.
func readWAV(t *testing.T, file string) []int16 {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("data"))
	if at < 0 || at+8 > len(b) {
		t.Fatalf("%s is no WAV file", file)
	}
	b = b[at+8:]
	samples := make([]int16, len(b)/2)
	binary.Read(bytes.NewReader(b[:2*len(samples)]), binary.LittleEndian, samples)
	return samples
}
