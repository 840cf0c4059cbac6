package sdp

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func body(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n") }

var ours = Session{Addr: ap("192.0.2.1:4000"), Codecs: []Codec{PCMU, PCMA}, Events: 101, Ptime: 20 * time.Millisecond, ID: 7, Version: 1}

func TestParse(t *testing.T) {
	head := []string{"v=0", "o=- 1 2 IN IP4 192.0.2.9", "s=x", "c=IN IP4 192.0.2.9", "t=0 0"}
	with := func(l ...string) []byte { return body(append(append([]string{}, head...), l...)...) }
	cases := []struct {
		name string
		body []byte
		want Session
	}{
		{"static types need no rtpmap", with("m=audio 5000 RTP/AVP 8 0"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMA, PCMU}}},
		{"events and times", with("m=audio 5000 RTP/AVP 0 96", "a=rtpmap:0 pcmu/8000", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-16", "a=ptime:30", "a=maxptime:60", "a=rtcp:5001"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}, Events: 96, Flash: true, Ptime: 30 * time.Millisecond, MaxPtime: 60 * time.Millisecond}},
		{"address of the stream wins", with("m=audio 5000 RTP/AVP 0", "c=IN IP6 2001:db8::1"),
			Session{Addr: ap("[2001:db8::1]:5000"), Codecs: []Codec{PCMU}}},
		{"direction of the session", body("v=0", "o=- 1 2 IN IP4 h", "s=-", "c=IN IP4 192.0.2.9", "t=0 0", "a=sendonly", "m=audio 5000 RTP/AVP 0"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}, Direction: SendOnly}},
		{"direction of the stream wins", body("v=0", "o=- 1 2 IN IP4 h", "s=-", "c=IN IP4 192.0.2.9", "t=0 0", "a=sendonly", "m=audio 5000 RTP/AVP 0", "a=inactive"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}, Direction: Inactive}},
		{"old hold", with("m=audio 5000 RTP/AVP 0", "c=IN IP4 0.0.0.0"),
			Session{Addr: ap("0.0.0.0:5000"), Codecs: []Codec{PCMU}}},
		{"fax offered beside", with("m=image 5002 udptl t38", "a=T38FaxVersion:0", "m=audio 5000 RTP/AVP 0"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}}},
		{"secured first, plain second", with("m=audio 6000 RTP/SAVP 8", "m=audio 5000 RTP/AVP 0"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}}},
		{"two ports, multicast TTL shape", with("m=audio 5000/2 RTP/AVP 0"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}}},
		{"dynamic type without a name is left out", with("m=audio 5000 RTP/AVP 97 0"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}}},
		{"stereo is left out", with("m=audio 5000 RTP/AVP 97 0", "a=rtpmap:97 L16/8000/2"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}}},
		{"absurd ptime is as unsaid", with("m=audio 5000 RTP/AVP 0", "a=ptime:99999"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}}},
		{"refused", with("m=audio 0 RTP/AVP 0"),
			Session{Addr: ap("192.0.2.9:0"), Codecs: []Codec{PCMU}}},
		{"what pion alone refuses", []byte("v=0\no=- x y ATM NSAP 47\ns=-\nb=XX:1\nc=IN IP4 192.0.2.9\nm=audio 5000 RTP/AVP 0"),
			Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMU}}},
		{"no audio at all", with("m=video 5000 RTP/AVP 31"), Session{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.body)
			if err != nil {
				t.Fatal(err)
			}
			got.lines, got.sealed, got.ID, got.Version = nil, nil, 0, 0
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":         nil,
		"not sdp":       []byte("hello"),
		"version 1":     body("v=1", "o=- 1 1 IN IP4 h", "s=-", "t=0 0"),
		"name in c=":    body("v=0", "c=IN IP4 host.example", "t=0 0", "m=audio 1 RTP/AVP 0"),
		"multicast":     body("v=0", "c=IN IP4 224.0.0.1/127", "t=0 0", "m=audio 1 RTP/AVP 0"),
		"no c=":         body("v=0", "t=0 0", "m=audio 1 RTP/AVP 0"),
		"port 70000":    body("v=0", "c=IN IP4 192.0.2.1", "t=0 0", "m=audio 70000 RTP/AVP 0"),
		"too long":      []byte("v=0\n" + strings.Repeat("a=x\n", 5000)),
		"too many m=":   []byte("v=0\nc=IN IP4 192.0.2.1\n" + strings.Repeat("m=audio 1 RTP/AVP 0\n", 17)),
		"m= cut short":  body("v=0", "c=IN IP4 192.0.2.1", "m=audio 1"),
		"v= not first":  body("o=- 1 1 IN IP4 h", "v=0"),
		"port negative": body("v=0", "c=IN IP4 192.0.2.1", "m=audio -1 RTP/AVP 0"),
	} {
		if s, err := Parse(b); err == nil {
			t.Errorf("%s: got %+v, want an error", name, s)
		}
	}
}

