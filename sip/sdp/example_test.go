package sdp_test

import (
	"fmt"
	"net/netip"

	"github.com/ata-agent/ata-agent/sip/sdp"
)

func ExampleAnswer() {
	offer, err := sdp.Parse([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n" +
		"m=audio 5000 RTP/AVP 18 8 96\r\na=rtpmap:96 telephone-event/8000\r\na=sendonly\r\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	ours := sdp.Session{Addr: netip.MustParseAddrPort("192.0.2.1:4000"), Codecs: []sdp.Codec{sdp.PCMU, sdp.PCMA}, Events: 101}
	answer, err := sdp.Answer(ours, offer)
	if err != nil {
		fmt.Println(err) // refused with 488
		return
	}
	agreed, _ := sdp.Agree(answer, offer)
	fmt.Println("we say:", answer.Codecs[0].Name, "events", answer.Events, answer.Direction)
	fmt.Println("sound goes to", agreed.Addr, "sending:", agreed.Direction.Sends())
	// Output:
	// we say: PCMA events 96 recvonly
	// sound goes to 192.0.2.9:5000 sending: false
}
