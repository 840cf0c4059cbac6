package peers

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The sound of a call as status tells it.
type sound struct {
	Sent, Received, Strangers, Garbage uint64

	FarLoss float64 `json:"far_loss"`
	RTT     float64 `json:"rtt_ms"`
	SRTP    bool
	Source  string
}

// reported waits until the far end's reports have told how long the way is, and
// returns the call's sound.
func (w *world) reported() sound {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if s := w.status().Ports[0].Sound; s.RTT > 0 {
			return s
		}
		if time.Since(began) > 20*time.Second {
			w.t.Fatalf("no reports: %+v", w.status().Ports[0].Sound)
		}
	}
}

// counted is what baresip says at the end of a call: packets received and sent,
// and of either how many were lost.
func (p softphone) counted() (received, sent, lost, theirsLost int) {
	p.w.t.Helper()
	for range 40 {
		if m := regexp.MustCompile(`EX=BareSip;.*?;PR=(\d+);PS=(\d+);PL=(-?\d+),(-?\d+);`).FindStringSubmatch(p.said()); m != nil {
			n := [4]int{}
			for i := range n {
				n[i], _ = strconv.Atoi(m[i+1])
			}
			return n[0], n[1], n[2], n[3]
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.w.t.Fatal("baresip told no counts")
	return
}

// Sound is sealed with baresip, whose SRTP and SDES are of another make (libre), over
// TLS and through Kamailio: it is called and calls, and reports go both ways.
func TestSealedCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "proxy.peers.test", "tls", `srtp = "required"`)
	sealing := ";mediaenc=srtp-mand"
	callee := w.baresip(21, "701", sealing)
	time.Sleep(500 * time.Millisecond)

	check := func(p softphone, who string, hz float64) {
		t.Helper()
		w.wants(w.hear(hz), 440, "the ear, from "+who+",")
		s := w.reported()
		w.hangUp()
		time.Sleep(500 * time.Millisecond)
		w.wants(p.heard(), hz, who)
		if said := p.said(); !strings.Contains(said, "SRTP is Enabled (cryptosuite=AES_CM_128_HMAC_SHA1_80)") || strings.Contains(said, "failed to decrypt") {
			t.Errorf("%s said:\n%s", who, said)
		}
		if !s.SRTP || s.Garbage > 0 || s.FarLoss > 0 || s.RTT > 500 {
			t.Errorf("with %s: %+v", who, s)
		}
		if got, sent, lost, ours := p.counted(); uint64(got) < s.Sent || uint64(sent) < s.Received || lost != 0 || ours != 0 {
			t.Errorf("%s got %d, sent %d, lost %d and %d: %+v", who, got, sent, lost, ours, s)
		}
	}
	w.call("701", 5*time.Second)
	check(callee, "baresip", 1300)

	caller := w.baresip(23, "702", sealing+`;outbound="sip:`+w.net+`.1:5061;transport=tls"`, "d sip:100@peers.test")
	w.phone("wait", "ringing", "--timeout", "10s")
	w.phone("lift")
	w.phone("wait", "talking", "--timeout", "5s")
	check(caller, "baresip that called", 800)
}

