package manifest

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzVerify holds the verifier to its promise: an action is refused by name,
// or the manifest and the signature are the one pair that was really signed.
func FuzzVerify(f *testing.F) {
	all := examples(f)
	roots := Production()
	for _, a := range all {
		f.Add([]byte(a.Service))
	}
	f.Add([]byte(`{"updateManifest":"{}","updateManifestSignature":"a.b.c"}`))
	type pair struct {
		Manifest  string `json:"updateManifest"`
		Signature string `json:"updateManifestSignature"`
	}
	var signed pair
	if err := json.Unmarshal(all[1].Service, &signed); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, action []byte) {
		_, err := Verify(action, roots)
		if err != nil {
			if !errors.Is(err, ErrRefused) || Why(err).Extended() == 0 || len(err.Error()) > 300 {
				t.Fatalf("error without a name and a bound: %v", err)
			}
			return
		}
		var doc any
		if err := json.Unmarshal(action, &doc); err != nil || !holds(doc, signed.Manifest, signed.Signature) {
			t.Fatalf("accepted, and nobody signed it: %q, %v", action, err)
		}
	})
}

// holds says whether an object in doc has the manifest and its signature.
func holds(doc any, manifest, signature string) bool {
	members, _ := doc.(map[string]any)
	if members["updateManifest"] == manifest && members["updateManifestSignature"] == signature {
		return true
	}
	for _, inner := range members {
		if holds(inner, manifest, signature) {
			return true
		}
	}
	return false
}

// FuzzParse holds manifests, signatures and root key packages to a result or a refusal.
func FuzzParse(f *testing.F) {
	f.Add([]byte(simple))
	f.Add(production)
	for _, a := range examples(f) {
		var s map[string]any
		if err := json.Unmarshal(a.Service, &s); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(s["updateManifest"].(string)))
		f.Add([]byte(s["updateManifestSignature"].(string)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil && (!errors.Is(err, ErrRefused) || len(err.Error()) > 300) {
			t.Fatalf("error without a name and a bound: %v", err)
		}
		if err == nil {
			checkManifest(t, &m)
		}
		if _, err := ParseRoots(data); err != nil && Why(err) != RootKeyPackageParse {
			t.Fatalf("root keys: %v", err)
		}
		if _, err := VerifyText(simple, string(data), Production()); !errors.Is(err, ErrRefused) {
			t.Fatalf("signature of nobody: %v", err)
		}
	})
}

func checkManifest(t *testing.T, m *Manifest) {
	t.Helper()
	if _, more := m.Next(); more {
		if err := m.Attach([]byte("x")); Why(err) != BadDetachedManifest {
			t.Fatalf("attach: %v", err)
		}
	} else if len(m.Steps) == 0 || len(m.Steps) > maxSteps || len(m.Files) > maxFiles {
		t.Fatalf("%d steps, %d files", len(m.Steps), len(m.Files))
	}
	for _, f := range m.Files {
		if f.Size < 0 || f.Size > maxSize || len(f.SHA256) != 64 || len(f.Related) > maxRelated {
			t.Fatalf("file %+v", f)
		}
	}
}
