package stages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

const (
	spoolChunk = 64 << 10  // bytes
	spoolStep  = 768 << 10 // bytes between two savings
	spoolPause = time.Second
	spoolAnew  = 1 // times that a wrong file is fetched again
)

// spoolState is how far the file is, kept under the name of the spool.
type spoolState struct {
	Stream engine.State `json:"stream"`           // synced up to its offset
	SHA256 string       `json:"sha256,omitempty"` // of the whole, once it is there
	Anew   int          `json:"anew,omitempty"`   // times that it was wrong and dropped
}

// spooling brings one source into one file. It saves its own progress, apart
// from the checkpoint of the step that takes the result.
type spooling struct {
	t     *engine.Task
	src   engine.Source
	key   string
	name  string // of the file
	state spoolState
}

// spool brings all of src into a file of the step's workspace and gives its
// name. The file is hashed before each use. While bytes come, a connection
// that fails is tried again here; one that brings nothing is the engine's to count.
// A wrong file is dropped and fetched anew once.
func spool(ctx context.Context, t *engine.Task, src engine.Source, key string) (string, error) {
	name, err := workFile(t, key)
	if err != nil {
		return "", err
	}
	s := &spooling{t: t, src: src, key: "spool/" + key, name: name}
	if saved := t.Saved(s.key); saved != nil {
		if err := json.Unmarshal(saved, &s.state); err != nil {
			return "", fmt.Errorf("%w: state of %s: %w", engine.ErrStore, s.key, err)
		}
	}
	for {
		if s.state.SHA256 == "" {
			err = s.fill(ctx)
		}
		if err == nil {
			if err = s.verify(ctx); err == nil {
				return name, nil
			}
		}
		if err = s.again(ctx, err); err != nil {
			return "", err
		}
	}
}

// again returns nil if err is worth dropping the file and another round.
func (s *spooling) again(ctx context.Context, err error) error {
	var retry *engine.Retry
	var failure *engine.Failure
	fresh := errors.As(err, &retry) && retry.Fresh
	wrong := errors.As(err, &failure) && failure.Code == "digest"
	if !fresh && !wrong {
		return err
	}
	if s.state.Anew >= spoolAnew {
		if fresh { // the step's own checkpoint has nothing to do with it
			return &engine.Retry{After: retry.After, Err: retry.Err}
		}
		return err
	}
	s.t.Log(fmt.Sprintf("%s is dropped and fetched anew: %v", s.key, err))
	s.state = spoolState{Anew: s.state.Anew + 1}
	return s.save(ctx)
}

// fill fetches until the file is whole, as long as each connection brings bytes.
func (s *spooling) fill(ctx context.Context) error {
	for {
		before := s.state.Stream.Offset
		err := s.pull(ctx)
		var retry *engine.Retry
		if err == nil || !errors.As(err, &retry) || retry.Fresh || s.state.Stream.Offset == before {
			return err
		}
		if err := pause(ctx, s.t, max(retry.After, spoolPause)); err != nil {
			return err
		}
	}
}

// pause waits in slices, so that a cancellation is seen.
func pause(ctx context.Context, t *engine.Task, d time.Duration) error {
	for ; d > 0; d -= time.Second {
		if err := t.Safe(ctx); err != nil {
			return err
		}
		if err := t.Clock().Sleep(ctx, min(d, time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// pull reads one stream into the file, from where it is to its end.
func (s *spooling) pull(ctx context.Context) (err error) {
	f, err := s.t.Files().OpenFile(s.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.key, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("store %s: %w", s.key, err)
	}
	if size < s.state.Stream.Offset {
		return &engine.Retry{Fresh: true, Err: fmt.Errorf("%s has %d bytes, %d were synced", s.name, size, s.state.Stream.Offset)}
	}
	if err := s.t.Files().SyncDir(path.Dir(s.name)); err != nil {
		return fmt.Errorf("store %s: %w", s.key, err)
	}
	in, err := s.src.Open(ctx, s.state.Stream)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return s.copy(ctx, in, f)
}

func (s *spooling) copy(ctx context.Context, in engine.Stream, f disk.File) error {
	buf := make([]byte, spoolChunk)
	for at := s.state.Stream.Offset; ; {
		if err := s.t.Safe(ctx); err != nil {
			return err
		}
		n, err := in.Read(buf)
		if n > 0 {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return fmt.Errorf("store %s at byte %d: %w", s.key, at, err)
			}
			at += int64(n)
			s.t.Progress(at, max(s.src.Size(), 0))
		}
		if err == io.EOF {
			return s.whole(ctx, f, at)
		}
		if at-s.state.Stream.Offset >= spoolStep || err != nil && at > s.state.Stream.Offset {
			err = errors.Join(err, s.mark(ctx, in, f))
		}
		if err != nil {
			return err
		}
	}
}

// mark makes what is there durable, the bytes before the state.
func (s *spooling) mark(ctx context.Context, in engine.Stream, f disk.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store %s: %w", s.key, err)
	}
	at, err := in.Mark()
	if err != nil {
		return err
	}
	s.state.Stream = at
	return s.save(ctx)
}

// whole ends the file at size and hashes what is on the disk.
func (s *spooling) whole(ctx context.Context, f disk.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("store %s: %w", s.key, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store %s: %w", s.key, err)
	}
	sum, err := s.hash(ctx, f)
	if err != nil {
		return err
	}
	s.state = spoolState{SHA256: sum, Anew: s.state.Anew}
	return s.save(ctx)
}

func (s *spooling) hash(ctx context.Context, f disk.File) (string, error) {
	sum := trust.NewDigest()
	buf := make([]byte, spoolChunk)
	for at := int64(0); ; {
		if err := s.t.Safe(ctx); err != nil {
			return "", err
		}
		n, err := f.ReadAt(buf, at)
		at += int64(n)
		if _, err := sum.Write(buf[:n]); err != nil {
			return "", err
		}
		if err == io.EOF {
			return sum.Sum(), nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s back: %w", s.key, err)
		}
	}
}

// verify hashes the file again: it may have been there for days.
func (s *spooling) verify(ctx context.Context) error {
	wrong := func(err error) error { return &engine.Failure{Code: "digest", Err: err} }
	f, err := s.t.Files().OpenFile(s.name, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return wrong(fmt.Errorf("%s is gone", s.name))
	}
	if err != nil {
		return fmt.Errorf("read %s back: %w", s.key, err)
	}
	sum, err := s.hash(ctx, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	want := s.state.SHA256
	if promised := s.src.Digest(); promised != "" {
		want = promised
	}
	if sum != want {
		return wrong(fmt.Errorf("%s has the SHA-256 %s on the disk, want %s", s.name, sum, want))
	}
	return nil
}

func (s *spooling) save(ctx context.Context) error {
	data, err := json.Marshal(s.state)
	if err != nil {
		return fmt.Errorf("save %s: %w", s.key, err)
	}
	return s.t.Save(ctx, s.key, data)
}
