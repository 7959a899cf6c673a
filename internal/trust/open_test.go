package trust

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	key, public := newKey(t, 1)
	otherKey, other := newKey(t, 2)
	manifest := string(encode(t, release())) // security version 3
	good := string(sign(t, key, manifest, "x"))
	foreign := string(sign(t, otherKey, manifest, "x"))
	both := []Public{other, public}
	broken := "{"

	for _, tt := range []struct {
		name, manifest, signature string
		policy                    Policy
		want                      error
		says                      string
	}{
		{"signed", manifest, good, Policy{Keys: both}, nil, ""},
		{"signed, at the floor", manifest, good, Policy{Keys: both, Floor: 3}, nil, ""},
		{"below the floor", manifest, good, Policy{Keys: both, Floor: 4}, ErrDowngrade, "version 3, this device installs none below 4"},
		{"the zero policy", manifest, good, Policy{}, ErrUntrusted, "no keys"},
		{"no signature", manifest, "", Policy{Keys: both}, ErrUntrusted, "has no signature, and this device requires one"},
		{"a foreign signature", manifest, foreign, Policy{Keys: []Public{public}}, ErrUntrusted, "unknown key"},
		{"a changed manifest", manifest + " ", good, Policy{Keys: both}, ErrUntrusted, "not of this data"},
		{"an unknown requirement", manifest, "", Policy{Require: 99, Keys: both}, ErrUntrusted, "no signature"},
		{"a signed manifest that is broken", broken, string(sign(t, key, broken, "")), Policy{Keys: both}, ErrManifest, "release.json:1:2"},
		{"none, unsigned", manifest, "", Policy{Require: None}, nil, ""},
		{"sha256, unsigned", manifest, "", Policy{Require: SHA256, Keys: both}, nil, ""},
		{"none, signed, no keys", manifest, foreign, Policy{Require: None}, nil, ""},
		{"none, and a foreign signature", manifest, foreign, Policy{Require: None, Keys: []Public{public}}, ErrUntrusted, "unknown key"},
		{"none, below the floor", manifest, "", Policy{Require: None, Floor: 4}, ErrDowngrade, "below 4"},
		{"none, broken", broken, "", Policy{Require: None}, ErrManifest, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open([]byte(tt.manifest), []byte(tt.signature), tt.policy)
			if !errors.Is(err, tt.want) || (err == nil) != (r != nil) {
				t.Fatalf("Open = %v, %v, want %v", r, err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %q, want %q", err, tt.says)
			}
		})
	}
}

// The parser never sees bytes whose signature is not good: none of the
// damaged signatures makes it run, and the good one does.
func TestOpenParsesOnlyAfterTheSignature(t *testing.T) {
	key, public := newKey(t, 1)
	manifest := encode(t, release())
	good := sign(t, key, string(manifest), "x")
	parsed := 0
	spy := func(name string, data []byte) (*Release, error) {
		parsed++
		return ParseRelease(name, data)
	}
	policy := Policy{Keys: []Public{public}}
	for i := len(untrustedPrefix + "signature from updraft with key " + key.ID()); i < len(good); i++ {
		bad := append([]byte{}, good...)
		bad[i] ^= 1
		if _, err := open(manifest, bad, policy, spy); !errors.Is(err, ErrUntrusted) {
			t.Errorf("byte %d: %v, want ErrUntrusted", i, err)
		}
	}
	for i := range manifest {
		bad := append([]byte{}, manifest...)
		bad[i] ^= 1
		if _, err := open(bad, good, policy, spy); !errors.Is(err, ErrUntrusted) {
			t.Errorf("manifest byte %d: %v, want ErrUntrusted", i, err)
		}
	}
	_, _ = open(manifest, nil, policy, spy)
	if parsed != 0 {
		t.Errorf("the parser ran %d times on bytes that nobody signed", parsed)
	}
	if _, err := open(manifest, good, policy, spy); err != nil || parsed != 1 {
		t.Errorf("good signature: %v, parsed %d times, want once", err, parsed)
	}
}

func TestRequirement(t *testing.T) {
	for _, r := range []Requirement{Signature, SHA256, None} {
		if got, err := ParseRequirement(r.String()); err != nil || got != r {
			t.Errorf("ParseRequirement(%q) = %v, %v", r.String(), got, err)
		}
	}
	_, err := ParseRequirement("signatur")
	if err == nil || !strings.Contains(err.Error(), `"signatur" (have "signature"`) {
		t.Errorf("error = %v", err)
	}
	if got := fmt.Sprint(Requirement(9)); got != "Requirement(9)" {
		t.Errorf("unknown requirement = %s", got)
	}
}

// A device opens a signed release and finds the file that it needs.
func ExampleOpen() {
	key, public, err := NewKey(random(1)) // crypto/rand.Reader, outside of examples
	if err != nil {
		fmt.Println(err)
		return
	}
	manifest, err := release().Encode()
	if err != nil {
		fmt.Println(err)
		return
	}
	signature, err := Sign(strings.NewReader(string(manifest)), key, "gateway 2.0.0", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := Open(manifest, signature, Policy{Require: Signature, Keys: []Public{public}, Floor: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	image, err := r.Artifact("image")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(Resolve("https://updates.example/gw/release.json?token=1", image.URL))
	// Output: https://updates.example/gw/image.bin?a=1&b=2 <nil>
}
