package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

type number = json.Number

// with gives a workflow whose step "x" has a scalar in an open field.
func with(scalar string) string {
	return head + `
inputs: {release: {type: string}, tries: {type: int}, fast: {type: bool}}
steps:
  - {id: image, load: {name: x}}
  - {id: ab-slot, load: {name: x}}
  - {id: write, put: {artifacts: {i: image}, targets: {o: {target: app}}, with: {v: ` + scalar + `}}}
`
}

func TestExpressions(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"${{ inputs.release }}", "string http://host"},
		{"${{inputs.tries}}", "int64 3"},
		{"${{ inputs.tries + 1 }}", "int 4"},
		{"${{ inputs.fast }}", "bool false"},
		{"${{ facts.version }}", "string 1.10.2"},
		{"${{ facts['version'] }}", "string 1.10.2"},
		{"${{ split(facts.version, '.')[1] }}", "string 10"},
		{"${{ split(facts.version, '.') }}", "[]string [1 10 2]"},
		{"${{ facts.model in ['gw-100', 'gw-200'] }}", "bool true"},
		{"${{ facts.model matches '^gw-[0-9]+$' ? upper(facts.model) : 'none' }}", "string GW-200"},
		{"${{ release.securityVersion >= 7 }}", "bool true"},
		{"${{ steps.image.size }}", "int64 1099511627776"},
		{"${{ steps.image.size / 2 }}", "float64 5.49755813888e+11"},
		{"${{ steps['ab-slot'].sha256 ?? 'none' }}", "string none"},
		{"${{ run.id }}", "string run-1"},
		{"${{ '}}' }}", "string }}"},
		{"${{ '${{' }}", "string ${{"},
		{"a${{ run.id }}b${{ inputs.tries }}c${{ inputs.fast }}", "string arun-1b3cfalse"},
		{"${{ run.id }} ", "string run-1 "},
		{"}} $ {{ ${{ 'x' }}", "string }} $ {{ x"},
		{"${{ len(facts.model) }}", "int 6"},
		{"${{ string(inputs.tries) + facts.site }}", "string 3lab"},
		{"${{ int(first(split(facts.version, '.'))) }}", "int 1"},
		{"${{ facts.version[0:4] }}", "string 1.10"},
		{"${{ max(inputs.tries, 9) }}", "int 9"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			g := read(t, with(quote(tt.text)))
			v, err := g.Steps[2].Bind(scope())
			if err != nil {
				t.Fatal(err)
			}
			got := v.(*put).With["v"]
			if s := fmt.Sprintf("%T %v", got, got); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

// quote makes a double-quoted scalar; expressions in these tests have no other quotes.
func quote(text string) string { return `"` + text + `"` }

// TestPlaces checks what a problem marks: the source under the caret.
func TestPlaces(t *testing.T) {
	bomb := "'x'" + strings.Repeat(" + 'x'", 200)
	for _, tt := range []struct{ text, code, marked, says string }{
		{"${{ inputs.releas }}", document.UnknownInput, "releas", `did you mean "release"`},
		{"ü ${{ 'ü' + facts.modl }}", document.UnknownFact, "modl", `did you mean "model"`},
		{"${{ steps.imag.size }}", document.UnknownStep, "imag", `did you mean "image"`},
		{"${{ steps.ab-slot.size }}", document.UnknownStep, "ab", `did you mean steps["ab-slot"]`},
		{"${{ steps.image.siez }}", document.UnknownOutput, "siez", `did you mean "size"`},
		{"${{ release.sha }}", document.UnknownOutput, "sha", `have ["name" "securityVersion" "version"]`},
		{"${{ run.attempt }}", document.UnknownOutput, "attempt", `have ["id"]`},
		{"${{ input.release }}", document.BadExpression, "input", `did you mean "inputs"`},
		{"${{ inputs }}", document.BadExpression, "inputs", "expected inputs.<name>"},
		{"${{ steps.image }}", document.BadExpression, "image", "expected steps.<id>.<output>"},
		{"${{ facts.model.x }}", document.BadExpression, "x", "expected facts.<name>"},
		{"${{ steps[run.id].size }}", document.BadExpression, "", "must stand there as it is"},
		{"${{ inputs?.release }}", document.BadExpression, "", "not possible"},
		{"${{ now() }}", document.BadExpression, "now", "unknown function"},
		{"${{ repeat('x', 1000) }}", document.BadExpression, "repeat", "unknown function"},
		{"${{ map(1..9, # * 2) }}", document.BadExpression, "map", "unknown function"},
		{"${{ reduce([1], # + #acc, 'x') }}", document.BadExpression, "reduce", "unknown function"},
		{"${{ 1..1000000 }}", document.BadExpression, "..", "operator .. is not possible"},
		{"${{ 2 ** 9 }}", document.BadExpression, "**", "not possible"},
		{"${{ let x = 'a'; x + x }}", document.BadExpression, "x", "not possible"},
		{"${{ {'a': 1} }}", document.BadExpression, "{", "not possible"},
		{"${{ $env }}", document.BadExpression, "$env", "unknown name"},
		{"${{ os.Getenv('x') }}", document.BadExpression, "Getenv", "unknown function"},
		{"${{ facts.model.String() }}", document.BadExpression, "String", "unknown function"},
		{"${{ }}", document.BadExpression, " ", "empty"},
		{"${{ inputs.tries + }}", document.BadExpression, "", "unexpected"},
		{"${{ 'a }}", document.BadExpression, "${{", "}} is missing"},
		{"a ${{ b", document.BadExpression, "${{", "}} is missing"},
		{"${{ inputs.tries + facts.model }}", document.ExpressionType, "+", "mismatched types"},
		{"${{ len(inputs.tries) }}", document.ExpressionType, "len", "invalid argument"},
		{"x ${{ split(facts.model, '-') }}", document.ExpressionType, "", "a list cannot stand within text"},
		{"${{ 1 < inputs.tries < 9 }}", document.BadExpression, "<", "write two comparisons with and between them"},
		{"${{ inputs.tries ?? 1 + 2 }}", document.BadExpression, "+", "cannot follow ??"},
		{"${{ 0x1f }}", document.BadExpression, "0x1f", "is no number"},
		{"${{ 99999999999999999999 }}", document.BadExpression, "99999999999999999999", "too large"},
		{"${{ 'a' ~ 'b' }}", document.BadExpression, "~", "unexpected character '~'"},
		{"${{ 'a\\\\q' }}", document.BadExpression, "", "unknown escape"},
		{"${{ (1 + 2 }}", document.BadExpression, "", "unexpected end of the expression, expected \")\""},
		{"${{ [1, 2 }}", document.BadExpression, "", "unexpected end of the expression, expected \"]\""},
		{"${{ trim('a', 'b', 'c') }}", document.ExpressionType, "trim", "trim takes 1 or 2 arguments, found 3"},
		{"${{ facts.model.trim() }}", document.BadExpression, "trim", "as in trim(a)"},
		{"${{ facts.model[0] }}", document.ExpressionType, "[", "string has no elements"},
		{"${{ upper(inputs.tries) }}", document.ExpressionType, "tries", "cannot use int as argument (type string) to call upper"},
		{"${{ inputs.tries[1:2] }}", document.ExpressionType, "", "cannot slice int"},
		{"${{ inputs.tries ? 1 : 2 }}", document.ExpressionType, "", "non-bool expression (type int) used as condition"},
		{"${{ facts.model matches '(' }}", document.ExpressionType, "matches", "missing closing"},
		{"${{ 1 in ['a'] }}", document.ExpressionType, "in", "cannot use int as type string in array"},
		{"${{ " + bomb + " }}", document.BadExpression, "", "1000 are possible"},
		{"${{ " + strings.Repeat("+1", 300) + " }}", document.ExpressionType, "", "maximum allowed nodes"},
		{"${{ " + strings.Repeat("(", 900) + " }}", document.BadExpression, "", "unexpected"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			_, err := Read("f.yaml", []byte(with(quote(tt.text))), env())
			var ps document.Problems
			if !errors.As(err, &ps) || len(ps) != 1 {
				t.Fatalf("got %v, want one problem", err)
			}
			p := ps[0]
			if p.Code != tt.code || !strings.Contains(p.Text, tt.says) {
				t.Errorf("got %v, want %s %s", p, tt.code, tt.says)
			}
			lines := strings.Split(p.Error(), "\n")
			from := strings.Index(lines[2], "^")
			to := from + len(strings.TrimSpace(lines[2]))
			if marked := string([]rune(lines[1])[from:to]); tt.marked != "" && marked != tt.marked {
				t.Errorf("marks %q, want %q", marked, tt.marked)
			}
		})
	}
}

