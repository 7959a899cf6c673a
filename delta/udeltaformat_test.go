package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/match"
)

const formatPage = "../docs/delta-format.md"

var vectorsFlag = flag.Bool("vectors", false, "write the test vectors into the specification anew")

// vectors writes the test vectors as they stand at the end of the page.
func vectors(t *testing.T) string {
	old := "Nothing is as permanent as a bootloader, version 1. It waits in its corner of the flash, and nobody thinks of it until the day on which it is needed.\n"
	upd := strings.NewReplacer("version 1", "version 2", "the flash", "the old disk").Replace(old) + "The end.\n"
	var page strings.Builder
	for _, tt := range []struct {
		what   string
		upd    string
		output uint8
		copies []match.Copy
	}{
		{"Identical files.", old, 13, nil},
		{"One frame with two copies, a change, and two gaps that have known bytes.", upd, 13,
			[]match.Copy{{Old: 0, New: 0, Length: 75}, {Old: 83, New: 86, Length: 67}}},
		{"Two frames, because one may make 128 bytes; the copy is cut in two.", old[8:] + old[:8], 7,
			[]match.Copy{{Old: 8, New: 0, Length: int64(len(old) - 8)}}},
	} {
		var out bytes.Buffer
		m := &udeltaMaker{old: []byte(old), new: []byte(tt.upd), dst: &out, copies: tt.copies,
			level:  udeltaLevel{coder: coder.Default, caps: udeltaCaps{Coded: 9, Raw: 9, Known: 10, Output: tt.output}},
			header: udeltaHeader{oldSize: int64(len(old)), newSize: int64(len(tt.upd)), oldSum: sha256.Sum256([]byte(old)), newSum: sha256.Sum256([]byte(tt.upd))}}
		if tt.copies == nil {
			m.header.required = udeltaIdentical
		}
		if err := m.patch(t.Context()); err != nil {
			t.Fatal(err)
		}
		writeVector(&page, tt.what, old, tt.upd, out.Bytes())
	}
	patch := makeInPlacePatch(t, []byte(old), []byte(upd), InPlaceOptions{})
	writeVector(&page, "The second one in place: one batch of one block.", old, upd, patch)
	return page.String()
}

func writeVector(page *strings.Builder, what, old, upd string, patch []byte) {
	fmt.Fprintf(page, "\n%s\n\n```\nold   %q\nnew   %q\npatch ", what, old, upd)
	for i, c := range patch {
		if i > 0 && i%48 == 0 {
			page.WriteString("\n      ")
		}
		fmt.Fprintf(page, "%02x", c)
	}
	page.WriteString("\n```\n")
}

// TestFormatVectors applies the patches of the specification.
func TestFormatVectors(t *testing.T) {
	page, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	if *vectorsFlag {
		head, _, _ := strings.Cut(string(page), "\nIdentical files.")
		page = []byte(head + vectors(t))
		if err := os.WriteFile(formatPage, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blocks := regexp.MustCompile("(?s)```\nold +(\"[^\n]*)\nnew +(\"[^\n]*)\npatch ([0-9a-f \n]+)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 4 {
		t.Fatalf("%d test vectors, want 4", len(blocks))
	}
	for i, b := range blocks {
		old, err := strconv.Unquote(b[1])
		if err != nil {
			t.Fatal(err)
		}
		upd, err := strconv.Unquote(b[2])
		if err != nil {
			t.Fatal(err)
		}
		patch, err := hex.DecodeString(strings.Join(strings.Fields(b[3]), ""))
		if err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			d := slot(t, []byte(old))
			if err := update(t, d, patch, Limits{Size: int64(len(upd))}); err != nil || string(image(t, d, len(upd))) != upd {
				t.Errorf("vector %d: %v, or a wrong image", i, err)
			}
			continue
		}
		got, err := apply(t.Context(), lookup(t, "udelta"), []byte(old), patch, Limits{Size: int64(len(upd))})
		if err != nil || string(got) != upd {
			t.Errorf("vector %d: %q, %v, want %q", i, got, err, upd)
		}
		info, err := Inspect(bytes.NewReader(patch))
		if err != nil || info.Frames != int64(i) {
			t.Errorf("vector %d: %d frames, %v, want %d", i, info.Frames, err, i)
		}
	}
}

// TestFormatPage holds the specification's tables to the constants.
func TestFormatPage(t *testing.T) {
	b, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	var want []string
	for kind, k := range udeltaModels {
		want = append(want, fmt.Sprintf("| %s | %d | %d | %d | %s |", udeltaKindNames[kind], k.LC, k.LP, k.PB, map[bool]string{true: "yes", false: "no"}[k.Expect]))
	}
	for _, level := range []Level{Fast, Default, Max} {
		l := udeltaLevels[level]
		want = append(want, fmt.Sprintf("| %s | %d | %d | %d | %d, %d, %d |", level, l.caps.Coded, l.caps.Raw, l.caps.Known, l.whole.Coded, l.whole.Raw, l.whole.Known))
	}
	for name, most := range map[string]uint8{"coded": udeltaMost.Coded, "raw": udeltaMost.Raw, "known": udeltaMost.Known, "output": udeltaMost.Output} {
		if !regexp.MustCompile(fmt.Sprintf(`\| %s \| [^|]* \| %d \|`, name, most)).MatchString(page) {
			t.Errorf("no row for the cap %s with %d", name, most)
		}
	}
	for _, row := range want {
		if !strings.Contains(page, row) {
			t.Errorf("no row %q", row)
		}
	}
}
