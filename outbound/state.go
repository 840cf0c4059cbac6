package outbound

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The state file has the last good addresses, so that a telephone comes up
// when the power returns before DNS does. It looks like this:
//
//	ata-agent route 1
//	proxy.example.net 192.0.2.1:5060 udp 10
//
// that is: configured entry, address, transport, rank. Whoever edits it may;
// what is not understood is passed over.

const stateHead = "ata-agent route 1"

// saveFloor is how long a flash is spared: its blocks bear some 10^5 writes.
const saveFloor = time.Hour

// memory is what the state file holds. It is owned by Run, once that runs.
type memory struct {
	text  string    // as read or written last
	saved time.Time // when it was last tried to be written; zero: never
	err   error     // what came of it
}

// remember reads the state file into names that have no addresses yet.
func (r *Route) remember() {
	if r.cfg.StateFile == "" {
		return
	}
	text, err := os.ReadFile(r.cfg.StateFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.cfg.Logger.Warn("state file", "error", err)
		}
		return
	}
	r.memory.text = string(text)
	lines := bufio.NewScanner(strings.NewReader(r.memory.text))
	if !lines.Scan() || lines.Text() != stateHead {
		r.cfg.Logger.Warn("state file", "error", r.cfg.StateFile+" is of another kind and will be replaced")
		return
	}
	for lines.Scan() {
		var entry, address, transport string
		var rank uint16
		if n, _ := fmt.Sscan(lines.Text(), &entry, &address, &transport, &rank); n != 4 {
			continue
		}
		addr, err := netip.ParseAddrPort(address)
		t, err2 := ParseTransport(transport)
		if err != nil || err2 != nil || addr.Port() == 0 || !usable(addr.Addr()) {
			continue
		}
		for i := range r.names {
			n := &r.names[i]
			if n.String() == entry && !n.Addr.IsValid() && len(n.known) < Capacity && !slices.Contains(n.known, n.target(addr, t)) && (t == TLS || n.Transport != TLS) {
				n.known = append(n.known, n.target(addr, t))
				n.rank = append(n.rank, rank)
			}
		}
	}
}

// save writes the state file if it has changed, no more often than saveFloor,
// and not while a question is on its way whose answer would change it again.
func (r *Route) save(now time.Time) {
	m := &r.memory
	if r.cfg.StateFile == "" || !m.saved.IsZero() && now.Sub(m.saved) < saveFloor {
		return
	}
	text, settled := r.recall()
	if !settled || text == m.text {
		return
	}
	m.saved = now
	err := replaceFile(r.cfg.StateFile, text)
	if err != nil && (m.err == nil || m.err.Error() != err.Error()) {
		r.cfg.Logger.Warn("state file", "error", err)
	}
	if m.err = err; err == nil {
		m.text = text
	}
}

// recall is the text of the state file as it should be now. It is not settled
// before DNS has said something about each name.
func (r *Route) recall() (text string, settled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintln(&b, stateHead)
	settled = false
	for i := range r.names {
		n := &r.names[i]
		if n.Addr.IsValid() {
			continue
		}
		if n.asking {
			return "", false
		}
		settled = settled || n.fresh
		for k, t := range n.known {
			fmt.Fprintln(&b, n.String(), t.Dest, t.Transport, n.rank[k])
		}
	}
	return b.String(), settled
}

// replaceFile writes a file so that whatever happens, power loss included,
// there is the old one or the new one: beside it, to the disk, over it, and
// the directory to the disk.
func replaceFile(path, text string) error {
	fresh := path + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		os.Remove(fresh)
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
