package control

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/internal/trace"
)

// A Config is what a server needs to answer. Its functions are called from
// several goroutines.
type Config struct {
	Path     string
	Snapshot func() status.Snapshot
	Reload   func() error // reads the configuration again; the error is for the person who asked
	Ports    []hal.Port
	Lines    Lines
}

// Lines are the agent's lines as one may order them about. An empty name is all
// of them. The methods may wait.
type Lines interface {
	Failover(ctx context.Context, line string, to netip.AddrPort) ([]status.Moved, error)
	Failback(ctx context.Context, line string) ([]status.Moved, error)
	Probe(ctx context.Context, line string) ([]status.Probed, error)
	Trace() []trace.Message
}

// A Server answers on the socket.
type Server struct {
	Config
	listener *net.UnixListener
	clients  sync.WaitGroup
	room     chan struct{}            // a place for each client
	hands    map[string]chan struct{} // by port: held while somebody presses, dials or speaks
}

// Listen takes the socket. What a dead agent left there is replaced; where a
// living one answers, the error says so.
func Listen(c Config) (*Server, error) {
	if info, err := os.Lstat(c.Path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("control socket %s: there is a file of that name", c.Path)
		}
		conn, err := net.DialTimeout("unix", c.Path, time.Second)
		if err == nil {
			conn.Close()
			return nil, fmt.Errorf("control socket %s: another agent answers there", c.Path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("control socket: %w", err)
		}
		if err := os.Remove(c.Path); err != nil {
			return nil, fmt.Errorf("control socket left by another run: %w", err)
		}
	}
	// The mode of a new socket is 0777 less the mask (unix(7)), and there must
	// be no moment at which others can open it.
	mask := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.Path, Net: "unix"})
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{Config: c, listener: l, room: make(chan struct{}, maxClients), hands: map[string]chan struct{}{}}
	for _, p := range c.Ports {
		s.hands[p.Name()] = make(chan struct{}, 1)
	}
	return s, nil
}

// Run answers until ctx ends. It returns when the last client has been let go
// and the socket is gone.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.clients.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { s.listener.Close() })()
	for {
		conn, err := s.listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // no file left, say; the clients of this moment go away again
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
			continue
		}
		select {
		case s.room <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		s.clients.Go(func() {
			defer func() { <-s.room }()
			s.serve(ctx, conn)
		})
	}
}

