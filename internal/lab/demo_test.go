package lab

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDemoTellsItsStory(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := Demo(t.Context(), dir, false, &out); err != nil {
			t.Errorf("%v\n%s", err, &out)
		}
		if took := time.Since(start); took > 55*time.Second {
			t.Errorf("the demo takes %v: it is promised to take less than a minute", took)
		}
	})
	if !strings.Contains(out.String(), "What happened:") {
		t.Errorf("no summary:\n%s", &out)
	}
}
