package sdp

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"strings"
)

// A Crypto is the key with which one side seals its sound, RFC 4568, for the suite
// that everybody has. It is as secret as the signalling that carries it. The zero
// Crypto is none.
type Crypto struct {
	Tag int      // names it in an offer, 1 to 999999999; 0: none
	Key [30]byte // master key and salt, RFC 4568 section 6.1
}

// NewCrypto makes a key.
func NewCrypto() Crypto {
	c := Crypto{Tag: 1}
	rand.Read(c.Key[:])
	return c
}

// On reports whether there is a key.
func (c Crypto) On() bool { return c.Tag != 0 }

// String hides the key.
func (c Crypto) String() string {
	if c.On() {
		return suite
	}
	return "none"
}

const suite = "AES_CM_128_HMAC_SHA1_80"

func (c Crypto) attribute() string {
	return strconv.Itoa(c.Tag) + " " + suite + " inline:" + base64.StdEncoding.EncodeToString(c.Key[:])
}

// crypto reads "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^31" of RFC 4568 section
// 9.2. False: it asks for something that is not spoken here, a master key
// identifier or parameters of the session but WSH, which is advice.
func crypto(v string) (c Crypto, ok bool) {
	f := strings.Fields(v)
	if len(f) < 3 || !strings.EqualFold(f[1], suite) || len(f[0]) > 9 {
		return c, false
	}
	for _, p := range f[3:] {
		if !strings.HasPrefix(strings.ToUpper(p), "WSH=") {
			return c, false
		}
	}
	tag, err := strconv.ParseUint(f[0], 10, 31)
	inline, found := strings.CutPrefix(f[2], "inline:")
	parts := strings.Split(inline, "|")
	if err != nil || tag == 0 || !found || strings.Contains(inline, ";") || len(parts) > 2 || len(parts) == 2 && strings.Contains(parts[1], ":") {
		return c, false
	}
	key, err := base64.StdEncoding.DecodeString(parts[0])
	if err != nil || len(key) != len(c.Key) {
		return c, false
	}
	c.Tag = int(tag)
	copy(c.Key[:], key)
	return c, true
}
