package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	maxFact  = 4 << 10 // bytes
	factTime = 30 * time.Second
)

// facts asks every source. One that cannot be asked is an error: compatibility
// must not be judged by half of what the device is.
func (f *Files) facts(ctx context.Context) (map[string]string, error) {
	facts := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(f.config.Facts)) {
		text, err := f.fact(ctx, f.config.Facts[name])
		if err != nil {
			return nil, fmt.Errorf("fact %s: %w", name, err)
		}
		facts[name] = text
	}
	return facts, nil
}

func (f *Files) fact(ctx context.Context, from Fact) (string, error) {
	switch {
	case from.Target != "":
		return f.version(from.Target)
	case from.File != "":
		text, err := disk.ReadFile(f.env.FS, from.File, maxFact)
		if err != nil {
			return "", err
		}
		return clean(text)
	case len(from.Exec) > 0:
		text, err := f.exec(ctx, from.Exec)
		if err != nil {
			return "", err
		}
		if len(text) > maxFact {
			return "", fmt.Errorf("%s printed %d bytes, at most %d are a fact: %w", from.Exec[0], len(text), maxFact, ErrQuota)
		}
		return clean(text)
	}
	return from.Value, nil
}

func clean(text []byte) (string, error) {
	s := strings.TrimSpace(string(text))
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", errors.New("it is no text")
	}
	return s, nil
}

// version is that of what the device runs from a target.
func (f *Files) version(target string) (string, error) {
	p := f.places[target]
	if p == nil {
		return "", fmt.Errorf("target %s: %w", quote(target), ErrUnknown)
	}
	t, err := p.resolve("", "active")
	if errors.Is(err, ErrUnknown) { // no version is current
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if t.Type == Directory && t.Stamp.Version == "" {
		return t.Part, nil
	}
	return t.Stamp.Version, nil
}

var errTooLong = errors.New("it took too long")

func (f *Files) exec(ctx context.Context, argv []string) ([]byte, error) {
	if f.env.Exec == nil {
		return nil, fmt.Errorf("run %s: %w: commands are not possible here", argv[0], ErrDenied)
	}
	ctx, cancel := disk.WithTimeout(ctx, f.env.Clock, factTime, errTooLong)
	defer cancel()
	return f.run(ctx, argv)
}

func (f *Files) run(ctx context.Context, argv []string) ([]byte, error) {
	out, err := f.env.Exec(ctx, argv, path.Dir(f.config.File))
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return out, nil
}

// incarnation gives what changes with each restart of a scope. A start of the
// device is one of its programs too.
func (f *Files) incarnation(scope string) (string, error) {
	if err := f.checkScope(scope); err != nil {
		return "", err
	}
	id := "-"
	if f.env.BootID != nil {
		var err error
		if id, err = f.env.BootID(); err != nil {
			return "", err
		}
	}
	var boots int64
	for _, b := range f.boots {
		st, _, err := b.load()
		if err != nil {
			return "", err
		}
		boots += st.Boots
	}
	text := id + "+" + strconv.FormatInt(boots, 10)
	if scope == deviceScope {
		return text, nil
	}
	st, _, err := f.directory(scope).load()
	if err != nil {
		return "", err
	}
	return text + "+" + strconv.FormatInt(st.Restarts, 10), nil
}
