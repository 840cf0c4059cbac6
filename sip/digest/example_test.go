package digest_test

import (
	"fmt"
	"strings"

	"github.com/ata-agent/ata-agent/sip/digest"
)

func ExampleSession() {
	var s digest.Session
	who := digest.Credentials{User: "100", Password: "secret"}

	// A registrar asks, twice over; the stronger hash is answered.
	s.Challenge([]string{
		`Digest realm="example.net", nonce="a", algorithm=MD5`,
		`Digest realm="example.net", nonce="b", qop="auth", algorithm=SHA-256`,
	}, false)
	show(s.Answer(who, "REGISTER", "sip:example.net"))

	// The next request carries an answer from the start.
	show(s.Answer(who, "REGISTER", "sip:example.net"))

	// Output:
	// nonce="b" algorithm=SHA-256 nc=00000001
	// nonce="b" algorithm=SHA-256 nc=00000002
}

func show(answer string) {
	var out []string
	for _, p := range strings.Split(answer, ", ") {
		if strings.HasPrefix(p, "nonce=") || strings.HasPrefix(p, "algorithm=") || strings.HasPrefix(p, "nc=") {
			out = append(out, p)
		}
	}
	fmt.Println(strings.Join(out, " "))
}
