package link

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// groups are the kernel's announcements that matter (rtnetlink(7)): links that
// come and go, addresses, and routes of either family.
const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE |
	unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV6_ROUTE

// Watch calls changed after each change of the network, once it has been calm
// for 200 ms, from one goroutine, until ctx ends. The error says that the kernel
// does not tell; then nothing is ever called. It needs no privilege.
func Watch(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("netlink: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink") // non-blocking: reads wait in the runtime's poller, and Close ends them
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	defer f.Close()

	news, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		settle(ctx, news, changed)
	}()
	defer func() { close(news); <-done }()
	buf := make([]byte, 8<<10)
	for {
		// What it says does not matter: that it speaks does. An overrun of the
		// socket (ENOBUFS) means that a great deal has changed.
		_, err := f.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !isOverrun(err) {
			return fmt.Errorf("netlink: %w", err)
		}
		select {
		case news <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
}

func isOverrun(err error) bool { return errors.Is(err, unix.ENOBUFS) }
