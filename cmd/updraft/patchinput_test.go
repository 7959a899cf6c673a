package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta"
)

// TestParts gives the same stretches of a patch from a file and from a pipe.
func TestParts(t *testing.T) {
	text := []byte(strings.Repeat("0123456789", 3000))
	name := t.TempDir() + "/patch"
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	n := int64(len(text))
	for _, tt := range []struct {
		name   string
		before delta.Range
		from   int64
		want   string
	}{
		{"all", delta.Range{}, 0, string(text)},
		{"nothing before", delta.Range{}, 9001, string(text[9001:])},
		{"a stretch before", delta.Range{At: 17, Length: 5000}, 20000, string(text[17:5017]) + string(text[20000:])},
		{"a stretch that touches", delta.Range{At: 3, Length: 4}, 7, string(text[3:])},
		{"from the end on", delta.Range{At: 3, Length: 4}, n, "3456"},
		{"beyond the end", delta.Range{}, n + 5, ""},
		{"a stretch beyond the end", delta.Range{At: n - 2, Length: 9}, n + 7, "89"},
	} {
		for _, from := range []string{name, "-"} {
			p := &program{stdin: bytes.NewReader(text)}
			in, err := p.openPatch(from)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.MultiReader(in.part(tt.before.At, tt.before.Length), in.part(tt.from, -1)))
			if string(got) != tt.want || err != nil {
				t.Errorf("%s, from %s: %d bytes, %v; want %d", tt.name, from, len(got), err, len(tt.want))
			}
			if err := in.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestInspectAnything gives patches of every format that are cut short or
// damaged, for which there is an answer or the error of a corrupt patch.
func TestInspectAnything(t *testing.T) {
	pair := newPair(t, 6, 4, 2<<10, 50)
	heads := [][]byte{pair.patch}
	for _, m := range patchMagics {
		heads = append(heads, append([]byte(m.magic), bytes.Repeat([]byte{0x81, 7, 0xff, 0}, 30)...))
	}
	heads = append(heads, fullImage{size: 12}.append(nil))
	for _, head := range heads {
		for n := range len(head) {
			for _, b := range [][]byte{head[:n], flipped(head, n)} {
				in := &patchInput{name: "p", section: sectionOf(b), head: b[:min(len(b), patchHead)]}
				got, err := in.inspect()
				switch {
				case err != nil && !errors.Is(err, delta.ErrCorrupt) && !errors.Is(err, delta.ErrUnsupported):
					t.Errorf("%x: %v", b, err)
				case err == nil && got.text("p") == "":
					t.Errorf("%x: no answer", b)
				case err == nil && got.NewSize != nil && *got.NewSize < 0:
					t.Errorf("%x: a size of %d", b, *got.NewSize)
				}
			}
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x80
	return b
}

// TestDamagedImage applies a full image with each byte of its start spoilt: the
// patch is to blame, and never something unexpected.
func TestDamagedImage(t *testing.T) {
	newer := bytes.Repeat([]byte("new"), 20_000)
	var image bytes.Buffer
	if err := writeImage(t.Context(), &image, io.NewSectionReader(bytes.NewReader(newer), 0, int64(len(newer))), sha256.Sum256(newer), 1<<20); err != nil {
		t.Fatal(err)
	}
	for at := range min(image.Len(), 200) {
		for _, bit := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
			b := bytes.Clone(image.Bytes())
			b[at] ^= bit
			r, err := openImage(t.Context(), bytes.NewReader(b), b[:min(len(b), patchHead)], delta.Limits{Memory: delta.DefaultMemory})
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
				err = errors.Join(err, r.Close())
			}
			if err == nil && !bytes.Equal(got, newer) || err != nil && exitCode(err) != exitUsage {
				t.Errorf("byte %d, bit %#x: %d bytes, exit code %d: %v", at, bit, len(got), exitCode(err), err)
			}
		}
	}
}