func TestAnswer(t *testing.T) {
	base := Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{{18, "G729", 8000}, PCMA, PCMU}, Events: 96}
	with := func(f func(*Session)) Session { s := base; f(&s); return s }
	cases := []struct {
		name   string
		local  Session
		offer  Session
		codecs []Codec
		events uint8
		dir    Direction
	}{
		{"order and types of the offer", ours, base, []Codec{PCMA, PCMU}, 96, SendRecv},
		{"dynamic type of a static codec", ours, with(func(s *Session) { s.Codecs = []Codec{{100, "PCMU", 8000}} }), []Codec{{100, "PCMU", 8000}}, 96, SendRecv},
		{"no events here", Session{Addr: ours.Addr, Codecs: ours.Codecs}, base, []Codec{PCMA, PCMU}, 0, SendRecv},
		// RFC 3264 6.1: "If a stream is offered as sendonly, the
		// corresponding stream MUST be marked as recvonly or inactive in the
		// answer."
		{"held", ours, with(func(s *Session) { s.Direction = SendOnly }), []Codec{PCMA, PCMU}, 96, RecvOnly},
		// "If a media stream is listed as recvonly in the offer, the answer
		// MUST be marked as sendonly or inactive".
		{"listener", ours, with(func(s *Session) { s.Direction = RecvOnly }), []Codec{PCMA, PCMU}, 96, SendOnly},
		// "If an offered media stream is listed as inactive, it MUST be
		// marked as inactive in the answer."
		{"inactive", ours, with(func(s *Session) { s.Direction = Inactive }), []Codec{PCMA, PCMU}, 96, Inactive},
		// 8.4: "a "hold" [...] was done by setting the connection address to
		// 0.0.0.0"; neither RTP nor RTCP is sent to it.
		{"old hold", ours, with(func(s *Session) { s.Addr = ap("0.0.0.0:5000") }), []Codec{PCMA, PCMU}, 96, RecvOnly},
		{"both hold", Session{Addr: ours.Addr, Codecs: ours.Codecs, Direction: SendOnly}, with(func(s *Session) { s.Direction = SendOnly }), []Codec{PCMA, PCMU}, 0, Inactive},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Answer(c.local, c.offer)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Codecs, c.codecs) || got.Events != c.events || got.Direction != c.dir || got.Addr != c.local.Addr {
				t.Errorf("got %+v", got)
			}
		})
	}
	for name, offer := range map[string]Session{
		"no codec":      with(func(s *Session) { s.Codecs = s.Codecs[:1] }),
		"stream ended":  with(func(s *Session) { s.Addr = ap("192.0.2.9:0") }),
		"nothing there": {},
	} {
		if _, err := Answer(ours, offer); !errors.Is(err, ErrNothingInCommon) {
			t.Errorf("%s: %v, want ErrNothingInCommon", name, err)
		}
	}
}

// RFC 4566 section 6: ptime is "the length of time in milliseconds represented by
// the media in a packet", maxptime "the maximum amount of media that can be
// encapsulated in each packet". An answer asks for as much as the offer, and for
// no more than it can take.
func TestAnswerSaysHowMuchAPacketMayHold(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, row := range []struct{ ours, most, theirs, want int }{
		{20, 60, 0, 20},
		{20, 60, 40, 40},
		{60, 60, 10, 10},
		{20, 60, 100, 60},
		{20, 0, 100, 100},
	} {
		local, offer := ours, ours
		local.Ptime, local.MaxPtime, offer.Ptime = ms(row.ours), ms(row.most), ms(row.theirs)
		a, err := Answer(local, offer)
		if err != nil || a.Ptime != ms(row.want) || a.MaxPtime != ms(row.most) {
			t.Errorf("%+v: %v, at most %v, %v", row, a.Ptime, a.MaxPtime, err)
		}
	}
}

// RFC 3611 section 5.1: "a=rtcp-xr:voip-metrics".
func TestMetricsAreAskedFor(t *testing.T) {
	wants := ours
	wants.Metrics = true
	a, err := Answer(wants, ours)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Session{wants, a} {
		if !strings.Contains(string(s.Marshal()), "\r\na=rtcp-xr:voip-metrics\r\n") {
			t.Errorf("%s", s.Marshal())
		}
	}
	if strings.Contains(string(ours.Marshal()), "rtcp-xr") {
		t.Error("asked for without a wish")
	}
}

