package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// ErrNotRunning says that nobody answers on the socket.
var ErrNotRunning = errors.New("no agent is running")

// Ask sends one request and returns the answer. Its error means that there was
// none; that the agent refused stands in the Reply. When stop is closed, a
// Record ends and returns what was heard so far; when ctx ends, the agent drops
// what it was doing.
func Ask(ctx context.Context, path string, req Request, end <-chan struct{}) (Reply, error) {
	var d net.Dialer
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := d.DialContext(dialing, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Reply{}, fmt.Errorf("%w: nothing answers at %s", ErrNotRunning, path)
	case errors.Is(err, fs.ErrPermission):
		return Reply{}, fmt.Errorf("%s belongs to another user than you (%d): %w", path, os.Getuid(), fs.ErrPermission)
	case err != nil:
		return Reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	out := json.NewEncoder(conn)
	if err := out.Encode(req); err != nil {
		return Reply{}, lost(ctx, path, err)
	}
	answered := make(chan struct{})
	defer close(answered)
	if end != nil {
		go func() {
			select {
			case <-end:
				out.Encode(Request{Do: stop})
			case <-answered:
			}
		}()
	}
	var r Reply
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&r); err != nil {
		return Reply{}, lost(ctx, path, err)
	}
	return r, nil
}

func lost(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the agent at %s went away without an answer: %w", path, err)
}
