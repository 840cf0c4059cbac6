package outbound

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// place is the nth address of a test network.
func place(n int) Target {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 5060)
	return Target{Addr: addr, Dest: addr.String(), Proxy: "proxy.example.net"}
}

func places(numbers ...int) (list []Target) {
	for _, n := range numbers {
		list = append(list, place(n))
	}
	return list
}

func TestRingZero(t *testing.T) {
	var r Ring
	past, over := r.Rotate()
	if r.Len() != 0 || !r.Current().IsZero() || r.Dest() != "" || !past || !over || r.Find(place(1)) != -1 {
		t.Error("the zero ring is not empty")
	}
	if r.Load(nil) {
		t.Error("nothing loaded is a change")
	}
}

func TestRingRotate(t *testing.T) {
	var r Ring
	r.Load(places(1, 2, 3))
	r.Point(1)
	for i, want := range []struct {
		dest       string
		past, over bool
	}{
		{"192.0.2.3:5060", false, false},
		{"192.0.2.1:5060", true, false},
		{"192.0.2.2:5060", false, true},
		{"192.0.2.3:5060", false, false},
	} {
		past, over := r.Rotate()
		if r.Dest() != want.dest || past != want.past || over != want.over {
			t.Errorf("turn %d: %s past %v over %v, want %v", i, r.Dest(), past, over, want)
		}
	}
}

func TestRingLoad(t *testing.T) {
	for _, c := range []struct {
		name    string
		finger  int // before, on 1 2 3
		turns   int
		load    []Target
		changed bool
		want    string
	}{
		{"nothing", 1, 0, nil, false, "192.0.2.2:5060"},
		{"the same", 1, 0, places(1, 2, 3), false, "192.0.2.2:5060"},
		{"another order", 1, 0, places(3, 2, 1), true, "192.0.2.2:5060"},
		{"one more", 1, 0, places(9, 1, 2, 3), true, "192.0.2.2:5060"},
		{"the current one gone", 1, 0, places(1, 3), true, "192.0.2.1:5060"},
		{"the current one gone, the first tried", 0, 1, places(1, 3, 4), true, "192.0.2.3:5060"},
		{"all new", 2, 0, places(7, 8), true, "192.0.2.7:5060"},
		{"doubles", 0, 0, places(1, 1, 2, 2, 3, 3), false, "192.0.2.1:5060"},
		{"nonsense only", 1, 0, []Target{{}}, false, "192.0.2.2:5060"},
	} {
		var r Ring
		r.Load(places(1, 2, 3))
		r.Point(c.finger)
		for range c.turns {
			r.Rotate()
		}
		if changed := r.Load(c.load); changed != c.changed || r.Dest() != c.want {
			t.Errorf("%s: changed %v, current %s; want %v %s", c.name, changed, r.Dest(), c.changed, c.want)
		}
	}

	var r Ring
	var many []Target
	for i := range 200 {
		many = append(many, place(i+1))
	}
	r.Load(many)
	if r.Len() != Capacity {
		t.Errorf("200 addresses fill %d places", r.Len())
	}
}

// "0 allocs/op for rotate, current, printed destination and reload of an
// unchanged answer", on every target.
func TestRingAllocates(t *testing.T) {
	var r Ring
	list := places(1, 2, 3, 4, 5, 6, 7, 8)
	other := places(8, 2, 3, 4, 5, 6, 7, 1)
	r.Load(list)
	var dest string
	var current Target
	for name, f := range map[string]func(){
		"rotate":          func() { r.Rotate() },
		"current":         func() { current = r.Current() },
		"dest":            func() { dest = r.Dest() },
		"find":            func() { r.Find(list[7]) },
		"load, unchanged": func() { r.Load(list) },
		"load, changed":   func() { r.Load(other); r.Load(list) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if dest == "" || current.IsZero() {
		t.Error("nothing was measured")
	}
}

// The laws of the ring alone: whatever is done to it, the finger is on a
// member, and each member is tried once per tour.
func TestRingLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Ring
		some := func() []Target {
			return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Target { return place(rapid.IntRange(1, 24).Draw(t, "n")) }), 0, 40).Draw(t, "list")
		}
		r.Load(some())
		tried := map[Target]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"rotate": func(t *rapid.T) {
				if r.Len() == 0 {
					return
				}
				from := r.Current()
				if tried[from] {
					t.Fatalf("%v is tried twice in a tour", from)
				}
				tried[from] = true
				if _, over := r.Rotate(); over {
					for i := range r.Len() {
						if !tried[r.Place(i).Target] {
							t.Fatalf("the tour is over and %v was not tried", r.Place(i).Target)
						}
					}
					clear(tried)
				}
			},
			"load": func(t *rapid.T) {
				was, list := r.Current(), some()
				r.Load(list)
				if i := r.Find(was); i >= 0 && r.Finger() != i {
					t.Fatal("a reload moved the finger off a member")
				}
				all := true
				for i := range r.Len() {
					all = all && tried[r.Place(i).Target]
				}
				for k := range tried {
					if all || r.Find(k) < 0 {
						delete(tried, k)
					}
				}
			},
			"": func(t *rapid.T) {
				if r.Len() == 0 {
					return
				}
				if r.Finger() >= r.Len() || r.Current().IsZero() || r.Current() != r.Place(r.Finger()).Target || r.Dest() != r.Current().Dest {
					t.Fatalf("the finger %d is not on a member of %d", r.Finger(), r.Len())
				}
			},
		})
	})
}

func BenchmarkRotate(b *testing.B) {
	var r Ring
	r.Load(places(1, 2, 3, 4))
	b.ReportAllocs()
	var n int
	for b.Loop() {
		r.Rotate()
		t := r.Current()
		n += len(r.Dest()) + int(t.Transport)
	}
}

func BenchmarkReloadSame(b *testing.B) {
	var r Ring
	list := places(1, 2, 3, 4, 5, 6, 7, 8)
	r.Load(list)
	b.ReportAllocs()
	for b.Loop() {
		r.Load(list)
	}
}

func BenchmarkReloadChanged(b *testing.B) {
	var r Ring
	one, other := places(1, 2, 3, 4, 5, 6, 7, 8), places(2, 3, 4, 5, 6, 7, 8, 9)
	b.ReportAllocs()
	for b.Loop() {
		r.Load(one)
		r.Load(other)
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte("l\x03r r p\x01 s\x02 r l\x00 r R"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		var r Ring
		for i := 0; i+1 < len(ops); i += 2 {
			arg := int(ops[i+1])
			switch ops[i] % 6 {
			case 0:
				r.Rotate()
			case 1:
				var list []Target
				for k := range arg % 20 {
					list = append(list, place((arg*7+k*3)%40))
				}
				r.Load(list)
			case 2:
				if r.Len() > 0 {
					r.Point(arg % r.Len())
				}
			case 3:
				if r.Len() > 0 {
					r.Skip(arg % r.Len())
				}
			case 4:
				r.Restart()
			case 5:
				r.Find(place(arg))
			}
			if r.Len() > 0 && (r.Finger() >= r.Len() || r.Current().IsZero()) {
				t.Fatal(fmt.Sprint("the finger is off the ring after ", ops[:i+2]))
			}
		}
	})
}
