// Apply turns an old file into a new one with a udelta patch, and does nothing
// else, so that what applying takes can be told from what the program updraft
// takes. It is called as
//
//	apply [--low-memory] OLD PATCH NEW
//
// with - for a patch from standard input. On Linux it says on standard error
// how much memory was resident at most, VmHWM, in KiB.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/updraft-ota/updraft/delta"
)

func main() {
	low := flag.Bool("low-memory", false, "hold as little as the patch can be applied with")
	flag.Parse()
	if err := run(*low, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "apply:", err)
		os.Exit(1)
	}
	status, _ := os.ReadFile("/proc/self/status") // there is none elsewhere
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); ok {
		kib, _, _ := strings.Cut(strings.TrimSpace(after), " ")
		fmt.Fprintln(os.Stderr, "VmHWM", kib)
	}
}

func run(low bool, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("expected OLD PATCH NEW, have %q", args)
	}
	debug.SetGCPercent(25) // a reader leaves little over, and holds on to most
	if low {
		debug.SetGCPercent(10)
	}
	old, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer old.Close() // it was only read
	size, err := old.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	patch := os.Stdin
	if args[1] != "-" {
		if patch, err = os.Open(args[1]); err != nil {
			return err
		}
		defer patch.Close() // it was only read
	}
	format, err := delta.Lookup("udelta")
	if err != nil {
		return err
	}
	r, err := format.NewReader(context.Background(), old, size, patch, delta.Limits{Size: delta.AnySize, Least: low})
	if err != nil {
		return err
	}
	out, err := os.Create(args[2])
	if err != nil {
		return errors.Join(err, r.Close())
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, r, make([]byte, 128<<10))
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, r.Close(), out.Close())
}
