package txn

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Valid, and as odd as RFC 4475 section 3.1.1 makes them: each is understood,
// and what it says of its way comes back whole.
func TestTortuous(t *testing.T) {
	const wsinv = `INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0
TO :
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : 150
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33

v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.3
s=-
c=IN IP4 192.0.2.4
t=0 0
m=audio 49217 RTP/AVP 0 12
m=video 3227 RTP/AVP 31
a=rtpmap:31 LPC
`
	// head is what the others have in common.
	head := func(line, via, from, to, id, cseq string) string {
		return line + "\nVia: " + via + "\nFrom: " + from + "\nTo: " + to + "\nCall-ID: " + id + "\nCSeq: " + cseq + "\nMax-Forwards: 70\nContent-Length: 0\n\n"
	}
	const options, udp, me = "OPTIONS sip:user@example.com SIP/2.0", "SIP/2.0/UDP t1.example.org;branch=z9hG4bKkdjuw", "sip:j.user@example.org"
	for _, c := range []struct {
		name, raw string
		tag, via  string // of the From; of the whole way as it comes back
	}{
		{"3.1.1.1 wsinv", wsinv, "98asjd8", "192.0.2.2 390skdjuw, spindle.example.com z9hG4bK9ikj8, 192.168.255.111 z9hG4bK30239"},
		{"3.1.1.2 intmeth", head("!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
			"SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~", "\"BEL:\\\x07 DEL:\\\x7f\" <sip:mundane@example.com>;tag=_token~1'+`*%!-.",
			"<sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>", "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{", "139122385 !interesting-Method0123456789_*+`.%indeed'~"),
			"_token~1'+`*%!-.", "host1.example.com z9hG4bK-.!%66*_+`'~"},
		{"3.1.1.3 esc01", head("OPTIONS sip:sips%3Auser%40example.com@example.net SIP/2.0", "SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw", "<sip:I%20have%20spaces@example.net>;tag=938",
			"sip:%75se%72@example.com", "esc01.239409asdfakjkn23onasd0-3234", "234234 OPTIONS"), "938", "host5.example.net z9hG4bKkdjuw"},
		{"3.1.1.4 escnull", head(options, "SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw", "sip:null-%00-null@example.com;tag=839923423", "sip:null-%00-null@example.com", "escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd", "14398234 OPTIONS"),
			"839923423", "host5.example.com z9hG4bKkdjuw"},
		{"3.1.1.6 lwsdisp", head(options, "SIP/2.0/UDP funky.example.com;branch=z9hG4bKkdjuw", "caller<sip:caller@example.com>;tag=323", "sip:user@example.com", "lwsdisp.1234abcd@funky.example.com", "60 OPTIONS"),
			"323", "funky.example.com z9hG4bKkdjuw"},
		{"3.1.1.9 semiuri", head("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0", udp, me+";tag=33242", "sip:user;par=u%40example.net@example.com", "semiuri.0ha0isndaksdj", "8 OPTIONS"),
			"33242", "t1.example.org z9hG4bKkdjuw"},
		{"3.1.1.10 transports", head(options, "SIP/2.0/UDP t1.example.org;branch=z9hG4bKkdjuw\nVia: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf\nVia: SIP/2.0/TLS t3.example.org;branch=z9hG4bK2980unddj\nVia: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en",
			"sip:caller@example.com;tag=323", "sip:user@example.com", "transports.kijh4akdnaqjkwendsasfdj", "60 OPTIONS"),
			"323", "t1.example.org z9hG4bKkdjuw, t2.example.com z9hG4bKklasjdhf, t3.example.org z9hG4bK2980unddj, t4.example.com z9hG4bKasd0f3en"},
	} {
		synctest.Test(t, func(t *testing.T) {
			network := newMemNet()
			far := network.udp(t, proxy)
			l := openLine(t, network, nil)
			far.put([]byte(strings.ReplaceAll(c.raw, "\n", "\r\n")))
			synctest.Wait()
			select {
			case s := <-l.requests:
				if got := tag(s.Request().From()); got != c.tag {
					t.Errorf("%s: tag %q, want %q", c.name, got, c.tag)
				}
				s.Respond(s.Response(486, "", nil))
				var way []string
				for _, h := range far.response(486).GetHeaders("via") {
					via := h.(*sip.ViaHeader)
					branch, _ := via.Params.Get("branch")
					way = append(way, via.Host+" "+branch)
				}
				if got := strings.Join(way, ", "); got != c.via {
					t.Errorf("%s: went by\n%s, want\n%s", c.name, got, c.via)
				}
			default:
				b, err := far.get(time.Second)
				t.Errorf("%s: not delivered, but %q %v", c.name, b, err)
			}
		})
	}
}

// RFC 4475 section 3.1.1.8 dblreq: what follows the Content-Length in a datagram is
// no second request.
func TestDoubleRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		far.put([]byte(theirs("OPTIONS", "z9hG4bK.1") + theirs("INVITE", "z9hG4bK.2")))
		synctest.Wait()
		if s := l.asked(t); s.Request().Method != sip.OPTIONS {
			t.Errorf("asked for %s", s.Request().Method)
		}
		select {
		case s := <-l.requests:
			t.Errorf("and for %s", s.Request().Method)
		default:
		}
	})
}
