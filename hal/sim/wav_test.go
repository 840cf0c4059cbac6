package sim_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/media/g711"
)

// wav builds a file by hand: a format, and chunks in order.
type wav struct {
	format, channels uint16
	rate             uint32
	bits             uint16
	data             []byte
	before           string // chunks before fmt
	between          string // chunks between fmt and data
	size             uint32 // of data, where it lies
	extensible       bool
}

func (w wav) bytes() []byte {
	le := binary.LittleEndian
	b := []byte("RIFF\x00\x00\x00\x00WAVE" + w.before + "fmt ")
	format, more := w.format, 0
	if w.extensible {
		format, more = 0xfffe, 24
	}
	b = le.AppendUint32(b, uint32(16+more))
	b = le.AppendUint16(b, format)
	b = le.AppendUint16(b, w.channels)
	b = le.AppendUint32(b, w.rate)
	b = le.AppendUint32(b, w.rate*uint32(w.channels)*uint32(w.bits)/8)
	b = le.AppendUint16(b, w.channels*w.bits/8)
	b = le.AppendUint16(b, w.bits)
	if w.extensible {
		b = append(b, 22, 0, 16, 0, 0, 0, 0, 0, byte(w.format), byte(w.format>>8))
		b = append(b, "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"...)
	}
	b = append(b, w.between...)
	b = append(b, "data"...)
	size := w.size
	if size == 0 {
		size = uint32(len(w.data))
	}
	b = le.AppendUint32(b, size)
	return append(b, w.data...)
}

func TestReadWAV(t *testing.T) {
	pcm := []byte{1, 0, 0xff, 0xff, 0, 0x80, 0xff, 0x7f}
	samples := []int16{1, -1, -32768, 32767}
	const odd = "LIST\x05\x00\x00\x00abcde\x00"
	tests := []struct {
		name string
		file []byte
		want []int16
		err  string
	}{
		{"linear", wav{1, 1, 8000, 16, pcm, "", "", 0, false}.bytes(), samples, ""},
		{"chunks of odd length", wav{1, 1, 8000, 16, pcm, odd, odd + odd, 0, false}.bytes(), samples, ""},
		{"extensible", wav{1, 1, 8000, 16, pcm, "", odd, 0, true}.bytes(), samples, ""},
		{"extensible A-law", wav{6, 1, 8000, 8, []byte{0xd5, 0x55}, "", "", 0, true}.bytes(), []int16{8, -8}, ""},
		{"a size that was not known when writing", wav{1, 1, 8000, 16, pcm, "", "", 0xffffffff, false}.bytes(), samples, ""},
		{"half a sample at the end", wav{1, 1, 8000, 16, pcm[:7], "", "", 0, false}.bytes(), samples[:3], ""},
		{"no sound", wav{1, 1, 8000, 16, nil, "", "", 0, false}.bytes(), nil, ""},
		// ITU-T G.711 tables 1 and 2: the ends and the middle of the ranges.
		{"A-law", wav{6, 1, 8000, 8, []byte{0xd5, 0x55, 0xaa, 0x2a, 0x80}, "", "", 0, false}.bytes(), []int16{8, -8, 32256, -32256, 5504}, ""},
		{"mu-law", wav{7, 1, 8000, 8, []byte{0xff, 0x7f, 0x80, 0x00}, "", "", 0, false}.bytes(), []int16{0, 0, 32124, -32124}, ""},

		{"nothing", nil, nil, "this is no WAV file: it does not begin with RIFF and WAVE"},
		{"an MP3", []byte("ID3\x04 and so on, for a while"), nil, "this is no WAV file: it does not begin with RIFF and WAVE"},
		{"44100 Hz stereo", wav{1, 2, 44100, 16, pcm, "", "", 0, false}.bytes(), nil, "the WAV file has 2 channels at 44100 Hz; a telephone wants one at 8000 Hz, a handset at 16000, 32000 or 48000"},
		{"8 bits linear", wav{1, 1, 8000, 8, pcm, "", "", 0, false}.bytes(), nil, "the WAV file is coded in format 1 with 8 bits; a telephone wants 16 bits linear, A-law or mu-law"},
		{"GSM", wav{0x31, 1, 8000, 0, pcm, "", "", 0, false}.bytes(), nil, "the WAV file is coded in format 49 with 0 bits; a telephone wants 16 bits linear, A-law or mu-law"},
		{"a short format", []byte("RIFF\x00\x00\x00\x00WAVEfmt \x04\x00\x00\x00abcd"), nil, "the WAV file does not say its format: its fmt chunk is cut short"},
		{"no format", []byte("RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00"), nil, "the WAV file does not say its format before its data"},
		{"cut short", wav{1, 1, 8000, 16, pcm, "", "", 0, false}.bytes()[:38], nil, "the WAV file holds no sound: it ends before its data"},
		{"cut short in a chunk", wav{1, 1, 8000, 16, pcm, "", odd, 0, false}.bytes()[:47], nil, `the WAV file is cut short in its chunk "LIST"`},
		{"too long", wav{6, 1, 8000, 8, make([]byte, 30*60*8000+1), "", "", 0, false}.bytes(), nil, "the WAV file is longer than 30 minutes at 8000 Hz"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, rate, err := sim.ReadWAV(bytes.NewReader(tt.file))
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || !slices.Equal(got, tt.want) || rate != 8000 {
				t.Errorf("got %v at %d, %v, want %v", got, rate, err, tt.want)
			}
		})
	}
}

// TestEveryCode compares with the codec of the media path, which was written
// and checked apart.
func TestEveryCode(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for format, law := range map[uint16]g711.Law{6: g711.A, 7: g711.Mu} {
		got, _, err := sim.ReadWAV(bytes.NewReader(wav{format, 1, 8000, 8, all, "", "", 0, false}.bytes()))
		if err != nil {
			t.Fatal(err)
		}
		want := make([]int16, 256)
		law.Decode(want, all)
		if !slices.Equal(got, want) {
			t.Errorf("format %d: %v\nwant %v", format, got, want)
		}
	}
}

func TestWriteWAV(t *testing.T) {
	want := []int16{0, 1, -1, 32767, -32768, 1234}
	var b bytes.Buffer
	if err := sim.WriteWAV(&b, want, 16000); err != nil {
		t.Fatal(err)
	}
	file := wav{1, 1, 16000, 16, b.Bytes()[44:], "", "", 0, false}.bytes()
	binary.LittleEndian.PutUint32(file[4:], uint32(len(file)-8))
	if !bytes.Equal(b.Bytes(), file) {
		t.Errorf("written\n%q\nwant\n%q", b.Bytes(), file)
	}
	got, rate, err := sim.ReadWAV(&b)
	if err != nil || !slices.Equal(got, want) || rate != 16000 {
		t.Errorf("read again: %v at %d, %v", got, rate, err)
	}
}

func FuzzReadWAV(f *testing.F) {
	f.Add(wav{1, 1, 8000, 16, []byte{1, 2, 3, 4}, "", "", 0, false}.bytes())
	f.Add(wav{7, 1, 8000, 8, []byte{1, 2, 3}, "LIST\x01\x00\x00\x00a\x00", "", 9, true}.bytes())
	f.Fuzz(func(t *testing.T, file []byte) {
		samples, _, err := sim.ReadWAV(bytes.NewReader(file))
		if err != nil {
			if samples != nil || !strings.Contains(err.Error(), "WAV") {
				t.Errorf("%d samples and %v", len(samples), err)
			}
			return
		}
		if len(samples) > len(file) {
			t.Errorf("%d samples of %d bytes", len(samples), len(file))
		}
	})
}
