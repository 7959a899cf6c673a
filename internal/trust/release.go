package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ReleaseFormat is the value of [Release.Updraft] that this package reads and
// writes.
const ReleaseFormat = "release/1"

// Limits of a release manifest.
const (
	MaxManifest  = 1 << 20 // bytes
	MaxArtifacts = 256     // in a release
	MaxDeltas    = 64      // for an artifact
	MaxName      = 128     // bytes of a name or version
	MaxURL       = 2048    // bytes
	MaxSize      = 1 << 62 // bytes of an artifact or delta
)

// Release is a release manifest: what belongs to one version of a product.
type Release struct {
	Updraft string `json:"updraft"` // always [ReleaseFormat]
	Name    string `json:"name"`    // of the product
	Version string `json:"version"` // for people; never compared here
	// SecurityVersion rises when older releases must no longer be installed.
	// It is at least 0.
	SecurityVersion int64      `json:"securityVersion"`
	Artifacts       []Artifact `json:"artifacts"` // at least one
}

// Artifact is one file of a release.
type Artifact struct {
	Name   string  `json:"name"`             // unique in the release, usable as a file name
	Size   int64   `json:"size"`             // bytes
	SHA256 string  `json:"sha256"`           // 64 lower-case hex digits
	URL    string  `json:"url"`              // may be relative to the manifest, see [Resolve]
	Deltas []Delta `json:"deltas,omitempty"` // other ways to get the same file
}

// Delta makes an artifact out of a file that the device already has: the first
// BaseSize bytes of it.
type Delta struct {
	Format     string `json:"format"`     // a name that package delta knows
	URL        string `json:"url"`        // may be relative to the manifest, see [Resolve]
	Size       int64  `json:"size"`       // bytes of the delta
	SHA256     string `json:"sha256"`     // of the delta
	BaseSize   int64  `json:"baseSize"`   // bytes
	BaseSHA256 string `json:"baseSha256"` // of the base
}

// Artifact finds an artifact by its name. The error names those that are
// there, the nearest first.
func (r *Release) Artifact(name string) (*Artifact, error) {
	var known []string
	for i := range r.Artifacts {
		if r.Artifacts[i].Name == name {
			return &r.Artifacts[i], nil
		}
		known = append(known, r.Artifacts[i].Name)
	}
	return nil, fmt.Errorf("release %s %s has no artifact %q (have %s)", r.Name, r.Version, clip(name), some(nearest(name, known)))
}

// Encode gives the manifest as indented JSON, the same bytes for the same
// release. An empty Updraft becomes [ReleaseFormat]. A release that
// [ParseRelease] would refuse is refused here too, with the same error.
func (r *Release) Encode() ([]byte, error) {
	whole := *r
	if whole.Updraft == "" {
		whole.Updraft = ReleaseFormat
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(&whole); err != nil {
		return nil, fmt.Errorf("encode release: %w", err)
	}
	if _, err := ParseRelease("release.json", text.Bytes()); err != nil {
		return nil, fmt.Errorf("encode release: %w", err)
	}
	return text.Bytes(), nil
}
