package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/wasmhost"
)

// addRecord adds --record to c.
func addRecord(c *cobra.Command) *string {
	name := c.Flags().String("record", "", "write what modules ask and are answered to `FILE`, for module replay")
	must(c.MarkFlagFilename("record"))
	return name
}

// openRecording opens a new recording, or one that a run of before began. The
// function that it gives closes it, and says whether it is complete. Without a
// name there is nothing to record to.
func openRecording(name string) (*wasmhost.Recorder, func() error, error) {
	if name == "" {
		return nil, func() error { return nil }, nil
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, inputError(fmt.Errorf("record: %w", err))
	}
	if err := wholeLines(f); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	r := wasmhost.NewRecorder(f)
	return r, func() error { return errors.Join(r.Err(), f.Close()) }, nil
}

// wholeLines leaves f behind its last whole line: what was being written when
// the power was cut is dropped. A file of something else is refused.
func wholeLines(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if !info.Mode().IsRegular() {
		return usagef("--record %s: expected a regular file, it is %v", f.Name(), info.Mode().Type())
	}
	start, _ := bufio.NewReader(f).Peek(len(recordingStart))
	if len(start) > 0 && !bytes.HasPrefix([]byte(recordingStart), start) {
		return usagef("--record %s: the file exists and is not a recording", f.Name())
	}
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	end, err := lastLine(f, info.Size())
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// recordingStart is how every recording begins.
const recordingStart = `{"recording":`

// lastLine is where the last whole line of the first size bytes of f ends.
func lastLine(f *os.File, size int64) (int64, error) {
	b := make([]byte, 64<<10)
	for end := size; end > 0; {
		at := max(0, end-int64(len(b)))
		piece := b[:end-at]
		if _, err := f.ReadAt(piece, at); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(piece, '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
		end = at
	}
	return 0, nil
}