func TestUnknownStreamsAreRefused(t *testing.T) {
	offer, err := Parse(body("v=0", "o=- 1 2 IN IP4 192.0.2.9", "s=-", "c=IN IP4 192.0.2.9", "t=0 0",
		"m=video 6000 RTP/AVP 31", "m=audio 5000 RTP/AVP 8 0", "m=image 5002 udptl t38"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Answer(ours, offer)
	if err != nil {
		t.Fatal(err)
	}
	got := string(a.Marshal())
	// RFC 3264 6: "For each "m=" line in the offer, there MUST be a
	// corresponding "m=" line in the answer." and "To reject an offered
	// stream, the port number in the corresponding stream in the answer MUST
	// be set to zero."
	want := "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" +
		"m=video 0 RTP/AVP 31\r\n" +
		"m=audio 4000 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n" +
		"m=image 0 udptl t38\r\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAgree(t *testing.T) {
	remote := Session{Addr: ap("192.0.2.9:5000"), Codecs: []Codec{PCMA}, Events: 97, Ptime: 30 * time.Millisecond, Direction: SendOnly}
	got, err := Agree(ours, remote)
	if err != nil {
		t.Fatal(err)
	}
	want := Session{Addr: remote.Addr, Codecs: []Codec{PCMA}, Events: 97, Ptime: 30 * time.Millisecond, Direction: RecvOnly}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, s := range []Session{
		ours,
		{Addr: ap("[2001:db8::1]:4000"), Codecs: []Codec{PCMA}, Direction: Inactive, MaxPtime: 40 * time.Millisecond},
	} {
		got, err := Parse(s.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		got.lines, got.sealed = nil, nil
		if !reflect.DeepEqual(got, s) {
			t.Errorf("got  %+v\nwant %+v", got, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("v=0\r\no=- 1 2 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=image 5002 udptl t38\r\nm=audio 5000/2 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendonly\r\n"))
	f.Add(ours.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		offer, err := Parse(b)
		if err != nil {
			return
		}
		a, err := Answer(ours, offer)
		if err != nil {
			return
		}
		out := a.Marshal()
		back, err := Parse(out)
		if err != nil {
			t.Fatalf("our answer is not read back: %v\n%q", err, out)
		}
		// One answer line for each offered one, and only ours is open.
		if len(back.lines) != len(offer.lines) || back.Addr != a.Addr {
			t.Fatalf("%d lines for %d, at %v\n%q", len(back.lines), len(offer.lines), back.Addr, out)
		}
	})
}

// A flash is an event only where both sides said that they take it. RFC 4733
// section 2.4.1: fmtp lists "the events [...] that the receiver is capable of
// handling"; without one, 0-15.
func TestFlash(t *testing.T) {
	flashes := ours
	flashes.Flash = true
	for _, row := range []struct {
		fmtp string
		want bool
	}{
		{"a=fmtp:96 0-16", true},
		{"a=fmtp:96 0-11, 16", true},
		{"a=fmtp:96 0-15", false},
		{"a=fmtp:96 0-15,66,70", false},
		{"a=fmtp:97 0-16", false},
		{"a=fmtp:96 x-16,-16,17-", false},
		{"a=fmtp:300 16", false},
		{"a=sendrecv", false},
	} {
		far, err := Parse(body("v=0", "o=- 1 2 IN IP4 h", "s=-", "c=IN IP4 192.0.2.9", "t=0 0", "m=audio 5000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/8000", row.fmtp))
		if err != nil {
			t.Fatal(err)
		}
		agreed, err := Agree(flashes, far)
		if err != nil || agreed.Flash != row.want {
			t.Errorf("%s: %v, %v", row.fmtp, agreed.Flash, err)
		}
		if quiet, _ := Agree(ours, far); quiet.Flash {
			t.Errorf("%s: agreed on what we did not offer", row.fmtp)
		}
	}
	for flash, want := range map[bool]string{true: "a=fmtp:101 0-16\r\n", false: "a=fmtp:101 0-15\r\n"} {
		s := ours
		s.Flash = flash
		if got := string(s.Marshal()); !strings.Contains(got, want) {
			t.Errorf("flash %v: %s", flash, got)
		}
		if a, err := Answer(s, ours); err != nil || a.Flash != flash {
			t.Errorf("flash %v is answered with %v, %v", flash, a.Flash, err)
		}
	}
}
