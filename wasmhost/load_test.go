package wasmhost

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

var done = []byte{0x41, 0} // the phase returns 0

func TestLoadRefuses(t *testing.T) {
	good := asm{body: done}
	wasm := good.bytes(t)
	if _, err := tryLoad(t, wasm, Limits{}); err != nil {
		t.Fatalf("the module that all cases derive from: %v", err)
	}
	without := func(c abi.Capability) func(*abi.Manifest) {
		return func(m *abi.Manifest) {
			m.Capabilities = slices.DeleteFunc(m.Capabilities, func(x abi.Capability) bool { return x == c })
		}
	}
	for _, tt := range []struct {
		name string
		wasm []byte
		code Code
		want string // in the message
	}{
		{"nothing", nil, InvalidModule, "byte 0"},
		{"a text", []byte("#!/bin/sh\n"), InvalidModule, "byte 0"},
		{"compressed with gzip", []byte("\x1f\x8b\x08\x00"), InvalidModule, "byte 0: compressed with gzip"},
		{"compressed with zstd", []byte("\x28\xb5\x2f\xfd"), InvalidModule, "byte 0: compressed with zstd"},
		{"a component", append([]byte("\x00asm\x0d\x00\x01\x00"), wasm[8:]...), InvalidModule, "byte 4: this is a component"},
		{"another version", append([]byte("\x00asm\x02\x00\x00\x00"), wasm[8:]...), InvalidModule, "byte 4: version"},
		{"too large", make([]byte, abi.MaxModule+1), InvalidModule, "16777217 bytes, at most 16777216"},
		{"no marker", asm{marker: "-", body: done}.bytes(t), ABI, "no export updraft_abi_1_0"},
		{"a newer version", asm{marker: "updraft_abi_1_7", body: done}.bytes(t), ABI, "speaks version 1.7, this host 1.0"},
		{"a manifest for a newer version", asm{body: done, manifest: func(m *abi.Manifest) { m.ABI.Min = "1.1" }}.bytes(t), ABI, "wants version 1.1"},
		{"another phase type", asm{phase: "I:i", body: done}.bytes(t), InvalidModule, "updraft_phase"},
		{"a start section", asm{body: done, extra: []byte{8, 1, 0}}.bytes(t), InvalidModule, "a start section"},
		{"an import of nobody", asm{imports: [][3]string{{"env", "abort", ":"}}, body: done}.bytes(t), Denied, "env.abort"},
		{"an import not offered", asm{imports: [][3]string{{abi.Module, "tgt_format", "ii:i"}}, body: done}.bytes(t), Denied,
			"module imports updraft_v1.tgt_format, which this host does not offer"},
		{"an unknown WASI import", asm{imports: [][3]string{{abi.WASI, "path_chmod", ":"}}, body: done}.bytes(t), Denied,
			"wasi_snapshot_preview1.path_chmod, which this host does not offer"},
		{"a WASI import of another type", asm{imports: [][3]string{{abi.WASI, "fd_write", ":"}}, body: done}.bytes(t), Denied, "with the wrong type :, want iiii:i"},
		{"an import of another type", asm{imports: [][3]string{{abi.Module, "kv_flush", "i:i"}}, body: done}.bytes(t), Denied, "with the wrong type i:i, want :i"},
		{"an undeclared import", asm{imports: [][3]string{{abi.Module, "kv_flush", ":i"}}, body: done, manifest: without(abi.State)}.bytes(t), Denied,
			`updraft_v1.kv_flush without declaring the capability "state"`},
		{"two exports of a name", asm{body: done, exports: []string{"x", "x"}}.bytes(t), InvalidModule, `export "x" stands there twice`},
		{"no manifest", wasm[:bytes.LastIndex(wasm, []byte{11, 6})+8], InvalidModule, "the module has none"},
		{"two manifests", append(slices.Clone(wasm), manifestSection(t, abi.Manifest{})...), InvalidModule, "two of them"},
		{"a large manifest", append(wasm[:bytes.LastIndex(wasm, []byte{11, 6})+8:len(wasm)],
			manifestSection(t, abi.Manifest{Name: strings.Repeat("n", abi.MaxManifest)})...), InvalidModule, "at most 65536"},
		{"memory beyond the grant", asm{body: done, manifest: func(m *abi.Manifest) { m.Limits.Memory = 64 * mib }}.bytes(t), Memory,
			"asks for 67108864 bytes of memory, 16777216 are granted"},
		{"memory beyond the limit at once", asm{body: done, pages: 65536}.bytes(t), Memory, "4294967296 bytes at the start, 16777216 are granted"},
		{"a large table", asm{body: done, table: 100_000_000}.bytes(t), InvalidModule, "a table of 100000000 entries"},
		{"sixty tables", asm{body: done, extra: sec(4, slices.Repeat([][]byte{{0x70, 0, 1}}, 60)...)}.bytes(t), InvalidModule, "byte "},
		{"table.grow", asm{body: []byte{0xd2, 0, 0x41, 1, 0xfc, 15, 0}, table: 1}.bytes(t), InvalidModule, "reference types"},
		{"two results", asm{phase: "i:ii", body: done}.bytes(t), InvalidModule, "multi-value"},
		{"a type error in a body", asm{body: []byte{0x1a}}.bytes(t), InvalidModule, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tryLoad(t, tt.wasm, Limits{})
			if !errors.Is(err, tt.code) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %v, want one line with %s and %q", err, tt.code, tt.want)
			}
		})
	}
}

func TestCutOffModuleIsRefused(t *testing.T) {
	wasm := asm{body: done, data: "data", imports: [][3]string{{abi.Module, "log", "iii:"}}}.bytes(t)
	for n := range len(wasm) {
		if _, err := tryLoad(t, wasm[:n], Limits{}); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(wasm))
		}
	}
}

func TestCheckNamesWhatIsNotGranted(t *testing.T) {
	m := load(t, "install")
	err := m.Check([]abi.Capability{abi.Artifact, abi.Target, abi.Resume})
	if !errors.Is(err, Denied) || !strings.Contains(err.Error(), `the capability "services", which is not granted`) {
		t.Errorf("error = %v", err)
	}
	if got := m.Manifest(); got.Name != "ab-slot" || !got.Serves(abi.Rollback) {
		t.Errorf("manifest = %+v", got)
	}
}

func FuzzOutline(f *testing.F) {
	f.Add(asm{body: done, data: "data", table: 3}.bytes(f))
	f.Add(guests["compat"][:4096])
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m := &Module{}
		if _, err := m.examine(wasm); err != nil {
			var own *Error
			if !errors.As(err, &own) {
				t.Errorf("error %T %v, want *Error", err, err)
			}
		}
	})
}
