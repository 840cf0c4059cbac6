package outbound

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Last good addresses are written once they are known, and used at boot when
// DNS is dead.
func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "route")
	read := func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	synctest.Test(t, func(t *testing.T) {
		server := trio()
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060", "203.0.113.1"), Resolver: newNet(server).resolver(), StateFile: path})
		r.Good(first, 0)
		synctest.Wait()
		if want := "ata-agent route 1\np.example.net:5060 192.0.2.1:5060 udp 0\np.example.net:5060 192.0.2.2:5060 udp 0\np.example.net:5060 192.0.2.3:5060 udp 0\n"; read() != want {
			t.Errorf("state file:\n%s", read())
		}
		info, _ := os.Stat(path)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}

		// "only when changed and at most once an hour"
		os.Remove(path)
		time.Sleep(30 * time.Minute)
		server.set(func(s *fakeDNS) { s.zone = zoneA("p.example.net", "192.0.2.9") })
		time.Sleep(29 * time.Minute)
		if _, err := os.Stat(path); err == nil {
			t.Error("written twice within an hour")
		}
		time.Sleep(2 * time.Minute)
		if !strings.Contains(read(), "192.0.2.9:5060") {
			t.Errorf("not written when the hour was over: %s", read())
		}
		os.Remove(path)
		time.Sleep(24 * time.Hour)
		if _, err := os.Stat(path); err == nil {
			t.Error("written although nothing had changed")
		}
		server.set(func(s *fakeDNS) { s.zone = zoneA("p.example.net", "192.0.2.9", "192.0.2.8") })
		time.Sleep(time.Hour)
	})
	for name, harm := range map[string]func(*fakeDNS){
		"silent":   func(s *fakeDNS) { s.silent = true },
		"refused":  func(s *fakeDNS) { s.refused = true },
		"NXDOMAIN": func(s *fakeDNS) { s.zone = nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			server := trio()
			harm(server)
			if err := os.WriteFile(path, []byte(stateHead+"\np.example.net:5060 192.0.2.9:5060 udp 0\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(server).resolver(), StateFile: path})
			if took := time.Since(began); first.Dest != "192.0.2.9:5060" || took > firstWait {
				t.Errorf("boot with DNS %s: %v after %v", name, first, took)
			}
			if !r.Trusts(first.Addr.Addr()) {
				t.Error("an address of the state file is not trusted")
			}
			// DNS is back: what it says counts.
			server.set(func(s *fakeDNS) {
				s.silent, s.refused, s.zone = false, false, zoneA("p.example.net", "192.0.2.33")
			})
			time.Sleep(6 * time.Minute)
			if got := dests(r.Targets()); got != "192.0.2.33:5060" {
				t.Errorf("%s: ring %s", name, got)
			}
		})
	}
	// DNS is well at boot: what it says counts from the start.
	synctest.Test(t, func(t *testing.T) {
		_, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(trio()).resolver(), StateFile: path})
		if first.Dest != one {
			t.Errorf("first %v", first)
		}
	})
}

// Whatever stands in the file, the route begins; what is not understood, is
// another proxy's or cannot be, is passed over.
func TestStateFileHarmed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "route")
	for text, want := range map[string]string{
		"":                  "",
		"ata-agent route 1": "",
		"something else\n":  "",
		"\x00\xff\x00":      "",
		"ata-agent route 2\np.example.net 192.0.2.1:5060 udp 0\n":                                          "",
		"ata-agent route 1\np.example.net 192.0.2.1:5060 udp 0\n":                                          one,
		"ata-agent route 1\np.example.net 192.0.2.1:5060 udp 0\np.example.net 192.0.2.1:5060 udp 0\n":      one,
		"ata-agent route 1\nnonsense\n\np.example.net 192.0.2.1:50":                                        "192.0.2.1:50",
		"ata-agent route 1\np.example.net 192.0.2.1:50 u":                                                  "",
		"ata-agent route 1\nq.example.net 192.0.2.1:5060 udp 0\n":                                          "",
		"ata-agent route 1\np.example.net 0.0.0.0:5060 udp 0\np.example.net 192.0.2.2:0 udp 0\n":           "",
		"ata-agent route 1\np.example.net 192.0.2.1:5060 udp 99999999\np.example.net 192.0.2.2:5060 udp 1": two,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := NewRoute(RouteConfig{Proxies: proxies(t, "p.example.net"), StateFile: path})
		if strings.HasSuffix(text, ":50") {
			want = "" // cut off before the end of the line
		}
		if got := dests(r.Targets()); got != want {
			t.Errorf("%q: ring %q, want %q", text, got, want)
		}
	}
}

// TLS is not led away by a file that was written when the line was on UDP.
func TestStateFileTLS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "route")
	if err := os.WriteFile(path, []byte(stateHead+"\np.example.net;transport=tls 192.0.2.1:5060 udp 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := NewRoute(RouteConfig{Proxies: proxies(t, "p.example.net;transport=tls"), StateFile: path})
	if got := r.Targets(); len(got) != 0 {
		t.Errorf("ring %v", got)
	}
}

// A directory that is not there, or a full disk, stops nothing.
func TestStateFileCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver(),
			StateFile: filepath.Join(t.TempDir(), "not", "there", "route")})
		time.Sleep(3 * time.Hour)
		if first.Dest != one {
			t.Errorf("first %v", first)
		}
	})
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "route")
	for _, text := range []string{"old\n", "new and longer\n", "short"} {
		if err := replaceFile(path, text); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}
