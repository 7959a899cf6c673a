// A module for tests that uses every method of the SDK, so that the double
// for unit tests and the real host are seen to agree on them.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

var _ = updraft.Serve(phases)

var phases = updraft.Phases{Install: install, Commit: commit, Health: health}

func main() {}

func commit(s *updraft.Step) error {
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	return out.Commit()
}

// health reads back what commit left.
func health(s *updraft.Step) error {
	out, err := s.Target("out", updraft.Read)
	if err != nil {
		return err
	}
	back := make([]byte, 6)
	if _, err := out.ReadAt(back, 0); err != nil {
		return err
	}
	if size, err := out.Size(); err != nil || size != 6 || string(back) != "ab5678" {
		return fmt.Errorf("target holds %q of %d: %w", back, size, err)
	}
	return nil
}

// install checks what it is given; see the grants of the tests.
func install(s *updraft.Step) error {
	s.Log(abi.LevelInfo, "begin")
	s.Progress(1, 2, "half")
	if info, err := s.Info(); err != nil || fmt.Sprint(info.Artifacts) != "[image]" {
		return fmt.Errorf("info %+v: %w", info, err)
	}
	if v, ok := s.Fact("model"); !ok || v != "gw" {
		return fmt.Errorf("fact %q %v", v, ok)
	}
	if _, ok := s.Fact("none"); ok {
		return errors.New("a fact from nowhere")
	}
	if list, err := s.Facts(); err != nil || fmt.Sprint(list) != "[model serial]" {
		return fmt.Errorf("facts %v %w", list, err)
	}
	var set struct{ Slot string }
	if err := s.Settings(&set); err != nil || set.Slot != "b" {
		return fmt.Errorf("settings %v %w", set, err)
	}
	if err := errors.Join(files(s), entries(s), state(s)); err != nil {
		return err
	}
	before, now := s.Mono(), s.Now()
	if err := s.Sleep(time.Second); err != nil || s.Mono()-before < time.Second || s.Now().Sub(now) < time.Second {
		return fmt.Errorf("slept %v, now %v: %w", s.Mono()-before, s.Now(), err)
	}
	if err := s.Random(make([]byte, 8)); err != nil || s.Cancelled() {
		return fmt.Errorf("random: %w, cancelled: %v", err, s.Cancelled())
	}
	return s.Result(abi.Result{Code: 7, Reboot: "required"})
}

func state(s *updraft.Step) error {
	long := bytes.Repeat([]byte("v"), 1000)
	if err := errors.Join(s.Put("b", long), s.Put("a", nil), s.Put("c", nil), s.Delete("c"), s.Flush(), s.Mark([]byte("m1"))); err != nil {
		return err
	}
	v, ok := s.Get("b")
	_, none := s.Get("c")
	keys, err := s.Keys()
	mark, marked := s.LastMark()
	if !ok || none || !bytes.Equal(v, long) || err != nil || fmt.Sprint(keys) != "[a b]" || !marked || string(mark) != "m1" {
		return fmt.Errorf("keys %v, value of %d, mark %q, %w", keys, len(v), mark, err)
	}
	return nil
}

func files(s *updraft.Step) error {
	a, err := s.Artifact("image")
	if err != nil {
		return err
	}
	half := make([]byte, 5)
	if _, err := io.ReadFull(a, half); err != nil || string(half) != "01234" {
		return fmt.Errorf("artifact %q: %w", half, err)
	}
	if size, err := a.Size(); err != nil || size != 10 {
		return fmt.Errorf("size %d: %w", size, err)
	}
	if _, err := a.Digest(); err != nil && !errors.Is(err, abi.EUNKNOWN) {
		return err
	}
	if _, err := s.Artifact("none"); !errors.Is(err, abi.ENOENT) {
		return fmt.Errorf("an artifact from nowhere: %w", err)
	}
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	if n, err := s.CopyRange(out, 2, a, 5, -1); err != nil || n != 5 {
		return fmt.Errorf("copied %d %w", n, err)
	}
	if _, err := a.ReadAt(half, 0); !errors.Is(err, abi.ESEQ) {
		return fmt.Errorf("back to the start: %w", err)
	}
	if n, err := a.Read(half); n != 0 || !errors.Is(err, abi.ESEQ) {
		return fmt.Errorf("on from where this value was: %d %w", n, err)
	}
	if n, err := a.ReadAt(half, 10); n != 0 || err != io.EOF {
		return fmt.Errorf("at the end: %d %w", n, err)
	}
	if _, err := out.WriteAt([]byte("ab"), 0); err != nil {
		return err
	}
	if err := errors.Join(out.Truncate(6), out.Sync()); err != nil {
		return err
	}
	if n, err := out.ReadAt(half, 0); n != 0 || !errors.Is(err, abi.EDENIED) {
		return fmt.Errorf("read what is being written: %d %w", n, err)
	}
	if size, err := out.Size(); size != 6 || err != nil {
		return fmt.Errorf("size %d: %w", size, err)
	}
	return nil
}

func entries(s *updraft.Step) error {
	dir, err := s.Target("tree", updraft.Write)
	if err != nil {
		return err
	}
	f, err := dir.Entry("bin/tool", 0o755)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte("tool"), 0); err != nil {
		return err
	}
	return errors.Join(f.Close(), dir.Abort())
}