// serve answers one client, line by line.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	// One goroutine reads, so that a client who goes away is noticed while
	// something is being done for him. One who has only said his last word
	// (echo ... | socat) still gets his answer.
	requests := make(chan Request)
	s.clients.Go(func() {
		defer cancel()
		r := bufio.NewReaderSize(conn, 4096)
		for {
			line, err := readLine(r)
			if err != nil {
				return
			}
			var req Request
			if err := json.Unmarshal(line, &req); err != nil {
				s.send(conn, Reply{Error: "not a request: " + err.Error(), Wrong: true})
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		select {
		case req := <-requests:
			if !s.send(conn, s.answer(ctx, req, requests)) {
				return
			}
		case <-time.After(askTime):
			return
		case <-ctx.Done():
			return
		}
	}
}

// readLine reads a line of at most maxLine bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, errors.New("the line is too long")
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (s *Server) send(conn net.Conn, r Reply) bool {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // a snapshot that cannot be written
	}
	conn.SetWriteDeadline(time.Now().Add(askTime))
	_, err = conn.Write(append(b, '\n'))
	return err == nil
}

// answer does what was asked. more delivers what the client says meanwhile.
func (s *Server) answer(ctx context.Context, req Request, more <-chan Request) Reply {
	switch req.Do {
	case Status:
		snap := s.Snapshot()
		return Reply{Status: &snap}
	case Reload:
		if err := s.Reload(); err != nil {
			return Reply{Error: err.Error(), Hint: "the agent goes on with what it had"}
		}
		return Reply{}
	case Trace:
		return Reply{Trace: s.Lines.Trace()}
	case Failover, Failback, Probe:
		return s.order(ctx, req)
	case Lift, HangUp, Flash, Press, Dial, Play, Record, Wait:
	default:
		return Reply{Error: fmt.Sprintf("%q cannot be asked", req.Do), Wrong: true}
	}
	port, ok := s.port(req.Port)
	if !ok {
		return Reply{Error: fmt.Sprintf("there is no port %q", req.Port), Hint: "the ports are " + s.portNames(), Wrong: true}
	}
	if req.Do == Wait {
		return s.wait(ctx, port, req)
	}
	hand, ok := port.(hal.Hand)
	if !ok {
		return Reply{
			Error: fmt.Sprintf("port %q is a real one (%s): a program cannot move its receiver", port.Name(), port.Kind()),
			Hint:  `only a simulated port can be moved: board = "sim"`, Wrong: true,
		}
	}
	return s.move(ctx, port, hand, req, more)
}

// order has lines do something.
func (s *Server) order(ctx context.Context, req Request) (r Reply) {
	var names []string
	known := req.Line == ""
	for _, l := range s.Snapshot().Lines {
		names = append(names, l.Name)
		known = known || l.Name == req.Line
	}
	if !known {
		return Reply{Error: fmt.Sprintf("there is no line %q", req.Line), Hint: "the lines are " + strings.Join(names, ", "), Wrong: true}
	}
	var err error
	switch req.Do {
	case Failover:
		var to netip.AddrPort
		if req.Address != "" {
			if to, err = s.address(req); err != nil {
				return Reply{Error: err.Error(), Hint: "the addresses are " + strings.Join(s.addresses(req.Line), ", "), Wrong: true}
			}
		}
		r.Moved, err = s.Lines.Failover(ctx, req.Line, to)
	case Failback:
		r.Moved, err = s.Lines.Failback(ctx, req.Line)
	case Probe:
		r.Probed, err = s.Lines.Probe(ctx, req.Line)
	}
	if err != nil {
		return Reply{Error: err.Error()}
	}
	return r
}

// addresses are those in the rings of a line, or of all.
func (s *Server) addresses(line string) (all []string) {
	for _, l := range s.Snapshot().Lines {
		for _, p := range l.Ring {
			if (line == "" || l.Name == line) && !slices.Contains(all, p.Address) {
				all = append(all, p.Address)
			}
		}
	}
	return all
}

// address finds the address of a proxy, of which the port may be left out.
func (s *Server) address(req Request) (to netip.AddrPort, err error) {
	for _, a := range s.addresses(req.Line) {
		is := netip.MustParseAddrPort(a)
		if a == req.Address || is.Addr().String() == strings.Trim(req.Address, "[]") {
			return is, nil
		}
	}
	return to, fmt.Errorf("%s is not the address of a proxy", req.Address)
}

// port finds a port by its name, else by its number.
func (s *Server) port(name string) (hal.Port, bool) {
	for _, p := range s.Ports {
		if p.Name() == name {
			return p, true
		}
	}
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 || n > len(s.Ports) {
		return nil, false
	}
	return s.Ports[n-1], true
}

func (s *Server) portNames() string {
	names := make([]string, len(s.Ports))
	for i, p := range s.Ports {
		names[i] = p.Name()
	}
	return strings.Join(names, ", ")
}

// move does something with the receiver, or speaks into it, or listens. A
// person can press, dial or speak, one at a time.
func (s *Server) move(ctx context.Context, port hal.Port, hand hal.Hand, req Request, more <-chan Request) Reply {
	switch req.Do {
	case Lift:
		hand.Lift()
		return s.settled(ctx, port, "off")
	case HangUp:
		hand.HangUp()
		return s.settled(ctx, port, "on")
	case Flash:
		hand.Flash()
		return Reply{}
	case Record:
		return record(ctx, hand, hal.RateOf(port), req.Time, more)
	}
	select {
	case s.hands[port.Name()] <- struct{}{}:
		defer func() { <-s.hands[port.Name()] }()
	case <-ctx.Done():
		return Reply{}
	}
	var err error
	switch req.Do {
	case Press:
		err = each(ctx, req.Digits, "0123456789*#ABCD,", hand.Press)
	case Dial:
		err = each(ctx, req.Digits, "0123456789", hand.Dial)
	case Play:
		rate := hal.RateOf(port)
		if n := cmp.Or(req.Rate, hal.SampleRate); n != rate {
			return Reply{Error: fmt.Sprintf("port %s speaks %d samples a second, and the sound has %d", port.Name(), rate, n), Hint: fmt.Sprintf("sox in.wav -r %d out.wav", rate), Wrong: true}
		}
		if len(req.Samples) > int(maxPlay/time.Second)*hal.SampleRate {
			return Reply{Error: "the sound is too long", Hint: fmt.Sprintf("at most %v can be played at once", maxPlay*hal.SampleRate/time.Duration(rate)), Wrong: true}
		}
		played := make(chan error, 1)
		go func() { played <- hand.Play(req.Samples) }()
		select {
		case err = <-played:
		case <-ctx.Done():
			if h, ok := hand.(hush); ok {
				h.Hush()
				<-played
			}
		}
	}
	if wrong := (*wrongDigit)(nil); errors.As(err, &wrong) {
		return Reply{Error: err.Error(), Hint: "the digits are " + wrong.allowed, Wrong: true}
	}
	if err != nil {
		return Reply{Error: err.Error()}
	}
	return Reply{}
}

// hush is a hand that can stop what Play speaks.
type hush interface{ Hush() }

// settled waits until the agent has seen the receiver lifted or put down. A
// receiver put down is first a flash that might still end: who lifts it at once
// has not hung up.
func (s *Server) settled(ctx context.Context, port hal.Port, hook string) Reply {
	late := time.NewTimer(hookTime)
	defer late.Stop()
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		p, _ := find(s.Snapshot(), port.Name())
		if p.Hook == hook || p.Fault != "" {
			return Reply{}
		}
		select {
		case <-look.C:
		case <-late.C:
			return Reply{Error: fmt.Sprintf("port %s: the agent still takes the receiver for %s the hook", port.Name(), p.Hook)}
		case <-ctx.Done():
			return Reply{} // it has been moved; nobody waits for the rest
		}
	}
}

