package wasmhost

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// The groups state and resume.

func kvGet(_ context.Context, c *call, a args) int64 {
	key, ok := a.text(0, abi.MaxKey)
	value, found := c.point.KV[key]
	if !ok || !found {
		a.bytes(2)
		return int64(abi.ENOENT)
	}
	return a.answer(2, value)
}

func kvPut(_ context.Context, c *call, a args) int64 {
	key, ok := a.text(0, abi.MaxKey)
	value := a.bytes(2)
	if !ok || key == "" || bytes.IndexByte([]byte(key), 0) >= 0 {
		return int64(abi.EINVAL)
	}
	used := len(key) + len(value)
	for k, v := range c.point.KV {
		if k != key {
			used += len(k) + len(v)
		}
	}
	// An entry costs its frame in the journal too.
	if used+8*len(c.point.KV) > abi.MaxKV {
		return int64(abi.EQUOTA)
	}
	if c.point.KV == nil {
		c.point.KV = map[string][]byte{}
	}
	c.point.KV[key] = bytes.Clone(value)
	c.dirty = true
	return 0
}

func kvDelete(_ context.Context, c *call, a args) int64 {
	key, ok := a.text(0, abi.MaxKey)
	if _, found := c.point.KV[key]; ok && found {
		delete(c.point.KV, key)
		c.dirty = true
	}
	return 0
}

func kvList(_ context.Context, c *call, a args) int64 {
	return a.answer(0, names(slices.Sorted(maps.Keys(c.point.KV))))
}

func kvFlush(ctx context.Context, c *call, _ args) int64 {
	if !c.dirty {
		return 0
	}
	if err := c.save(ctx); err != nil {
		return int64(c.fail(err))
	}
	return 0
}

func mark(ctx context.Context, c *call, a args) int64 {
	b := a.bytes(0)
	if len(b) > abi.MaxMark {
		return int64(abi.EQUOTA)
	}
	c.point.Mark, c.point.Marked = bytes.Clone(b), true
	if err := c.save(ctx); err != nil {
		return int64(c.fail(err))
	}
	return 0
}

func lastMark(_ context.Context, c *call, a args) int64 {
	if !c.point.Marked {
		a.bytes(0)
		return int64(abi.ENOENT)
	}
	return a.answer(0, c.point.Mark)
}
