package sim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ata-agent/ata-agent/hal"
)

// Formats of a WAV file that a telephone understands.
const (
	wavPCM        = 1
	wavALaw       = 6
	wavMuLaw      = 7
	wavExtensible = 0xfffe // the format stands 24 bytes further
)

// wavLongest, in samples, keeps a wrong file from filling a small device's memory.
const wavLongest = 30 * 60 * hal.SampleRate

// ReadWAV reads a recording and its rate: mono, linear 16 bit, A-law or mu-law, at
// a rate that a handset may have; half an hour at 8000 Hz at most. An error says
// what the file is instead.
func ReadWAV(r io.Reader) (samples []int16, rate int, err error) {
	in := bufio.NewReader(r)
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil || string(head[:4]) != "RIFF" || string(head[8:]) != "WAVE" {
		return nil, 0, errors.New("this is no WAV file: it does not begin with RIFF and WAVE")
	}
	var format uint16
	for {
		var chunk [8]byte
		if _, err := io.ReadFull(in, chunk[:]); err != nil {
			return nil, 0, errors.New("the WAV file holds no sound: it ends before its data")
		}
		size := int64(binary.LittleEndian.Uint32(chunk[4:]))
		rest := size + size&1 // chunks begin at even places
		switch string(chunk[:4]) {
		case "fmt ":
			body := make([]byte, min(size, 40))
			if _, err := io.ReadFull(in, body); err != nil || size < 16 {
				return nil, 0, errors.New("the WAV file does not say its format: its fmt chunk is cut short")
			}
			if format, rate, err = wavFormat(body); err != nil {
				return nil, 0, err
			}
			rest -= int64(len(body))
		case "data":
			if format == 0 {
				return nil, 0, errors.New("the WAV file does not say its format before its data")
			}
			samples, err = wavSamples(in, format, size)
			return samples, rate, err
		}
		if _, err := io.CopyN(io.Discard, in, rest); err != nil {
			return nil, 0, fmt.Errorf("the WAV file is cut short in its chunk %q", chunk[:4])
		}
	}
}

// wavFormat returns how the samples are coded, and their rate.
func wavFormat(b []byte) (format uint16, rate int, err error) {
	format = binary.LittleEndian.Uint16(b)
	channels := binary.LittleEndian.Uint16(b[2:])
	rate = int(binary.LittleEndian.Uint32(b[4:]))
	bits := binary.LittleEndian.Uint16(b[14:])
	if format == wavExtensible && len(b) >= 26 {
		format = binary.LittleEndian.Uint16(b[24:])
	}
	if channels != 1 || !slices.Contains(hal.Rates[:], rate) {
		return 0, 0, fmt.Errorf("the WAV file has %d channels at %d Hz; a telephone wants one at %d Hz, a handset at %d, %d or %d", channels, rate, hal.Rates[0], hal.Rates[1], hal.Rates[2], hal.Rates[3])
	}
	switch {
	case format == wavPCM && bits == 16, format == wavALaw && bits == 8, format == wavMuLaw && bits == 8:
		return format, rate, nil
	}
	return 0, 0, fmt.Errorf("the WAV file is coded in format %d with %d bits; a telephone wants 16 bits linear, A-law or mu-law", format, bits)
}

// wavSamples reads size bytes, or to the end where a program that could not
// know wrote less than there is of the rest.
func wavSamples(r io.Reader, format uint16, size int64) ([]int16, error) {
	width := int64(1)
	if format == wavPCM {
		width = 2
	}
	data, err := io.ReadAll(io.LimitReader(r, min(size, (wavLongest+1)*width)))
	if err != nil {
		return nil, fmt.Errorf("cannot read the WAV file's sound: %w", err)
	}
	if int64(len(data)) > wavLongest*width {
		return nil, fmt.Errorf("the WAV file is longer than %d minutes at 8000 Hz", wavLongest/hal.SampleRate/60)
	}
	samples := make([]int16, int64(len(data))/width)
	for i := range samples {
		switch format {
		case wavPCM:
			samples[i] = int16(binary.LittleEndian.Uint16(data[2*i:]))
		case wavALaw:
			samples[i] = fromALaw(data[i])
		default:
			samples[i] = fromMuLaw(data[i])
		}
	}
	return samples, nil
}

// WriteWAV writes a recording at a rate, mono, linear 16 bit.
func WriteWAV(w io.Writer, samples []int16, rate int) error {
	const head = 44
	b := make([]byte, 0, head+2*len(samples))
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(head-8+2*len(samples)))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, wavPCM)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, 2*uint32(rate))
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(2*len(samples)))
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	_, err := w.Write(b)
	return err
}

// fromALaw decodes ITU-T G.711 table 1: even bits inverted, sign, 3 bits of
// segment, 4 of step; the value is the middle of its interval.
func fromALaw(c byte) int16 {
	c ^= 0x55
	v := int16(c&0x0f)<<4 + 8
	if segment := c >> 4 & 7; segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if c&0x80 == 0 {
		return -v
	}
	return v
}

// fromMuLaw decodes ITU-T G.711 table 2: all bits inverted, a bias of 33 in 14
// bits, which is 0x84 in 16.
func fromMuLaw(c byte) int16 {
	c = ^c
	v := (int16(c&0x0f)<<3+0x84)<<(c>>4&7) - 0x84
	if c&0x80 != 0 {
		return -v
	}
	return v
}
