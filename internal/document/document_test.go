package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// everything has a field of each type that a document can fill.
type everything struct {
	Text   string            `yaml:"text"`
	Other  string            `yaml:"other"`
	Empty  string            `yaml:"empty"`
	List   []string          `yaml:"list"`
	Map    map[string]string `yaml:"map"`
	Texts  map[string]string `yaml:"texts"`
	Bool   bool              `yaml:"bool"`
	Int    int64             `yaml:"int"`
	Small  int8              `yaml:"small"`
	Uint   uint64            `yaml:"uint"`
	Float  float64           `yaml:"float"`
	Wait   time.Duration     `yaml:"wait"`
	Space  Size              `yaml:"space"`
	Size   int64             `yaml:"size,size"`
	Part   *part             `yaml:"part"`
	Nested []part            `yaml:"nested"`
	Open   any               `yaml:"open"`
	Node   *Node             `yaml:"node"`
	Fact   *fact             `yaml:"fact"`
	Raw    *raw              `yaml:"raw"`
	Either *either           `yaml:"either"`
	Strict *strict           `yaml:"strict"`
	Unseen int
	joined `yaml:",inline"`
}

type part struct {
	Name string `yaml:"name"`
	Size Size   `yaml:"size"`
}

type joined struct {
	Beside string `yaml:"beside"`
}

// fact is a text or a map with a file.
type fact struct {
	Text string
	File string `yaml:"file"`
}

func (f *fact) UnmarshalText(text []byte) error { f.Text = string(text); return nil }

// raw counts what it gets.
type raw struct{ Lists, Others int }

func (r *raw) DecodeNode(d *Decoding, n *Node) {
	switch n.Kind {
	case List:
		r.Lists = len(n.Items)
	default:
		r.Others++
		d.Decode(n, new(string))
	}
}

type either struct {
	A string `yaml:"a"`
	B string `yaml:"b"`
}

func (e *either) Check(report func(path, text string)) {
	if e.B == "y" {
		report("b", "b is never y")
	}
	if e.A != "" && e.B != "" {
		report("c", "a and b do not go together")
	}
}

type strict struct {
	Must word `yaml:"must,required"`
}

type word string

func (w *word) UnmarshalText(text []byte) error {
	if string(text) == "bad" {
		return errors.New(`"bad" is not good`)
	}
	*w = word(text)
	return nil
}

