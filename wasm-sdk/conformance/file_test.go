package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

const head = "apiVersion: updraft/v1\nkind: ModuleTest\nmodule: m.wasm\n"

func TestLoadNamesEveryMistake(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string // line:column, and part of the message
	}{
		{"another kind", "apiVersion: updraft/v2\nkind: Workflow\nmodule: m\ncases: [{name: a}]", []string{"1:13: E013", "2:7: E013"}},
		{"no cases", head, []string{`key "cases" is missing`}},
		{"a misspelt key", head + "cases:\n  - name: a\n    targts: {}\n", []string{`6:5: E009 unknown key "targts", did you mean "targets"?`}},
		{"two of a name", head + "cases:\n  - {name: a}\n  - {name: a}\n", []string{"6:12: E030"}},
		{"words that are none", head + `cases:
  - name: a
    phases: [instal]
    grants: [facts, fly, "http:h", http]
    targets: {out: {type: slot, mode: wirte, content: {file: x, size: 1}}}
    expect: {class: fine, error: guest-fialed, targets: {owt: {text: x}, out: {artifact: image}}}
    now: yesterday
`, []string{`6:14: E012 unknown phase "instal", did you mean "install"?`, `7:14: E012 facts is granted to every module`, `7:21: E012 unknown capability "fly"`,
			"7:36: E012 http needs a name, such as http:example.com",
			`8:27: E012 unknown type "slot", did you mean "slots"?`, `8:39: E012 unknown mode "wirte"`, "8:62: E012 expected a file, or a size",
			`9:21: E012 unknown class "fine"`, `9:34: E012 unknown code "guest-fialed"`, `9:58: E022 unknown target "owt"`,
			`9:90: E022 unknown artifact "image"`, "10:10: E012 expected a moment"}},
		{"what does not go together", head + `cases:
  - name: a
    targets: {d: {type: directory, content: x}, f: {entries: {a: b}}, e: {type: directory, entries: {../x: b}}}
    expect: {class: ok, error: wall, targets: {f: {entries: {a: {text: b}}}}}
`, []string{"a directory has entries, not content", "only a directory has entries; a slot", `path "../x"`, "a class or an error", "7:52: E030 only a directory has entries"}},
		{"too much", head + "cases:\n  - {name: a, artifacts: {x: {size: 1GiB}}}\n", []string{"expected 0 to 67108864 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load("a.test.yaml", []byte(tt.text))
			var problems document.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error %v, want problems", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
		})
	}
}

