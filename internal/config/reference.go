package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Smallest is the smallest useful file.
const Smallest = `[[line]]
user = "1001"
password = "secret"
domain = "example.net"
outbound_proxy = ["proxy.example.net", "192.0.2.7:5060"]
`

// Reference is a file with every key, its meaning and its default, or an
// example where there is none. It can be read by Parse.
func Reference() []byte {
	var b strings.Builder
	b.WriteString("# Every key that ata-agent knows. Shown are the defaults; where there is none, an\n" +
		"# example. Take what you need: the smallest useful file is\n#\n")
	for l := range strings.Lines(Smallest) {
		b.WriteString("#   " + l)
	}
	b.WriteString("#\n# After a change, \"ata-agent check\" names everything that is wrong in the file, and\n" +
		"# SIGHUP makes the running agent read it again without dropping calls.\n")
	for i := range schema {
		t := &schema[i]
		if t.name != "" {
			b.WriteString("\n\n")
			remark(&b, t.doc)
			b.WriteString(t.header() + "\n")
		}
		for j := range t.keys {
			k := &t.keys[j]
			b.WriteString("\n")
			remark(&b, k.doc)
			remark(&b, k.terms())
			shown := k.def
			if shown == "" {
				shown = k.example
			}
			fmt.Fprintf(&b, "%s = %s\n", k.name, shown)
		}
	}
	return []byte(b.String())
}

func remark(b *strings.Builder, text string) {
	for l := range strings.SplitSeq(text, "\n") {
		b.WriteString("# " + l + "\n")
	}
}

// terms says a key's range and default.
func (k *key) terms() string {
	s := ""
	switch k.into(sample(), 0).(type) {
	case *time.Duration:
		s = fmt.Sprintf("From %s to %s. ", short(k.min), short(k.max))
	case *int:
		s = fmt.Sprintf("From %d to %d. ", k.low, k.top)
	case *int64:
		s = fmt.Sprintf("From %s to %s. ", amount(k.low), amount(k.top))
	case *[]string, *[]netip.AddrPort:
		s = fmt.Sprintf("At most %d. ", k.most)
	default:
		if len(k.one) > 0 {
			s = "One of " + quoted(k.one) + ". "
		}
	}
	switch {
	case k.required:
		return s + "Required."
	case k.def == "":
		return s + "Default: " + k.follows + "."
	}
	return s + "Default: " + k.def + "."
}
