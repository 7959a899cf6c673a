package coder

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// inputs are 1 MiB each of this test's own machine code, of this module's
// source, and of something like residue.
func inputs(b *testing.B) map[string][]byte {
	const size = 1 << 20
	all := map[string][]byte{"residue": sparse(1, size)}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	code, err := os.ReadFile(self)
	if err != nil {
		b.Fatal(err)
	}
	all["code"] = code[min(size/4, len(code)):][:min(size, len(code)*3/4)]
	files, err := filepath.Glob("../../../*/*.go")
	if err != nil {
		b.Fatal(err)
	}
	var text []byte
	for _, name := range files {
		p, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		text = append(text, p...)
	}
	all["text"] = text[:min(size, len(text))]
	return all
}

func BenchmarkCompress(b *testing.B) {
	kinds := []Kind{{LC: 3}}
	for name, raw := range inputs(b) {
		for _, level := range []Level{Fast, Default, Max} {
			b.Run(fmt.Sprintf("%s/%d", name, level), func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				n := 0
				for b.Loop() {
					n = len(Compress(level, kinds, []Part{{Raw: raw}}))
				}
				b.ReportMetric(float64(n)/float64(len(raw)), "coded/raw")
			})
		}
	}
}

// BenchmarkDecompress counts the compressed bytes per second.
func BenchmarkDecompress(b *testing.B) {
	kinds := []Kind{{LC: 3}}
	for name, raw := range inputs(b) {
		b.Run(name, func(b *testing.B) {
			src := Compress(Default, kinds, []Part{{Raw: raw}})
			window := make([]byte, len(raw))
			var d Decoder
			var block Block
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				d.Reset(src)
				if err := block.Reset(&d, window, kinds); err != nil {
					b.Fatal(err)
				}
				if _, err := block.Read(0, len(raw)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