type wrongDigit struct {
	digit   rune
	allowed string
}

func (e *wrongDigit) Error() string {
	if e.digit == 0 {
		return "there is nothing to dial"
	}
	return fmt.Sprintf("%q is not a digit", e.digit)
}

// each dials digit by digit, so that a client who goes away ends it.
func each(ctx context.Context, digits, allowed string, dial func(string) error) error {
	if digits == "" {
		return &wrongDigit{0, allowed}
	}
	if len(digits) > maxDigits {
		return fmt.Errorf("%d digits are too many: at most %d at once", len(digits), maxDigits)
	}
	for _, d := range digits {
		if !strings.ContainsRune(allowed, d) {
			return &wrongDigit{d, allowed}
		}
	}
	for _, d := range digits {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := dial(string(d)); err != nil {
			return err
		}
	}
	return nil
}

// record listens for a while, or until the client says stop or goes away.
func record(ctx context.Context, hand hal.Hand, rate int, limit time.Duration, more <-chan Request) Reply {
	if most := maxRecord * hal.SampleRate / time.Duration(rate); limit <= 0 || limit > most {
		limit = most
	}
	end := make(chan struct{})
	go func() {
		defer close(end)
		select {
		case <-ctx.Done():
		case <-time.After(limit):
		case <-more: // whatever it says, the client is done listening
		}
	}()
	return Reply{Samples: hand.Record(end), Rate: rate}
}

// wait looks at the snapshot until a port is in a state.
func (s *Server) wait(ctx context.Context, port hal.Port, req Request) Reply {
	want := plain(req.State)
	all := slices.Concat(phoneStates, hookStates, lineStates)
	if !slices.Contains(all, want) {
		hint := "the states are " + strings.Join(all, ", ")
		if near := config.Nearest(want, all); near != "" {
			hint = "did you mean " + near + "? " + hint
		}
		return Reply{Error: fmt.Sprintf("there is no state %q", req.State), Hint: hint, Wrong: true}
	}
	limit := req.Time
	if limit <= 0 || limit > maxWait {
		limit = maxWait
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		p, line := find(s.Snapshot(), port.Name())
		is := p.State
		switch {
		case slices.Contains(hookStates, want):
			is = p.Hook + "-hook"
		case slices.Contains(lineStates, want):
			is = line
		}
		if is == want {
			return Reply{}
		}
		select {
		case <-look.C:
		case <-deadline.C:
			return Reply{Error: fmt.Sprintf("not %s within %v: it is %s", want, req.Time, is)}
		case <-ctx.Done():
			return Reply{Error: "the agent is stopping"}
		}
	}
}

// find returns a port of the snapshot and the state of its line.
func find(snap status.Snapshot, name string) (p status.Port, line string) {
	line = "without a line"
	for _, p = range snap.Ports {
		if p.Name == name {
			for _, l := range snap.Lines {
				if l.Name == p.Line {
					line = string(l.State)
				}
			}
			return p, line
		}
	}
	return status.Port{State: "unknown"}, line
}
