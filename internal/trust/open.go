package trust

import (
	"bytes"
	"fmt"
)

// Requirement is what a device demands before it believes a release. The zero
// value is the strictest.
type Requirement int

const (
	// Signature demands a signature of one of the device's keys.
	Signature Requirement = iota
	// SHA256 demands only that everything fetched has a SHA-256, which a
	// release manifest always gives.
	SHA256
	// None demands nothing.
	None
)

// String is the word that stands for it in a device file.
func (r Requirement) String() string {
	switch r {
	case Signature:
		return "signature"
	case SHA256:
		return "sha256"
	case None:
		return "none"
	}
	return fmt.Sprintf("Requirement(%d)", int(r))
}

// ParseRequirement reads the word of a device file.
func ParseRequirement(word string) (Requirement, error) {
	words := []string{Signature.String(), SHA256.String(), None.String()}
	for r, w := range words {
		if w == word {
			return Requirement(r), nil
		}
	}
	return Signature, fmt.Errorf("unknown trust requirement %q (have %s)", clip(word), some(nearest(word, words)))
}

// Policy is what a device believes. The zero value believes nothing.
type Policy struct {
	Require Requirement
	Keys    []Public // any one of them may have signed
	Floor   int64    // the lowest security version that may be installed
}

// Open checks the content of a release manifest against its signature file
// and then, only then, parses it. A signature is checked whenever it is there
// (len > 0) and the policy has keys; whether it must be there, Require says.
// Errors wrap [ErrUntrusted], [ErrManifest] or [ErrDowngrade].
func Open(manifest, signature []byte, p Policy) (*Release, error) {
	return open(manifest, signature, p, ParseRelease)
}

func open(manifest, signature []byte, p Policy, parse func(string, []byte) (*Release, error)) (*Release, error) {
	if err := p.check(manifest, signature); err != nil {
		return nil, fmt.Errorf("release manifest: %w", err)
	}
	r, err := parse("release.json", manifest)
	if err != nil {
		return nil, err
	}
	if r.SecurityVersion < p.Floor {
		return nil, fmt.Errorf("%w: release %s %s has the security version %d, this device installs none below %d",
			ErrDowngrade, r.Name, r.Version, r.SecurityVersion, p.Floor)
	}
	return r, nil
}

// check is strict with a Requirement that it does not know.
func (p Policy) check(manifest, signature []byte) error {
	optional := p.Require == None || p.Require == SHA256
	switch {
	case optional && (len(signature) == 0 || len(p.Keys) == 0):
		return nil
	case len(signature) == 0:
		return fmt.Errorf("%w: it has no signature, and this device requires one", ErrUntrusted)
	}
	_, err := Verify(bytes.NewReader(manifest), signature, p.Keys)
	return err
}