// fixture is a folder with a test file and what it names.
func fixture(t *testing.T, cases string) *File {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "image.bin"), []byte("new system"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "test.yaml")
	if err := os.WriteFile(name, []byte(head+"cases:\n"+cases), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func loader(t *testing.T, wasm []byte) *Loader {
	t.Helper()
	h, err := wasmhost.New(t.Context(), wasmhost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLoader(h, wasm)
	t.Cleanup(func() { l.Close(t.Context()) })
	return l
}

// talker is a module that says what it finds and ends as its settings say.
func talker() []byte {
	g := newGuest("talker", abi.KindStep, abi.Prepare)
	g.manifest.Roles.Targets = []string{"dir"}
	say := func(name string, args ...asm.Code) asm.Code {
		return asm.Seq(g.call(name, append(args, room(64))...), asm.Set(localOther),
			asm.Get(localOther), asm.I32(0), asm.Op(asm.I32GeS),
			asm.If(asm.None, g.call("log", asm.I32(abi.LevelWarn), asm.I32(0), asm.Get(localOther))))
	}
	return g.bytes(1, map[abi.Phase]asm.Code{abi.Prepare: asm.Seq(
		say("prop_get", g.text("model")), say("kv_get", g.text("from")), say("last_mark"),
		g.call("kv_put", g.text("to"), g.text("there")), asm.Op(asm.Drop),
		g.call("mark", g.text("second")), asm.Op(asm.Drop),
		g.call("config_get", g.text("class"), room(8)), asm.I32(0), asm.Op(asm.I32GtS),
		asm.If(asm.None, asm.I32(0), asm.Mem(asm.I32Load8U, 0), asm.I32('0'), asm.Op(asm.I32Sub, asm.Return)),
	)})
}

func TestTry(t *testing.T) {
	install := installer()
	installs := install.bytes(1, install.installs())
	reboot := newGuest("reboot", abi.KindStep, abi.Prepare)
	reboot.manifest.Capabilities = []abi.Capability{abi.Reboot}
	reboots := reboot.bytes(1, nil)
	const says = `    facts: {model: gw-200}
    kv: {from: here}
    mark: first
`
	for _, tt := range []struct {
		name, text string
		wasm       []byte
		want       []string // parts of the failures, in order
	}{
		{"an install", `
  - name: a
    artifacts: {image: {file: image.bin}}
    targets: {out: {type: slots, content: old}}
    expect: {targets: {out: {artifact: image, text: new system, committed: true}}}`, installs, nil},
		{"an install of something else", `
  - name: a
    artifacts: {image: {size: 10}}
    targets: {out: {}}
    expect: {class: restart, targets: {out: {text: new system, committed: false}}}`, installs,
			[]string{"ended with ok, want restart", "committed is true, want false", "target out has 10 bytes"}},
		{"one that nothing is bound for", "\n  - name: a\n    expect: {error: denied, reason: no artifact is bound}", installs, nil},
		{"an install that is rolled back", `
  - name: a
    phases: [install, rollback]
    artifacts: {image: new}
    targets: {out: {content: old}}
    expect: {targets: {out: {text: old, committed: false}}}`, installs, nil},
		{"a grant too few", "\n  - name: a\n    expect: {error: denied, reason: reboot}", reboots, nil},
		{"a grant too few that is not expected", "\n  - name: a", reboots, []string{"does not load"}},
		{"a grant", "\n  - name: a\n    grants: [reboot]", reboots, nil},
		{"what it says and keeps", "\n  - name: a\n" + says + `    expect: {log: [gw-200, here, first], kv: {to: there, from: here}, mark: second}`, talker(), nil},
		{"what it does not say or keep", "\n  - name: a\n" + says + `    expect: {log: [here, gw-200], kv: {to: here}, mark: third, reason: because}`, talker(),
			[]string{`reason is "", want "because"`, `"gw-200", or it stands before`, `key-value to is "there"`, `mark is "second", want "third"`}},
		{"a class", "\n  - name: a\n    with: {class: 4}\n    expect: {class: retry-later}", talker(), nil},
		{"a failure", "\n  - name: a\n    with: {class: 5}\n    expect: {error: guest-failed}", talker(), nil},
		{"a failure that is not expected", "\n  - name: a\n    with: {class: 5}", talker(), []string{"guest-failed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fixture(t, tt.text)
			v, err := f.Try(t.Context(), loader(t, tt.wasm), &f.Cases[0], Options{Kill: true, Faults: Faults()})
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Failures) != len(tt.want) {
				t.Fatalf("failures %q, want %q", v.Failures, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(v.Failures[i], want) {
					t.Errorf("failure %q, want %q in it", v.Failures[i], want)
				}
			}
		})
	}
}

func TestEntriesOfADirectory(t *testing.T) {
	g := newGuest("tree", abi.KindInstall, abi.Install, abi.Commit)
	g.manifest.Roles.Targets = []string{"dir", "was"}
	wasm := g.bytes(1, map[abi.Phase]asm.Code{
		abi.Install: asm.Seq(
			g.some("what was", localArtifact, "tgt_open", g.text("was"), asm.I32(abi.ModeRead)),
			g.some("its file", localArtifact, "tgt_entry", asm.Get(localArtifact), g.text("etc/a"), asm.I32(0)),
			g.gives("its bytes", "one", "tgt_read", asm.Get(localArtifact), asm.I64(0)),
			g.openTarget("dir"), g.some("a file", localOther, "tgt_entry", asm.Get(localTarget), g.text("etc/b"), asm.I32(0o600)),
			g.want("writing", 3, "tgt_write", asm.Get(localOther), asm.I64(0), g.text("two"))),
		abi.Commit: asm.Seq(g.openTarget("dir"), g.want("commit", 0, "tgt_commit", asm.Get(localTarget))),
	})
	f := fixture(t, `
  - name: a
    targets:
      dir: {type: directory, entries: {etc/a: before}}
      was: {type: directory, mode: read, entries: {etc/a: one}}
    expect: {targets: {dir: {entries: {etc/b: {text: two}, etc/a: {text: x}}}}}`)
	v, err := f.Try(t.Context(), loader(t, wasm), &f.Cases[0], Options{})
	if err != nil || len(v.Failures) != 1 || v.Failures[0] != "target dir/etc/a is not there" {
		t.Errorf("failures %q, %v; %s", v.Failures, err, v.Outcome.Reason())
	}
}

func TestFits(t *testing.T) {
	f := fixture(t, `
  - name: a
    phases: [health]
    artifacts: {imag: x}
    targets: {out: {}, other: {}}`)
	g := installer()
	err := f.Fits(g.manifest)
	for _, want := range []string{`:7:14: E012 unknown phase of the module "health"`, `:8:17: E022 unknown artifact role of the module "imag", did you mean "image"?`,
		`:9:24: E022 unknown target role of the module "other"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(head + "cases:\n  - {name: a, artifacts: {x: {size: 1KiB}}, expect: {targets: {x: {text: y}}}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Load("x.yaml", data)
		var problems document.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Errorf("error %v is no list of problems", err)
		}
		if err == nil && len(file.Cases) == 0 && !strings.Contains(string(data), "cases") {
			t.Error("a file without cases")
		}
	})
}
