package cloudsim

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"
)

// Served counts what a file cost.
type Served struct {
	Requests int   `json:"requests"`
	Bytes    int64 `json:"bytes"` // of bodies
}

// Served gives the counts by file name.
func (s *Sim) Served() map[string]Served {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Served{}
	for name, v := range s.served {
		out[name] = v
	}
	return out
}

// digests of a file with what they were made of, in lower-case hex.
type digests struct {
	size              int64
	time              time.Time
	md5, sha1, sha256 string
}

func (s *Sim) serveFiles(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/files/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	s.ServeFile(w, r, name)
}

// ServeFile answers GET and HEAD for a file below Config.Files, with ranges, a
// strong ETag and the faults of files. A range that ends behind the file is
// clamped, as clients of some vendors need it.
func (s *Sim) ServeFile(w http.ResponseWriter, r *http.Request, name string) {
	if s.cfg.Files == "" || s.faults.hit(FaultMissing, name) {
		http.NotFound(w, r)
		return
	}
	if f, ok := s.faults.get(FaultStatus, name); ok && s.faults.hit(FaultStatus, name) {
		http.Error(w, http.StatusText(f.Status), f.Status)
		return
	}
	if s.faults.hit(FaultNoRange, name) {
		r.Header.Del("Range")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	f, info, err := openFile(s.cfg.Files, name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer func() { _ = f.Close() }() // it was read only
	sums, err := s.digest(name, f, info)
	if err != nil {
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	var content io.ReadSeeker = f
	sum := sums.sha256
	if s.faults.hit(FaultChanged, name) {
		content, sum = inverted{f}, "changed-"+sum
	}
	w.Header().Set("ETag", `"`+sum+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	body := &faultyBody{ResponseWriter: w, sim: s, name: name, ctx: r.Context()}
	if s.faults.hit(FaultCut, name) {
		f, _ := s.faults.get(FaultCut, name)
		body.cut, body.after = true, f.After
	}
	if s.faults.hit(FaultSlow, name) {
		f, _ := s.faults.get(FaultSlow, name)
		body.rate = f.Rate
	}
	s.count(name, Served{Requests: 1})
	http.ServeContent(body, r, "", time.Time{}, content)
}

func (s *Sim) count(name string, more Served) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.served[name]
	s.served[name] = Served{v.Requests + more.Requests, v.Bytes + more.Bytes}
}

// openFile opens a file in a folder that it cannot leave.
func openFile(folder, name string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = root.Close() }() // the open file does not need it
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is something else")
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// digest reads a file once, until it changes.
func (s *Sim) digest(name string, f io.ReadSeeker, info fs.FileInfo) (digests, error) {
	s.mu.Lock()
	known, ok := s.etags[name]
	s.mu.Unlock()
	if ok && known.size == info.Size() && known.time.Equal(info.ModTime()) {
		return known, nil
	}
	m, s1, s256 := md5.New(), sha1.New(), sha256.New() // the vendors' choice
	if _, err := io.Copy(io.MultiWriter(m, s1, s256), f); err != nil {
		return digests{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return digests{}, err
	}
	d := digests{info.Size(), info.ModTime(), hex.EncodeToString(m.Sum(nil)), hex.EncodeToString(s1.Sum(nil)), hex.EncodeToString(s256.Sum(nil))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.etags[name] = d
	return d, nil
}

// inverted has the same size and other bytes.
type inverted struct{ io.ReadSeeker }

func (i inverted) Read(p []byte) (int, error) {
	n, err := i.ReadSeeker.Read(p)
	for k := range p[:n] {
		p[k] ^= 0xff
	}
	return n, err
}

// faultyBody writes slowly, or not to the end.
type faultyBody struct {
	http.ResponseWriter
	sim  *Sim
	name string
	ctx  context.Context // of the request, which is as long as this lives
	sent int64
	cut  bool
	// after how many bytes it ends, if cut
	after int64
	rate  int64 // bytes a second, 0 for no limit
}

// tick is how long a slow body pauses after what it writes at once, about.
const tick = 50 * time.Millisecond

func (b *faultyBody) Write(p []byte) (done int, err error) {
	for len(p) > 0 {
		part := p
		if b.rate > 0 {
			part = part[:min(int64(len(part)), max(b.rate/int64(time.Second/tick), 1))]
		}
		if b.cut {
			part = part[:min(int64(len(part)), b.after-b.sent)]
		}
		n, err := b.ResponseWriter.Write(part)
		done += n
		b.sent += int64(n)
		b.sim.count(b.name, Served{Bytes: int64(n)})
		if err != nil {
			return done, err
		}
		p = p[n:]
		if b.cut && b.sent >= b.after {
			_ = http.NewResponseController(b.ResponseWriter).Flush()
			panic(http.ErrAbortHandler) // how net/http is told to cut a connection
		}
		if b.rate > 0 && !b.wait(n) {
			return done, b.ctx.Err()
		}
	}
	return done, nil
}

// wait flushes and pauses for as long as so many bytes take, and says whether
// to go on.
func (b *faultyBody) wait(n int) bool {
	_ = http.NewResponseController(b.ResponseWriter).Flush() // a client that is gone is seen by the next write
	t := time.NewTimer(time.Duration(int64(n) * int64(time.Second) / b.rate))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-b.ctx.Done():
		return false
	case <-b.sim.done:
		return false
	}
}
