// Command mcu plays a microcontroller behind a serial port, on a
// pseudo-terminal, for the example serial-mcu. Its flash, its boot loader and
// its protocol are those that link.h describes; its flags make the line bad.
//
//	go run ./mcu --port mcu1 --flash flash.bin
//
// The port is a symbolic link to the pseudo-terminal, which a device file
// names. The flash file holds the image that the microcontroller runs, and is
// empty while it has none. The program ends with SIGINT or SIGTERM and removes
// the link. It needs Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mcu:", err)
		os.Exit(1)
	}
}

// run plays until ctx ends.
func run(ctx context.Context, args []string) error {
	var (
		flags  = flag.NewFlagSet("mcu", flag.ExitOnError)
		port   = flags.String("port", "mcu1", "symbolic link to make")
		file   = flags.String("flash", "flash.bin", "file with the image that runs; empty or not there for none")
		size   = flags.Int("size", 1<<20, "bytes of flash")
		replug = flags.Duration("replug", time.Second, "how long it is unplugged")
		faults faults
	)
	flags.IntVar(&faults.lose, "lose", 0, "lose one of so many bytes, both ways; 0 for none")
	flags.Uint64Var(&faults.seed, "seed", 0, "which bytes are lost, by chance; 0 for one in exactly so many")
	flags.IntVar(&faults.nak, "nak", 0, "answer one of so many requests with NAK; 0 for none")
	flags.IntVar(&faults.storm, "storm", 0, "answer the writing of this block with NAK, --naks times; 0 for none")
	flags.IntVar(&faults.naks, "naks", 8, "length of the storm")
	flags.IntVar(&faults.unplug, "unplug", 0, "be unplugged, once, after so many written blocks; 0 for never")
	_ = flags.Parse(args) // it exits
	image, err := os.ReadFile(*file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m, err := newPart(*size, image)
	if err != nil {
		return fmt.Errorf("%s: %w", *file, err)
	}
	m.changed = func(image []byte) error { return os.WriteFile(*file, image, 0o644) }
	l := line{path: *port, faults: faults, replug: func() <-chan time.Time { return time.After(*replug) }}
	return l.serve(ctx, m)
}
