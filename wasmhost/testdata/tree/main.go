// A module for tests: it splits an artifact into the files of a directory by
// its own means, marks after each, and keeps count in key-values.
package main

import (
	"fmt"
	"strconv"

	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

var _ = updraft.Serve(updraft.Phases{Prepare: prepare, Install: install, Commit: commit, Rollback: rollback})

func main() {}

const part = 40_000

func prepare(s *updraft.Step) error { return s.Put("prepared", []byte("yes")) }

func install(s *updraft.Step) error {
	if v, ok := s.Get("prepared"); !ok || string(v) != "yes" {
		return fmt.Errorf("not prepared")
	}
	first := 0
	if mark, ok := s.LastMark(); ok {
		first, _ = strconv.Atoi(string(mark))
	}
	image, err := s.Artifact("image")
	if err != nil {
		return err
	}
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	size, err := image.Size()
	if err != nil {
		return err
	}
	buf := make([]byte, part)
	for i := first; int64(i)*part < size; i++ {
		n := min(part, size-int64(i)*part)
		if err := file(s, out, image, i, buf[:n]); err != nil {
			return err
		}
		if err := s.Put("files", []byte(strconv.Itoa(i+1))); err != nil {
			return err
		}
		if err := s.Mark([]byte(strconv.Itoa(i + 1))); err != nil {
			return err
		}
	}
	return nil
}

func file(s *updraft.Step, out *updraft.Target, image *updraft.Artifact, i int, buf []byte) error {
	f, err := out.Entry(fmt.Sprintf("part/%d", i), 0o644)
	if err != nil {
		return err
	}
	if i%2 == 0 { // one half through the module, one half around it
		if _, err := image.ReadAt(buf, int64(i)*part); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf, 0); err != nil {
			return err
		}
	} else if _, err := s.CopyRange(f, 0, image, int64(i)*part, int64(len(buf))); err != nil {
		return err
	}
	return f.Close()
}

func commit(s *updraft.Step) error {
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	n, _ := s.Get("files")
	s.Progress(1, 1, string(n)+" files")
	return out.Commit()
}

func rollback(s *updraft.Step) error {
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	return out.Abort()
}