func TestEvaluation(t *testing.T) {
	for _, tt := range []struct{ text, says string }{
		{"${{ steps['ab-slot'].sha256 }}", "steps.ab-slot.sha256 has no value yet"},
		{"${{ upper(steps['ab-slot'].sha256) }}", "steps.ab-slot.sha256 has no value yet"},
		{"x${{ steps['ab-slot'].size }}", "steps.ab-slot.size has no value yet"},
		{"${{ split(facts.version, '.')[9] }}", "out of range"},
		{"${{ inputs.tries % 0 }}", "divide by zero"},
		{"${{ inputs.tries / 0 }}", "no finite number"},
		{"${{ int(facts.model) }}", "invalid operation"},
		{"${{ facts.model matches facts.site + '(' }}", "missing closing"},
		{"${{ nil }}", "gives nothing"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			g := read(t, with(quote(tt.text)))
			_, err := g.Steps[2].Bind(scope())
			var ps document.Problems
			if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Code != document.Evaluation || ps[0].Line != 9 || !strings.Contains(ps[0].Text, tt.says) {
				t.Errorf("got %v, want one problem in line 9 that says %q", err, tt.says)
			}
		})
	}
}

func TestWrongValues(t *testing.T) {
	const text = head + `
inputs: {n: {type: int}, s: {type: string}}
steps:
  - id: a
    load: {name: x, try: "${{ inputs.n }}", wait: "${{ inputs.s }}", size: "${{ inputs.s }}", mode: "${{ inputs.s }}"}
    when: inputs.s
`
	_, err := Read("f.yaml", []byte(text), env())
	if err == nil || !strings.Contains(err.Error(), "f.yaml:9:11: E027 expected true or false, the expression gives text") {
		t.Errorf("got %v, want a problem with the condition", err)
	}
	g := read(t, strings.Replace(text, "when: inputs.s", "when: inputs.s == 'x'", 1))
	for _, tt := range []struct {
		name   string
		inputs map[string]any
		want   string
	}{
		{"of another form", map[string]any{"n": 5, "s": "10m"}, "E011 expected a size E012 expected fast or slow"},
		{"too large for the field", map[string]any{"n": 300, "s": "64KiB"}, "E012 300 is out of range E011 expected a duration E012 expected fast or slow"},
		{"against the rules of the verb", map[string]any{"n": 6, "s": "0"}, "E012 at most 5 tries E012 expected fast or slow"},
		{"of another type", map[string]any{"n": "six", "s": "0"}, "E031 inputs.n is not a whole number E012 expected fast or slow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := g.Steps[0].Bind(&engine.Scope{Inputs: tt.inputs})
			var ps document.Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want problems", err)
			}
			rest := tt.want
			for _, p := range ps {
				code, after, _ := strings.Cut(rest, " ")
				text := after
				if i := strings.Index(after, " E0"); i >= 0 {
					text, rest = after[:i], after[i+1:]
				}
				if p.Code != code || !strings.HasPrefix(p.Text, text) || p.Line != 8 {
					t.Errorf("got %v, want %s %s", p, code, text)
				}
			}
		})
	}
}

