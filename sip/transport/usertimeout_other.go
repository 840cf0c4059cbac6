//go:build !linux

package transport

import (
	"syscall"
	"time"
)

func setUserTimeout(syscall.RawConn, time.Duration) {}
