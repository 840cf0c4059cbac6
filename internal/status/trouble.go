package status

import (
	"fmt"
	"strings"
)

// A Kind says which part of the way from the wire to the phone is wrong. Kinds
// are in the order in which the parts depend on each other: what is wrong
// earlier explains what is wrong later.
type Kind uint8

// The parts, in order. The zero Kind is no trouble.
const (
	None     Kind = iota
	Link          // no cable, no carrier
	Address       // carrier, but no address or no route
	DNS           // a name gives no address
	Proxy         // addresses, but nobody answers as a proxy should
	Account       // the provider refuses this user
	Hardware      // a port or its phone; called "port" outside
	Audio         // a call without sound; called "sound" outside
)

var kinds = [...]string{"", "link", "address", "dns", "proxy", "account", "port", "sound"}

// String is the name in JSON and in the log: "link", "dns", ...; empty for None.
func (k Kind) String() string { return kinds[k] }

// MarshalText prints the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText prints.
func (k *Kind) UnmarshalText(b []byte) error {
	for i, name := range kinds {
		if name == string(b) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no kind of problem: link, address, dns, proxy, account, port or sound", b)
}

// A Trouble is one thing that is wrong.
type Trouble struct {
	Kind Kind
	Who  string // "line 2", "port 1"; empty for what all share
	What string // the error, in words
}

// First returns the trouble to tell: the one of the earliest kind, and of
// several of a kind the one that comes first. Everything else may merely
// follow from it and is left out. No trouble is the zero Trouble.
func First(all []Trouble) Trouble {
	var first Trouble
	for _, t := range all {
		if t.Kind != None && (first.Kind == None || t.Kind < first.Kind) {
			first = t
		}
	}
	return first
}

// Sentence says what is wrong to a person who did not read the manual. It is
// empty for the zero Trouble.
func (t Trouble) Sentence() string {
	said := [...]string{
		None:     "",
		Link:     "no network link",
		Address:  "no network address or no route",
		DNS:      "the proxy's name cannot be resolved",
		Proxy:    "no proxy works",
		Account:  "the provider refuses the account",
		Hardware: "the port does not work",
		Audio:    "calls have no sound",
	}[t.Kind]
	if said == "" {
		return ""
	}
	if t.Who != "" {
		said = t.Who + ": " + said
	}
	if what := strings.TrimSpace(t.What); what != "" {
		said += " (" + what + ")"
	}
	return said
}

// Hint says what to do about it.
func (t Trouble) Hint() string {
	return [...]string{
		None:     "",
		Link:     "check the network cable, or the Wi-Fi, and what it leads to",
		Address:  "check DHCP or the static address, and the default route",
		DNS:      "check the name in outbound_proxy and the name servers in [dns]; an IP in outbound_proxy needs none",
		Proxy:    "check that the provider works and that no firewall stands between; another entry in outbound_proxy is tried by itself",
		Account:  "check user, auth_user, password and domain of the line against the provider's letter",
		Hardware: "check the telephone's cable, then `ata-agent diagnose`",
		Audio:    "let UDP through the firewall and router in between in both directions, and turn off what they do for SIP (\"SIP ALG\")",
	}[t.Kind]
}
