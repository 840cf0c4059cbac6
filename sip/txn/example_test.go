package txn_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
	"github.com/ata-agent/ata-agent/sip/txn"
)

type network struct {
	net.ListenConfig
	net.Dialer
}

// A line asks its proxy whether it is there. Nobody is: the proxy's host says
// so at once, and the limit of four seconds is not needed.
func ExampleLayer_Do() {
	ctx := context.Background()
	proxy := outbound.Target{Addr: netip.MustParseAddrPort("127.0.0.1:1"), Dest: "127.0.0.1:1"}

	layer, err := txn.New(ctx, txn.Config{
		Transport: transport.Config{
			Network: &network{},
			Trusts:  func(from netip.Addr) bool { return from == proxy.Addr.Addr() },
		},
		OnRequest: func(s *txn.Server) { s.Respond(s.Response(sip.StatusNotImplemented, "", nil)) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer layer.Close()

	us := sip.Uri{Scheme: "sip", User: "100", Host: "example.net"}
	req := sip.NewRequest(sip.OPTIONS, us)
	req.AppendHeader(&sip.FromHeader{Address: us, Params: sip.HeaderParams{{K: "tag", V: "1"}}})
	req.AppendHeader(&sip.ToHeader{Address: us})
	id := sip.CallIDHeader("1@example.net")
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})

	if res, err := layer.Do(ctx, proxy, req, 4*time.Second); err != nil {
		fmt.Println("no proxy:", err)
	} else {
		fmt.Println("the proxy says", res.StatusCode)
	}
}
