// Package link tells when the network of this host has changed: a cable, an
// address, a route. It does not say what; whoever cares looks for himself.
package link

import (
	"context"
	"time"
)

// calm is how long nothing more must have happened before it is told: a new
// lease brings an address and several routes, one after the other.
const calm = 200 * time.Millisecond

// settle calls changed when news has come and then none for as long as calm.
// It returns when news is closed or ctx ends.
func settle(ctx context.Context, news <-chan struct{}, changed func()) {
	quiet := time.NewTimer(calm)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case _, ok := <-news:
			if !ok {
				return
			}
			quiet.Reset(calm)
		case <-quiet.C:
			changed()
		case <-ctx.Done():
			return
		}
	}
}
