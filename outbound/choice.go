package outbound

import (
	"fmt"
	"strings"
)

// An Order says in which order the addresses of one name stand that DNS does
// not tell apart. Proxies as configured and priorities of SRV are strict in
// either.
type Order uint8

const (
	OrderDNS    Order = iota // as they came in the answer; the default
	OrderSpread              // each device its own, always the same: see [RouteConfig.Device]
)

func (o Order) String() string { return [...]string{"dns", "spread"}[o] }

// ParseOrder understands "dns" (also "") and "spread".
func ParseOrder(s string) (Order, error) {
	switch s {
	case "", "dns":
		return OrderDNS, nil
	case "spread":
		return OrderSpread, nil
	}
	return 0, fmt.Errorf(`order %q: "dns" or "spread" would be right`, s)
}

// A Failback says when a line goes back to an address that is preferred to the
// one in use and is well again. The modes are named as the trade does.
type Failback uint8

const (
	OnRefresh     Failback = iota // when the registration is refreshed; the default
	Never                         // not by itself
	OnTTL                         // when DNS has been asked again
	OnTimer                       // some time after it left: RouteConfig.FailbackAfter
	ImmediateIdle                 // as soon as the line is idle
)

var failbacks = [...]string{OnRefresh: "refresh", Never: "never", OnTTL: "ttl", OnTimer: "timer", ImmediateIdle: "immediate-idle"}

func (f Failback) String() string { return failbacks[f] }

// ParseFailback understands what String prints, and "" for the default.
func ParseFailback(s string) (Failback, error) {
	for i, name := range failbacks {
		if s == name {
			return Failback(i), nil
		}
	}
	if s == "" {
		return OnRefresh, nil
	}
	return 0, fmt.Errorf("failback %q: one of %s would be right", s, strings.Join(failbacks[:], ", "))
}
