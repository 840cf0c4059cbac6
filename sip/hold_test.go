package sip

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/sip/sdp"
)

// attribute is the direction that a message's session has.
func (h heard) attribute() string {
	i := strings.LastIndex(h.text, "\r\na=")
	return strings.TrimSpace(h.text[i+2:])
}

// version is that of the session in a message.
func (h heard) version() string {
	_, o, _ := strings.Cut(h.text, "\r\no=")
	return strings.Fields(o)[2]
}

// offers are our re-INVITEs, without repetitions.
func (w *world) offers() (all []heard) {
	seen := map[string]bool{}
	for _, h := range w.said("INVITE", p1) {
		if h.to == p1 && strings.Contains(h.header("To"), "tag=") && !seen[h.header("CSeq")] {
			seen[h.header("CSeq")] = true
			all = append(all, h)
		}
	}
	return all
}

// mirrored answers re-INVITEs as a far end does that holds only if it says so.
func mirrored(holds *bool) func(*proxy, *sip.Request) bool {
	return func(p *proxy, req *sip.Request) bool {
		if req.Method != sip.INVITE || !req.To().Params.Has("tag") {
			return false
		}
		body := string(req.Body())
		direction := "sendrecv"
		switch sends, hears := !*holds, !strings.Contains(body, "a=sendonly") && !strings.Contains(body, "a=inactive"); {
		case hears && sends:
		case hears:
			direction = "sendonly"
		case strings.Contains(body, "a=inactive"):
			direction = "inactive"
		default:
			direction = "recvonly"
		}
		p.answer(req, 200, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:7000", direction))
		return true
	}
}

// RFC 3264 section 8.4: "If the stream to be placed on hold was previously a
// sendrecv media stream, it is placed on hold by marking it as sendonly. If the
// stream to be placed on hold was previously a recvonly media stream, it is placed
// on hold by marking it inactive."
func TestHold(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		holds := false
		p.handle = mirrored(&holds)
		registered(w, p1)
		law := local
		law.Codecs = []sdp.Codec{sdp.PCMA, sdp.PCMU} // of which they choose the second
		c := w.line.Call("1", law)
		await[Answered](w, time.Second)
		seq := 0
		far := func(direction string) string {
			seq++
			p.inDialog(w, "UPDATE", seq, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:7000", direction))
			_, answer, _ := strings.Cut(string(p.response().Body()), "a=ptime:20\r\n")
			return strings.TrimSpace(answer)
		}
		change := func(name, offer string, want sdp.Direction) {
			t.Helper()
			ch, _ := await[Changed](w, time.Second)
			synctest.Wait()
			all := w.offers()
			if got := all[len(all)-1]; !strings.Contains(got.text, "RTP/AVP 0 8 101\r\n") {
				t.Errorf("%s: the codec in use is not the first:\n%s", name, got.text)
			} else if got.attribute() != offer || ch.Media.Direction != want {
				t.Errorf("%s: we offer %q and have %v; want %q and %v", name, got.attribute(), ch.Media.Direction, offer, want)
			}
			if acks := w.said("ACK", p1); len(acks) != 1+len(all) {
				t.Errorf("%s: %d ACKs of %d", name, len(acks), 1+len(all))
			}
		}
		c.Hold(true)
		change("hold", "a=sendonly", sdp.SendOnly)
		// Whatever they ask meanwhile, they stay on hold.
		if got := far("sendrecv"); got != "a=sendonly" {
			t.Errorf("on hold, asked for sendrecv: %s", got)
		}
		c.Hold(true)
		none[Event](w, time.Second)
		c.Hold(false)
		change("resume", "a=sendrecv", sdp.SendRecv)
		if v := w.offers(); v[0].version() == v[1].version() {
			t.Errorf("another session of the same version %s", v[0].version())
		}

		holds = true
		if got := far("sendonly"); got != "a=recvonly" {
			t.Errorf("put on hold: %s", got)
		}
		await[Changed](w, time.Second)
		c.Hold(true)
		change("hold, held", "a=inactive", sdp.Inactive)
		c.Hold(false)
		change("resume, held", "a=sendrecv", sdp.RecvOnly)
		if n := len(w.offers()); n != 4 {
			t.Errorf("%d offers", n)
		}
		none[Ended](w, time.Minute)
	})
}

