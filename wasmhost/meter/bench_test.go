package meter

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
)

// BenchmarkRun compares a metered guest with the plain one and with the plain
// one under wazero's own deadline. The three take turns; the least time of
// each counts.
func BenchmarkRun(b *testing.B) {
	wasm := benchGuest(b)
	p := rewrite(b, wasm)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	plain := start(b, wasm, wazero.NewRuntimeConfig(), tanks{})
	metered := start(b, p.Wasm, wazero.NewRuntimeConfig(), tanks{})
	deadline := start(b, wasm, wazero.NewRuntimeConfig().WithCloseOnContextDone(true), tanks{})
	deadline.ctx = ctx
	for _, f := range []struct {
		name string
		n    uint64
	}{{"loop", 200_000}, {"hash", 1}, {"tree", 21}, {"sort", 1}} {
		b.Run(f.name, func(b *testing.B) {
			var least [3]time.Duration
			for b.Loop() {
				for k, i := range []*instance{plain, metered, deadline} {
					call := i.ExportedFunction(f.name)
					begin := time.Now()
					if _, err := call.Call(i.ctx, f.n); err != nil {
						b.Fatal(err)
					}
					if d := time.Since(begin); least[k] == 0 || d < least[k] {
						least[k] = d
					}
				}
			}
			b.ReportMetric(float64(least[1])/float64(least[0]), "metered/plain")
			b.ReportMetric(float64(least[2])/float64(least[0]), "deadline/plain")
			b.ReportMetric(float64(least[0].Microseconds())/1000, "plain-ms")
		})
	}
}

var otherGuest = flag.String("guest", "", "file of a module with the exports of testdata/work, for the benchmarks")

func benchGuest(b *testing.B) []byte {
	if *otherGuest != "" {
		wasm, err := os.ReadFile(*otherGuest)
		if err != nil {
			b.Fatal(err)
		}
		return wasm
	}
	return built(b)
}

// BenchmarkRewrite compares the pass with the compilation that follows it, the
// least of some of each.
func BenchmarkRewrite(b *testing.B) {
	wasm := benchGuest(b)
	var pass, compile time.Duration
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		begin := time.Now()
		p := rewrite(b, wasm)
		if d := time.Since(begin); pass == 0 || d < pass {
			pass = d
		}
		if compile > 0 {
			continue
		}
		var plain time.Duration
		compile, plain = compiled(b, p.Wasm), compiled(b, wasm)
		for range 4 {
			compile, plain = min(compile, compiled(b, p.Wasm)), min(plain, compiled(b, wasm))
		}
		b.ReportMetric(float64(compile)/float64(plain), "metered/plain-compile")
		b.ReportMetric(float64(len(p.Wasm))/float64(len(wasm)), "metered/plain-size")
	}
	b.ReportMetric(100*float64(pass)/float64(compile), "%compile")
	b.ReportMetric(float64(pass.Microseconds())/1000, "pass-ms")
	b.ReportMetric(float64(compile.Microseconds())/1000, "compile-ms")
}

func compiled(b *testing.B, wasm []byte) time.Duration {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	defer r.Close(ctx)
	begin := time.Now()
	if _, err := r.CompileModule(ctx, wasm); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}
