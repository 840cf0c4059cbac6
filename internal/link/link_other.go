//go:build !linux

package link

import (
	"context"
	"errors"
)

// Watch is only for Linux.
func Watch(context.Context, func()) error { return errors.ErrUnsupported }