// Offers of SIPp's: what is sealed in a way that we know is taken, also with new keys
// in the midst of the call; what is not is refused, and nobody who seals is talked
// out of it.
func TestSealedOffers(t *testing.T) {
	t.Parallel()
	const (
		line  = "a=crypto:%s AES_CM_128_HMAC_SHA1_80 inline:"
		key   = "MDEyMzQ1Njc4OWFiY2RlZnNhbHR5IGFuZCAxNCBi"
		clear = "m=audio [media_port] RTP/AVP 8\na=rtpmap:8 PCMA/8000"
		seals = "m=audio [media_port] RTP/SAVP 8\na=rtpmap:8 PCMA/8000"
		known = "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|2^31"
		other = "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:" + key + key + "\na=crypto:2 AEAD_AES_128_GCM inline:" + key
	)
	for _, world := range []struct {
		srtp, transport string
		offers          []struct{ name, offer, answer string }
	}{
		{"required", "tls", []struct{ name, offer, answer string }{
			{"one key of three is known", seals + "\n" + other + "\n" + known, `m=audio [1-9][0-9]* RTP/SAVP 8.*a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:`},
			{"clear or sealed", clear + "\n" + seals + "\n" + known, `m=audio 0 RTP/AVP .*m=audio [1-9][0-9]* RTP/SAVP 8.*a=crypto:3 `},
			{"no key is known", seals + "\n" + other, ""},
			{"clear", clear, ""},
			{"clear, with a key beside", clear + "\n" + known, ""},
		}},
		{"off", "udp", []struct{ name, offer, answer string }{
			{"clear or sealed", clear + "\n" + seals + "\n" + known, `m=audio [1-9][0-9]* RTP/AVP 8.*m=audio 0 RTP/SAVP `},
			{"sealed", seals + "\n" + known, ""},
		}},
	} {
		t.Run(world.srtp, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "proxy.peers.test", world.transport, `srtp = "`+world.srtp+`"`)
			for _, o := range world.offers {
				scenario := "refused.xml"
				if o.answer != "" {
					scenario = "sealed.xml"
				}
				newKeys := strings.ReplaceAll(o.offer, "inline:MDEy", "inline:QDEy")
				file := w.fill(w.dir, scenario, "NEWKEYS", newKeys, "OFFER", o.offer, "ANSWER", strings.ReplaceAll(o.answer, ".*", "[^~]*"))
				caller := exec.Command("sipp", w.net+".1:5060", "-sf", file, "-s", "100", "-i", w.net+".22",
					"-mi", w.net+".22", "-mp", "17000", "-m", "1", "-d", "1000", "-nostdin", "-timeout", "30s",
					"-trace_err", "-error_file", filepath.Join(w.dir, "sipp.err"))
				var said bytes.Buffer
				caller.Stdout, caller.Stderr = &said, &said
				if err := caller.Start(); err != nil {
					t.Fatal(err)
				}
				if o.answer != "" {
					w.phone("wait", "ringing", "--timeout", "5s")
					w.phone("lift")
				}
				if err := caller.Wait(); err != nil {
					t.Errorf("%s: %v\n%s", o.name, err, said.String())
				}
				if o.answer != "" {
					w.hangUp()
				}
			}
		})
	}
}

// A stranger who knows where a call's sound goes sends his own, in sequence, and
// reports, a thousand a second: he is not heard, counted, and not worth a line of
// the log.
func TestHostileSound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "proxy.peers.test", "udp")
	callee := w.baresip(21, "700", "")
	time.Sleep(500 * time.Millisecond)
	w.call("700", 5*time.Second)
	w.wants(w.hear(1300), 440, "the ear, from baresip,")

	m := regexp.MustCompile(`receiving from (127\.[0-9.]+:\d+)`).FindStringSubmatch(callee.said())
	if m == nil {
		t.Fatal("baresip hears nothing")
	}
	sound := netip.MustParseAddrPort(m[1])
	reports := netip.AddrPortFrom(sound.Addr(), sound.Port()+1)
	stranger, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(w.net + ".66")})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	before, said := w.reported(), w.agent.said()
	const packets = 2000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range packets {
			p := append([]byte{0x80, 0, byte(i >> 8), byte(i), 0, 0, 0, 0, 0xba, 0xdb, 0xad, 0xba}, make([]byte, 160)...)
			binary.BigEndian.PutUint32(p[4:], uint32(i*160))
			for k := range p[12:] {
				p[12+k] = byte(k%8) << 4 // loud: 1000 Hz
			}
			stranger.WriteToUDPAddrPort(p, sound)
			stranger.WriteToUDPAddrPort(p[:i%172], reports)
			time.Sleep(time.Millisecond)
		}
	}()
	heard := w.hear(1300)
	<-done
	w.wants(heard, 440, "the ear, from baresip beside a stranger,")
	if s := share(heard, 1000); s > 0.01 {
		t.Errorf("%.1f %% of what the ear heard was the stranger's", 100*s)
	}
	after := w.reported()
	if now := w.agent.said(); now != said {
		t.Errorf("the agent said %q", strings.TrimPrefix(now, said))
	}
	t.Logf("before %+v, after %+v", before, after)
	if n := after.Strangers - before.Strangers; n < 2*packets*9/10 || after.Source != before.Source || after.Received < before.Received+100 {
		t.Errorf("of %d packets and reports %d were counted: before %+v, after %+v", 2*packets, n, before, after)
	}
	w.hangUp()
	time.Sleep(500 * time.Millisecond)
	w.wants(callee.heard(), 1300, "baresip")
}
