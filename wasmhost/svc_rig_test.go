package wasmhost

import (
	"context"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// script is a phase of a module, written in Go: what it asks goes through the
// table of bindings with buffers of its own.
type script struct {
	t *testing.T
	c *call
}

// run runs one phase, as [Module.Call] does around a guest.
func run(t *testing.T, phase abi.Phase, m *Module, g *Grants, do func(s *script)) error {
	t.Helper()
	c := &call{m: m, phase: phase, g: g, sources: map[string]*artifact{}, targets: map[string]*target{}, fresh: map[string]bool{}}
	if err := c.load(t.Context()); err != nil {
		return err
	}
	do(&script{t, c})
	err := c.failed
	if err == nil {
		err = c.finish(t.Context())
	}
	if e := c.close(t.Context()); err == nil {
		err = e
	}
	return err
}

// plain is a module that declares everything without a name.
func plain(access string) *Module {
	return &Module{digest: "0123", manifest: abi.Manifest{Name: "script", Access: access, Capabilities: abi.Capabilities()}}
}

// ask calls a function of the contract. A string or []byte is a buffer; a
// function that fills one finds its room there.
func (s *script) ask(name string, params ...any) int64 {
	s.t.Helper()
	b := bindings()[name]
	if !b.phases.has(s.c.phase) {
		return int64(abi.EDENIED)
	}
	a := args{c: s.c, name: name}
	for _, p := range params {
		buffer, isBuffer := p.([]byte)
		switch v := p.(type) {
		case int:
			a.stack = append(a.stack, uint64(v))
		case int64:
			a.stack = append(a.stack, uint64(v))
		case string:
			buffer, isBuffer = []byte(v), true
		}
		if isBuffer {
			a.memory[len(a.buffers)] = buffer
			a.buffers = append(a.buffers, len(a.stack))
			a.stack = append(a.stack, 0, uint64(len(buffer)))
		}
	}
	return b.do(s.ctx(), s.c, a)
}

func (s *script) ctx() context.Context { return s.t.Context() }

// must calls a function that is to go well.
func (s *script) must(name string, params ...any) int64 {
	s.t.Helper()
	n := s.ask(name, params...)
	if n < 0 {
		s.t.Fatalf("%s%q = %v (%v)", name, params, abi.Errno(n), s.c.failed)
	}
	return n
}

// want calls a function and compares the answer.
func (s *script) want(want any, name string, params ...any) {
	s.t.Helper()
	got := s.ask(name, params...)
	n := int64(0)
	switch v := want.(type) {
	case int:
		n = int64(v)
	case int64:
		n = v
	case abi.Errno:
		n = int64(v)
	default:
		s.t.Fatalf("%T cannot be wanted", want)
	}
	if got != n {
		s.t.Errorf("%s%.200q = %d (%v), want %d; failed: %v", name, params, got, errnoText(got), n, s.c.failed)
	}
}

func errnoText(n int64) string {
	if n < 0 {
		return abi.Errno(n).Error()
	}
	return "no errno"
}

// text calls a function that fills a buffer.
func (s *script) text(name string, params ...any) string {
	s.t.Helper()
	b := make([]byte, 64<<10)
	return string(b[:s.must(name, append(params, b)...)])
}

// trapped reports whether f ends the instance.
func trapped(f func()) (yes bool) {
	defer func() {
		if e, ok := recover().(*Error); ok {
			yes = strings.Contains(e.Detail, "no handle")
		}
	}()
	f()
	return false
}
