package stages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
)

// errNoBase says that the device has nothing that a delta could start from.
var errNoBase = errors.New("there is no base")

const baseChunk = 256 << 10 // bytes asked of the door at once

func baseError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("base %s: %w: %w", name, errNoBase, err)
	}
	return fmt.Errorf("base %s: %w", name, err)
}

// resolveBase finds out what "rootfs@active" means now. The answer stays right
// when the device restarts. A base that is not there is errNoBase.
func resolveBase(ctx context.Context, t *engine.Task, name string) (string, error) {
	ref, entry, _ := strings.Cut(name, "/")
	target, err := device.Client{Door: t.Door, Run: t.Run}.Resolve(ctx, ref)
	switch {
	case err != nil:
		return "", baseError(name, err)
	case target.Type == device.Directory && entry == "":
		return "", &engine.Failure{Code: "usage", Err: fmt.Errorf("base %s is a directory: name a file in it, such as %s/bin/server", name, name)}
	case entry != "":
		return target.Ref + "/" + entry, nil
	}
	return target.Ref, nil
}

func openBase(ctx context.Context, t *engine.Task, resolved string) (*device.Reader, error) {
	ref, entry, _ := strings.Cut(resolved, "/")
	r, err := device.Client{Door: t.Door, Run: t.Run}.OpenReader(ctx, ref, entry)
	if err != nil {
		return nil, baseError(resolved, err)
	}
	return r, nil
}

// prefixes gives the SHA-256 of the first n bytes of r for each n of sizes, in
// one pass. Where r is shorter there is none.
func prefixes(ctx context.Context, t *engine.Task, r io.ReaderAt, sizes []int64) (map[int64]string, error) {
	sums := map[int64]string{}
	h := sha256.New()
	buf := make([]byte, baseChunk)
	at := int64(0)
	for _, size := range slices.Sorted(slices.Values(sizes)) {
		for at < size {
			if err := t.Safe(ctx); err != nil {
				return nil, err
			}
			n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
			h.Write(buf[:n])
			at += int64(n)
			if err != nil && err != io.EOF {
				return nil, fmt.Errorf("read base: %w", err)
			}
			if err == io.EOF && at < size {
				return sums, nil
			}
		}
		sums[size] = hex.EncodeToString(h.Sum(nil))
	}
	return sums, nil
}
