// Package buildroot checks the syntax and the promises of the external tree:
// Buildroot itself is not at hand where the tests run.
package buildroot

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ata-agent/ata-agent/internal/config"
)

func lines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		all = append(all, s.Text())
	}
	return all
}

// "external.desc: name: ... only ASCII letters, digits and underscore"
// (Buildroot manual, 9.2.1.1).
func TestDescription(t *testing.T) {
	desc := lines(t, "external.desc")
	if len(desc) != 2 || !regexp.MustCompile(`^name: [A-Za-z0-9_]+$`).MatchString(desc[0]) || !strings.HasPrefix(desc[1], "desc: ") {
		t.Fatalf("external.desc: %q", desc)
	}
}

// Every file that Kconfig sources is there, blocks close, help is indented by
// a tab and two spaces as Buildroot's check-package asks.
func TestKconfig(t *testing.T) {
	files, _ := filepath.Glob("package/*/Config.in")
	files = append(files, "Config.in")
	for _, f := range files {
		inHelp := false
		for n, line := range lines(t, f) {
			if src, ok := strings.CutPrefix(line, "source "); ok {
				p := strings.TrimPrefix(strings.Trim(src, `"`), "$BR2_EXTERNAL_ATA_AGENT_PATH/")
				if _, err := os.Stat(p); err != nil {
					t.Errorf("%s:%d: %v", f, n+1, err)
				}
			}
			switch {
			case line == "\thelp":
				inHelp = true
			case inHelp && line != "" && !strings.HasPrefix(line, "\t  "):
				inHelp = false
			}
			if inHelp && len(line) > 72 {
				t.Errorf("%s:%d: help text is over 72 columns", f, n+1)
			}
			if strings.HasSuffix(line, " ") || strings.HasPrefix(line, " ") {
				t.Errorf("%s:%d: spaces where a tab or nothing should be", f, n+1)
			}
		}
	}
}

// A recipe's variables start with its name, and it ends in the infrastructure.
func TestRecipe(t *testing.T) {
	recipe := lines(t, "package/ata-agent/ata-agent.mk")
	assign := regexp.MustCompile(`^(?:define )?([A-Z][A-Za-z0-9_]*)\b`)
	depth := 0
	for n, line := range recipe {
		if m := assign.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "ATA_AGENT") {
			t.Errorf("line %d: %s is not this package's own name", n+1, m[1])
		}
		switch {
		case strings.HasPrefix(line, "define "):
			depth++
		case line == "endef":
			depth--
		}
	}
	if depth != 0 {
		t.Error("define and endef do not pair")
	}
	if got := recipe[len(recipe)-1]; got != "$(eval $(golang-package))" {
		t.Errorf("the recipe ends in %q", got)
	}
	text := strings.Join(recipe, "\n")
	for _, want := range []string{"GOFIPS140=v1.0.0", "CGO_ENABLED=0", "GOMIPS=softfloat", "cmd/ata-agent", "CONFIG_COMPAT_32BIT_TIME"} {
		if !strings.Contains(text, want) {
			t.Errorf("the recipe lacks %s", want)
		}
	}
	makefile(t, `
BR2_EXTERNAL_ATA_AGENT_PATH = .
BR2_ARCH = "mipsel"
HOST_GO_COMMON_ENV = GO111MODULE=on
include package/ata-agent/ata-agent.mk
golang-package =
all:
	@echo '$(ATA_AGENT_GO_ENV)'
`, "GOOS=linux GOARCH=mipsle GOMIPS=softfloat")
	makefile(t, `
BR2_EXTERNAL_ATA_AGENT_PATH = .
BR2_ARCH = "arm"
BR2_arm = y
BR2_ARM_CPU_ARMV7A = y
include package/ata-agent/ata-agent.mk
golang-package =
all:
	@echo '$(ATA_AGENT_GO_ENV)'
`, "GOARM=7")
}

// makefile lets make itself read the recipe and wants a word in what it says.
func makefile(t *testing.T, text, want string) {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed")
	}
	cmd := exec.Command("make", "-s", "-f", "-", "all")
	cmd.Stdin = strings.NewReader(text)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("make said %q, %v; want %q", out, err, want)
	}
}

// A defconfig names symbols once, builds the package, checks its downloads and
// keeps the kernel fragment that 32-bit Go needs.
func TestDefconfigs(t *testing.T) {
	files, _ := filepath.Glob("configs/*_defconfig")
	if len(files) < 2 {
		t.Fatalf("only %d defconfigs", len(files))
	}
	symbol := regexp.MustCompile(`^(?:# )?(BR2_[A-Za-z0-9_]+)(?:=(?:y|"[^"]*")| is not set)$`)
	for _, f := range files {
		seen := map[string]bool{}
		for n, line := range lines(t, f) {
			m := symbol.FindStringSubmatch(line)
			if m == nil {
				if n > 0 || !strings.HasPrefix(line, "# ") {
					t.Errorf("%s:%d: %q is no setting", f, n+1, line)
				}
				continue
			}
			if seen[m[1]] {
				t.Errorf("%s:%d: %s is set twice", f, n+1, m[1])
			}
			seen[m[1]] = true
			if _, p, ok := strings.Cut(line, "$(BR2_EXTERNAL_ATA_AGENT_PATH)/"); ok {
				if _, err := os.Stat(strings.TrimSuffix(p, `"`)); err != nil {
					t.Errorf("%s:%d: %v", f, n+1, err)
				}
			}
		}
		for _, want := range []string{"BR2_PACKAGE_ATA_AGENT", "BR2_DOWNLOAD_FORCE_CHECK_HASHES", "BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES"} {
			if !seen[want] {
				t.Errorf("%s does not set %s", f, want)
			}
		}
	}
}

// The init script is shell, and keeps a program running that ends by itself.
func TestInitScript(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("sh is not installed")
	}
	script := "package/ata-agent/S90ata-agent"
	if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("sh", script, "nonsense").CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "Usage:") {
		t.Errorf("an unknown word gives %q, %v", out, err)
	}
}

// The configuration in the image loads.
func TestConfigurationLoads(t *testing.T) {
	text, err := os.ReadFile("package/ata-agent/ata-agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Parse("ata-agent.toml", text); err != nil {
		t.Error(err)
	}
}
