package board

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Where a device says what it is: OpenWrt's own word first, then the device
// tree as the kernel shows it in one place or the other.
var places = []string{
	"tmp/sysinfo/board_name",
	"proc/device-tree/compatible",
	"sys/firmware/devicetree/base/compatible",
	"proc/device-tree/model",
	"sys/firmware/devicetree/base/model",
	"tmp/sysinfo/model",
}

// ErrUnknown says that a machine is none of the known devices.
var ErrUnknown = errors.New("this is none of the boards known")

// Detect returns the name of the profile of the machine whose file system is
// given, os.DirFS("/") on the device itself. The error wraps ErrUnknown and says
// what the machine calls itself.
func Detect(root fs.FS) (string, error) {
	var said []string
	for _, place := range places {
		for _, word := range words(root, place) {
			for _, p := range Profiles {
				for _, match := range p.Match {
					if word == match || strings.HasSuffix(match, "*") && strings.HasPrefix(word, match[:len(match)-1]) {
						return p.Name, nil
					}
				}
			}
			said = append(said, word)
		}
	}
	if len(said) == 0 {
		return "", fmt.Errorf("%w, and it does not say what it is: name one of %s", ErrUnknown, strings.Join(Names(), ", "))
	}
	return "", fmt.Errorf("%w; it calls itself %s: name one of %s", ErrUnknown, strings.Join(said, ", "), strings.Join(Names(), ", "))
}

// words reads the strings of a file, which end with a zero in the device tree
// and with a line elsewhere. A file that is not there, cannot be read or is no
// text has none.
func words(root fs.FS, name string) []string {
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return nil
	}
	var all []string
	for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return r == 0 || r == '\n' || r == '\r' }) {
		printable := func(r rune) bool { return r >= ' ' && r < 0x7f }
		if strings.TrimFunc(word, printable) == "" && word != "" {
			all = append(all, word)
		}
	}
	return all
}
