package outbound_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ata-agent/ata-agent/outbound"
)

func ExampleParseProxy() {
	p, _ := outbound.ParseProxy("sips:proxy.example.net", outbound.UDP)
	fmt.Println(p, p.Transport, p.TLSName)

	_, err := outbound.ParseProxy("192.0.2.256", outbound.UDP)
	fmt.Println(err)
	// Output:
	// proxy.example.net;transport=tls tls proxy.example.net
	// outbound proxy "192.0.2.256": "192.0.2.256" is not an address: four numbers from 0 to 255 would be right, as in 192.0.2.7
}

func ExampleRing() {
	var ring outbound.Ring
	for _, a := range []string{"192.0.2.1:5060", "192.0.2.2:5060"} {
		addr := netip.MustParseAddrPort(a)
		ring.Load(append(members(&ring), outbound.Target{Addr: addr, Dest: addr.String()}))
	}
	for range 3 {
		at := ring.Dest()
		past, over := ring.Rotate()
		fmt.Println(at, "failed, next is", ring.Dest(), "- past the end:", past, "- tour over:", over)
	}
	// Output:
	// 192.0.2.1:5060 failed, next is 192.0.2.2:5060 - past the end: false - tour over: false
	// 192.0.2.2:5060 failed, next is 192.0.2.1:5060 - past the end: true - tour over: true
	// 192.0.2.1:5060 failed, next is 192.0.2.2:5060 - past the end: false - tour over: false
}

func members(ring *outbound.Ring) (list []outbound.Target) {
	for i := range ring.Len() {
		list = append(list, ring.Place(i).Target)
	}
	return list
}

func ExampleRoute() {
	var proxies []outbound.Proxy
	for _, entry := range []string{"192.0.2.1", "192.0.2.2:5080"} {
		p, err := outbound.ParseProxy(entry, outbound.UDP)
		if err != nil {
			fmt.Println(err)
			return
		}
		proxies = append(proxies, p)
	}
	route := outbound.NewRoute(outbound.RouteConfig{Proxies: proxies})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go route.Run(ctx)

	via, err := route.First(ctx)
	fmt.Println("register via", via, err)
	route.Good(via, 20*time.Millisecond)

	failed := via
	via, wait := route.Next(failed, outbound.Failure{Method: "REGISTER", Cause: outbound.NoAnswer})
	fmt.Println("no answer: via", via, "after", wait)
	via, _ = route.Next(failed, outbound.Failure{Method: "INVITE", Cause: outbound.NoAnswer})
	fmt.Println("the call has met the same dead proxy: via", via)
	via, _ = route.Next(via, outbound.Failure{Method: "INVITE", Code: 486})
	fmt.Println("the callee is busy: via", via)
	// Output:
	// register via 192.0.2.1:5060 <nil>
	// no answer: via 192.0.2.2:5080 after 0s
	// the call has met the same dead proxy: via 192.0.2.2:5080
	// the callee is busy: via 192.0.2.2:5080
}

func ExampleJudge() {
	for _, f := range []outbound.Failure{
		{Method: "REGISTER", Cause: outbound.NoAnswer},
		{Method: "INVITE", Code: 503},
		{Method: "INVITE", Code: 404},
		{Method: "REGISTER", Code: 403},
		{Method: "REGISTER", Cause: outbound.Local},
	} {
		fmt.Printf("%s: %v: %v: %s\n", f.Method, f, outbound.Judge(f), outbound.Reason(f))
	}
	// Output:
	// REGISTER: no answer: move: nobody answers there (RFC 3263 4.3: transaction failed without a response)
	// INVITE: answered 503: move: overloaded or out of service, and says so; Retry-After is kept (RFC 3263 4.3; RFC 3261 21.5.4)
	// INVITE: answered 404: stay: the callee's answer, a 408 or 404 too: the proxy did its work (RFC 3263 4.3: only 503 is failure)
	// REGISTER: answered 403: account: the account is locked or unknown (RFC 3261 21.4.4: should not be repeated)
	// REGISTER: cannot send: wait: without a link, a route or an address every proxy looks dead (own choice: a pulled cable must not turn the ring)
}

func ExampleResolver() {
	resolver := outbound.NewResolver(outbound.ResolverConfig{
		Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53")},
	})
	p, _ := outbound.ParseProxy("192.0.2.7;transport=tcp", outbound.UDP)
	answer, err := resolver.Lookup(context.Background(), p) // an address: no question is asked
	fmt.Println(answer.Targets, err)
	// Output: [192.0.2.7:5060 tcp] <nil>
}
