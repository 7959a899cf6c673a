package workflow

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

const head = "apiVersion: updraft/v1\nkind: Workflow\nname: test\n"

const whole1 = head + `
inputs:
  release: {type: string, description: where the manifest is}
  tries: {type: int, default: 3}
  fast: {type: bool, default: false}
compat:
  - {module: model.wasm, with: {models: [gw-200], model: "${{ facts.model }}", hardware: 1.10}}
steps:
  - id: image
    name: get the image
    load: {url: "${{ inputs.release }}/image", size: 64MiB, mode: "${{ inputs.fast ? 'fast' : 'slow' }}", wait: 10m}
    retry: {max: 5}
    timeout: 10m
    keep: true
  - id: checked
    sum: {artifact: image, sha256: "${{ steps.image.sha256 }}"}
  - id: write
    put: {module: ab.wasm, artifacts: {image: checked}, targets: {out: {target: rootfs@inactive, quota: 1GiB}}, with: {size: "${{ steps.image.size }}", list: ["${{ inputs.tries }}", x]}}
    lane: system
    undo: none
  - id: say
    note: {text: "wrote ${{ steps.write.sha256 }} of ${{ steps.image.size }} bytes: ${{ steps.image.delta }}"}
    when: steps.image.size > 10 && !inputs.fast
  - id: alone
    needs: []
    note: {text: alone}
  - id: prove
    prove: {probes: [{fact: version, equals: "${{ release.version }}"}]}
    retry: {max: 1, backoff: 5s}
report: {fields: {site: "${{ facts.site }}", size: "${{ steps.image.size }}", floor: "${{ release.securityVersion }}"}}
`

func read(t *testing.T, text string) *engine.Graph {
	t.Helper()
	g, err := Read("f.yaml", []byte(text), env())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func scope() *engine.Scope {
	return &engine.Scope{
		Inputs:  map[string]any{"release": "http://host", "tries": float64(3), "fast": false},
		Facts:   map[string]string{"model": "gw-200", "version": "1.10.2", "site": "lab"},
		Release: map[string]any{"name": "image", "version": "2.0", "securityVersion": float64(7)},
		Steps: map[string]map[string]any{
			"image": {"size": int64(1) << 40, "sha256": "abc", "delta": true},
			"write": {"sha256": "def"},
		},
		Run: map[string]any{"id": "run-1"},
	}
}

func TestGraph(t *testing.T) {
	g := read(t, whole1)
	if g.Name != "test" || string(g.Document) != whole1 {
		t.Errorf("name %q, document of %d bytes, want test and the whole text", g.Name, len(g.Document))
	}
	if got := slices.Sorted(maps.Keys(g.Files)); fmt.Sprint(got) != "[ab.wasm model.wasm]" {
		t.Errorf("files %v, want both modules", got)
	}
	want := map[string]engine.Input{
		"release": {Type: engine.String},
		"tries":   {Type: engine.Int, Default: int64(3)},
		"fast":    {Type: engine.Bool, Default: false},
	}
	if !reflect.DeepEqual(g.Inputs, want) {
		t.Errorf("inputs %v, want %v", g.Inputs, want)
	}
	var got []string
	for _, s := range slices.Concat(g.Compat, g.Steps) {
		got = append(got, fmt.Sprintf("%s %s %d:%d %v keep=%v noundo=%v lane=%q retry=%v timeout=%v when=%v",
			s.ID, s.Verb, s.Line, s.Column, s.Needs, s.Keep, s.NoUndo, s.Lane, s.Retry, s.Timeout, s.When != nil))
	}
	lines := `compat-1 compat 10:5 [] keep=false noundo=false lane="" retry={0 0s} timeout=0s when=false
image load 12:5 [] keep=true noundo=false lane="" retry={5 1s} timeout=10m0s when=false
checked sum 18:5 [image] keep=false noundo=false lane="" retry={0 0s} timeout=0s when=false
write put 20:5 [checked image] keep=false noundo=true lane="system" retry={0 0s} timeout=0s when=false
say note 24:5 [image write] keep=false noundo=false lane="" retry={0 0s} timeout=0s when=true
alone note 27:5 [] keep=false noundo=false lane="" retry={0 0s} timeout=0s when=false
prove prove 30:5 [alone] keep=false noundo=false lane="" retry={1 5s} timeout=0s when=false`
	if strings.Join(got, "\n") != lines {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), lines)
	}
}