func TestGolden(t *testing.T) {
	for _, name := range []string{"testdata/syntax.txt", "testdata/decode.txt"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sections := strings.Split("\n"+string(data), "\n-- ")[1:]
		if len(sections)%2 != 0 {
			t.Fatalf("%s: %d sections, want pairs", name, len(sections))
		}
		for i := 0; i < len(sections); i += 2 {
			title, text, _ := strings.Cut(sections[i], " --\n")
			_, want, _ := strings.Cut(sections[i+1], " --\n")
			t.Run(title, func(t *testing.T) {
				var v everything
				doc, err := Load("f.yaml", []byte(text))
				if err == nil {
					err = doc.Decode(&v)
				}
				if got := fmt.Sprint(err); got != strings.TrimSuffix(want, "\n") {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       everything
	}{
		{"text keeps its source", "text: 1.10\nother: yes\n", everything{Text: "1.10", Other: "yes"}},
		{"text that looks empty", "text: ~\nother: ''\n", everything{Text: "~"}},
		{"blocks", "text: |\n  a\n  b\nother: >\n  c\n  d\n", everything{Text: "a\nb\n", Other: "c d\n"}},
		{"a byte order mark and CRLF", "\uFEFFtext: a\r\nother: b\r\n", everything{Text: "a", Other: "b"}},
		{"numbers", "int: -9223372036854775808\nuint: 18446744073709551615\nsmall: 127\nfloat: 1.5e3",
			everything{Int: -1 << 63, Uint: 1<<64 - 1, Small: 127, Float: 1500}},
		{"durations and sizes", "wait: 1h30m\nspace: 64MiB\nsize: 10MB\n",
			everything{Wait: 90 * time.Minute, Space: 64 << 20, Size: 10_000_000}},
		{"quoted durations and sizes", "wait: '10m'\nspace: '512 KiB'\n", everything{Wait: 10 * time.Minute, Space: 512 << 10}},
		{"largest size", "space: 9223372036854775807", everything{Space: 1<<63 - 1}},
		{"nested", "part: {name: a, size: 3}\nnested: [{name: b}]\nbeside: c",
			everything{Part: &part{"a", 3}, Nested: []part{{"b", 0}}, joined: joined{"c"}}},
		{"maps and lists", "list: [1, b]\nmap: {x: 1.0, y: no}", everything{List: []string{"1", "b"}, Map: map[string]string{"x": "1.0", "y": "no"}}},
		{"a union as text", "fact: 007", everything{Fact: &fact{Text: "007"}}},
		{"a union as map", "fact: {file: x}", everything{Fact: &fact{File: "x"}}},
		{"a decoder", "raw: [1, 2]", everything{Raw: &raw{Lists: 2}}},
		{"open values are read as JSON", "open: [1, 1.10, '1', true, yes, ~, null, 007, 0x1f, {a: b}, 99999999999999999999]",
			everything{Open: []any{int64(1), json.Number("1.10"), "1", true, "yes", nil, nil, "007", "0x1f",
				map[string]any{"a": "b"}, json.Number("99999999999999999999")}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := Load("f.yaml", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			var got everything
			if err := doc.Decode(&got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestHostile(t *testing.T) {
	deepest := strings.Repeat("[", MaxDepth) + "x" + strings.Repeat("]", MaxDepth)
	block := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
		}
		return b.String() + strings.Repeat(" ", n) + "x"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"64 flow levels", deepest, ""},
		{"65 flow levels", "[" + deepest + "]", TooDeep},
		{"64 block levels", block(64), ""},
		{"65 block levels", block(65), TooDeep},
		{"65 mixed levels", "a:\n  - " + deepest[1:len(deepest)-1], TooDeep},
		{"a million levels", strings.Repeat("[", MaxBytes), TooLarge},
		{"ten thousand levels", strings.Repeat("[", 10_000), TooDeep},
		{"half a million dashes", strings.Repeat("- ", MaxBytes/2), TooDeep},
		{"half a million question marks", strings.Repeat("? ", MaxBytes/2), TooDeep},
		{"1 MiB", "a: " + strings.Repeat("x", MaxBytes-3), ""},
		{"1 MiB and a byte", "a: " + strings.Repeat("x", MaxBytes-2), TooLarge},
		{"a billion laughs", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n", Alias},
		{"an alias of itself", "a: &a [*a]\n", Alias},
		{"a long key", strings.Repeat("k", 1<<19) + ": 1", ""},
		{"a NUL", "a: \x00", Encoding},
		{"an escape sequence", "a: \x1b[31m", Encoding},
		{"half a character", "a: \xc3", Encoding},
		{"UTF-16", "\xff\xfea\x00", Encoding},
		{"a line separator", "a: \u2028b", Encoding},
		{"a lone carriage return", "a: 1\rb: 2", Encoding},
		{"many items in a line", "[" + strings.Repeat("a,", MaxMarks-1) + "]", ""},
		{"too many items in a line", "[" + strings.Repeat("a,", MaxMarks) + "]", TooLarge},
		{"many long items in a line", "[" + strings.Repeat("ümläut1234567890,", MaxMarks-1) + "]", ""},
		{"many anchors in a line", "[" + strings.Repeat("&abcdefghijklmnopqrstuvwxyz x,", MaxMarks-1) + "]", Alias},
		{"many duplicates in a line", "{" + strings.Repeat("a: 123456789012345678901234567890,", MaxMarks/2-1) + "}", DuplicateKey},
		{"nested maps of one key", strings.Repeat("{a: ", 64) + "x" + strings.Repeat("}", 64), ""},
		{"many duplicates", strings.Repeat("a: 1\n", MaxMarks/2), DuplicateKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := Load("f.yaml", []byte(tt.text))
			if err == nil && tt.want != "" {
				err = doc.Faults().Err()
			}
			var ps Problems
			if err != nil && !errors.As(err, &ps) {
				t.Fatalf("error is %T, want Problems", err)
			}
			if len(ps) > maxProblems {
				t.Errorf("%d problems, want at most %d", len(ps), maxProblems)
			}
			if tt.want != "" && (len(ps) == 0 || ps[0].Code != tt.want) {
				t.Errorf("got %.300v, want %s", err, tt.want)
			}
			if n := len(ps.Error()); n > 1<<20 {
				t.Errorf("the message has %d bytes", n)
			}
		})
	}
}

// TestMemory holds the bound that the package comment names.
func TestMemory(t *testing.T) {
	for name, text := range map[string]string{
		"pairs":   "[" + strings.Repeat("a: , ", MaxMarks/2-1) + "]",
		"nothing": "{" + strings.Repeat("a, ", MaxMarks-1) + "}",
		"lists":   "[" + strings.Repeat("[x],", MaxMarks/2-1) + "]",
	} {
		text += strings.Repeat(" ", MaxBytes-len(text))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Load("f.yaml", []byte(text)); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		got := after.TotalAlloc - before.TotalAlloc
		if t.Logf("%s: %d MiB allocated", name, got>>20); got > 64<<20 {
			t.Errorf("%s: %d bytes allocated, want at most 64 MiB", name, got)
		}
	}
}

func TestLongLines(t *testing.T) {
	text := "{a: " + strings.Repeat("x", 1000) + ", \u00e9: [\u00fc, " + strings.Repeat("y, ", 300) + "z]}"
	doc, err := Load("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	err = doc.Decode(new(struct {
		A string `yaml:"a"`
	}))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 1 {
		t.Fatalf("got %v, want one problem", err)
	}
	lines := strings.Split(ps[0].Error(), "\n")
	if len(lines) != 3 || len([]rune(lines[1])) > maxSource+2 {
		t.Fatalf("got %q, want three lines of at most %d characters", lines, maxSource)
	}
	at := strings.Index(lines[2], "^")
	if got := string([]rune(lines[1])[at : at+1]); got != "\u00e9" {
		t.Errorf("the caret points to %q, want é", got)
	}
}

func TestSecretsOfURLs(t *testing.T) {
	doc, err := Load("f.yaml", []byte(`{int: "https://me:pass@host/x?token=secret", bool: "a://b?ü"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `f.yaml:1:7: E011 expected a whole number, found the text "https://*******@host/x?************"
  {int: "https://*******@host/x?************", bool: "a://b?*"}
        ^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
f.yaml:1:52: E011 expected true or false, found the text "a://b?*"
  {int: "https://*******@host/x?************", bool: "a://b?*"}
                                                     ^~~~~~~~~`
	if got := fmt.Sprint(doc.Decode(new(everything))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRoles(t *testing.T) {
	doc, err := Load("f.yaml", []byte("refs: [a, '${{ x }}']\nsource: b\n"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Refs   []string `yaml:"refs,target"`
		Source string   `yaml:"source,file"`
	}
	var got []string
	err = doc.Root.Decode(&v, Hooks{
		Template: func(_ *Decoding, at Place) (any, bool) {
			got = append(got, fmt.Sprint("literal ", at.Literal))
			return Unset, true
		},
		Named: func(_ *Decoding, n *Node, role string) { got = append(got, role+" "+n.Text) },
	})
	if want := "[target a literal true file b]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

func TestPaths(t *testing.T) {
	doc, err := Load("f.yaml", []byte("steps:\n  - id: a\n  - install: {targets: {out: {target: rootfs}, \"a.b[0]\": x}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		key        bool
		want       string
	}{
		{"a scalar", "steps[1].install.targets.out.target", false, "3:39 6"},
		{"its key", "steps[1].install.targets.out.target", true, "3:31 6"},
		{"a map points to its key", "steps[1].install.targets", false, "3:15 7"},
		{"a quoted step", `steps[1].install.targets["a.b[0]"]`, false, "3:58 1"},
		{"a list item", "steps[0]", false, "2:5 2"},
		{"a missing key points to what is there", "steps[1].install.module.x", false, "3:5 7"},
		{"a missing item", "steps[7]", false, "1:1 5"},
		{"nonsense", "..[[\"", false, "1:1 5"},
		{"the root", "", false, "1:1 5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := doc.Problem(tt.path, BadValue, "x")
			if tt.key {
				p = doc.KeyProblem(tt.path, BadValue, "x")
			}
			if got := fmt.Sprintf("%d:%d %d", p.Line, p.Column, p.Width); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if n, whole := doc.Root.At(tt.path); whole && n.Path() != tt.path {
				t.Errorf("path back = %q, want %q", n.Path(), tt.path)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	known := []string{"patch", "fetch", "verify", "install", "id"}
	for _, tt := range []struct{ word, want string }{
		{"pacth", "patch"}, {"Fetch", "fetch"}, {"verfy", "verify"}, {"instlal", "install"},
		{"x", ""}, {"di", ""}, {"ID", "id"}, {"switch", ""}, {"", ""}, {strings.Repeat("x", 1<<20), ""},
	} {
		if got := Nearest(tt.word, known); got != tt.want {
			t.Errorf("Nearest(%.20q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestTemplate(t *testing.T) {
	doc, err := Load("f.yaml", []byte(`
text: "${{ s }}"
int: ${{ i }}
small: ${{ big }}
wait: "${{ s }}"
either: {a: "${{ i }}", b: "${{ unset }}"}
open: [1, "${{ i }}"]
bool: ${{ s }}
other: ${{ bad }}
`))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"${{ s }}": "10m", "${{ i }}": 7, "${{ big }}": 300, "${{ unset }}": Unset}
	var v everything
	err = doc.Root.Decode(&v, Hooks{Template: func(d *Decoding, at Place) (any, bool) {
		value, ok := values[at.Node.Text]
		if !ok {
			d.Note(at.Node, at.Node.Part(4, 3, BadExpression, "bad is bad"))
		}
		return value, ok
	}})
	want := `f.yaml:4:8: E012 300 is out of range, possible are -128 to 127
  small: ${{ big }}
         ^~~~~~~~~~
f.yaml:6:13: E027 expected text, the expression gives 7; string(…) makes text of it
  either: {a: "${{ i }}", b: "${{ unset }}"}
              ^~~~~~~~~~
f.yaml:8:7: E011 expected true or false, found the text "10m"
  bool: ${{ s }}
        ^~~~~~~~
f.yaml:9:12: E026 bad is bad
  other: ${{ bad }}
             ^~~`
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got := fmt.Sprint(v.Text, v.Int, v.Wait, v.Open)
	if want := "10m7 10m0s [1 7]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCodes(t *testing.T) {
	for i := 1; i <= len(Codes); i++ {
		if code := fmt.Sprintf("E%03d", i); Codes[code] == "" {
			t.Errorf("%s is not explained", code)
		}
	}
}

func TestJSON(t *testing.T) {
	_, err := Load("f.yaml", []byte("a: [\n"))
	got, err := json.Marshal(err)
	if err != nil {
		t.Fatal(err)
	}
	if want := `[{"file":"f.yaml","line":2,"column":1,"width":1,"code":"E001",`; !bytes.HasPrefix(got, []byte(want)) {
		t.Errorf("got %s, want it to begin with %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"testdata/syntax.txt", "testdata/decode.txt"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(data), "\n-- ") {
			_, text, _ := strings.Cut(part, " --\n")
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Load("f.yaml", data)
		if err == nil {
			err = doc.Decode(new(everything))
			doc.Root.walk(func(n *Node) {
				if back, whole := doc.Root.At(n.Path()); !whole || back != n {
					t.Errorf("path %q does not lead back", n.Path())
				}
			})
		}
		var ps Problems
		if err != nil && !errors.As(err, &ps) {
			t.Fatalf("error is %T, want Problems", err)
		}
		for _, p := range ps {
			if Codes[p.Code] == "" || p.Line < 1 || p.Column < 1 || p.Width < 1 {
				t.Errorf("problem without code or place: %+v", p)
			}
		}
		_ = ps.Error()
	})
}

// walk visits n and all below it that a path can name.
func (n *Node) walk(visit func(*Node)) {
	visit(n)
	for _, item := range n.Items {
		item.walk(visit)
	}
	for _, f := range n.Fields {
		f.Value.walk(visit)
	}
}
