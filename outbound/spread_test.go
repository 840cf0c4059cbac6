package outbound

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// RFC 2782, Weight: "The weight field specifies a relative weight for entries with
// the same priority. Larger weights SHOULD be given a proportionately higher
// probability of being selected."
func TestSpreadWeights(t *testing.T) {
	weights := []float64{10, 20, 70, zeroWeight}
	first, second := make([]int, 5), make([]int, 5)
	const devices = 20_000
	for i := range devices {
		list, w := placesTo(4), slices.Clone(weights)
		Spread(fmt.Sprint("device ", i), list, w)
		first[list[0].Addr.Addr().As4()[3]]++
		if list[0] == place(3) { // when the third dies, its devices go to the others by their weights
			second[list[1].Addr.Addr().As4()[3]]++
		}
	}
	for i, want := range []float64{0.1, 0.2, 0.7, 0} {
		if got := float64(first[i+1]) / devices; math.Abs(got-want) > 0.01 {
			t.Errorf("place %d is first for %.3f of the devices, want %.2f", i+1, got, want)
		}
	}
	if got := float64(second[2]) / float64(second[1]+second[2]); math.Abs(got-2.0/3) > 0.02 {
		t.Errorf("after place 3 comes place 2 for %.3f, want 0.667", got)
	}
}

// An address that is added or taken away moves no line but its own.
func TestSpreadIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		device := rapid.String().Draw(t, "device")
		some := rapid.SliceOfNDistinct(rapid.IntRange(1, 200), 1, 16, rapid.ID).Draw(t, "addresses")
		list := places(some...)
		Spread(device, list, nil)
		gone := list[rapid.IntRange(0, len(list)-1).Draw(t, "gone")]
		fewer := slices.DeleteFunc(slices.Clone(places(some...)), func(t Target) bool { return t == gone })
		slices.Reverse(fewer) // DNS turned its answer round
		Spread(device, fewer, nil)
		if want := slices.DeleteFunc(list, func(t Target) bool { return t == gone }); !slices.Equal(fewer, want) {
			t.Fatalf("%v, want %v", fewer, want)
		}
	})
}

// Priorities and configured order are strict; names that DNS turns round are not.
func TestOrderSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := []string{
			"_sip._udp.p.example.net. 100 IN SRV 20 0 5060 c.example.net.",
			"_sip._udp.p.example.net. 100 IN SRV 10 1 5060 a.example.net.", "_sip._udp.p.example.net. 100 IN SRV 10 1 5060 b.example.net.",
			"a.example.net. 100 IN A 192.0.2.1", "b.example.net. 100 IN A 192.0.2.2", "c.example.net. 100 IN A 192.0.2.3",
			"b.example.net. 100 IN AAAA 2001:db8::2"}
		orders := map[string]int{}
		for i := range 40 {
			cfg := RouteConfig{Proxies: proxies(t, "198.51.100.9", "p.example.net;transport=udp"), Resolver: newNet(&fakeDNS{zone: zone}).resolver(), Order: OrderSpread, Device: fmt.Sprint(i)}
			r, first := start(t, cfg)
			time.Sleep(time.Second)
			all := dests(r.Targets())
			if first.Dest != "198.51.100.9:5060" {
				t.Fatalf("first %v", first)
			}
			orders[all]++
			r, again := start(t, cfg)
			time.Sleep(time.Second)
			if again != first || dests(r.Targets()) != all {
				t.Errorf("device %d has another order after a restart", i)
			}
		}
		one, two := "198.51.100.9:5060 192.0.2.1:5060 192.0.2.2:5060 [2001:db8::2]:5060 192.0.2.3:5060", "198.51.100.9:5060 192.0.2.2:5060 192.0.2.1:5060 [2001:db8::2]:5060 192.0.2.3:5060"
		if len(orders) != 2 || orders[one] < 8 || orders[two] < 8 {
			t.Errorf("orders %v", orders)
		}
	})
}

func TestPhase(t *testing.T) {
	var tenths [10]int
	for i := range 10_000 {
		tenths[int(Phase(fmt.Sprintf("00:11:22:%02x:%02x", i>>8, i&255))*10)]++
	}
	for i, n := range tenths {
		if n < 850 || n > 1150 {
			t.Errorf("%d of 10000 devices have a phase of 0.%d", n, i)
		}
	}
}