// Whatever comes of it, the call goes on as it was, and may be held later.
func TestHoldRefused(t *testing.T) {
	for _, row := range []struct {
		name  string
		code  int // 0: silence
		took  time.Duration
		why   string
		again bool
	}{
		{"not acceptable", 488, time.Second, "488 X", false},
		{"an error", 500, time.Second, "500 X", true},
		{"a proxy's timeout", 408, time.Second, "408 X", true},
		{"silence", 0, 40 * time.Second, "no answer", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				p := w.proxy(p1)
				refuses := true
				p.handle = func(p *proxy, req *sip.Request) bool {
					switch again := req.Method == sip.INVITE && req.To().Params.Has("tag"); {
					case !again || !refuses:
						return false
					case row.code != 0:
						p.answer(req, row.code)
					}
					return true
				}
				registered(w, p1)
				c := w.line.Call("1", local)
				await[Answered](w, time.Second)
				c.Hold(true)
				u, _ := await[Unchanged](w, row.took)
				if u.Call != c || !strings.Contains(u.Err.Error(), row.why) || u.Again != row.again {
					t.Errorf("%v, again %v", u.Err, u.Again)
				}
				before := len(w.offers())
				c.Hold(false) // as it is
				none[Changed](w, time.Second)
				if n := len(w.offers()); n != before {
					t.Errorf("%d offers, want %d", n, before)
				}
				p.inDialog(w, "UPDATE", 1, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:7000", "sendrecv"))
				if res := p.response(); !strings.Contains(string(res.Body()), "a=sendrecv") {
					t.Errorf("not as it was:\n%s", res)
				}
				p.set(func() { refuses = false })
				c.Hold(true)
				if ch, _ := await[Changed](w, time.Second); ch.Media.Direction.Receives() {
					t.Errorf("then held: %v", ch.Media.Direction)
				}
				none[Ended](w, 20*time.Second)
			})
		})
	}
}

// Who is to be heard again is not left on hold because nobody was there to ask: it
// is asked every 10 s, which is told once; not for ever, and not if he is to stay on
// hold after all.
func TestResumeIsAskedAgain(t *testing.T) {
	for _, end := range []string{"resumed", "stays", "never"} {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			var dead atomic.Bool
			p.handle = func(p *proxy, req *sip.Request) bool {
				if dead.Load() && req.Method == sip.INVITE {
					p.answer(req, 503)
					return true
				}
				return mirrored(new(bool))(p, req)
			}
			registered(w, p1)
			c := w.line.Call("1", local)
			await[Answered](w, time.Second)
			c.Hold(true)
			await[Changed](w, time.Second)
			dead.Store(true)
			c.Hold(false)
			if u, _ := await[Unchanged](w, time.Second); !u.Again {
				t.Errorf("%+v", u)
			}
			none[Unchanged](w, lookAgain*3/2)
			switch end {
			case "stays":
				c.Hold(true)
				dead.Store(false)
				none[Changed](w, 2*lookAgain)
				return
			case "never":
				if u, _ := await[Unchanged](w, 2*lookAgain); u.Again {
					t.Errorf("%+v", u)
				}
				before := len(w.offers())
				none[Event](w, time.Minute)
				if n := len(w.offers()); n != before || n != 1+askTimes {
					t.Errorf("%d offers, then %d", before, n)
				}
				return
			}
			dead.Store(false)
			if ch, took := await[Changed](w, lookAgain); ch.Media.Direction != sdp.SendRecv {
				t.Errorf("%+v after %v", ch, took)
			}
		})
	}
}

// A far end that does not know the call has none any more, RFC 3261 section
// 12.2.1.2.
func TestHoldOfNobody(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = func(p *proxy, req *sip.Request) bool {
			if req.Method == sip.INVITE && req.To().Params.Has("tag") {
				p.answer(req, 481)
				return true
			}
			return false
		}
		registered(w, p1)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		c.Hold(true)
		if e, _ := await[Ended](w, time.Second); e.Code != 481 {
			t.Errorf("%+v", e)
		}
	})
}

