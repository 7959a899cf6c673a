package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tiny is a module whose export "seven" gives 7:
//
//	(module (func (export "seven") (result i32) (i32.const 7)))
const tiny = "\x00asm\x01\x00\x00\x00" + "\x01\x05\x01\x60\x00\x01\x7f" + "\x03\x02\x01\x00" +
	"\x07\x09\x01\x05seven\x00\x00" + "\x0a\x06\x01\x04\x00\x41\x07\x0b"

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tiny.wasm")
	if err := os.WriteFile(file, []byte(tiny), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(context.Background(), []string{file}, strings.NewReader("seven\nseven\n"), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[1], " 7") || !strings.HasSuffix(lines[2], " 7") {
		t.Errorf("output = %q, want the version and two times 7", lines)
	}
	for _, tt := range []struct{ name, file, in, want string }{
		{"no such export", file, "eight\n", "call eight"},
		{"no such file", file + "s", "", "compile"},
		{"no module", "main_test.go", "", "compile"},
	} {
		if err := run(context.Background(), []string{tt.file}, strings.NewReader(tt.in), &out); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
	}
	if err := run(context.Background(), nil, strings.NewReader(""), &out); err == nil {
		t.Error("no arguments: no error")
	}
}
