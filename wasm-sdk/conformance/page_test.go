package conformance

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The test file of the page reads as one, and its cases pass with a module
// that copies an image.
func TestThePageOfTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/module-test.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n")
	text, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatal("the page has no test file")
	}
	f, err := Load("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	g := installer()
	l := loader(t, g.bytes(1, g.installs()))
	if err := f.Fits(g.manifest); err != nil {
		t.Error(err)
	}
	for i := range f.Cases {
		c := &f.Cases[i]
		v, err := f.Try(t.Context(), l, c, Options{Kill: true, Faults: Faults()})
		if err != nil || len(v.Failures) > 0 {
			t.Errorf("%s: %q, %v", c.Name, v.Failures, err)
		}
	}
}

// Each key of a case and of what is expected stands on the page.
func TestThePageNamesEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../docs/module-test.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[File](), reflect.TypeFor[Case](), reflect.TypeFor[Content](), reflect.TypeFor[Place](),
		reflect.TypeFor[Expect](), reflect.TypeFor[Want]()} {
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
			if key != "" && !strings.Contains(string(page), "`"+key) && !strings.Contains(string(page), "\n"+key+":") && !strings.Contains(string(page), key+": ") {
				t.Errorf("the key %s is not on the page", key)
			}
		}
	}
}