// TestCost holds hostile workflows to a time that a loop would exceed.
func TestCost(t *testing.T) {
	var steps, expressions strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&steps, "  - {id: s%d, note: {}}\n", i)
		fmt.Fprintf(&expressions, `"${{ facts.model + facts.site }}",`)
	}
	var star strings.Builder
	for i := range 120 {
		fmt.Fprintf(&star, "  - {id: s%d, needs: [", i)
		for j := range 120 {
			fmt.Fprintf(&star, "s%d,", j)
		}
		star.WriteString("], note: {}}\n")
	}
	for _, tt := range []struct{ name, text, says string }{
		{"steps", head + "steps:\n" + steps.String(), "2000 steps, 256 are possible"},
		{"expressions", with("[" + expressions.String() + "]"), "more than 1000 expressions"},
		{"needs", head + "steps:\n" + star.String(), "circle"},
		{"openings", with(quote(strings.Repeat("${{", 5000))), "}} is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			_, err := Read("f.yaml", []byte(tt.text), env())
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %.300v, want %s", err, tt.says)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	data, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, part := range strings.Split(string(data), "\n-- ") {
		_, text, _ := strings.Cut(part, " --\n")
		f.Add([]byte(text))
	}
	f.Add([]byte(whole1))
	f.Add([]byte(with(quote("${{ split(facts.version, '.')[1] }}"))))
	e := env()
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := Read("f.yaml", data, e)
		if err != nil {
			var ps document.Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("error is %T, want Problems", err)
			}
			_ = ps.Error()
			return
		}
		order(t, g)
		for _, s := range append(g.Compat, g.Steps...) {
			v, err := s.Bind(scope())
			if err == nil && v == nil {
				t.Error("bound to nothing")
			}
			if s.When != nil {
				_, _ = s.When(scope())
			}
		}
	})
}

// order fails if the steps cannot be done one after the other.
func order(t *testing.T, g *engine.Graph) {
	t.Helper()
	done := map[string]bool{}
	for range g.Steps {
		for _, s := range g.Steps {
			ready := true
			for _, id := range s.Needs {
				ready = ready && done[id]
			}
			done[s.ID] = done[s.ID] || ready
		}
	}
	if len(done) != len(g.Steps) {
		t.Errorf("%d ids of %d steps", len(done), len(g.Steps))
	}
	for id, ok := range done {
		if !ok {
			t.Errorf("step %s can never be done", id)
		}
	}
}
