package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
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
	fmt.Fprintf(page, "\nA region of four frames with one element, a program for x86-64 without sections. Old and new are hexadecimal too.\n\n```\nold   %s\nnew   %s\npatch %s\n```\n",
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
		if err != nil || info.Frames != int64([]int{0, 1, 2, inPlace: 1, element: 4}[i]) || info.Elements != int64([]int{element: 1}[i]) {
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

// TestReferencesPage holds the second page's list of kinds and its limits to
// the code. Where a line of the code is another one, look at the page.
func TestReferencesPage(t *testing.T) {
	b, err := os.ReadFile("../docs/delta-references.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	f, err := parser.ParseFile(token.NewFileSet(), "internal/reference/reference.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := kindNames(f)
	if len(kinds) < 40 || kinds[reference.Near32] != "Near32" || kinds[reference.WideSite] != "WideSite" {
		t.Fatalf("kinds %q", kinds)
	}
	for i, name := range kinds {
		if !strings.Contains(page, fmt.Sprintf("\n| %d | %s | ", i, name)) {
			t.Errorf("no row for kind %d, %s", i, name)
		}
	}
	for _, tt := range []struct{ file, code, page string }{
		{"reference.go", "maxSegments = 256\n", "not more than 256 segments"},
		{"reference.go", "maxSegments = 256\n", "segments of new: at most 256 |"},
		{"reference.go", "maxSections = 8192\n", "More than 8,192: no element"},
		{"reference.go", "maxNames    = 256 << 10\n", "min(size, 262,144) bytes"},
		{"reference.go", "maxRecord   = 64 << 10\n", "At most 65,536 bytes:"},
		{"reference.go", "\tkinds\n", fmt.Sprintf("Below 2^%d |", len(kinds))},
		{"copymap.go", "MaxCopies = 256 << 10\n", "at most 262,144"},
		{"copymap.go", "shortest = 8\n", "those of 8 bytes or more"},
		{"copymap.go", "pageBits = 12\n", "⌊size / 4096⌋ + 2"},
		{"scan.go", "restart = 256\n", "a multiple of 256 (from the element's start), so that"},
		{"scan.go", "lead    = 16\n", "p = max(c - 16, lo)"},
		{"scan.go", "reach = 16 << 10\n", "more than 16,384 bytes behind"},
		{"region.go", "markStep = 4096\n", "one for each 4,096 bytes"},
		{"data.go", "tablePage = 1024\n", "(q rounded down to 1024) - 1024"},
		{"arm64.go", "pairReach = 48\n", "q = p + 4, … p + 44"},
		{"arm32.go", "armBlock = 64\n", "judged for each 64 bytes"},
		{"arm32.go", "poolReach = 65 * armBlock\n", "from 1 to 4,160"},
		{"arm32.go", "moveReach = 44\n", "if t > 44: no field"},
		{"riscv.go", "riscvBlock = 256\n", "Blocks begin at places c that are multiples of 256"},
		{"riscv.go", "riscvLead  = 64\n", "p begins at max(c − 64, lo)"},
		{"riscv.go", "riscvReach = 48\n", "while q < p + 48"},
		{"golang.go", "goHeader = 72\n", "At least 72 bytes"},
		{"golang.go", "goModule = 41 ", "first 41 words"},
		{"kallsyms.go", "minListed = 1000 ", "if 1000 <= n <= 4194304:"},
		{"kallsyms.go", "maxListed = 4 << 20\n", "from 1000 to 4194304"},
		{"kallsyms.go", "maxTries = 16\n", "the first 16 places"},
		{"pe.go", "imageSections = 96 ", "n = u16(6) ≤ 96"},
		{"model.go", "cacheBits  = 16\n", "*targets* of 2^16"},
		{"model.go", "recent     = 12 ", "again[12]"},
		{"model.go", "states     = 14 ", "first[14][2][2][2][8], second[14], third[14]"},
		{"model.go", "aroundBits = 13\n", "*around* of 2^13"},
		{"model.go", "{addresses: {12, 3}, places: {8, 2}, numbers: {5, 0}, lowBits: {12, 3}}", "| bits | 3 | 12 | 3 |"},
	} {
		code, err := os.ReadFile("internal/reference/" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(code), tt.code) {
			t.Errorf("%s has no line %q any more", tt.file, tt.code)
		}
		if !strings.Contains(page, tt.page) {
			t.Errorf("the page has no %q for %q", tt.page, tt.code)
		}
	}
}

// kindNames lists the constants of the type Kind, in order.
func kindNames(f *ast.File) (names []string) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		if first, ok := g.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident); !ok || first.Name != "Kind" {
			continue
		}
		for _, s := range g.Specs {
			if name := s.(*ast.ValueSpec).Names[0].Name; ast.IsExported(name) {
				names = append(names, name)
			}
		}
	}
	return names
}
