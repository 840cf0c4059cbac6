package probe

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// What spandsp sends, of the Debian package libspandsp-dev, is heard for what it
// is.
func TestOthersSend(t *testing.T) {
	if testing.Short() {
		t.Skip("others send the same samples from every machine")
	}
	program := filepath.Join(t.TempDir(), "spandsp")
	if out, err := exec.Command("cc", "-o", program, "testdata/spandsp.c", "-lspandsp", "-lm").CombinedOutput(); err != nil {
		t.Skipf("cannot be compiled here: %v\n%s", err, out)
	}
	for n, want := range map[int]Tone{1: CNG, 2: CED, 3: ANS, 4: ANSam, 5: ANSamTurns, 6: Preamble} {
		out, err := exec.Command(program, fmt.Sprint(n)).Output()
		if err != nil {
			t.Fatal(err)
		}
		x := make([]int16, len(out)/2)
		for i := range x {
			x[i] = int16(binary.NativeEndian.Uint16(out[2*i:]))
		}
		got := listen(x)
		t.Logf("%v: heard %v", want, got)
		times := 1
		if want == CNG {
			times = 3 // every 3.5 s
		}
		if len(got) != times {
			t.Errorf("%v: heard %v", want, got)
		}
		for _, e := range got {
			if e.tone != want {
				t.Errorf("%v: heard %v", want, e)
			}
		}
	}
}
