package board_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ata-agent/ata-agent/board"
	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/status"
)

func TestDetect(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := []struct {
		name string
		root fstest.MapFS
		want string
		err  string // what must stand in the error
	}{
		{"o2 Box 6431 under OpenWrt", fstest.MapFS{
			"tmp/sysinfo/board_name":      file("arcadyan,vgv7510kw22-nor\n"),
			"tmp/sysinfo/model":           file("o2 Box 6431\n"),
			"proc/device-tree/compatible": file("arcadyan,vgv7510kw22-nor\x00arcadyan,vgv7510kw22\x00lantiq,xway\x00lantiq,vr9\x00"),
		}, "o2-box-6431", ""},
		{"the same with the other boot loader", fstest.MapFS{
			"proc/device-tree/compatible": file("arcadyan,vgv7510kw22-brn\x00arcadyan,vgv7510kw22\x00lantiq,xway\x00lantiq,vr9\x00"),
		}, "o2-box-6431", ""},
		{"Archer VR200v by its device tree", fstest.MapFS{
			"sys/firmware/devicetree/base/compatible": file("tplink,vr200v\x00lantiq,xway\x00lantiq,vr9\x00"),
		}, "archer-vr200v", ""},
		{"Archer VR200v by its model alone", fstest.MapFS{
			"proc/device-tree/model": file("TP-LINK Archer VR200v\x00"),
		}, "archer-vr200v", ""},
		{"the VR200 without telephones is another", fstest.MapFS{
			"tmp/sysinfo/board_name":      file("tplink,vr200\n"),
			"proc/device-tree/compatible": file("tplink,vr200\x00lantiq,xway\x00lantiq,vr9\x00"),
		}, "", "it calls itself tplink,vr200, tplink,vr200, lantiq,xway, lantiq,vr9: name one of sim, "},
		{"Raspberry Pi 4", fstest.MapFS{
			"proc/device-tree/compatible": file("raspberrypi,4-model-b\x00brcm,bcm2711\x00"),
			"proc/device-tree/model":      file("Raspberry Pi 4 Model B Rev 1.4\x00"),
		}, "raspberry-pi", ""},
		{"a PC", fstest.MapFS{"proc/cpuinfo": file("model name : x\n")}, "", "it does not say what it is: name one of sim, "},
		{"nothing at all", fstest.MapFS{}, "", "it does not say what it is"},

		{"folders for files", fstest.MapFS{
			"tmp/sysinfo/board_name/x":      file("tplink,vr200v"),
			"proc/device-tree/compatible/y": file("tplink,vr200v"),
		}, "", "it does not say what it is"},
		{"a file for a folder", fstest.MapFS{"proc": file("tplink,vr200v"), "tmp": file("")}, "", "it does not say"},
		{"no text", fstest.MapFS{
			"tmp/sysinfo/board_name":      file("\xff\xfe\x01tplink,vr200v"),
			"proc/device-tree/compatible": file("\x00\x00\x00\n\n"),
			"proc/device-tree/model":      file(""),
		}, "", "it does not say"},
		{"a name that is too long", fstest.MapFS{
			"tmp/sysinfo/board_name": file(strings.Repeat("x", 100_000)),
		}, "", "it calls itself xxxx"},
		{"a good word after a bad one", fstest.MapFS{
			"tmp/sysinfo/board_name": file("\x01\x02\ntplink,vr200v\n"),
		}, "archer-vr200v", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := board.Detect(tt.root)
			if tt.err == "" {
				if got != tt.want || err != nil {
					t.Errorf("got %q, %v, want %s", got, err, tt.want)
				}
				return
			}
			if got != "" || !errors.Is(err, board.ErrUnknown) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v, want an error with %q", got, err, tt.err)
			}
			if err != nil && len(err.Error()) > 6000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// brokenFS opens everything and can read nothing.
type brokenFS struct{}

func (brokenFS) Open(string) (fs.File, error) { return brokenFile{}, nil }

type brokenFile struct{ fs.File }

func (brokenFile) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (brokenFile) Close() error             { return nil }

func TestDetectOnABrokenDisk(t *testing.T) {
	if got, err := board.Detect(brokenFS{}); got != "" || !errors.Is(err, board.ErrUnknown) {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzDetect(f *testing.F) {
	f.Add([]byte("tplink,vr200v\x00"), []byte("Raspberry Pi \x00"))
	f.Add([]byte{}, []byte{0, 0xff, '*'})
	f.Fuzz(func(t *testing.T, compatible, model []byte) {
		name, err := board.Detect(fstest.MapFS{
			"proc/device-tree/compatible": &fstest.MapFile{Data: compatible},
			"proc/device-tree/model":      &fstest.MapFile{Data: model},
		})
		if (name == "") != (err != nil) || name != "" && !slices.Contains(board.Names(), name) {
			t.Errorf("got %q, %v", name, err)
		}
	})
}

func TestLoadSim(t *testing.T) {
	b, err := board.Load("sim", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(b); got != "ports 1/sim 2/sim lamps power voip phone1 phone2" || len(b.Faults) != 0 {
		t.Errorf("%s, faults %v", got, b.Faults)
	}
	lamp, ok := b.Lamps[1].Lamp.(*sim.Lamp)
	if !ok {
		t.Fatalf("the lamp is a %T", b.Lamps[1].Lamp)
	}
	slow := hal.Pattern(status.Slow)
	if err := b.Lamps[1].Show(slow); err != nil || lamp.Shown() != slow {
		t.Errorf("shown %v, %v", lamp.Shown(), err)
	}
	if _, ok := b.Ports[0].(hal.Hand); !ok {
		t.Error("nobody can lift a simulated receiver")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if h, err := board.Load("sim-handset", t.TempDir()); err != nil || len(h.Ports) != 1 || hal.RateOf(h.Ports[0]) != 16000 {
		t.Errorf("sim-handset: %+v, %v", h, err)
	} else {
		h.Close()
	}
	if err := b.Ports[0].Read(new(hal.Frame)); err != io.EOF {
		t.Errorf("a port of a closed board: %v", err)
	}
}

func describe(b *board.Board) string {
	var s strings.Builder
	s.WriteString("ports")
	for _, p := range b.Ports {
		fmt.Fprintf(&s, " %s/%s", p.Name(), p.Kind())
	}
	s.WriteString(" lamps")
	for _, l := range b.Lamps {
		s.WriteString(" " + l.Role)
	}
	return s.String()
}

func TestLoadUnknown(t *testing.T) {
	b, err := board.Load("archer", "/")
	want := `board "archer" is not known: want one of sim, sim-handset, o2-box-6431, archer-vr200v, raspberry-pi, raspberry-pi-lamps`
	if b != nil || err == nil || err.Error() != want {
		t.Errorf("got %v, %v, want %s", b, err, want)
	}
}

// device makes a root with LEDs, dark and without triggers.
func device(t *testing.T, leds ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, led := range leds {
		dir := filepath.Join(root, "sys/class/leds", led)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "brightness"), []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func brightness(t *testing.T, root, led string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "sys/class/leds", led, "brightness"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLoadARouter(t *testing.T) {
	root := device(t, "green:power", "red:power", "green:info", "red:info", "green:telefon", "green:dsl", "green:wlan")
	b, err := board.Load("o2-box-6431", root)
	want := `board o2-box-6431: its telephone sockets are driven by tapi: this version has no such backend; board = "sim" telephones without sockets`
	if !errors.Is(err, board.ErrNoBackend) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := describe(b); got != "ports lamps power voip phone1" || len(b.Faults) != 0 || b.Country != "de" {
		t.Errorf("%s, faults %v, country %s", got, b.Faults, b.Country)
	}

	// A fault shines red in its own rhythm, and the green one is dark.
	for _, tt := range []struct {
		pattern    status.Pattern
		green, red string
	}{{status.Solid, "1", "0"}, {status.Triple, "0", "1"}, {status.Solid, "1", "0"}, {status.Off, "0", "0"}, {status.Double, "0", "1"}} {
		if err := b.Lamps[1].Show(hal.Pattern(tt.pattern)); err != nil {
			t.Fatal(err)
		}
		if green, red := brightness(t, root, "green:info"), brightness(t, root, "red:info"); green != tt.green || red != tt.red {
			t.Errorf("%s: green %s, red %s", tt.pattern.Name, green, red)
		}
	}
	for i, p := range []status.Pattern{status.Solid, status.Triple, status.Solid} {
		if err := b.Lamps[i].Show(hal.Pattern(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for led, want := range map[string]string{"green:power": "1", "red:power": "0", "green:info": "0", "red:info": "0", "green:telefon": "0", "green:dsl": "0"} {
		if got := brightness(t, root, led); got != want {
			t.Errorf("after Close %s is %s, want %s", led, got, want)
		}
	}
}

func TestLampsThatAreNotThere(t *testing.T) {
	root := device(t, "green:power", "green:telefon") // no second colour, no info
	b, _ := board.Load("o2-box-6431", root)
	defer b.Close()
	if got := describe(b); got != "ports lamps power phone1" {
		t.Error(got)
	}
	if want := "board o2-box-6431: voip lamp: no LED is called green:info in " + root + "/sys/class/leds"; len(b.Faults) != 1 || b.Faults[0].Error() != want {
		t.Errorf("faults %v, want %s", b.Faults, want)
	}
	if err := b.Lamps[0].Show(hal.Pattern(status.Triple)); err != nil || brightness(t, root, "green:power") != "1" {
		t.Errorf("without red a fault is green: %v, %s", err, brightness(t, root, "green:power"))
	}

	b, err := board.Load("raspberry-pi-lamps", device(t, "led0"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := describe(b); got != "ports 1/sim 2/sim lamps power" || len(b.Faults) != 3 {
		t.Errorf("%s, faults %v", got, b.Faults)
	}
}

func TestRaspberryPiOldAndNew(t *testing.T) {
	for _, leds := range [][]string{{"ACT", "PWR"}, {"led0", "led1"}} {
		root := device(t, leds...)
		b, err := board.Load("raspberry-pi", root)
		if err != nil || len(b.Faults) != 0 {
			t.Fatalf("%v, faults %v", err, b.Faults)
		}
		for _, l := range b.Lamps {
			if err := l.Show(hal.Pattern(status.Solid)); err != nil {
				t.Error(err)
			}
		}
		if got := brightness(t, root, leds[0]) + brightness(t, root, leds[1]); got != "11" {
			t.Errorf("%v: lit %s", leds, got)
		}
		b.Close()
	}
}

// TestProfiles holds what every profile must be.
func TestProfiles(t *testing.T) {
	role := regexp.MustCompile(`^(power|voip|phone[1-9])$`)
	names, matches := map[string]bool{}, map[string]string{}
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Profiles {
		if !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(p.Name) || p.Model == "" || names[p.Name] {
			t.Errorf("profile %q, model %q", p.Name, p.Model)
		}
		names[p.Name] = true
		if !strings.Contains(string(page), "\n### "+p.Name+"\n") {
			t.Errorf("README.md says nothing about %s", p.Name)
		}
		if p.Country != "" {
			if _, err := country.Get(p.Country); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
		for _, m := range p.Match {
			if matches[m] != "" {
				t.Errorf("%s and %s both match %q", p.Name, matches[m], m)
			}
			matches[m] = p.Name
		}
		if len(p.Ports) == 0 {
			t.Errorf("%s has no ports", p.Name)
		}
		seen := map[string]bool{}
		for _, l := range p.Lamps {
			if !role.MatchString(l.Role) || seen[l.Role] {
				t.Errorf("%s: role %q", p.Name, l.Role)
			}
			seen[l.Role] = true
			if l.GPIO != "" && len(l.LED) > 0 || l.Warning != "" && len(l.LED) == 0 {
				t.Errorf("%s: the %s lamp is two things", p.Name, l.Role)
			}
		}
		if _, err := status.Default.With(p.Patterns); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	if board.Names()[0] != "sim" {
		t.Errorf("the first of %v is not sim", board.Names())
	}
	// The pins of a header are nobody's business until somebody says so.
	for _, p := range board.Profiles {
		for _, l := range p.Lamps {
			if l.GPIO != "" && len(p.Match) > 0 {
				t.Errorf("%s is detected and moves pins", p.Name)
			}
		}
	}
}

func ExampleDetect() {
	root := fstest.MapFS{
		"tmp/sysinfo/board_name": &fstest.MapFile{Data: []byte("tplink,vr200v\n")},
	}
	fmt.Println(board.Detect(root))
	// Output: archer-vr200v <nil>
}

func ExampleLoad() {
	b, err := board.Load("sim", "/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	for _, p := range b.Ports {
		fmt.Println("port", p.Name(), p.Kind())
	}
	for _, l := range b.Lamps {
		_ = l.Show(hal.Pattern{Name: "solid", Steps: [8]time.Duration{time.Second}})
		fmt.Println("lamp", l.Role)
	}
	// Output:
	// port 1 sim
	// port 2 sim
	// lamp power
	// lamp voip
	// lamp phone1
	// lamp phone2
}
