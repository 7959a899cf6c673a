package conformance

import (
	"fmt"
	"math"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

// edges are bytes that a memory of one page does not have.
var edges = [][2]int32{{pageBytes - 1, 2}, {pageBytes, 1}, {-1, 1}, {-1, -1}, {1 << 30, 1 << 30}, {0, pageBytes + 1}}

const pageBytes = 64 << 10

// badPointers has a module for each buffer of each function, which passes
// another one of the edges in each of the first six phases.
func badPointers() []trial {
	var list []trial
	for _, f := range abi.Functions() {
		params, _, _ := strings.Cut(f.Type, ":")
		for at, letter := range params {
			if letter != 'r' && letter != 'w' {
				continue
			}
			g := newStep()
			code := map[abi.Phase]asm.Code{}
			for i, edge := range edges {
				code[abi.Phase(i+1)] = asm.Seq(g.call(f.Name, arguments(params, at, edge)), asm.Op(asm.Unreachable))
			}
			wasm := g.bytes(1, code)
			for i, edge := range edges {
				list = append(list, trial{name: fmt.Sprintf("%s, parameter %d, %d bytes at %d in %s", f.Name, at, edge[1], edge[0], abi.Phase(i+1)),
					wasm: wasm, phase: abi.Phase(i + 1), want: wasmhost.GuestTrap})
			}
		}
	}
	return append(append(list, badWASIPointers()...), badOffsets()...)
}

// arguments are zeros but for the buffer at one place.
func arguments(params string, at int, edge [2]int32) asm.Code {
	var code asm.Code
	for i, letter := range params {
		switch {
		case i == at:
			code = asm.Seq(code, asm.I32(edge[0]), asm.I32(edge[1]))
		case letter == 'I':
			code = asm.Seq(code, asm.I64(0))
		case letter == 'i':
			code = asm.Seq(code, asm.I32(0))
		default:
			code = asm.Seq(code, asm.I32(0), asm.I32(0))
		}
	}
	return code
}

func badWASIPointers() []trial {
	var list []trial
	for _, f := range []struct {
		name, typ string
		args      []asm.Code
	}{
		{"fd_write", "iiii:i", []asm.Code{asm.I32(1), asm.I32(pageBytes - 7), asm.I32(1), asm.I32(0)}},
		{"fd_write", "iiii:i", []asm.Code{asm.I32(1), asm.I32(0), asm.I32(1), asm.I32(pageBytes - 3)}},
		{"fd_write", "iiii:i", []asm.Code{asm.I32(1), asm.I32(16), asm.I32(1), asm.I32(0)}}, // a vector behind the end
		{"fd_read", "iiii:i", []asm.Code{asm.I32(0), asm.I32(0), asm.I32(0), asm.I32(pageBytes - 3)}},
		{"fd_fdstat_get", "ii:i", []asm.Code{asm.I32(0), asm.I32(pageBytes - 23)}},
		{"random_get", "ii:i", []asm.Code{asm.I32(pageBytes - 1), asm.I32(2)}},
		{"random_get", "ii:i", []asm.Code{asm.I32(1), asm.I32(-1)}},
		{"clock_time_get", "iIi:i", []asm.Code{asm.I32(0), asm.I64(0), asm.I32(pageBytes - 7)}},
		{"clock_res_get", "ii:i", []asm.Code{asm.I32(0), asm.I32(-1)}},
		{"args_sizes_get", "ii:i", []asm.Code{asm.I32(0), asm.I32(pageBytes - 3)}},
		{"environ_sizes_get", "ii:i", []asm.Code{asm.I32(pageBytes), asm.I32(0)}},
		{"poll_oneoff", "iiii:i", []asm.Code{asm.I32(pageBytes - 47), asm.I32(0), asm.I32(1), asm.I32(0)}},
		{"poll_oneoff", "iiii:i", []asm.Code{asm.I32(0), asm.I32(pageBytes - 31), asm.I32(1), asm.I32(0)}},
	} {
		g := newStep()
		call := g.wasi(f.name, f.typ)
		g.Data(16, "\xff\xff\x00\x00\x02\x00\x00\x00")
		list = append(list, trial{name: f.name, wasm: g.doing(1, drop(asm.Seq(f.args...), asm.Call(call))), want: wasmhost.GuestTrap})
	}
	return list
}

// badOffsets are places that no artifact and no target has. Nothing lies there
// that could be reached, so that the answer is an errno.
func badOffsets() []trial {
	art, tgt := asm.Get(localArtifact), asm.Get(localTarget)
	var list []trial
	for _, at := range []int64{-1, math.MinInt64, math.MaxInt64, 1<<62 + 1} {
		off := asm.I64(at)
		for name, args := range map[string][]asm.Code{
			"tgt_write":    {tgt, off, room(16)},
			"tgt_truncate": {tgt, off},
			"svc_copy":     {art, off, tgt, asm.I64(0), asm.I64(1)},
			"svc_hash":     {art, off, asm.I64(1), asm.I32(abi.SHA256), room(64)},
		} {
			g := newStep()
			wasm := g.doing(1, g.openArtifact("image"), g.openTarget("out"), g.refused(name, args...))
			if at > 0 && name == "svc_copy" {
				g = newStep() // behind the end there is nothing to copy; it must not be copied to there
				wasm = g.doing(1, g.openArtifact("image"), g.openTarget("out"), g.refused(name, art, asm.I64(0), tgt, off, asm.I64(1)))
			}
			list = append(list, trial{name: fmt.Sprintf("%s at %d", name, at), wasm: wasm, want: wasmhost.GuestFailed})
		}
	}
	return list
}