func TestNeeds(t *testing.T) {
	for _, tt := range []struct{ name, steps, want string }{
		{"one after the other", "[{id: a, note: {}}, {id: b, note: {}}, {id: c, note: {}}]", "a: b:a c:b"},
		{"independent", "[{id: a, note: {}}, {id: b, needs: [], note: {}}, {id: c, needs: [a], note: {}}]", "a: b: c:a"},
		{"a reader needs what it reads", "[{id: a, load: {name: x}}, {id: b, note: {}}, {id: c, sum: {artifact: a}}]", "a: b:a c:a"},
		{"and what it says", "[{id: a, load: {name: x}}, {id: b, note: {}}, {id: c, needs: [b, a], sum: {artifact: a}}]", "a: b:a c:ba"},
		{"an expression is a need too", `[{id: a, load: {name: x}}, {id: b, note: {}}, {id: c, needs: [], note: {text: "${{ steps.a.sha256 }}"}}]`, "a: b:a c:a"},
		{"of a condition as well", `[{id: a, load: {name: x}}, {id: b, note: {}}, {id: c, needs: [], when: steps.a.delta, note: {}}]`, "a: b:a c:a"},
		{"a later step", "[{id: a, needs: [b], note: {}}, {id: b, needs: [], note: {}}]", "a:b b:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range read(t, head+"steps: "+tt.steps).Steps {
				got = append(got, s.ID+":"+strings.Join(s.Needs, ""))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

func TestCircles(t *testing.T) {
	for _, tt := range []struct{ name, steps, want string }{
		{"of two", "[{id: a, needs: [b], note: {}}, {id: b, needs: [a], note: {}}]", "a → b → a"},
		{"of one", "[{id: a, needs: [a], note: {}}]", "a → a"},
		{"of three, entered from outside", "[{id: a, needs: [b], note: {}}, {id: b, needs: [c], note: {}}, {id: c, needs: [d], note: {}}, {id: d, needs: [b], note: {}}]", "b → c → d → b"},
		{"by reading", "[{id: a, sum: {artifact: b}}, {id: b, sum: {artifact: a}}]", "a → b → a"},
		{"by order", `[{id: a, when: steps.b.delta, note: {}}, {id: b, load: {name: x}}]`, "a → b → a; b needs a only since it stands behind it, needs: [] makes it independent"},
		{"of itself, by an expression", `[{id: a, load: {name: "${{ steps.a.sha256 }}"}}]`, "a → a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read("f.yaml", []byte(head+"steps: "+tt.steps), env())
			var ps document.Problems
			if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Code != document.Cycle || !strings.HasSuffix(ps[0].Text, ": "+tt.want) {
				t.Errorf("got %v, want the circle %s", err, tt.want)
			}
		})
	}
}

func TestBind(t *testing.T) {
	g := read(t, whole1)
	byID := map[string]*engine.Step{}
	for _, s := range slices.Concat(g.Compat, g.Steps) {
		byID[s.ID] = s
	}
	s := scope()
	for _, tt := range []struct {
		id           string
		static, want any
	}{
		{"compat-1",
			&accept{Module: "model.wasm", With: map[string]any{"models": []any{"gw-200"}, "model": nil, "hardware": number("1.10")}},
			&accept{Module: "model.wasm", With: map[string]any{"models": []any{"gw-200"}, "model": "gw-200", "hardware": number("1.10")}}},
		{"image", &load{Size: 64 << 20, Wait: 10 * time.Minute}, &load{URL: "http://host/image", Size: 64 << 20, Wait: 10 * time.Minute}},
		{"checked", &sum{Artifact: "image"}, &sum{Artifact: "image", SHA256: "abc"}},
		{"write",
			&put{Module: "ab.wasm", Artifacts: map[string]string{"image": "checked"}, Targets: map[string]grant{"out": {"rootfs@inactive", 1 << 30}},
				With: map[string]any{"size": nil, "list": []any{nil, "x"}}},
			&put{Module: "ab.wasm", Artifacts: map[string]string{"image": "checked"}, Targets: map[string]grant{"out": {"rootfs@inactive", 1 << 30}},
				With: map[string]any{"size": int64(1) << 40, "list": []any{int64(3), "x"}}}},
		{"say", &note{}, &note{"wrote def of 1099511627776 bytes: true"}},
		{"prove", &prove{Probes: []probe{{Fact: "version"}}}, &prove{Probes: []probe{{"version", "2.0"}}}},
	} {
		t.Run(tt.id, func(t *testing.T) {
			step := byID[tt.id]
			if !reflect.DeepEqual(step.Static, tt.static) {
				t.Errorf("static %+v, want %+v", step.Static, tt.static)
			}
			first, err := step.Bind(s)
			if err != nil {
				t.Fatal(err)
			}
			second, err := step.Bind(s)
			if err != nil || first == second {
				t.Errorf("second binding %p, %v, want another than %p", second, err, first)
			}
			if !reflect.DeepEqual(first, tt.want) || !reflect.DeepEqual(second, tt.want) {
				t.Errorf("bound %+v and %+v, want %+v", first, second, tt.want)
			}
		})
	}
	if ok, err := byID["say"].When(s); !ok || err != nil {
		t.Errorf("when = %v, %v, want true", ok, err)
	}
	fields, err := g.Report(s)
	if want := "map[floor:7 site:lab size:1099511627776]"; err != nil || fmt.Sprint(fields) != want {
		t.Errorf("report %v, %v, want %s", fields, err, want)
	}
}

func TestReportWithoutAllValues(t *testing.T) {
	g := read(t, whole1)
	fields, err := g.Report(&engine.Scope{Facts: map[string]string{"site": "lab"}})
	if fields["site"] != "lab" || err == nil {
		t.Errorf("got %v, %v, want the site and an error about the rest", fields, err)
	}
}

func TestBindTogether(t *testing.T) {
	g := read(t, whole1)
	done := make(chan error)
	for range 8 {
		go func() {
			var err error
			for _, s := range g.Steps {
				_, e := s.Bind(scope())
				err = errors.Join(err, e)
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestResume(t *testing.T) {
	g := read(t, whole1)
	e := env()
	e.File = func(name string) ([]byte, error) { return g.Files[name], nil }
	again, err := Read("stored", g.Document, e)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range again.Steps {
		if o := g.Steps[i]; s.ID != o.ID || fmt.Sprint(s.Needs) != fmt.Sprint(o.Needs) || !reflect.DeepEqual(s.Static, o.Static) {
			t.Errorf("step %d is %+v, want %+v", i, s, o)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, tt := range []struct{ ref, reads, writes string }{
		{"rootfs@inactive", "", ""},
		{"rootfs@b", "", ""},
		{"rootfs@active", "", "the active slot is never changed, did you mean \"rootfs@inactive\"?"},
		{"rootfs", `target "rootfs" has slots, say which`, `target "rootfs" has slots, say which`},
		{"rootfs@c", "unknown slot of rootfs", "unknown slot of rootfs"},
		{"rootfs@inactve", `did you mean "inactive"?`, `did you mean "inactive"?`},
		{"app", "", ""},
		{"app@active", "", `target "app" is a directory`},
		{"app@active/bin/server", "", `target "app" is a directory`},
		{"app@1.0", `target "app" is a directory`, `target "app" is a directory`},
		{"ap", `unknown target "ap" (have ["app" "rootfs"])`, `unknown target "ap"`},
	} {
		t.Run(tt.ref, func(t *testing.T) {
			for text, want := range map[string]string{
				"steps: [{id: a, load: {name: x, base: " + tt.ref + "}}]":                                                      tt.reads,
				"steps: [{id: a, load: {name: x}}, {id: b, put: {artifacts: {i: a}, targets: {o: {target: " + tt.ref + "}}}}]": tt.writes,
			} {
				_, err := Read("f.yaml", []byte(head+text), env())
				var ps document.Problems
				switch {
				case want == "" && err != nil:
					t.Errorf("got %v, want no problem", err)
				case want != "" && (!errors.As(err, &ps) || len(ps) != 1 || ps[0].Code != document.UnknownTarget || !strings.Contains(ps[0].Text, want)):
					t.Errorf("got %v, want one problem: %s", err, want)
				}
			}
		})
	}
}

func TestWithoutDevice(t *testing.T) {
	e := env()
	e.Device, e.File = nil, nil
	text := head + `steps: [{id: a, load: {name: "${{ facts.anything }}", base: nowhere@x}}, {id: b, put: {module: x, artifacts: {i: a}, targets: {o: {target: somewhere}}}}]`
	g, err := Read("f.yaml", []byte(text), e)
	if err != nil || len(g.Files) != 0 {
		t.Errorf("got %v and files %v, want neither", err, g.Files)
	}
}

func TestInputs(t *testing.T) {
	g := read(t, whole1)
	for _, tt := range []struct {
		name  string
		given map[string]any
		want  string
		err   string
	}{
		{"from a command line", map[string]any{"release": "x", "tries": "5", "fast": "true"}, "map[fast:true release:x tries:5]", ""},
		{"from JSON", map[string]any{"release": "x", "tries": float64(5), "fast": true}, "map[fast:true release:x tries:5]", ""},
		{"missing", nil, "", "wrong input: release is missing, text"},
		{"all at once", map[string]any{"releas": "x", "tries": "5.5", "fast": "yes", "release": 1}, "",
			"wrong input: fast must be true or false\nwrong input: unknown input \"releas\", did you mean \"release\"?\n" +
				"wrong input: release must be text\nwrong input: tries must be a whole number"},
		{"fractions", map[string]any{"release": "x", "tries": 1.5}, "", "wrong input: tries must be a whole number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Inputs(g, tt.given)
			if tt.err != "" {
				if !errors.Is(err, ErrInput) || err.Error() != tt.err {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != tt.want {
				t.Errorf("got %v, %v, want %s", got, err, tt.want)
			}
			if n, ok := got["tries"].(int64); !ok || n != 5 {
				t.Errorf("tries is %T, want int64", got["tries"])
			}
		})
	}
}

func TestTheOrderOfProofAndWrites(t *testing.T) {
	const first = head + `
steps:
  - id: image
    load: {url: u}
    keep: true
  - id: write
    put: {artifacts: {image: image}, targets: {out: {target: app}}}
  - id: prove
    prove: {}
`
	for _, tt := range []struct{ name, more, want string }{
		{"as it should be", "", ""},
		{"a write behind the proof", "  - id: late\n    put: {artifacts: {image: image}, targets: {out: {target: rootfs@inactive}}}\n    needs: [prove]\n", "behind prove"},
		{"a write behind it in the file alone", "  - id: late\n    put: {artifacts: {image: image}, targets: {out: {target: rootfs@inactive}}}\n    needs: []\n", "behind prove"},
		{"a second proof", "  - id: again\n    prove: {}\n", "proven once"},
		{"a second proof with a condition", "  - id: again\n    prove: {}\n    when: steps.image.size > 3\n", "proven once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read("f.yaml", []byte(first+tt.more), env())
			var ps document.Problems
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (!errors.As(err, &ps) || ps[0].Code != document.Conflict || !strings.Contains(ps[0].Text, tt.want)):
				t.Errorf("%v, want %q with code %s", err, tt.want, document.Conflict)
			}
		})
	}
}

func TestOneStepMakesAVersion(t *testing.T) {
	text := func(when string) string {
		return head + `
steps:
  - id: image
    load: {url: u}
    keep: true
  - id: one
    put: {artifacts: {image: image}, targets: {out: {target: app}}}
` + when + `
  - id: two
    put: {artifacts: {image: image}, targets: {out: {target: app}}}
` + when
	}
	_, err := Read("f.yaml", []byte(text("")), env())
	if err == nil || !strings.Contains(err.Error(), document.Conflict) {
		t.Errorf("two steps for one directory: %v, want %s", err, document.Conflict)
	}
	if _, err := Read("f.yaml", []byte(text("    when: steps.image.delta\n")), env()); err != nil {
		t.Errorf("with a condition each: %v", err)
	}
}
