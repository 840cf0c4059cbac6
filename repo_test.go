// Package repo holds the rules of the house as a test: who may import whom,
// which folder may use which library, and that every page a reader would look
// for is there and true.
package repo

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ata-agent/ata-agent/internal/config"
)

const module = "github.com/ata-agent/ata-agent/"

// The tree is the same on every processor: the short suite, which is the one that
// is emulated, leaves it alone.
func TestMain(m *testing.M) {
	if flag.Parse(); !testing.Short() {
		os.Exit(m.Run())
	}
}

// floors is the table of ARCHITECTURE.md. A package imports only from floors
// below its own.
var floors = map[string]int{
	"cmd/ata-agent": 7, "cmd/ata-lab": 7, "cmd/dsptool": 7,

	"internal/lab": 6, "internal/lab/bench": 6, "internal/lab/peers": 6, "internal/lab/fleet": 6, "internal/lab/fleet/table": 7,

	"internal/agent": 5, "internal/control": 5,

	"sip": 4, "board": 4, "internal/phone": 4, "internal/media": 4,

	"sip/txn": 3, "hal/sim": 3, "hal/led": 3, "hal/gpio": 3,
	"internal/media/rtp": 3, "internal/country": 3, "internal/media/callerid": 3,

	"sip/transport": 2, "sip/dialog": 2, "hal/hook": 2, "hal/blink": 2, "hal/haltest": 2, "internal/config": 2,
	"internal/media/plc": 2, "internal/media/jitter": 2, "internal/media/g726": 2, "internal/media/noise": 2, "internal/media/dtmf": 2, "internal/media/fsk": 2, "internal/media/echo": 2, "internal/media/probe": 2,

	"hal": 1, "outbound": 1, "sip/sdp": 1, "sip/digest": 1,
	"internal/media/soundtest": 1, "internal/media/tone": 1, "internal/media/phasor": 1, "internal/media/g711": 1, "internal/media/g722": 1, "internal/media/resample": 1, "internal/media/level": 1, "internal/status": 1, "internal/trace": 1, "internal/emodel": 1, "internal/link": 1,
}

// fences says which folders may import a library. Replacing one is then work
// in those folders and nowhere else.
var fences = map[string][]string{
	"github.com/emiago/sipgo":         {"sip", "internal/lab"},
	"github.com/miekg/dns":            {"outbound", "internal/lab"},
	"periph.io/x":                     {"hal", "board"},
	"github.com/pion/rtp":             {"internal/media/rtp", "internal/lab"},
	"github.com/pion/srtp":            {"internal/media/rtp", "internal/lab"},
	"github.com/pion/rtcp":            {"internal/media/rtp", "internal/lab"},
	"github.com/pion/sdp":             {"sip/sdp", "internal/lab"},
	"github.com/pelletier/go-toml":    {"internal/config"},
	"golang.org/x/sys":                {"hal", "internal/link", "sip/transport", "cmd/ata-agent"},
	"github.com/rogpeppe/go-internal": {"cmd"},
	"pgregory.net/rapid":              {"outbound", "sip", "internal", "hal"},
	"go.uber.org/goleak":              {"outbound", "sip", "internal", "hal", "cmd"},
}

// A source is one Go file of the project.
type source struct {
	path, dir string
	test      bool
	file      *ast.File
	text      []byte
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "dist") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(p), path.Dir(filepath.ToSlash(p)), strings.HasSuffix(p, "_test.go"), f, text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func within(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return dir == f || strings.HasPrefix(dir, f+"/") })
}

func TestFloors(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == "." || s.dir == "buildroot" { // tests only: they stand outside
			continue
		}
		mine, ok := floors[s.dir]
		if !ok {
			t.Errorf("%s: %s stands on no floor; give it one here and in ARCHITECTURE.md", s.path, s.dir)
			continue
		}
		for _, imp := range s.file.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			if other, ours := strings.CutPrefix(name, module); ours {
				// A test may reach up: it stands outside the house.
				if !s.test && floors[other] >= mine {
					t.Errorf("%s (floor %d) imports %s (floor %d)", s.path, mine, other, floors[other])
				}
				continue
			}
			if strings.Contains(strings.SplitN(name, "/", 2)[0], ".") && !fenced(name, s.dir) {
				t.Errorf("%s imports %s: no fence lets %s use it", s.path, name, s.dir)
			}
		}
	}
}

// fenced reports whether dir may import the library called name.
func fenced(name, dir string) bool {
	for library, folders := range fences {
		if name == library || strings.HasPrefix(name, library+"/") {
			return within(dir, folders)
		}
	}
	return false
}

func TestNobodyRunsPrograms(t *testing.T) {
	for _, s := range sources(t) {
		for _, imp := range s.file.Imports {
			if imp.Path.Value == `"os/exec"` && !s.test && s.dir != "cmd/ata-lab" {
				t.Errorf("%s imports os/exec; the program on the device starts no other", s.path)
			}
		}
	}
}

