package lab

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Demo tells the story this project exists for: a telephone, three proxies
// behind one name, a call, and a proxy that dies in it. It plays on loopback
// with the real agent and takes less than a minute; in a testing/synctest
// bubble (real false) it takes no time. Its error says what did not happen.
func Demo(ctx context.Context, dir string, real bool, out io.Writer) error {
	return demonstrate(ctx, Options{Real: real, Dir: dir}, out)
}

// DemoOf is Demo with an agent in a process of its own, as Options.Launch has
// it.
func DemoOf(ctx context.Context, dir string, launch func(config string) (stop func() error, err error), out io.Writer) error {
	quiet := []string{"[log]", `level = "error"`} // its status is watched; its log would say all twice
	return demonstrate(ctx, Options{Real: true, Dir: dir, Launch: launch, Top: quiet}, out)
}

func demonstrate(ctx context.Context, o Options, out io.Writer) error {
	o.KeepAlive = 5 * time.Second
	j := NewJournal(out, true)
	d := &demo{ctx: ctx, out: out}
	w, err := NewWorld(o, j)
	if err != nil {
		return err
	}
	d.World = w
	err = d.tell()
	j.Mute()
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	return err
}

// A demo is a world with a teller.
type demo struct {
	*World
	ctx context.Context
	out io.Writer
	sum []string // what is said at the end
}

func (d *demo) chapter(format string, args ...any) {
	d.Journal.Flush()
	fmt.Fprintf(d.out, "\n%s\n\n", fmt.Sprintf(format, args...))
}

// do does one thing of the scenario language.
func (d *demo) do(text string) error {
	if err := d.Beat(d.ctx); err != nil {
		return err
	}
	d.Journal.Add(Done, "%s", text)
	if err := d.Do(d.ctx, text); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}

// until does something and waits for a text, at most so long; it returns how
// long it took.
func (d *demo) until(limit time.Duration, text string, what func() error) (time.Duration, error) {
	start := time.Now()
	done := make(chan error, 1)
	await, cancel := context.WithCancel(d.ctx)
	defer cancel()
	go func() { done <- d.Journal.Await(await, limit, text) }()
	if !d.o.Real {
		d.Beat(d.ctx) // Await has begun
	}
	if err := what(); err != nil {
		cancel()
		<-done
		return 0, err
	}
	err := <-done
	return time.Since(start), err
}

func (d *demo) note(format string, args ...any) { d.sum = append(d.sum, fmt.Sprintf(format, args...)) }

// short is a time as a person reads it.
func short(t time.Duration) string {
	if t < time.Second {
		return t.Round(time.Millisecond).String()
	}
	return t.Round(10 * time.Millisecond).String()
}

func (d *demo) tell() error {
	var where []string
	for _, p := range d.proxies {
		where = append(where, fmt.Sprintf("%s at %s", p.Name, p.Addr()))
	}
	fmt.Fprintf(d.out, `A provider in a box, on loopback: three proxies behind the name %s
(%s), a name server,
and far ends that answer calls. A telephone is plugged into the agent; a hand
moves its receiver and an ear listens. Left is the time in seconds; ">" is what
is done, indented is what follows. The voip lamp is solid when the line is
registered at the first proxy, beats when it is at another, and blinks slowly
while it looks for one.
`, outbound, strings.Join(where, ", "))

	d.chapter("1. The agent starts. It asks DNS, and registers at the first address.")
	took, err := d.until(10*time.Second, "registers "+user, func() error { return d.do("boot") })
	if err != nil {
		return err
	}
	d.note("registered %s after the start", short(took))
	if err := d.do("wait 1s"); err != nil {
		return err
	}

	d.chapter("2. A call. The far end whistles 1000 Hz, we whistle 1800 Hz.")
	took, err = d.until(5*time.Second, "the ear hears dial", func() error { return d.do("lift") })
	if err != nil {
		return err
	}
	d.note("dial tone: the ear knew it %s after the receiver was lifted", short(took))
	if _, err = d.until(15*time.Second, "the ear hears 1000 Hz", func() error { return d.do("press 5551234#") }); err != nil {
		return err
	}
	if _, err = d.until(5*time.Second, "the far end hears 1800 Hz", func() error { return d.do("whistle 1800 1s") }); err != nil {
		return err
	}
	d.note("a call with sound both ways")

	d.chapter("3. The proxy is killed in the middle of the call. The call goes on; the line\n   finds another proxy by itself.")
	took, err = d.until(30*time.Second, "registers "+user, func() error { return d.do("kill p1") })
	if err != nil {
		return err
	}
	d.note("proxy killed in the call: registered elsewhere %s later", short(took))
	if h := d.Hearing(); h != "1000 Hz" {
		return fmt.Errorf("the ear hears %s: the call did not survive its proxy", h)
	}
	if _, err = d.until(5*time.Second, "the far end hears 1800 Hz", func() error { return d.do("whistle 1800 1s") }); err != nil {
		return err
	}
	d.note("the call went on, both ways, without its proxy")
	if _, err = d.until(10*time.Second, "ends the call (BYE)", func() error { return d.do("hang up") }); err != nil {
		return err
	}
	d.note("its end was told by another proxy")
	if err := d.do("wait 1s"); err != nil {
		return err
	}

	d.chapter("4. The next call goes out at once.")
	if err := d.call("the next call"); err != nil {
		return err
	}

	d.chapter("5. Now the second proxy falls silent and nobody knows it yet. Somebody dials:\n   the caller hears the call being set up, and it goes out by the third.")
	if err := d.do("silence p2"); err != nil {
		return err
	}
	if err := d.call("a call with the proxy silent and nobody aware of it"); err != nil {
		return err
	}
	if err := d.do("wait 1s"); err != nil {
		return err
	}
	d.Journal.Flush()
	fmt.Fprint(d.out, "\nWhat happened:\n\n")
	for _, s := range d.sum {
		fmt.Fprintf(d.out, "  - %s\n", s)
	}
	return nil
}

// call lifts, dials, waits for ringing and the far end's voice, and hangs up.
func (d *demo) call(name string) error {
	if _, err := d.until(5*time.Second, "the ear hears dial", func() error { return d.do("lift") }); err != nil {
		return err
	}
	took, err := d.until(20*time.Second, "the far end rings", func() error { return d.do("press 5551234#") })
	if err != nil {
		return err
	}
	const pressing = 8*200*time.Millisecond - 100*time.Millisecond // eight keys; no pause after the last
	d.note("%s: it rings %s after the last key", name, short(max(0, took-pressing)))
	if _, err = d.until(10*time.Second, "the ear hears 1000 Hz", func() error { return nil }); err != nil {
		return err
	}
	if err := d.do("wait 500ms"); err != nil {
		return err
	}
	_, err = d.until(10*time.Second, "ends the call (BYE)", func() error { return d.do("hang up") })
	return err
}
