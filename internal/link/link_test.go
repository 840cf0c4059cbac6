package link

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A burst is told once, 200 ms after its end.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start, news := time.Now(), make(chan struct{})
		var told []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			settle(ctx, news, func() { told = append(told, time.Since(start)) })
		}()
		for range 5 {
			news <- struct{}{}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		news <- struct{}{}
		time.Sleep(time.Second)
		close(news)
		<-done
		if len(told) != 2 || told[0] != 600*time.Millisecond || told[1] != 1700*time.Millisecond {
			t.Errorf("told at %v", told)
		}
	})
}

// The kernel lets anybody listen, and the end of the context ends it.
func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, func() {}) }()
	time.AfterFunc(50*time.Millisecond, cancel)
	select {
	case err := <-ended:
		if err != nil {
			t.Skipf("no netlink here: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("still watching")
	}
}