func TestGofmt(t *testing.T) {
	for _, s := range sources(t) {
		want, err := format.Source(s.text)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.text, want) {
			t.Errorf("%s: run gofmt -w on it", s.path)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			said[s.dir] = said[s.dir] || s.file.Doc != nil
		}
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestEveryBackendHasAPage(t *testing.T) {
	for _, dir := range []string{"hal/sim", "hal/led", "hal/gpio", "board"} {
		page, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		for _, section := range []string{"# ", "## Description", "## Hardware", "## Configuration", "## Tried"} {
			if !bytes.Contains(page, []byte("\n"+section)) && !bytes.HasPrefix(page, []byte(section)) {
				t.Errorf("%s/README.md has no section %q", dir, section)
			}
		}
	}
}

// TestArchitectureShowsTheFloors keeps the drawing in ARCHITECTURE.md equal to
// the table above.
func TestArchitectureShowsTheFloors(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, drawing, found := strings.Cut(string(text), "```floors\n")
	if !found {
		t.Fatal("ARCHITECTURE.md has no block ```floors")
	}
	drawing, _, _ = strings.Cut(drawing, "```")
	drawn := map[string]int{}
	for line := range strings.Lines(drawing) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		floor, err := strconv.Atoi(words[0])
		if err != nil {
			t.Fatalf("floors: %q does not start with a number", line)
		}
		for _, w := range words[1:] {
			drawn[w] = floor
		}
	}
	for dir, floor := range floors {
		if drawn[dir] != floor {
			t.Errorf("ARCHITECTURE.md draws %s on floor %d, it stands on %d", dir, drawn[dir], floor)
		}
		delete(drawn, dir)
	}
	for dir := range drawn {
		t.Errorf("ARCHITECTURE.md draws %s, which does not exist", dir)
	}
}

var quoted = regexp.MustCompile("(?ms)^<!-- (\\S+) -->\n```text\n(.*?)^```")

// TestReadmeQuotesTruly: a transcript in the README is the one that the test
// of that scenario compares with.
func TestReadmeQuotesTruly(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range quoted.FindAllStringSubmatch(string(readme), -1) {
		want, err := os.ReadFile(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if m[2] != string(want) {
			t.Errorf("README.md does not quote %s as it is", m[1])
		}
	}
}

var block = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```")

// TestReadme checks what the README shows: configurations parse, and every
// command is a Makefile target that CI runs or a line of the command tests.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var run strings.Builder
	for _, f := range []string{".ci/run", "Makefile", "scripts/readme"} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		run.Write(text)
	}
	for _, m := range block.FindAllStringSubmatch(string(readme), -1) {
		switch kind, body := m[1], m[2]; kind {
		case "toml":
			if _, err := config.Parse("README.md", []byte(body)); err != nil {
				t.Errorf("README.md shows a configuration that does not load: %v\n%s", err, body)
			}
		case "sh":
			for line := range strings.Lines(body) {
				command, _, _ := strings.Cut(strings.TrimSpace(line), "  #")
				command = strings.TrimSpace(command)
				if command != "" && !strings.Contains(run.String(), command) {
					t.Errorf("README.md shows %q, which neither .ci/run, the Makefile nor scripts/readme runs", command)
				}
			}
		case "text", "go":
		default:
			t.Errorf("README.md has a block of kind %q; use sh, toml, go or text", kind)
		}
	}
}

// TestConstantsHaveDocs: what the libraries beside internal/ export is explained.
func TestExportsAreExplained(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !within(s.dir, []string{"hal", "outbound", "sip", "board"}) {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && !standardMethod(d) {
					t.Errorf("%s: %s has no comment", s.path, funcName(d))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						t.Errorf("%s: type %s has no comment", s.path, ts.Name.Name)
					}
				}
			}
		}
	}
}

// standardMethod reports methods whose meaning the standard library defines,
// and methods of types that nobody outside can name.
func standardMethod(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	switch d.Name.Name {
	case "String", "Error", "Unwrap", "Is", "Close", "MarshalJSON", "MarshalText", "LogValue",
		"Read", "Write", "ReadFrom", "WriteTo", "LocalAddr", "RemoteAddr", "SetDeadline", "SetReadDeadline", "SetWriteDeadline":
		return true
	}
	return !ast.IsExported(strings.TrimLeft(receiver(d), "*"))
}

func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if ix, ok := e.(*ast.IndexExpr); ok {
		e = ix.X
	}
	id, _ := e.(*ast.Ident)
	if id == nil {
		return "?"
	}
	return id.Name
}

func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	return fmt.Sprintf("%s.%s", receiver(d), d.Name.Name)
}
