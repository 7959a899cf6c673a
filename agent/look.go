package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// The kinds of lines of the local socket that are not events.
const (
	kindStatus  = "status"
	kindRefused = "refused"
)

// ErrNoAgent says that nobody listens at the local socket.
var ErrNoAgent = errors.New("no agent answers")

// ErrHeld says that another process holds the device, its state directory or
// the local socket. [Open] and [Serve] give it.
var ErrHeld = disk.ErrLocked

// Status is what the local socket tells of an agent, as one line of JSON.
type Status struct {
	Kind    string                 `json:"kind"` // always status
	Time    time.Time              `json:"time"`
	Run     *engine.Status         `json:"run,omitempty"`     // the present run, or else the last
	Waiting int                    `json:"waiting,omitempty"` // commands that wait for their turn
	Planes  map[string]PlaneStatus `json:"planes"`
}

// PlaneStatus is how the connection to one cloud is doing.
type PlaneStatus struct {
	Connected bool      `json:"connected"`
	Ready     bool      `json:"ready"`              // commands can come
	Since     time.Time `json:"since,omitzero"`     // of being connected, or of the first attempt that failed
	Attempts  int       `json:"attempts,omitempty"` // that failed since then
	Waiting   int       `json:"waiting,omitempty"`  // messages that wait for the connection
	Reports   int       `json:"reports,omitempty"`  // that the cloud does not have yet
	Error     string    `json:"error,omitempty"`    // of the last attempt or connection
}

// Look asks the agent at a local socket for its status and waits five seconds
// at most. An agent that is not there is [ErrNoAgent].
func Look(ctx context.Context, path string) (Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTime, fmt.Errorf("no status within %s", lookTime))
	defer cancel()
	var s Status
	seen := errors.New("seen")
	err := Follow(ctx, path, func(line []byte) error {
		if err := json.Unmarshal(line, &s); err != nil || s.Kind != kindStatus {
			return fmt.Errorf("socket %s: expected a line of JSON of the kind status, have %.80q", path, line)
		}
		return seen
	})
	switch {
	case errors.Is(err, seen):
		return s, nil
	case err == nil:
		err = fmt.Errorf("socket %s: closed before it said anything: %w", path, io.ErrUnexpectedEOF)
	}
	return Status{}, err
}

// Follow hands on each line that the agent at a local socket tells, without
// its end, until the agent ends, which is no error, or ctx ends, or line gives
// an error. line must not keep what it is given.
func Follow(ctx context.Context, path string, line func([]byte) error) error {
	conn, err := dialSocket(ctx, path)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		stop()
		_ = conn.Close() // nothing was written
	}()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	lines.Split(wholeLines)
	for lines.Scan() {
		if text, ok := refusal(lines.Bytes()); ok {
			return fmt.Errorf("socket %s: %s", path, text)
		}
		if err := line(lines.Bytes()); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return fmt.Errorf("socket %s: %w", path, context.Cause(ctx))
	case err != nil && !errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("socket %s: %w", path, err)
	}
	return nil
}

const (
	maxLine  = 1 << 20 // bytes of a line that Follow takes at most
	lookTime = 5 * time.Second
)

// wholeLines splits like [bufio.ScanLines], but leaves out a last line that was
// cut short.
func wholeLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if n := bytes.IndexByte(data, '\n'); n >= 0 {
		return n + 1, data[:n], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	name, err := kernelName(path)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("socket %s: %w: does it run, and with this agent file?", path, ErrNoAgent)
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	}
	return conn, nil
}

// refusal gives the reason of an agent that has too many readers.
func refusal(line []byte) (text string, ok bool) {
	if !bytes.Contains(line, []byte(kindRefused)) {
		return "", false
	}
	var r refusedLine
	err := json.Unmarshal(line, &r)
	return r.Text, err == nil && r.Kind == kindRefused
}

// refusedLine is the only line that a reader gets who is one too many.
type refusedLine struct {
	Kind string `json:"kind"` // always refused
	Text string `json:"text"`
}
