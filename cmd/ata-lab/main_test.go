package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "move.txt")
	script := "keepalive 5s\n> boot\n> hold on 30s for p1 registers 100\n> kill p1\n> hold on 60s for p2 registers 100\n> stop\n"
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string // in what it prints
	}{
		{"help", []string{"help"}, 0, "provider in a box"},
		{"nothing", nil, 2, "usage:"},
		{"unknown", []string{"dance"}, 2, "usage:"},
		{"no such file", []string{"play", "/nonexistent"}, 1, "no such file"},
		{"play", []string{"play", file}, 0, "p2 registers 100"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), tc.args, strings.NewReader(""), &out, &out); code != tc.code || !strings.Contains(out.String(), tc.want) {
				t.Errorf("code %d, want %d and %q in\n%s", code, tc.code, tc.want, &out)
			}
		})
	}
}

func TestServePrintsAConfiguration(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var out bytes.Buffer
	if code := run(ctx, []string{"serve"}, strings.NewReader("kill p1\nfly\n"), &out, &out); code != 0 {
		t.Errorf("code %d", code)
	}
	for _, want := range []string{"outbound_proxy = [", "ata-agent run --config", `nobody knows how to do "fly"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
