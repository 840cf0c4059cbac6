package callerid

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ata-agent/ata-agent/internal/media/fsk"
)

// Decoders of other people, of the Debian packages minimodem and multimon-ng,
// hear ten messages of ten at 12 dB over white noise.
func TestOthersHear(t *testing.T) {
	if testing.Short() {
		t.Skip("the others hear the same samples from every machine")
	}
	// minimodem's caller identity is Bell 202. Set to V.23 it is weaker, with
	// spandsp's sound too (13 of 20 at 12 dB), than where it is.
	for _, x := range []struct {
		program string
		std     Standard
		args    []string
	}{
		{"minimodem", Bellcore, []string{"-q", "callerid"}},
		{"minimodem", BellcoreSDMF, []string{"-q", "callerid"}},
		{"minimodem", ETSIRing, []string{"-q", "callerid"}},
		{"minimodem", UK, []string{"-q", "callerid"}},
		{"multimon-ng", Bellcore, []string{"-q", "-a", "CLIPFSK", "-t", "raw"}},
		{"multimon-ng", ETSIRing, []string{"-q", "-a", "CLIPFSK", "-t", "raw"}},
		{"multimon-ng", ETSIAlert, []string{"-q", "-a", "CLIPFSK", "-t", "raw"}},
		{"multimon-ng", UK, []string{"-q", "-a", "CLIPFSK", "-t", "raw"}},
	} {
		t.Run(x.program+" "+x.std.String(), func(t *testing.T) {
			program, err := exec.LookPath(x.program)
			if err != nil {
				t.Skip("not installed")
			}
			snrs := []float64{12}
			if testing.Verbose() {
				snrs = []float64{12, 10, 8}
			}
			for _, snr := range snrs {
				r := rand.New(rand.NewPCG(uint64(snr), 5))
				heard := 0
				for i := range 10 {
					var s Sender
					m := Message{At: at, Number: fmt.Sprint(5550000000 + int64(i)*1234567), Name: "ALICE EXAMPLE"}
					s.Call(x.std, &m, usual)
					sound, _ := play(&s, nil)
					sound = append(sound, make([]int16, 4000)...)
					sigma := fsk.DefaultPeak / math.Sqrt2 * math.Pow(10, -snr/20)
					for i := range sound {
						sound[i] += int16(sigma * r.NormFloat64())
					}
					file := filepath.Join(t.TempDir(), "call.wav")
					var args []string
					if x.program == "minimodem" { // the direction, the file, the rest
						args = append([]string{"--rx", "-f", file}, x.args...)
						err = os.WriteFile(file, wav(sound), 0o600)
					} else {
						args = append(args, append(x.args, file)...)
						err = os.WriteFile(file, resampled(sound, 22050), 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}
					out, _ := exec.Command(program, args...).CombinedOutput()
					if strings.Contains(strings.ReplaceAll(string(out), "-", ""), m.Number) && (x.std == BellcoreSDMF || strings.Contains(string(out), m.Name)) {
						heard++
					} else if testing.Verbose() {
						t.Logf("%v dB: wanted %s of %q", snr, m.Number, out)
					}
				}
				t.Logf("%v dB: %d of 10", snr, heard)
				if heard < 10 && snr >= 12 {
					t.Errorf("%d of 10 heard at %v dB", heard, snr)
				}
			}
		})
	}
}

// wav is a file of sound.
func wav(s []int16) []byte {
	n := uint32(2 * len(s))
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, 36+n)...)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 16000)
	b = append(b, "\x02\x00\x10\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, n)
	return append(b, raw(s)...)
}

func raw(s []int16) (b []byte) {
	for _, x := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(x))
	}
	return b
}

// resampled is sound at another rate, by a sum of 32 windowed sincs.
func resampled(s []int16, rate int) []byte {
	out := make([]int16, len(s)*rate/8000)
	for i := range out {
		at := float64(i) * 8000 / float64(rate)
		sum := 0.0
		for k := int(at) - 15; k <= int(at)+16; k++ {
			if k < 0 || k >= len(s) {
				continue
			}
			d := math.Pi * (at - float64(k))
			w := 1.0
			if d != 0 {
				w = math.Sin(d) / d * (0.5 + 0.5*math.Cos(d/16.5))
			}
			sum += float64(s[k]) * w
		}
		out[i] = int16(min(max(sum, -32767), 32767))
	}
	return raw(out)
}
