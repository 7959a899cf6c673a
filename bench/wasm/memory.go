package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/wasmhost"
)

// memoryWord makes this program measure its own memory.
const memoryWord = "measure-memory"

// peaks is what a process took, in bytes of resident memory.
type peaks struct {
	Before int64 `json:"before"` // once the module was loaded
	Peak   int64 `json:"peak"`   // while the phase ran
}

// memory measures what a large artifact takes in a process of its own.
func memory(ctx context.Context, b *bench) (section, error) {
	s := section{Title: "Memory for a large artifact", Note: fmt.Sprintf("An artifact of %s bytes through a guest in C that is granted 16 MiB, in a fresh process that loads it from the cache: resident memory before the phase, and its peak during it. "+
		"*stream* moves the bytes in calls of 64 KiB through each page of 15 MiB of the guest's memory, *svc_copy* without the guest.", group(b.large))}
	wasm, err := b.guest(ctx, "mover")
	if err != nil || wasm == nil {
		return s, err
	}
	if _, err := resident("VmHWM"); err != nil {
		b.leaveOut(fmt.Sprintf("memory, which is measured as Linux does it: %v", err))
		return s, nil
	}
	file := filepath.Join(b.dir, "mover.wasm")
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		return s, err
	}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	for _, how := range []struct{ name, settings string }{
		{"stream", `{"how": "stream", "piece": 65536, "room": 15728640}`}, {"svc_copy", `{"how": "copy"}`},
	} {
		var p peaks
		for range 2 { // the first one fills the cache
			out, err := exec.CommandContext(ctx, self, memoryWord, file, b.dir, strconv.FormatInt(b.large, 10), how.settings).Output()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				err = fmt.Errorf("%w: %s", err, lastLine(exit.Stderr, err))
			}
			if err != nil {
				return s, errors.Join(ctx.Err(), err)
			}
			if err := json.Unmarshal(out, &p); err != nil {
				return s, err
			}
		}
		mib := func(column string, n int64) figure { return figure{column, float64(n) / (1 << 20), mebibytes} }
		over := mib("over it", p.Peak-p.Before)
		s.row(how.name, mib("before", p.Before), mib("peak", p.Peak), over)
		s.atMost(fmt.Sprintf("memory over the baseline, %d MiB by %s", b.large>>20, how.name), over.Value, mebibytes, 24)
	}
	return s, nil
}

// memoryChild is the process: the file of the module, a folder, the bytes of
// the artifact, and settings.
func memoryChild(args []string, out io.Writer) (err error) {
	if len(args) != 4 {
		return fmt.Errorf("expected 4 arguments, have %q", args)
	}
	ctx := context.Background()
	size, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	m, err := loadFile(ctx, args[0], filepath.Join(args[1], "cache"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	r, err := newRig(ctx, args[1], []byte("old"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(r.out))) }()
	r.image = endless(size)
	debug.FreeOSMemory()
	// Linux then forgets the peak, which loading the module made.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return err
	}
	var p peaks
	if p.Before, err = resident("VmHWM"); err != nil {
		return err
	}
	if err := r.install(ctx, m, args[3]); err != nil {
		return err
	}
	if p.Peak, err = resident("VmHWM"); err != nil {
		return err
	}
	if info, err := os.Stat(r.out); err != nil || info.Size() != size {
		return errors.Join(err, errors.New("not all of the artifact arrived"))
	}
	return json.NewEncoder(out).Encode(p)
}

func loadFile(ctx context.Context, name, cache string) (*wasmhost.Module, error) {
	wasm, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	h, err := wasmhost.New(ctx, wasmhost.Config{Cache: cache, CacheKey: make([]byte, 32)})
	if err != nil {
		return nil, err
	}
	return h.Load(ctx, wasm, wasmhost.Limits{})
}

// resident reads a line of this process's status, in bytes.
func resident(key string) (int64, error) {
	number, _, _ := strings.Cut(valueOf("/proc/self/status", key, ":"), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s in /proc/self/status: %w", key, err)
	}
	return n << 10, nil
}

// endless is an artifact of so many bytes that no file holds, without a digest.
type endless int64

// Size implements [wasmhost.Source].
func (e endless) Size() int64 { return int64(e) }

// Digest implements [wasmhost.Source].
func (e endless) Digest() string { return "" }

// Open implements [wasmhost.Source].
func (e endless) Open(context.Context, []byte) (wasmhost.Stream, error) {
	return &endlessStream{left: int64(e)}, nil
}

type endlessStream struct{ left int64 }

// Read gives bytes that differ from piece to piece.
func (s *endlessStream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), s.left)
	for i := int64(0); i < n; i += 4096 {
		p[i] = byte((s.left - i) >> 12)
	}
	s.left -= n
	return int(n), nil
}

// Mark implements [wasmhost.Stream].
func (s *endlessStream) Mark() ([]byte, error) { return json.Marshal(s.left) }

// Close implements [wasmhost.Stream].
func (s *endlessStream) Close() error { return nil }
