package sip

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Bodies as telephones write them.
func TestKeyIn(t *testing.T) {
	for _, row := range []struct {
		kind, body string
		key        byte
		ms         int
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", '5', 160},
		{"application/dtmf-relay", "Signal= 5\r\nDuration= 160\r\n", '5', 160},
		{"Application/DTMF-Relay; charset=utf-8", "signal=*\nduration=40\n", '*', 40},
		{"application/dtmf-relay", "Signal=#", '#', 100},
		{"application/dtmf-relay", "Signal=a\r\nDuration=0\r\n", 'A', 100},
		{"application/dtmf-relay", "Signal=11\r\nDuration=x\r\n", '#', 100},
		{"application/dtmf-relay", "Signal=15\r\n", 'D', 100},
		{"application/dtmf", "7", '7', 100},
		{"application/dtmf", " 10\r\n", '*', 100},
		{"application/dtmf-relay", "Signal=16\r\nDuration=100\r\n", 0, 0}, // a flash is no key
		{"application/dtmf-relay", "Signal=x\r\n", 0, 0},
		{"application/dtmf-relay", "", 0, 0},
		{"application/dtmf", "", 0, 0},
		{"application/media_control+xml", "Signal=5", 0, 0},
		{"", "Signal=5", 0, 0},
	} {
		req := sip.NewRequest(sip.INFO, sip.Uri{Host: "h"})
		if row.kind != "" {
			req.AppendHeader(sip.NewHeader("Content-Type", row.kind))
		}
		req.SetBody([]byte(row.body))
		key, lasted, ok := keyIn(req)
		if ok != (row.key != 0) || ok && (key != row.key || lasted != time.Duration(row.ms)*time.Millisecond) {
			t.Errorf("%s %q: %q for %v, %v", row.kind, row.body, key, lasted, ok)
		}
	}
}

// A far end's keys are told, and a flash of ours goes as a Signal of 16.
func TestKeysOfTheFarEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		p.inDialog(w, "INFO", 10, "Content-Type", "application/dtmf-relay", "body", "Signal=9\r\nDuration=250\r\n")
		if code := p.code200(); code != 200 {
			t.Errorf("INFO: %d", code)
		}
		ev, _ := await[Pressed](w, time.Second)
		if ev.Call != c || ev.Key != '9' || ev.For != 250*time.Millisecond {
			t.Errorf("%+v", ev)
		}
		c.Flash()
		time.Sleep(time.Second)
		infos := w.said("INFO", p1)
		if len(infos) != 2 || !strings.HasSuffix(infos[1].text, "\r\n\r\nSignal=16\r\nDuration=100\r\n") {
			t.Errorf("%v", infos)
		}
		c.Hangup()
		await[Ended](w, time.Second)
	})
}
