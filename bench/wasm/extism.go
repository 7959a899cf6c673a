package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// extism is the program of bench/extism with one module.
type extism struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	said    *bytes.Buffer
	version string // of its kernel
}

// newExtism builds and starts the program. Where that does not work, as
// without its dependencies and without a network, it is named as left out and
// nil. Stop must be called.
func (b *bench) newExtism(ctx context.Context, wasm []byte) (*extism, error) {
	program, file := filepath.Join(b.dir, "extism"), filepath.Join(b.dir, "extism.wasm")
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(b.root, "bench", "extism")
	if text, err := build.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		b.leaveOut("Extism, which does not build here: " + lastLine(text, err))
		return nil, nil
	}
	e := &extism{cmd: exec.CommandContext(ctx, program, file), said: &bytes.Buffer{}}
	e.cmd.Stderr = e.said
	var err error
	if e.in, err = e.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	e.out = bufio.NewScanner(out)
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	if !e.out.Scan() {
		return nil, e.broken()
	}
	e.version = e.out.Text()
	return e, nil
}

func lastLine(text []byte, err error) string {
	said := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := said[len(said)-1]; last != "" {
		return last
	}
	return err.Error()
}

// broken is why the program ended.
func (e *extism) broken() error {
	err := errors.Join(e.in.Close(), e.cmd.Wait())
	return fmt.Errorf("bench/extism ended: %s", lastLine(e.said.Bytes(), err))
}

// call runs an export in an instance of its own.
func (e *extism) call(export string) (took time.Duration, answer int64, err error) {
	if _, err := fmt.Fprintln(e.in, export); err != nil || !e.out.Scan() {
		return 0, 0, e.broken()
	}
	var n uint32
	if _, err := fmt.Sscan(e.out.Text(), &took, &n); err != nil {
		return 0, 0, fmt.Errorf("bench/extism answered %q: %w", e.out.Text(), err)
	}
	return took, int64(n), nil
}

func (e *extism) stop() error { return errors.Join(e.in.Close(), e.cmd.Wait()) }
