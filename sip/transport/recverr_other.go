//go:build !linux

package transport

import "syscall"

// askForErrors: only Linux has an error queue. Elsewhere a dead proxy is told
// by its silence.
func askForErrors(syscall.RawConn) bool { return false }

func drain(syscall.RawConn, func(Fault)) {}
