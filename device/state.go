package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	maxState   = 1 << 20 // bytes of a state file
	maxRecords = 16      // runs that a target remembers
)

// record is what a target remembers of a run, so that a repeated op gives the
// same answer.
type record struct {
	Run  string `json:"run"`
	Undo *Undo  `json:"undo,omitempty"`
	// Of a directory: the version that the run committed, the digest of its
	// listing, and whether it was there before.
	Version string `json:"version,omitempty"`
	Listing string `json:"listing,omitempty"`
	Reused  bool   `json:"reused,omitempty"`
}

type records []record

func (r records) of(run string) *record {
	for i := range r {
		if r[i].Run == run {
			return &r[i]
		}
	}
	return nil
}

// need gives the record of run. It makes one if there is none and then drops
// the oldest beyond maxRecords.
func (r *records) need(run string) (rec *record, dropped []record) {
	if rec := r.of(run); rec != nil {
		return rec, nil
	}
	*r = append(*r, record{Run: run})
	if over := len(*r) - maxRecords; over > 0 {
		dropped = append(dropped, (*r)[:over]...)
		*r = append(records(nil), (*r)[over:]...)
	}
	return r.of(run), dropped
}

func (r *records) drop(run string) {
	kept := records(nil)
	for _, rec := range *r {
		if rec.Run != run {
			kept = append(kept, rec)
		}
	}
	*r = kept
}

// readState reads a state file into v. found is false if there is none.
func readState(fsys disk.FS, file, advice string, v any) (raw []byte, found bool, err error) {
	raw, err = disk.ReadFile(fsys, file, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil && !errors.Is(err, disk.ErrLimit) {
		return nil, false, err
	}
	if err == nil {
		err = strictJSON(raw, v)
	}
	if err != nil {
		return nil, false, corrupt(file, advice, err)
	}
	return raw, true, nil
}

func corrupt(file, advice string, err error) error {
	return fmt.Errorf("%s: %w: %w; %s", file, ErrCorrupt, err, advice)
}

// writeState makes v the content of a state file that had raw. If that is the
// same, only the name is synced: an earlier call may have been killed before
// it came to that.
func writeState(fsys disk.FS, file string, raw []byte, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if len(data) > maxState {
		return fmt.Errorf("%s: %w: it would be %d bytes, %d are possible", file, ErrQuota, len(data), maxState)
	}
	if bytes.Equal(data, raw) {
		return fsys.SyncDir(path.Dir(file))
	}
	return disk.WriteFile(fsys, file, data, 0o644)
}

// strictJSON decodes one value without unknown or repeated keys.
func strictJSON(data []byte, v any) error {
	if err := uniqueKeys(json.NewDecoder(bytes.NewReader(data)), 0); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the end")
	}
	return nil
}

func uniqueKeys(d *json.Decoder, depth int) error {
	const deepest = 16
	if depth > deepest {
		return fmt.Errorf("more than %d levels", deepest)
	}
	t, err := d.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[any]bool{}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if seen[key] {
				return fmt.Errorf("key %v stands there twice", key)
			}
			seen[key] = true
		}
		if err := uniqueKeys(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
