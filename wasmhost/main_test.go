package wasmhost

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// guests are the modules that are built once: name to bytes with manifest.
var guests map[string][]byte

// cached is a host that compiles each of them once.
var cached *Host

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ProcessArgument {
		work := func() error { return Isolated(os.Stdin, os.Stdout) }
		if len(os.Args) > 2 {
			work = func() error { return misbehave(os.Args[2]) }
		}
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "updraft-guests-")
	if err == nil {
		guests, err = build(dir)
	}
	if err == nil {
		cached, err = New(context.Background(), Config{Cache: filepath.Join(dir, "cache"), CacheKey: make([]byte, 32)})
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "build guests:", err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) (map[string][]byte, error) {
	built := map[string][]byte{}
	for name, folder := range map[string]string{
		"install": "../examples/install-go", "compat": "../examples/compat-go", "tree": "testdata/tree",
		"every": "../wasm-sdk/go/internal/every",
	} {
		out := filepath.Join(dir, name+".wasm")
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./"+folder)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", name, err, text)
		}
		wasm, err := os.ReadFile(out)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(folder, "updraft.json"))
		if err != nil {
			return nil, err
		}
		manifest, err := abi.DecodeManifest(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", folder, err)
		}
		if built[name], err = abi.WithManifest(wasm, manifest); err != nil {
			return nil, err
		}
	}
	return built, nil
}

const mib = 1 << 20

// load loads a built guest, with memory for Go.
func load(t testing.TB, name string) *Module {
	t.Helper()
	m, err := cached.Load(t.Context(), guests[name], Limits{Memory: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// image is n bytes that look random and are the same each time.
func image(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	rand.NewChaCha8(seed).Read(b)
	return b
}

// bench is a device with one artifact and one target, and what is granted of it.
type bench struct {
	door    *memoryDoor
	journal *memoryJournal
	source  *memorySource
	grants  Grants
	log     []string
}

func newBench(data []byte, typ device.Type) *bench {
	b := &bench{door: newDoor(), source: newSource(data)}
	b.journal = &memoryJournal{power: b.door.power}
	b.grants = Grants{
		Run: "run-1", Door: b.door, Journal: b.journal, Clock: &clock{}, Version: "2.0.0", Source: "the-artifact",
		Sources: map[string]Source{"image": b.source},
		Targets: map[string]Target{"out": {Ref: "rootfs@b", Type: typ, Mode: Write, Quota: int64(len(data))}},
		Facts:   map[string]string{"model": "gw-200", "hardware": "1.10"},
		Log:     func(level int, line string) { b.log = append(b.log, fmt.Sprint(level, " ", line)) },
	}
	return b
}
