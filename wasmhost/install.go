package wasmhost

import (
	"context"
	"maps"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Install calls the phases prepare (if m serves it), install and commit, in
// this order. It may be called again after any end or power cut, with the
// same grants: what install sealed is not staged again, and a commit that was
// cut is confirmed or finished.
//
// abi.AlreadyDone of prepare ends it well; of install it goes on to commit.
// abi.Incompatible and abi.RetryLater end it with that class and no error. A
// restart that any phase wanted is the class of the whole.
func Install(ctx context.Context, m *Module, g Grants) (Result, error) {
	total := Result{}
	sealed, err := m.sealed(ctx, &g)
	if err != nil {
		return total, err
	}
	if !sealed {
		for _, p := range []abi.Phase{abi.Prepare, abi.Install} {
			if p == abi.Prepare && !m.manifest.Serves(p) {
				continue
			}
			r, err := m.Call(ctx, p, g)
			total = total.and(r)
			if err != nil || r.Class > abi.AlreadyDone || p == abi.Prepare && r.Class == abi.AlreadyDone {
				return total, err
			}
		}
	}
	r, err := m.Call(ctx, abi.Commit, g)
	return total.and(r), err
}

// sealed reports whether install is over and only commit is left.
func (m *Module) sealed(ctx context.Context, g *Grants) (bool, error) {
	c := &call{m: m, phase: abi.Commit, g: g}
	if err := c.load(ctx); err != nil {
		return false, err
	}
	return c.point.Phase == abi.Commit, nil
}

// and puts the result of a later phase on top of r.
func (r Result) and(later Result) Result {
	if r.Class == abi.OKRestart && later.Class == abi.OK {
		later.Class = abi.OKRestart
	}
	if later.Report == (abi.Result{}) {
		later.Report = r.Report
	}
	if later.Digests == nil {
		later.Digests = maps.Clone(r.Digests)
	}
	later.Usage = r.Usage.plus(later.Usage)
	return later
}