// RFC 3261 section 14.1: "If the UAC is the owner of the Call-ID of the dialog ID
// (meaning it generated the value), T has a randomly chosen value between 2.1 and 4
// seconds in units of 10 ms. If the UAC is not the owner of the Call-ID of the
// dialog ID, T has a randomly chosen value of between 0 and 2 seconds in units of
// 10 ms."
func TestGlare(t *testing.T) {
	for _, ours := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			met := false
			p.handle = func(p *proxy, req *sip.Request) bool {
				if req.Method != sip.INVITE || !req.To().Params.Has("tag") {
					return false
				}
				if !met {
					met = true
					if ours { // theirs has set out, and is refused in the same way
						p.inDialog(w, "UPDATE", 7, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:7000", "sendonly"))
					}
					time.AfterFunc(time.Millisecond, func() { p.answer(req, 491) })
					return true
				}
				p.answer(req, 200, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:7000", "recvonly"))
				return true
			}
			registered(w, p1)
			var c *Call
			if ours {
				c = w.line.Call("1", local)
				await[Answered](w, time.Second)
			} else {
				d := p.call(w, 1, nil)
				in, _ := await[Incoming](w, time.Second)
				c = in.Call
				c.Answer(local)
				await[Answered](w, time.Second)
				d.ack(d.response())
			}
			c.Hold(true)
			if ours && p.code200() != 491 {
				t.Error("their offer that meets ours is not refused")
			}
			ch, took := await[Changed](w, 10*time.Second)
			low, high := 2100*time.Millisecond, 4*time.Second
			if !ours {
				low, high = 0, 2*time.Second
			}
			if ch.Media.Direction != sdp.SendOnly || took < low || took > high+100*time.Millisecond || len(w.offers()) != 2 {
				t.Errorf("ours %v: %v after %v, %d offers", ours, ch.Media.Direction, took, len(w.offers()))
			}
		})
	}
}

// RFC 3261 section 14.1: "if there is an ongoing INVITE server transaction, the TU
// MUST wait until the transaction reaches the confirmed or terminated state before
// initiating the new INVITE."
func TestHoldWaitsForTheACK(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		d := p.call(w, 1, nil)
		in, _ := await[Incoming](w, time.Second)
		in.Call.Hold(true) // there is nothing to hold yet
		in.Call.Answer(local)
		await[Answered](w, time.Second)
		in.Call.Hold(true)
		res := d.response()
		time.Sleep(300 * time.Millisecond)
		if n := len(w.offers()); n != 0 {
			t.Errorf("%d offers before the ACK", n)
		}
		d.ack(res)
		synctest.Wait()
		if n := len(w.offers()); n != 1 {
			t.Errorf("%d offers behind the ACK", n)
		}
	})
}

// What changes its mind while the far end is asked is asked again, once.
func TestHoldAndBackAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.delay = 50 * time.Millisecond
		p := w.proxy(p1)
		holds := false
		p.handle = mirrored(&holds)
		registered(w, p1)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		for _, on := range []bool{true, false, true, false} {
			c.Hold(on)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		all := w.offers()
		if len(all) != 2 || all[0].attribute() != "a=sendonly" || all[1].attribute() != "a=sendrecv" {
			t.Errorf("%d offers", len(all))
		}
	})
}

// Another codec is asked for, and it alone; who has none of it keeps the call.
func TestSpeak(t *testing.T) {
	for _, takes := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			wide := local
			wide.Codecs = []sdp.Codec{sdp.G722, sdp.PCMU}
			session := strings.NewReplacer("RTP/AVP 0", "RTP/AVP 9 0").Replace(farSession("10.0.0.9:7000", "sendrecv"))
			p := w.proxy(p1)
			p.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
				body := session
				if req.To().Params.Has("tag") {
					if !takes {
						p.answer(req, 488)
						return
					}
					body = strings.Replace(session, "RTP/AVP 9 0", "RTP/AVP 8", 1)
				}
				p.answer(req, 200, "Contact", "<sip:far@10.0.0.11:5060>", "body", body)
			})
			registered(w, p1)
			c := w.line.Call("1", wide)
			if a, _ := await[Answered](w, time.Second); a.Media.Codecs[0] != sdp.G722 {
				t.Fatalf("%+v", a.Media)
			}
			c.Speak([]sdp.Codec{sdp.PCMA, sdp.PCMU})
			if takes {
				if ch, _ := await[Changed](w, time.Second); !slices.Equal(ch.Media.Codecs, []sdp.Codec{sdp.PCMA}) || ch.Media.Direction != sdp.SendRecv {
					t.Errorf("%+v", ch.Media)
				}
			} else {
				await[Unchanged](w, time.Second)
			}
			if o := w.offers(); len(o) != 1 || !strings.Contains(o[0].text, "RTP/AVP 8 0 101\r\n") || o[0].attribute() != "a=sendrecv" {
				t.Errorf("the offer is\n%v", o)
			}
			// What they ask later is answered in what the call has.
			p.inDialog(w, "UPDATE", 1, "Contact", "<sip:far@10.0.0.11:5060>", "body", session)
			want := map[bool]string{true: " 0 101\r\n", false: " 9 0 101\r\n"}[takes]
			if res := p.response(); !strings.Contains(string(res.Body()), "RTP/AVP"+want) {
				t.Errorf("takes %v: answered with\n%s", takes, res.Body())
			}
		})
	}
}
