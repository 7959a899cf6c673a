package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"
)

// faults make a line bad. The zero value is a good one.
type faults struct {
	lose   int    // one of so many bytes, both ways
	seed   uint64 // which ones
	nak    int    // one of so many requests
	storm  int    // this block, 1 for the first
	naks   int    // times
	unplug int    // after so many written blocks
}

// line is a serial line to a microcontroller. It is used by one goroutine.
type line struct {
	path string // of the symbolic link to the pseudo-terminal
	faults
	// replug begins the time that it is unplugged.
	replug func() <-chan time.Time
	// asked, if it is not nil, is called with each request that arrived whole,
	// before it is answered.
	asked func(command byte, payload []byte)

	far      terminal
	dice     *rand.Rand
	bytes    int // that went through, for lose
	requests int
	written  int // blocks
	out      bool
}

// gap ends a frame that bytes are missing of.
const gap = 40 * time.Millisecond

// closedPause is between two looks whether somebody opened the port.
const closedPause = 2 * time.Millisecond

var errUnplugged = errors.New("unplugged")

// serve answers until ctx ends.
func (l *line) serve(ctx context.Context, p *part) error {
	l.dice = rand.New(rand.NewPCG(l.seed, 0))
	for {
		err := l.plugged(ctx, p)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errUnplugged) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.replug():
			p.boot()
		}
	}
}

// plugged is the time from plugging the cable in to pulling it.
func (l *line) plugged(ctx context.Context, p *part) error {
	far, err := openTerminal()
	if err != nil {
		return err
	}
	l.far = far
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, l.far.Close())
	}
	if err := os.Symlink(l.far.near, l.path); err != nil {
		return errors.Join(err, l.far.Close())
	}
	unhook := context.AfterFunc(ctx, func() { _ = far.SetDeadline(time.Unix(1, 0)) }) // it ends the read
	defer unhook()
	err = l.listen(ctx, p)
	return errors.Join(err, os.Remove(l.path), l.far.Close())
}

// listen reads requests and answers them, until ctx ends or it is unplugged.
func (l *line) listen(ctx context.Context, p *part) error {
	var have []byte
	chunk := make([]byte, 4096)
	for ctx.Err() == nil {
		deadline := time.Time{}
		if len(have) > 0 {
			deadline = time.Now().Add(gap)
		}
		if err := l.far.SetReadDeadline(deadline); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil // before the deadline of its end was overwritten
		}
		n, err := l.far.Read(chunk)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			have = nil
			continue
		case isClosed(err):
			time.Sleep(closedPause)
			have = nil
			continue
		case err != nil:
			return fmt.Errorf("read the line: %w", err)
		}
		have = append(have, l.some(chunk[:n])...)
		command, number, payload, err := request(have)
		if errors.Is(err, errPartial) {
			continue
		}
		if err = l.reply(p, command, number, payload, err); err != nil {
			return err
		}
		have = nil
	}
	return nil
}

// reply answers one request, or what arrived of it.
func (l *line) reply(p *part, command, number byte, payload []byte, damaged error) error {
	if damaged == nil && l.asked != nil {
		l.asked(command, payload)
	}
	if damaged != nil || l.disturbed(command, payload) {
		return l.send(frame(0xaa, nak, number, nil))
	}
	answer, err := p.answer(command, payload)
	var why no
	if errors.As(err, &why) {
		return l.send(frame(0xaa, refused, number, []byte(why)))
	}
	if err != nil {
		return err
	}
	if command == 'W' {
		if l.written++; l.written == l.unplug && !l.out {
			l.out = true
			return errUnplugged
		}
	}
	return l.send(frame(0xaa, ack, number, answer))
}

// disturbed says whether a request that arrived whole gets a NAK all the same.
func (l *line) disturbed(command byte, payload []byte) bool {
	l.requests++
	if l.nak > 0 && l.requests%l.nak == 0 {
		return true
	}
	if command != 'W' || l.storm == 0 || l.naks == 0 || len(payload) < 4 || blockOf(payload) != l.storm-1 {
		return false
	}
	l.naks--
	return true
}

// blockOf gives the number of the block that a request to write is for, from 0.
func blockOf(payload []byte) int { return int(binary.LittleEndian.Uint32(payload)) / block }

// some gives what is left of b on this line.
func (l *line) some(b []byte) []byte {
	if l.lose == 0 {
		return b
	}
	var out []byte
	for _, c := range b {
		l.bytes++
		if l.seed == 0 && l.bytes%l.lose == 0 || l.seed != 0 && l.dice.IntN(l.lose) == 0 {
			continue
		}
		out = append(out, c)
	}
	return out
}

// send replies. A reply that nobody is there to read is lost.
func (l *line) send(b []byte) error {
	if err := l.far.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err := l.far.Write(l.some(b))
	if isClosed(err) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
