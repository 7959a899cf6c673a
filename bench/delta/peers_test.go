package main

import (
	"reflect"
	"testing"
)

func TestParseCommand(t *testing.T) {
	have := programs{"tool": "/bin/tool"}
	files := map[string]string{"old": "/c/o", "new": "/c/n", "patch": "/w/p", "out": "/w/out", "temp": "/w/t", "temp2": "/w/t2"}
	for _, tt := range []struct {
		line string
		want command
	}{
		{"tool -q --from=$old $new -o $patch", command{Args: []string{"/bin/tool", "-q", "--from=/c/o", "/c/n", "-o", "/w/p"}}},
		{"tool $temp2 $temp", command{Args: []string{"/bin/tool", "/w/t2", "/w/t"}}},
		{"other -dc < $patch > $out", command{Args: []string{"other", "-dc"}, In: "/w/p", Out: "/w/out"}},
		{"tool $old - $out <| $patch", command{Args: []string{"/bin/tool", "/c/o", "-", "/w/out"}, In: "/w/p", Feed: true}},
	} {
		if got := have.parse(tt.line, files); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("parse %q = %+v, want %+v", tt.line, got, tt.want)
		}
	}
}

func TestPeersUseKnownFiles(t *testing.T) {
	files := workFiles("corpus", pair{Name: "x"}, "work")
	check := func(name, line string) {
		c := programs{}.parse(line, files)
		for _, word := range append(c.Args, c.In, c.Out) {
			for i := range len(word) {
				if word[i] == '$' {
					t.Errorf("%s: %q is left in %q", name, word, line)
				}
			}
		}
	}
	for _, q := range peers {
		for _, lines := range [][]string{q.Make, q.Apply, q.Pipe, q.Low} {
			for _, line := range lines {
				check(q.Name, line)
			}
		}
		if len(q.Make) == 0 || len(q.Apply) == 0 || q.Version == "" {
			t.Errorf("%s does not make, apply and tell its version", q.Name)
		}
		if shades[q.Name] == "" && q.Name != "xz" {
			t.Errorf("%s has no colour in the picture", q.Name)
		}
	}
	for _, x := range crossings {
		check(x.Maker, x.Make)
		check(x.Applier, x.Apply)
	}
}

func TestMissingPeersAreNamed(t *testing.T) {
	all := []peer{
		{Name: "here", Make: []string{"true $old"}, Apply: []string{"true"}},
		{Name: "half", Make: []string{"true"}, Apply: []string{"no-such-program-7 $old"}},
	}
	found, missing := programs{}.find(all)
	if len(found) != 1 || found[0].Name != "here" {
		t.Errorf("found = %v, want here alone", found)
	}
	if want := map[string]string{"half": "no program no-such-program-7"}; !reflect.DeepEqual(missing, want) {
		t.Errorf("missing = %v, want %v", missing, want)
	}
}
