package delta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/inplace"
)

// ram is a region in memory that grows to a limit.
type ram struct {
	b     []byte
	limit int64
}

func (r *ram) ReadAt(p []byte, at int64) (int, error) { return bytes.NewReader(r.b).ReadAt(p, at) }

func (r *ram) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at > r.limit-int64(len(p)) {
		return 0, fmt.Errorf("a write of %d bytes at %d, where at most %d may be", len(p), at, r.limit)
	}
	if end := int(at) + len(p); end > len(r.b) {
		r.b = append(r.b, make([]byte, end-len(r.b))...)
	}
	return copy(r.b[at:], p), nil
}

func (r *ram) Sync() error { return nil }

// partsOf gives the sections of a patch after its header, each as its type, its
// length in two bytes, and its body: what FuzzInPlace makes patches of.
func partsOf(t testing.TB, patch []byte) (all []byte) {
	t.Helper()
	r, err := openInPlace(source(patch))
	if err != nil {
		t.Fatal(err)
	}
	for at := r.header.length; at < int64(len(patch)); {
		length, n := number(patch[at+1:])
		body := patch[at+1+int64(n):][:length]
		all = append(binary.LittleEndian.AppendUint16(append(all, patch[at]), uint16(length)), body...)
		at += 1 + int64(n) + length + 4
	}
	return all
}

// FuzzInPlace applies patches whose sections have any contents, and right
// checksums. That gives an error, or the new image; and nothing is written
// outside of the image and the journal that the patch declares.
func FuzzInPlace(f *testing.F) {
	p := inPlacePairs(20_000)[5]
	r, err := openInPlace(source(makeInPlacePatch(f, p.old, p.new, smallJournal)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(partsOf(f, makeInPlacePatch(f, p.old, p.new, smallJournal)))
	f.Add(partsOf(f, makeInPlacePatch(f, p.old, p.new, InPlaceOptions{})))
	f.Add(partsOf(f, makeInPlacePatch(f, p.new, p.old, smallJournal)))
	f.Fuzz(func(t *testing.T, parts []byte) {
		h := r.header
		patch := h.append(nil)
		for len(parts) >= 3 {
			kind, n := parts[0], min(int(binary.LittleEndian.Uint16(parts[1:])), len(parts)-3)
			patch = h.appendSection(patch, int64(len(patch)), kind, parts[3:3+n])
			parts = parts[3+n:]
		}
		region, journal := &ram{bytes.Clone(p.old), int64(max(len(p.old), len(p.new)))}, &ram{limit: inplace.JournalSize(inplace.MaxBatch)}
		if info, err := InspectInPlace(bytes.NewReader(patch)); err == nil {
			journal.limit = info.Journal
		}
		_, err := ApplyInPlace(context.Background(), region, journal, io.NewSectionReader(bytes.NewReader(patch), 0, int64(len(patch))),
			Limits{Size: int64(len(p.new)), Memory: 128 << 20})
		if err != nil && !refused(err) {
			t.Fatal(err)
		}
		if err == nil && !bytes.Equal(region.b[:len(p.new)], p.new) {
			t.Error("no error, and a wrong image")
		}
	})
}
