package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
)

// A layout that other tools made is read if it follows the CNCF's, and refused
// with the reason otherwise.
func TestPullForeignArtifacts(t *testing.T) {
	wasm := conformance.ReferenceGuest()
	module := content.NewDescriptorFromBytes(wasmLayerType, wasm)
	other := content.NewDescriptorFromBytes(wasmLayerType, []byte("other"))
	tar := content.NewDescriptorFromBytes("application/vnd.oci.image.layer.v1.tar", wasm)
	plain := wasmConfig{Created: "2030-01-31T00:00:00Z", Architecture: "wasm", OS: "wasip1", LayerDigests: []string{string(module.Digest)}}
	component, lying := plain, plain
	component.OS = "wasip2"
	lying.LayerDigests = []string{string(other.Digest)}
	for _, tt := range []struct {
		name       string
		configType string
		config     any
		layers     []ocispec.Descriptor
		wrong      string
		code       int
	}{
		{"as the layout says", wasmConfigType, plain, []ocispec.Descriptor{module}, "", exitSucceeded},
		{"two layers", wasmConfigType, plain, []ocispec.Descriptor{module, other}, "has 2 layers, expected one", exitUsage},
		{"a layer of another type", wasmConfigType, plain, []ocispec.Descriptor{tar}, "expected one of type application/wasm", exitUsage},
		{"a container image", ocispec.MediaTypeImageConfig, plain, []ocispec.Descriptor{module}, "expected a WebAssembly artifact", exitUsage},
		{"a component", wasmConfigType, component, []ocispec.Descriptor{module}, `is for "wasip2"`, exitUsage},
		{"another digest in the configuration", wasmConfigType, lying, []ocispec.Descriptor{module}, "lists other layers", exitRefused},
		{"a configuration that is no object", wasmConfigType, 1, []ocispec.Descriptor{module}, "configuration is not JSON", exitUsage},
		{"something that is no module", wasmConfigType, lying, []ocispec.Descriptor{other}, "not a core WebAssembly module", exitUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, out := t.TempDir(), filepath.Join(t.TempDir(), "got.wasm")
			store, err := oci.New(dir)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			config, err := pushBlob(t.Context(), store, tt.configType, text)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range tt.layers {
				data := wasm
				if l.Digest == other.Digest {
					data = []byte("other")
				}
				if have, err := store.Exists(t.Context(), l); err != nil || have {
					continue
				}
				if err := store.Push(t.Context(), l, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
			}
			made, err := oras.PackManifest(t.Context(), store, oras.PackManifestVersion1_1, "", oras.PackManifestOptions{ConfigDescriptor: &config, Layers: tt.layers})
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Tag(t.Context(), made, "1"); err != nil {
				t.Fatal(err)
			}
			r, err := parseOCIReference("oci-layout:" + dir + ":1")
			if err != nil {
				t.Fatal(err)
			}
			_, err = pull(t.Context(), pulling{from: r, out: out})
			if got := exitCode(r.ociError(t.Context(), err)); got != tt.code || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Fatalf("exit code %d, %v; want %d and %q", got, err, tt.code, tt.wrong)
			}
			got, err := os.ReadFile(out)
			if tt.code == exitSucceeded && !bytes.Equal(got, wasm) || tt.code != exitSucceeded && err == nil {
				t.Errorf("wrote %d bytes, %v", len(got), err)
			}
		})
	}
}

// A file that is too large is not read into memory, nor is a blob that was
// changed taken.
func TestPullDamagedLayout(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "step.wasm")
	if err := os.WriteFile(name, conformance.ReferenceGuest(), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := examine(name)
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout")
	r, err := parseOCIReference("oci-layout:" + layout + ":1")
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := e.push(t.Context(), r, false)
	if err != nil {
		t.Fatal(err)
	}
	again := func() error {
		_, err := pull(t.Context(), pulling{from: r, out: filepath.Join(dir, "got.wasm")})
		return r.ociError(t.Context(), err)
	}
	if err := again(); err != nil {
		t.Fatalf("the layout as it was made: %v", err)
	}
	blob := filepath.Join(layout, "blobs", "sha256", e.sha256)
	if err := os.WriteFile(blob, append([]byte{1}, e.wasm[1:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again(); exitCode(err) != exitRefused {
		t.Errorf("a changed module: %v, want exit code %d", err, exitRefused)
	}
	if err := os.Truncate(blob, int64(len(e.wasm)-1)); err != nil {
		t.Fatal(err)
	}
	if err := again(); exitCode(err) != exitRefused {
		t.Errorf("a module cut short: %v, want exit code %d", err, exitRefused)
	}
	manifest := filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(pushed.Digest, "sha256:"))
	if err := os.Truncate(manifest, maxModule+1); err != nil {
		t.Fatal(err)
	}
	if err := again(); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a huge manifest: %v, want exit code %d", err, exitUsage)
	}
}
