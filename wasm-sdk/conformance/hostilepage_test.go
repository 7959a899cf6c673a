package conformance

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// limitsPage gives the rows of the tables below each heading of the page, as
// their cells.
func limitsPage(t *testing.T) map[string][][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/module-limits.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, heading := map[string][][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			heading = name
		}
		if row, ok := strings.CutPrefix(line, "|"); ok && !strings.HasPrefix(row, "---") {
			cells := strings.Split(strings.TrimSuffix(row, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows[heading] = append(rows[heading], cells)
		}
	}
	for heading := range rows {
		rows[heading] = rows[heading][1:] // behind the head
	}
	return rows
}

// The page has each case with its number, its name and what it ends in.
func TestThePageOfLimitsHasEveryCase(t *testing.T) {
	rows := limitsPage(t)["What hostile modules end in"]
	cases := hostileCases()
	if len(cases) != 34 || len(rows) != len(cases) {
		t.Fatalf("%d cases, %d on the page; want 34", len(cases), len(rows))
	}
	for i, c := range cases {
		ends := "no error"
		if len(c.ends) > 0 {
			ends = "`" + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(c.ends), "[]")), "` `") + "`"
		}
		if got, want := rows[i][:3], []string{strconv.Itoa(i + 1), c.name, ends}; !slices.Equal(got, want) {
			t.Errorf("the page has %q, want %q", got, want)
		}
	}
}

// The page has each code of the host, and no other.
func TestThePageOfLimitsHasEveryCode(t *testing.T) {
	var got []string
	for _, row := range limitsPage(t)["Errors"] {
		got = append(got, strings.Trim(row[0], "`"))
	}
	slices.Sort(got)
	if want := hostCodes(t); !slices.Equal(got, want) {
		t.Errorf("the page has the codes %q, want %q", got, want)
	}
}

// hostCodes reads the constants of the type Code from the host's source, so
// that a new one is not forgotten.
func hostCodes(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../wasmhost/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, code)
		}
		return true
	})
	if !slices.Contains(codes, string(wasmhost.Cancelled)) {
		t.Fatalf("codes %q: want %s among them", codes, wasmhost.Cancelled)
	}
	slices.Sort(codes)
	return codes
}

// The numbers of the page are those of the contract.
func TestThePageOfLimitsHasTheNumbers(t *testing.T) {
	page := limitsPage(t)
	for _, tt := range []struct {
		table, limit string
		want         []int
	}{
		{"Of a phase", "fuel", []int{abi.DefaultFuel}},
		{"Of a phase", "memory", []int{abi.DefaultMemory >> 20}},
		{"Of a phase", "calls within calls", []int{abi.MaxFrames}},
		{"Of a phase", "handles", []int{abi.MaxHandles}},
		{"Of a phase", "log", []int{abi.MaxLine, abi.MaxLog}},
		{"Of a phase", "progress", []int{abi.MaxText}},
		{"Of a phase", "result", []int{abi.MaxResult}},
		{"Of a phase", "names", []int{abi.MaxName}},
		{"Of a phase", "http", []int{abi.MaxHTTP}},
		{"Of a phase", "output of a command", []int{abi.MaxOutput}},
		{"Of a step", "key-values", []int{abi.MaxKV, abi.MaxKey}},
		{"Of a step", "mark", []int{abi.MaxMark}},
		{"Of the module itself", "size", []int{abi.MaxModule}},
		{"Of the module itself", "manifest", []int{abi.MaxManifest}},
		{"Of the module itself", "functions of its own", []int{abi.MaxFunctions}},
		{"Of the module itself", "code of a function", []int{abi.MaxBody}},
		{"Of the module itself", "locals of a function, with its parameters", []int{abi.MaxLocals}},
		{"Of the module itself", "targets of a branch table", []int{abi.MaxTargets}},
		{"Of the module itself", "globals", []int{abi.MaxGlobals}},
		{"Of the module itself", "exports", []int{abi.MaxExports}},
		{"Of the module itself", "entries of the table", []int{abi.MaxTable}},
		{"Of the module itself", "custom sections without the manifest", []int{abi.MaxCustom}},
		{"Of the module itself", "name of an import or export", []int{abi.MaxName}},
	} {
		at := slices.IndexFunc(page[tt.table], func(row []string) bool { return row[0] == tt.limit })
		if at < 0 {
			t.Errorf("%q has no row %q", tt.table, tt.limit)
			continue
		}
		words := strings.Fields(strings.NewReplacer(",", "", ";", "", ":", "").Replace(page[tt.table][at][1]))
		for _, n := range tt.want {
			if !slices.Contains(words, strconv.Itoa(n)) {
				t.Errorf("%q, %q: %q; want %d", tt.table, tt.limit, page[tt.table][at][1], n)
			}
		}
	}
}
