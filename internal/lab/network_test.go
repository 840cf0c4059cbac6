package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// twoHosts is a network with a at 10.0.1.1 and b at 10.0.0.1.
func twoHosts() (*Network, *Host, *Host) {
	n := NewNetwork(1)
	return n, n.Host("10.0.1.1"), n.Host("10.0.0.1")
}

func listen(t *testing.T, h Place, at string) net.PacketConn {
	t.Helper()
	pc, err := h.ListenPacket(t.Context(), "udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

func TestDatagramsKeepTheirOrderAndTheirInstants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoHosts()
		from, to := listen(t, a, ":0"), listen(t, b, ":5060")
		for i := range 10 {
			from.WriteTo([]byte{byte(i)}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5060})
		}
		start, last := time.Now(), time.Duration(0)
		for i := range 10 {
			buf := make([]byte, 10)
			n, who, err := to.ReadFrom(buf)
			if err != nil || n != 1 || buf[0] != byte(i) || who.String() != "10.0.1.1:40000" {
				t.Fatalf("read %d: %v from %v, %v", i, buf[:n], who, err)
			}
			if at := time.Since(start); at <= last {
				t.Fatalf("datagram %d shares its instant with the one before", i)
			} else {
				last = at
			}
		}
		if last < 10*time.Millisecond || last > 11*time.Millisecond {
			t.Errorf("the last came after %v, want 10 ms and a few microseconds", last)
		}
	})
}

func TestNobodyAtThePortIsToldByICMP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := twoHosts()
		pc := listen(t, a, ":0")
		pc.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5060})
		_, _, err := pc.ReadFrom(make([]byte, 10))
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "read" || op.Addr.String() != "10.0.0.1:5060" || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("got %v, want connection refused from 10.0.0.1:5060", err)
		}
		c, err := a.DialContext(t.Context(), "udp", "10.0.0.1:5060")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.LocalAddr().String(); got != "10.0.1.1:40001" {
			t.Errorf("our address is %s", got)
		}
		c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a connected socket reads %v, want connection refused", err)
		}
	})
}

func TestAHostThatIsOffSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoHosts()
		to := listen(t, b, ":5060")
		b.Off(true)
		pc := listen(t, a, ":0")
		pc.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5060})
		for _, c := range []net.PacketConn{pc, to} {
			c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, _, err := c.ReadFrom(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v, want a deadline", err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := a.DialContext(ctx, "tcp", "10.0.0.1:5060"); err == nil || time.Since(start) != 3*time.Second {
			t.Errorf("dial after %v: %v", time.Since(start), err)
		}
	})
}

func TestAPulledCableIsKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := twoHosts()
		pc := listen(t, a, ":0")
		a.LinkDown(true)
		if _, err := pc.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5060}); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("send: %v", err)
		}
		for _, network := range []string{"udp", "tcp"} {
			if _, err := a.DialContext(t.Context(), network, "10.0.0.1:5060"); !errors.Is(err, syscall.ENETUNREACH) {
				t.Errorf("dial %s: %v", network, err)
			}
		}
	})
}

func TestAConnectionCarriesBytesAndItsEnd(t *testing.T) {
	for _, place := range []struct {
		name string
		make func() (near, far Place)
	}{
		{"virtual", func() (Place, Place) { _, a, b := twoHosts(); return a, b }},
		{"loopback", func() (Place, Place) { return Loopback{}, Loopback{} }},
	} {
		body := func(t *testing.T) {
			near, far := place.make()
			l, err := far.Listen(t.Context(), "tcp", ":0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			conns := make(chan net.Conn)
			go func() {
				for range 2 {
					c, err := l.Accept()
					if err != nil {
						t.Error(err)
					}
					conns <- c
				}
			}()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			at := net.JoinHostPort(far.Addr().String(), port)
			a, err := near.DialContext(t.Context(), "tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			b := <-conns
			a.Write([]byte("one "))
			a.Write([]byte("two"))
			a.Close()
			if got, err := io.ReadAll(b); string(got) != "one two" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			b.Close()

			if a, err = near.DialContext(t.Context(), "tcp", at); err != nil {
				t.Fatal(err)
			}
			b = <-conns
			b.(interface{ SetLinger(int) error }).SetLinger(0)
			b.Close()
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after a reset: %v", err)
			}
			a.Close()
			l.Close()
			if _, err := near.DialContext(t.Context(), "tcp", at); err == nil { // qemu-user does not translate the error
				t.Error("nobody listens, and the call is taken")
			}
		}
		t.Run(place.name, func(t *testing.T) {
			if place.name == "virtual" {
				synctest.Test(t, body)
				return
			}
			body(t)
		})
	}
}

func TestAConnectionWaitsForTheOtherEndToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoHosts()
		l, _ := b.Listen(t.Context(), "tcp", ":5060")
		defer l.Close()
		c, err := a.DialContext(t.Context(), "tcp", "10.0.0.1:5060")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		far, _ := l.Accept()
		defer far.Close()
		b.Off(true)
		c.Write([]byte("hello"))
		time.AfterFunc(time.Minute, func() { b.Off(false) })
		buf := make([]byte, 10)
		start := time.Now()
		n, err := far.Read(buf)
		if string(buf[:n]) != "hello" || err != nil || time.Since(start) < time.Minute {
			t.Errorf("after %v: %q, %v", time.Since(start), buf[:n], err)
		}
	})
}

func TestLossIsWhatTheSeedSays(t *testing.T) {
	count := func(seed uint64) (got [1000]bool) {
		synctest.Test(t, func(t *testing.T) {
			n := NewNetwork(seed)
			a, b := n.Host("10.0.1.1"), n.Host("10.0.0.1")
			from, to := listen(t, a, ":0"), listen(t, b, ":5060")
			b.Lose(0.3)
			for i := range got {
				from.WriteTo([]byte{byte(i), byte(i >> 8)}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5060})
				time.Sleep(20 * time.Millisecond)
			}
			to.SetReadDeadline(time.Now().Add(time.Second))
			buf := make([]byte, 2)
			for {
				if _, _, err := to.ReadFrom(buf); err != nil {
					break
				}
				got[int(buf[0])|int(buf[1])<<8] = true
			}
		})
		return got
	}
	first := count(7)
	came := 0
	for _, c := range first {
		if c {
			came++
		}
	}
	if came < 630 || came > 770 {
		t.Errorf("%d of 1000 came, want about 700", came)
	}
	if count(7) != first || count(8) == first {
		t.Error("the seed does not decide what is lost")
	}
}
