package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/match"
	"github.com/updraft-ota/updraft/delta/internal/reference"
	"github.com/updraft-ota/updraft/internal/sample"
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
	writeElementVector(t, &page)
	return page.String()
}

func writeVector(page *strings.Builder, what, old, upd string, patch []byte) {
	fmt.Fprintf(page, "\n%s\n\n```\nold   %q\nnew   %q\npatch %s\n```\n", what, old, upd, hexLines(patch))
}

func hexLines(b []byte) string {
	var lines []string
	for part := range slices.Chunk(b, 48) {
		lines = append(lines, hex.EncodeToString(part))
	}
	return strings.Join(lines, "\n      ")
}

// writeElementVector writes one in which old and new are programs. The copies
// are cut by the end of a frame, in which case references are learned anew.
func writeElementVector(t *testing.T, page *strings.Builder) {
	old, upd := sample.Program(5, 3), sample.Program(5, 1)
	copies, err := match.Find(t.Context(), old, upd, match.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	m := &udeltaMaker{old: old, new: upd, dst: &out, copies: copies,
		level: udeltaLevel{coder: coder.Default, caps: udeltaCaps{Coded: 10, Raw: 9, Known: 10, Output: 8}}}
	m.level.whole = m.level.caps
	m.sums()()
	var pair twins
	for b, x := range map[*[]byte]**executable{&old: &pair.old, &upd: &pair.new} {
		size := int64(len(*b))
		e, ok := reference.Parse(bytes.NewReader(*b), size)
		if !ok {
			t.Fatal("a sample is no program")
		}
		*x = &executable{extents: []extent{{0, size}}, size: size, parsed: e}
	}
	if !m.cutRegions([]*twins{&pair}) {
		t.Fatal("no region was made")
	}
	if err := m.patch(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(page, "\nA region of two frames with one element, a program for x86-64 without sections. Old and new are hexadecimal too.\n\n```\nold   %s\nnew   %s\npatch %s\n```\n",
		hexLines(old), hexLines(upd), hexLines(out.Bytes()))
}

// vectorBytes reads one file of a test vector: text in quotes, or hexadecimal.
func vectorBytes(t *testing.T, s string) []byte {
	t.Helper()
	if strings.HasPrefix(s, "\"") {
		text, err := strconv.Unquote(strings.TrimSpace(s))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(text)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
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
	blocks := regexp.MustCompile("```\nold +(\"[^\n]*\n|[0-9a-f \n]+)new +(\"[^\n]*\n|[0-9a-f \n]+)patch ([0-9a-f \n]+)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 5 {
		t.Fatalf("%d test vectors, want 5", len(blocks))
	}
	const inPlace, element = 3, 4
	for i, b := range blocks {
		old, upd, patch := vectorBytes(t, b[1]), vectorBytes(t, b[2]), vectorBytes(t, b[3])
		if i == inPlace {
			d := slot(t, old)
			if err := update(t, d, patch, Limits{Size: int64(len(upd))}); err != nil || !bytes.Equal(image(t, d, len(upd)), upd) {
				t.Errorf("vector %d: %v, or a wrong image", i, err)
			}
			continue
		}
		got, err := apply(t.Context(), lookup(t, "udelta"), old, patch, Limits{Size: int64(len(upd))})
		if err != nil || !bytes.Equal(got, upd) {
			t.Errorf("vector %d: %q, %v, want %q", i, got, err, upd)
		}
		info, err := Inspect(bytes.NewReader(patch))
		if err != nil || info.Frames != int64([]int{0, 1, 2, inPlace: 1, element: 3}[i]) || info.Elements != int64([]int{element: 1}[i]) {
			t.Errorf("vector %d: %+v, %v", i, info, err)
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
