package digest

import (
	"errors"
	"strings"
	"testing"
)

// fixed returns a session in which the next answer uses cnonce.
func fixed(cnonce string) *Session {
	return &Session{newNonce: func() string { return cnonce }}
}

func field(t *testing.T, header, key string) string {
	t.Helper()
	for _, p := range scanParams(strings.TrimPrefix(header, "Digest ")) {
		if p.key == key {
			return p.value
		}
	}
	t.Fatalf("no %s in %s", key, header)
	return ""
}

func TestVectors(t *testing.T) {
	mufasa := Credentials{"Mufasa", "Circle of Life"}
	cases := []struct {
		name      string
		cred      Credentials
		challenge string
		cnonce    string
		uri       string
		want      string
	}{
		{"RFC 7616 3.9.1 MD5", mufasa,
			`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
			"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "/dir/index.html",
			"8ca523f5e9506fed4657c9700eebdbec"},
		{"RFC 7616 3.9.1 SHA-256", mufasa,
			`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
			"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "/dir/index.html",
			"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
		{"RFC 2617 3.5", Credentials{"Mufasa", "Circle Of Life"},
			`Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`,
			"0a4f113b", "/dir/index.html", "6629fae49393a05397450978507c4ef1"},
		// RFC 2069 2.4 with the response corrected by its erratum.
		{"RFC 2069 2.4", Credentials{"Mufasa", "CircleOfLife"},
			`Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`,
			"", "/dir/index.html", "1949323746fe6a43ef61f9606e7febea"},
		// The session hashes by the formula of RFC 7616 3.4.2, computed with Python's hashlib.
		{"MD5-sess", mufasa,
			`Digest realm="http-auth@example.org", qop="auth", algorithm=MD5-sess, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"`,
			"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "/dir/index.html", "e783283f46242139c486a698fec7211d"},
		{"SHA-256-sess", mufasa,
			`Digest realm="http-auth@example.org", qop="auth", algorithm=SHA-256-sess, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"`,
			"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "/dir/index.html", "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := fixed(c.cnonce)
			if err := s.Challenge([]string{c.challenge}, false); err != nil {
				t.Fatal(err)
			}
			got := s.Answer(c.cred, "GET", c.uri)
			if r := field(t, got, "response"); r != c.want {
				t.Errorf("response %s, want %s\n%s", r, c.want, got)
			}
		})
	}
}

// What sipgo's digest was seen to fail on, and more of the kind.
func TestLaxIn(t *testing.T) {
	cases := []struct {
		name, value string
		want        Challenge
	}{
		{"plain", `Digest realm="a", nonce="b"`, Challenge{Realm: "a", Nonce: "b"}},
		{"keys in any case", `digest REALM="a", Nonce="b", QOP="Auth", ALGORITHM=md5, STALE=TRUE`, Challenge{Realm: "a", Nonce: "b", QopAuth: true, Stale: true}},
		{"tabs and no space", "Digest\trealm = \"a\" ,nonce=\t\"b\",qop=\"auth\"", Challenge{Realm: "a", Nonce: "b", QopAuth: true}},
		{"unquoted list", `Digest realm="a", qop=auth,auth-int, nonce="b"`, Challenge{Realm: "a", Nonce: "b", QopAuth: true}},
		{"unquoted nonce with +/=", `Digest realm=a, nonce=ab+/c==, qop=auth`, Challenge{Realm: "a", Nonce: "ab+/c==", QopAuth: true}},
		{"trailing comma", `Digest realm="a", nonce="b",`, Challenge{Realm: "a", Nonce: "b"}},
		{"empty elements", `Digest ,, realm="a",, nonce="b"`, Challenge{Realm: "a", Nonce: "b"}},
		{"underscore in a name", `Digest realm="a", my_ext=1, nonce="b"`, Challenge{Realm: "a", Nonce: "b"}},
		{"quoted algorithm", `Digest realm="a", nonce="b", algorithm="SHA-256"`, Challenge{Realm: "a", Nonce: "b", Algorithm: SHA256}},
		{"auth-int first", `Digest realm="a", nonce="b", qop="auth-int, auth"`, Challenge{Realm: "a", Nonce: "b", QopAuth: true}},
		{"escaped quote in realm", `Digest realm="a \"b\", c", nonce="b"`, Challenge{Realm: `a "b", c`, Nonce: "b"}},
		{"empty opaque", `Digest realm="a", nonce="b", opaque=""`, Challenge{Realm: "a", Nonce: "b", HasOpaque: true}},
		{"empty realm", `Digest realm="", nonce="b"`, Challenge{Nonce: "b"}},
		{"first value counts", `Digest realm="a", nonce="b", nonce="c"`, Challenge{Realm: "a", Nonce: "b"}},
		{"folded", "Digest realm=\"a\",\r\n nonce=\"b\"", Challenge{Realm: "a", Nonce: "b"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Parse(c.value)
			if len(got) != 1 || got[0] != c.want {
				t.Errorf("Parse(%q)\n got %+v\nwant %+v", c.value, got, c.want)
			}
		})
	}
}

func TestNotAnswered(t *testing.T) {
	for _, v := range []string{
		``, `Basic realm="a"`, `Digest`, `Digest realm="a"`, `Digest nonce="b"`,
		`Digest realm="a", nonce="b", algorithm=AKAv1-MD5`,
		`Digest realm="a", nonce="b", algorithm=SHA-512-256`,
		`Digest realm="a", nonce="b", qop="auth-int"`,
		"Digest realm=\"a\r\nX: y\", nonce=\"b\"",
		"Digest realm=\"a\", nonce=\"b\x00\"",
	} {
		if got := Parse(v); len(got) != 0 {
			t.Errorf("Parse(%q) = %+v, want nothing", v, got)
		}
	}
}

func TestStrongest(t *testing.T) {
	md5 := `Digest realm="r", nonce="1", algorithm=MD5`
	sha := `Digest realm="r", nonce="2", algorithm=SHA-256`
	aka := `Digest realm="r", nonce="3", algorithm=AKAv1-MD5`
	cases := []struct {
		name   string
		values []string
		nonce  string
	}{
		// RFC 8760 2.4: "the UAC [...] SHOULD use the topmost header field that
		// it supports unless a local policy dictates otherwise". Our policy is
		// never to take the weaker one, whatever the order.
		{"sha first", []string{sha, md5}, "2"},
		{"md5 first", []string{md5, sha}, "2"},
		{"unknown first", []string{aka, md5}, "1"},
		{"in one value", []string{md5 + ", " + sha}, "2"},
		{"basic beside it", []string{`Basic realm="r", ` + md5}, "1"},
		{"first among equals", []string{md5, `Digest realm="r", nonce="9"`}, "1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Strongest(c.values)
			if err != nil || got.Nonce != c.nonce {
				t.Errorf("got %+v, %v; want nonce %s", got, err, c.nonce)
			}
		})
	}
	if _, err := Strongest([]string{aka}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}

func TestNonceIsUsedAgain(t *testing.T) {
	c := Credentials{"bob", "secret"}
	s := fixed("cn")
	if s.Answer(c, "REGISTER", "sip:h") != "" || s.Asked() {
		t.Fatal("an answer before a question")
	}
	if err := s.Challenge([]string{`Digest realm="r", nonce="n1", qop="auth"`}, false); err != nil {
		t.Fatal(err)
	}
	// RFC 7616 3.4: nc is "the hexadecimal count of the number of requests
	// (including the current request) that the client has sent with the nonce
	// value in this request".
	for _, want := range []string{"00000001", "00000002", "00000003"} {
		if got := field(t, s.Answer(c, "REGISTER", "sip:h"), "nc"); got != want {
			t.Errorf("nc %s, want %s", got, want)
		}
	}
	// RFC 7616 3.5: "If the nextnonce field is present, the client SHOULD use
	// it when constructing the Authorization header field for its next request".
	s.Accepted(`nextnonce="n2", qop=auth`)
	got := s.Answer(c, "REGISTER", "sip:h")
	if field(t, got, "nonce") != "n2" || field(t, got, "nc") != "00000001" {
		t.Errorf("after nextnonce: %s", got)
	}
}

func TestRefusedAndStale(t *testing.T) {
	c := Credentials{"bob", "secret"}
	s := fixed("cn")
	ask := func(v string, tried bool) error { return s.Challenge([]string{v}, tried) }
	if err := ask(`Digest realm="r", nonce="n1", qop="auth"`, false); err != nil {
		t.Fatal(err)
	}
	s.Answer(c, "REGISTER", "sip:h")
	if err := ask(`Digest realm="r", nonce="n2", qop="auth"`, true); !errors.Is(err, ErrRefused) {
		t.Errorf("a fresh nonce refused: %v, want ErrRefused", err)
	}
	if s.Asked() || s.Answer(c, "REGISTER", "sip:h") != "" {
		t.Error("what was refused is shown again unasked")
	}
	if err := ask(`Digest realm="r", nonce="n2", qop="auth"`, false); err != nil {
		t.Fatal(err)
	}
	s.Answer(c, "REGISTER", "sip:h")
	// RFC 7616 3.3: stale is "a case-insensitive flag indicating that the
	// previous request from the client was rejected because the nonce value
	// was stale. [...] the client may wish to simply retry the request".
	if err := ask(`Digest realm="r", nonce="n3", qop="auth", stale=True`, true); err != nil {
		t.Errorf("stale: %v", err)
	}
	s.Answer(c, "REGISTER", "sip:h")
	s.Accepted("")
	// A nonce that was used ahead and has run out, told without stale.
	s.Answer(c, "REGISTER", "sip:h")
	if err := ask(`Digest realm="r", nonce="n4", qop="auth"`, true); err != nil {
		t.Errorf("old nonce without stale: %v", err)
	}
	// A nextnonce that the server has forgotten since.
	s.Answer(c, "REGISTER", "sip:h")
	s.Accepted(`nextnonce="n5"`)
	s.Answer(c, "REGISTER", "sip:h")
	if err := ask(`Digest realm="r", nonce="n6", qop="auth"`, true); err != nil {
		t.Errorf("forgotten nextnonce: %v", err)
	}
}

func TestNoWeakerHash(t *testing.T) {
	s := fixed("cn")
	md5 := []string{`Digest realm="r", nonce="1"`}
	sha := []string{`Digest realm="r", nonce="2", algorithm=SHA-256`}
	if err := s.Challenge(sha, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Challenge(md5, false); err != nil {
		t.Errorf("before any success: %v", err)
	}
	s.Challenge(sha, false)
	s.Answer(Credentials{"a", "b"}, "REGISTER", "sip:h")
	s.Accepted("")
	if err := s.Challenge(md5, false); !errors.Is(err, ErrWeaker) {
		t.Errorf("got %v, want ErrWeaker", err)
	}
}

func TestStrictOut(t *testing.T) {
	s := fixed("cn")
	s.Challenge([]string{`Digest realm="r \"x\"", nonce="n", qop=auth, opaque="o"`}, false)
	got := s.Answer(Credentials{`b"ob`, "p"}, "INVITE", "sip:100@h;user=phone")
	want := `Digest username="b\"ob", realm="r \"x\"", nonce="n", uri="sip:100@h;user=phone", response="`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s...", got, want)
	}
	if !strings.HasSuffix(got, `", algorithm=MD5, cnonce="cn", opaque="o", qop=auth, nc=00000001`) {
		t.Errorf("tail: %s", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`Digest realm="a", nonce="b", qop=auth,auth-int, algorithm=SHA-256`)
	f.Add(`Basic x, Digest realm=a, nonce="b\"`)
	f.Fuzz(func(t *testing.T, v string) {
		for _, ch := range Parse(v) {
			s := fixed("cn")
			s.with, s.asked = ch, true
			got := s.Answer(Credentials{"u", "p"}, "REGISTER", "sip:h")
			if strings.ContainsAny(got, "\r\n\x00") {
				t.Fatalf("header injection: %q from %q", got, v)
			}
			// What we write, we read back.
			if field(t, got, "realm") != ch.Realm || field(t, got, "nonce") != ch.Nonce {
				t.Fatalf("%q read back differs from %+v", got, ch)
			}
		}
	})
}
