package sip

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Keys by INFO, as nearly everybody writes them: no standard has it. A body of
// application/dtmf-relay says "Signal=5" and "Duration=160", in milliseconds;
// one of application/dtmf is the key alone.

const (
	keyRelay = "application/dtmf-relay"
	keyAlone = "application/dtmf"

	// keyTime is how long we say that a key was held, and how long one was
	// that nothing is said of: any telephone hears 100 ms.
	keyTime = 100 * time.Millisecond

	// flash stands for a hook flash among keys. As a Signal it is 16, the
	// number of its event (RFC 2833 section 3.10).
	flash     = '!'
	flashName = "16"

	// maxKeys is how many keys may wait for those before them to be answered.
	maxKeys = 32
)

// digit sends a key, and waits for the answer.
func (c *Call) digit(key byte) {
	signal := string(rune(key))
	if key == flash {
		signal = flashName
	}
	res, err := c.deliver(c.ctx, func() *sip.Request {
		req := c.request(sip.INFO, sip.NewHeader("Content-Type", keyRelay))
		req.SetBody(fmt.Appendf(nil, "Signal=%s\r\nDuration=%d\r\n", signal, keyTime/time.Millisecond))
		return req
	})
	switch {
	case err != nil:
		c.line.log.Debug("a key did not arrive", "line", c.line.cfg.Name, "error", err)
	case !res.IsSuccess():
		c.line.log.Debug("a key was not taken", "line", c.line.cfg.Name, "status", res.StatusCode)
	}
}

// keyIn is the key that an INFO tells of, and how long it was held.
func keyIn(req *sip.Request) (key byte, lasted time.Duration, ok bool) {
	h := req.GetHeader("Content-Type")
	if h == nil {
		return 0, 0, false
	}
	signal, lasted := "", keyTime
	kind, _, _ := strings.Cut(h.Value(), ";")
	switch body := string(req.Body()); strings.ToLower(strings.TrimSpace(kind)) {
	case keyAlone:
		signal = strings.TrimSpace(body)
	case keyRelay:
		for line := range strings.Lines(body) {
			name, value, _ := strings.Cut(line, "=")
			value = strings.TrimSpace(value)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "signal":
				signal = value
			case "duration":
				if ms, err := strconv.ParseUint(value, 10, 16); err == nil && ms > 0 {
					lasted = time.Duration(ms) * time.Millisecond
				}
			}
		}
	}
	// Some number their keys as events: 10 is *, 11 is #.
	if n, err := strconv.Atoi(signal); err == nil && 10 <= n && n <= 15 {
		signal = "*#ABCD"[n-10 : n-9]
	}
	if len(signal) != 1 || !strings.Contains("0123456789*#ABCD", strings.ToUpper(signal)) {
		return 0, 0, false
	}
	return strings.ToUpper(signal)[0], lasted, true
}
