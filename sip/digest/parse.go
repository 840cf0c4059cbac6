package digest

import "strings"

// Parse returns the challenges in one header field value that can be
// answered: Digest, with a realm and a nonce, an algorithm spoken here, and
// qop absent or allowing auth. Everything else is left out, for RFC 8760
// section 2.4 says "the UAC MUST ignore it" of a challenge not understood.
func Parse(value string) []Challenge {
	var found []Challenge
	for _, part := range splitSchemes(value) {
		if ch, ok := parseOne(part); ok {
			found = append(found, ch)
		}
	}
	return found
}

// parseOne reads what follows the word Digest.
func parseOne(params string) (Challenge, bool) {
	var ch Challenge
	var hasRealm, hasQop bool
	ok := true
	for _, p := range scanParams(params) {
		switch p.key {
		case "realm":
			ch.Realm, hasRealm = p.value, true
		case "nonce":
			ch.Nonce = p.value
		case "opaque":
			ch.Opaque, ch.HasOpaque = p.value, true
		case "stale":
			ch.Stale = strings.EqualFold(p.value, "true")
		case "algorithm":
			known := false
			for a, name := range algorithmName {
				if strings.EqualFold(p.value, name) {
					ch.Algorithm, known = Algorithm(a), true
				}
			}
			ok = ok && known
		case "qop":
			hasQop = true
			for _, q := range strings.FieldsFunc(p.value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
				ch.QopAuth = ch.QopAuth || strings.EqualFold(q, "auth")
			}
		}
	}
	if strings.TrimSpace(ch.Nonce) == "" || !hasRealm {
		return ch, false
	}
	if hasQop && !ch.QopAuth {
		return ch, false // auth-int alone would hash a body that proxies change
	}
	return ch, ok && clean(ch.Realm) && clean(ch.Nonce) && clean(ch.Opaque)
}

// splitSchemes returns the parameters of each Digest challenge in a value. A
// scheme is a word followed by white space and no '='; several challenges in
// one value are told apart that way.
func splitSchemes(v string) []string {
	var out []string
	start, digest := 0, false
	end := func(at int) {
		if digest {
			out = append(out, v[start:at])
		}
	}
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case c == '"':
			i = skipQuoted(v, i)
		case isToken(c):
			j := i
			for j < len(v) && isToken(v[j]) {
				j++
			}
			k := skipSpace(v, j)
			if k > j && k < len(v) && (isToken(v[k]) || v[k] == ',') && atElement(v, i) {
				end(i)
				start, digest = k, strings.EqualFold(v[i:j], "Digest")
			}
			i = j
		default:
			i++
		}
	}
	end(len(v))
	return out
}

// atElement reports whether i is where a list element begins.
func atElement(v string, i int) bool {
	for i > 0 {
		i--
		if !isSpace(v[i]) {
			return v[i] == ','
		}
	}
	return true
}

type param struct{ key, value string } // key in lower case

// scanParams reads key=value, key="quoted value", ... It takes odd white
// space, unquoted values with any printable byte but a comma, empty elements
// and a trailing comma. A second value of one key is dropped, except that an
// unquoted qop=auth,auth-int is taken as one list.
func scanParams(s string) []param {
	var out []param
	for i := 0; i < len(s); {
		if isSpace(s[i]) || s[i] == ',' {
			i++
			continue
		}
		j := i
		for j < len(s) && s[j] != '=' && s[j] != ',' && !isSpace(s[j]) {
			j++
		}
		key := strings.ToLower(s[i:j])
		k := skipSpace(s, j)
		if k >= len(s) || s[k] != '=' {
			if n := len(out); n > 0 && out[n-1].key == "qop" {
				out[n-1].value += "," + key
			}
			i = max(j, i+1)
			continue
		}
		k = skipSpace(s, k+1)
		var value string
		if k < len(s) && s[k] == '"' {
			e := skipQuoted(s, k)
			value = unquote(s[k:e])
			i = e
		} else {
			e := k
			for e < len(s) && s[e] != ',' {
				e++
			}
			value = strings.TrimRight(s[k:e], " \t\r\n")
			i = e
		}
		repeated := false
		for _, p := range out {
			repeated = repeated || p.key == key
		}
		if !repeated {
			out = append(out, param{key, value})
		}
	}
	return out
}

// skipQuoted returns the index behind a quoted string that begins at i.
func skipQuoted(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

func unquote(s string) string {
	s = strings.TrimPrefix(s, `"`)
	if len(s) > 0 && s[len(s)-1] == '"' {
		s = s[:len(s)-1]
	}
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// quote writes a quoted-string of RFC 3261 section 25.1.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// clean reports whether s may stand in a header field: no line break, no
// other control byte. A challenge with one is an attempt to write our headers.
func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func skipSpace(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// isToken: RFC 3261 section 25.1, token.
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("-.!%*_+`'~", c) >= 0
}
