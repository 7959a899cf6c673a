package wasmhost

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// only gives the one file of a cache folder.
func only(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("cache holds %q, want one file; error %v", names, err)
	}
	return names[0]
}

func TestCacheTakesWhatItKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	h, err := New(t.Context(), Config{Cache: dir, CacheKey: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	var took [2]time.Duration
	for i := range took {
		begin := time.Now()
		m, err := h.Load(t.Context(), guests["compat"], Limits{Memory: 64 * mib})
		if err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(begin)
		r, err := m.Call(t.Context(), abi.Compat, Grants{Settings: []byte(`{"models": ["m"]}`), Facts: map[string]string{"model": "m"}})
		if err != nil || r.Class != abi.OK {
			t.Errorf("class %d, error %v", r.Class, err)
		}
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(only(t, dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	t.Logf("compiled in %v, taken in %v, %d KiB", took[0].Round(time.Millisecond), took[1].Round(time.Millisecond), info.Size()>>10)
	if took[1] > took[0] {
		t.Errorf("taking took %v, compiling %v", took[1], took[0])
	}
}

// Each changed byte, and each cut, makes the file useless: it is compiled anew.
func TestChangedCacheFileIsNotUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	key := bytes.Repeat([]byte{7}, 32)
	h, err := New(t.Context(), Config{Cache: dir, CacheKey: key})
	if err != nil {
		t.Fatal(err)
	}
	wasm := asm{body: []byte{0x41, 3}}.bytes(t)
	run := func(h *Host) {
		t.Helper()
		m, err := h.Load(t.Context(), wasm, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close(t.Context())
		if r, err := m.Call(t.Context(), abi.Compat, Grants{}); err != nil || r.Class != abi.Incompatible {
			t.Fatalf("class %d, error %v", r.Class, err)
		}
	}
	run(h)
	file := only(t, dir)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// usable asks the cache itself, since compiling would hide its answer.
	usable := func(key []byte, name string, content []byte) bool {
		t.Helper()
		c, err := openCache(dir, key, 1<<30, nil)
		if err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(dir, name)
		if err := os.WriteFile(other, content, 0o600); err != nil {
			t.Fatal(err)
		}
		hand := t.TempDir()
		_, err = c.take(other, hand)
		left, _ := os.ReadDir(hand)
		if err != nil && (!errors.Is(err, errStale) || len(left) != 0) {
			t.Fatalf("error %v, %d files handed over", err, len(left))
		}
		return err == nil
	}
	name := filepath.Base(file)
	if !usable(key, name, good) {
		t.Fatal("the file as it was is not usable")
	}
	for at := 0; at < len(good); at += 1 + len(good)/500 {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (at % 8)
		if usable(key, name, bad) {
			t.Errorf("byte %d of %d was changed and the file used", at, len(good))
		}
	}
	for _, n := range []int{0, 1, 31, 32, 100, len(good) / 2, len(good) - 1} {
		if usable(key, name, good[:n]) {
			t.Errorf("%d of %d bytes were used", n, len(good))
		}
	}
	if usable(key, name, append(bytes.Clone(good), 0)) {
		t.Error("a file with a byte more was used")
	}
	if usable(bytes.Repeat([]byte{8}, 32), name, good) {
		t.Error("a file of another device was used")
	}
	if usable(key, strings.Repeat("0", 64)+name[64:], good) {
		t.Error("the code of one module was used for another")
	}
	os.Remove(filepath.Join(dir, strings.Repeat("0", 64)+name[64:]))
	if err := os.WriteFile(file, good[:len(good)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	run(h)
	if again, err := os.ReadFile(file); err != nil || len(again) != len(good) {
		t.Errorf("%d bytes after compiling again, want %d; error %v", len(again), len(good), err)
	}
}

// Code with a good MAC that wazero refuses is dropped and compiled again.
func TestCacheOfAnotherShape(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	h, err := New(t.Context(), Config{Cache: dir, CacheKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	wasm := asm{body: []byte{0x41, 0}}.bytes(t)
	load := func() {
		t.Helper()
		m, err := h.Load(t.Context(), wasm, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		m.Close(t.Context())
	}
	load()
	file := only(t, dir)
	good, _ := os.ReadFile(file)
	entry := filepath.Join(t.TempDir(), string(good[len(cacheMagic):][:entryName]))
	if err := os.WriteFile(entry, []byte("nonsense that is long enough to hold a header"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.cache.store(file, entry); err != nil {
		t.Fatal(err)
	}
	load()
	if again, _ := os.ReadFile(file); !bytes.Equal(again, good) {
		t.Errorf("the file was not replaced: %d bytes, want %d", len(again), len(good))
	}
}

func TestCacheRefusesAnOpenFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Config{Cache: dir, CacheKey: make([]byte, 32)}); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("error = %v, want one that says 0700", err)
	}
	if _, err := New(t.Context(), Config{Cache: dir, CacheKey: make([]byte, 31)}); err == nil {
		t.Error("a short key was accepted")
	}
}

// The files that were used longest ago go when the quota is reached.
func TestCacheKeepsItsQuota(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	modules := make([][]byte, 4)
	for i := range modules {
		modules[i] = asm{body: []byte{0x41, byte(i % 3), 0x1a, 0x41, 0}, data: strings.Repeat("x", i)}.bytes(t)
	}
	var quota int64
	load := func(wasm []byte) {
		t.Helper()
		h, err := New(t.Context(), Config{Cache: dir, CacheKey: make([]byte, 32), CacheQuota: quota, Warn: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		m, err := h.Load(t.Context(), wasm, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	files := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	load(modules[0])
	first := only(t, dir)
	info, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	quota = 2*info.Size() + info.Size()/2 // for two of them
	load(modules[1])
	old := time.Now().Add(-time.Hour)
	for i, name := range slices.Sorted(slices.Values(files())) {
		if err := os.Chtimes(name, old.Add(time.Duration(i)*time.Second), old.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	load(modules[0]) // used again: the other is now the oldest
	load(modules[2])
	if got := files(); len(got) != 2 || !slices.Contains(got, first) {
		t.Errorf("%d files are left, the one used last among them: %v", len(got), slices.Contains(got, first))
	}
	quota = 1
	load(modules[3])
	if got := files(); len(got) != 0 {
		t.Errorf("%q are left with a quota of 1 byte", got)
	}
}
