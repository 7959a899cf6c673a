package stages

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// origin is an artifact at an address: http, https, file, a plain path, or what
// an [Opener] knows.
type origin struct {
	c       *Config
	t       *engine.Task
	address string
	size    int64 // bytes, or -1
	// judged says that a digest over the whole decides at the end. Then parts
	// of a file that has no strong ETag may be joined.
	judged bool
}

func (o *origin) Size() int64    { return o.size }
func (o *origin) Digest() string { return "" }

// Cost is what the bytes cost at the most once.
func (o *origin) Cost() []engine.Effect {
	kind := "download"
	if _, local := localPath(o.address); local {
		kind = "read"
	}
	e := engine.Effect{Kind: kind, Target: o.name(), Bytes: o.size, Certainty: engine.Exact}
	if o.size < 0 {
		e.Bytes, e.Certainty = 0, engine.Unknown
	}
	return []engine.Effect{e}
}

// originState is what a stream must know of the bytes before it.
type originState struct {
	ETag   string `json:"etag,omitempty"`
	Total  int64  `json:"total,omitempty"`  // bytes, 0 if not known
	Joined bool   `json:"joined,omitempty"` // of parts that nothing proves to belong together
}

func (o *origin) Open(ctx context.Context, at engine.State) (engine.Stream, error) {
	var st originState
	if len(at.Blob) > 0 {
		if err := json.Unmarshal(at.Blob, &st); err != nil {
			return nil, &engine.Retry{Fresh: true, Err: fmt.Errorf("state of %s cannot be read: %w", o.name(), err)}
		}
	}
	if at.Offset < 0 || o.size >= 0 && at.Offset > o.size {
		return nil, &engine.Retry{Fresh: true, Err: fmt.Errorf("state of %s is at byte %d of %d", o.name(), at.Offset, o.size)}
	}
	s := &originStream{o: o, at: at.Offset, end: o.size, state: st}
	if at.Offset > 0 && at.Offset == o.size {
		s.err = io.EOF // nothing is left to ask for
		return s, nil
	}
	if at.Offset > 0 && st.ETag == "" && !o.judged {
		return nil, &engine.Retry{Fresh: true, Err: fmt.Errorf("%s has no strong ETag and no digest: begin again", o.name())}
	}
	var err error
	if path, local := localPath(o.address); local {
		err = s.openFile(o.c.Disk, path)
	} else if by := o.c.opener(o.address); by != nil {
		err = s.openBy(ctx, by)
	} else if wrong := o.c.unfetched(o.address); wrong != "" {
		err = &engine.Failure{Code: "address", Err: errors.New(wrong)}
	} else {
		err = s.openWeb(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (o *origin) name() string { return o.c.shown(o.address) }

// localPath gives the path of a file URL or of an address that is no URL.
func localPath(address string) (string, bool) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return address, !strings.Contains(address, "://")
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost"):
		return u.Path, true
	}
	return address, len(u.Scheme) < 2
}

// originStream is one reading of an origin.
type originStream struct {
	o     *origin
	body  io.ReadCloser // nil if nothing is left
	at    int64
	end   int64 // bytes of the whole, or -1
	state originState
	err   error
}

func (s *originStream) openFile(files disk.FS, path string) error {
	f, err := files.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return &engine.Failure{Code: "not_found", Err: fmt.Errorf("open artifact: %w", err)}
	}
	if err != nil {
		return fmt.Errorf("open artifact: %w", err)
	}
	size, err := f.Size()
	if err == nil && s.o.size >= 0 && size != s.o.size {
		err = s.wrongSize(size)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.end, s.state.Joined = size, s.at > 0
	s.body = &fileBody{f, s.at}
	return nil
}

// fileBody reads a file on from an offset.
type fileBody struct {
	disk.File
	at int64
}

func (b *fileBody) Read(p []byte) (int, error) {
	n, err := b.ReadAt(p, b.at)
	b.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// openWeb asks for the rest. What the server gives is read on only if it is
// the same file as before, or if a digest will tell.
func (s *originStream) openWeb(ctx context.Context) error {
	got, err := s.o.c.get(ctx, s.o.t.Clock(), ask{s.o.address, s.at, s.state.ETag})
	var past *rangeError
	if errors.As(err, &past) {
		if s.end < 0 && past.total == s.at {
			s.err = io.EOF
			return nil
		}
		return &engine.Retry{Fresh: true, Err: &engine.Failure{Code: "size", Err: err}}
	}
	if err != nil {
		return err
	}
	if err := s.take(ctx, got); err != nil {
		return errors.Join(err, got.Close())
	}
	s.body = &attended{got.watched, ctx, s}
	return nil
}

func (s *originStream) take(ctx context.Context, got *answer) error {
	if s.at > 0 {
		switch {
		case s.state.ETag != "" && got.etag != "" && s.state.ETag != got.etag,
			s.state.Total > 0 && got.total >= 0 && s.state.Total != got.total:
			return &engine.Retry{Fresh: true, Err: fmt.Errorf("%s changed on the server after %d bytes", s.o.name(), s.at)}
		case got.etag == "" && !s.o.judged:
			return &engine.Retry{Fresh: true, Err: fmt.Errorf("%s has no strong ETag any more: begin again", s.o.name())}
		case got.etag == "" || s.state.ETag == "":
			s.state.Joined = true
		}
	}
	if got.total >= 0 && s.end >= 0 && got.total != s.end {
		return s.wrongSize(got.total)
	}
	s.end = max(s.end, got.total)
	s.state.ETag, s.state.Total = cmp.Or(got.etag, s.state.ETag), max(got.total, s.state.Total)
	return s.skip(ctx, got)
}

// wrongSize may be a page of a captive network or a server in the middle of a
// change: worth another try.
func (s *originStream) wrongSize(has int64) error {
	return &engine.Retry{Err: &engine.Failure{Code: "size", Err: fmt.Errorf("%s has %d bytes, want %d", s.o.name(), has, s.o.size)}}
}

// skip reads over what is there already, if the server cannot begin in the
// middle. The network carries it again either way, but nothing is written twice.
func (s *originStream) skip(ctx context.Context, got *answer) error {
	buf := make([]byte, 32<<10)
	for left := s.at - got.at; left > 0; {
		if err := s.o.t.Safe(ctx); err != nil {
			return err
		}
		n, err := got.Read(buf[:min(int64(len(buf)), left)])
		left -= int64(n)
		if err == io.EOF {
			return s.short(s.at - left)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *originStream) short(at int64) error {
	return &engine.Retry{Err: &engine.Failure{Code: "size", Err: fmt.Errorf("%s ended after %d bytes, want %d", s.o.name(), at, s.end)}}
}

// Read gives the artifact and never more than one byte past its size is asked
// for.
func (s *originStream) Read(p []byte) (int, error) {
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	if s.end >= 0 && s.at == s.end {
		s.err = s.over()
		return 0, s.err
	}
	if s.end >= 0 {
		p = p[:min(int64(len(p)), s.end-s.at)]
	}
	n, err := s.body.Read(p)
	s.at += int64(n)
	switch {
	case err == io.EOF && s.end >= 0 && s.at < s.end:
		err = s.short(s.at)
	case err == io.EOF && n > 0 && s.at == s.end:
		err = nil // over says so at the next Read
	}
	s.err = err
	return n, err
}

// over makes sure that nothing follows. If the connection fails now, all bytes
// are there nevertheless.
func (s *originStream) over() error {
	var one [1]byte
	for range 100 {
		n, err := s.body.Read(one[:])
		if n > 0 {
			return &engine.Failure{Code: "size", Err: fmt.Errorf("%s has more than its %d bytes", s.o.name(), s.end)}
		}
		if err != nil {
			break
		}
	}
	return io.EOF
}

func (s *originStream) Mark() (engine.State, error) {
	blob, err := json.Marshal(s.state)
	if err != nil {
		return engine.State{}, fmt.Errorf("mark %s: %w", s.o.name(), err)
	}
	return engine.State{Offset: s.at, Blob: blob}, nil
}

// joined reports whether parts were joined without proof, so that a wrong
// digest may be nobody's fault.
func (s *originStream) joined() bool { return s.state.Joined }

func (s *originStream) Close() error {
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}
