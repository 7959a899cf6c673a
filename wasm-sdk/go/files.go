package updraft

import (
	"io"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Mode says what a target is opened for.
type Mode int32

// The modes.
const (
	Read  Mode = abi.ModeRead
	Write Mode = abi.ModeWrite // reading through it is [abi.EDENIED]
)

// Artifact is an open artifact. Unless the manifest says access: random, its
// bytes are read forwards only, from where the last call ended or further on.
type Artifact struct {
	host   host
	handle int32
	role   string
	at     int64
}

// Artifact opens the artifact that the workflow bound to role. Opening a role
// again gives the same stream. Capability: artifact.
func (s *Step) Artifact(role string) (*Artifact, error) {
	h := s.host.artOpen(role)
	if err := check("artifact "+role, h); err != nil {
		return nil, err
	}
	return &Artifact{host: s.host, handle: h, role: role}, nil
}

// Size gives the artifact's size in bytes, or [abi.EUNKNOWN].
func (a *Artifact) Size() (int64, error) {
	n := a.host.artSize(a.handle)
	if n < 0 {
		return 0, fault("artifact "+a.role, abi.Errno(n))
	}
	return n, nil
}

// Digest gives the lower-case hex SHA-256 that was promised, or [abi.EUNKNOWN].
func (a *Artifact) Digest() (string, error) {
	text, err := grow(func(p []byte) int32 { return a.host.artDigest(a.handle, p) })
	if err != nil {
		return "", fault("artifact "+a.role, err)
	}
	return string(text), nil
}

// Read reads on from where the last Read of this value ended.
func (a *Artifact) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := a.some(p, a.at)
	a.at += int64(n)
	return n, err
}

// ReadAt reads at off. It may skip forwards; going back in a sequential
// artifact is [abi.ESEQ].
func (a *Artifact) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := a.some(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (a *Artifact) some(p []byte, off int64) (int, error) {
	n := a.host.artRead(a.handle, off, p)
	if n < 0 {
		return 0, fault("read artifact "+a.role, abi.Errno(n))
	}
	if n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

// Entry opens the file at path in an archive (tar or zip, compressed or not).
// Of a sequential artifact, entries are opened in the order in which the
// archive has them, and what lies between is skipped. The result is read, and
// given to a service, like an artifact. Close it when done: a step has 32 handles.
func (a *Artifact) Entry(path string) (*Artifact, error) {
	name := a.role + "/" + path
	h := a.host.artEntry(a.handle, path)
	if err := check("entry "+name, h); err != nil {
		return nil, err
	}
	return &Artifact{host: a.host, handle: h, role: name}, nil
}

// Close frees the handle. The host reads what is left of the artifact and
// compares its digest all the same.
func (a *Artifact) Close() error { return check("close artifact "+a.role, a.host.artClose(a.handle)) }

// Target is an open target, or an entry below one.
type Target struct {
	host   host
	handle int32
	role   string
}

// Target opens the target that the workflow bound to role. What an earlier
// call of install synced is still there. Capability: target.
func (s *Step) Target(role string, mode Mode) (*Target, error) {
	h := s.host.tgtOpen(role, int32(mode))
	if err := check("target "+role, h); err != nil {
		return nil, err
	}
	return &Target{s.host, h, role}, nil
}

// Entry opens a file below a directory target, in the mode of the target.
// The path is local and slash-separated; perm counts when writing. Close it
// when done: a step has 32 handles.
func (t *Target) Entry(path string, perm uint32) (*Target, error) {
	name := t.role + "/" + path
	h := t.host.tgtEntry(t.handle, path, perm)
	if err := check("entry "+name, h); err != nil {
		return nil, err
	}
	return &Target{t.host, h, name}, nil
}

// WriteAt writes all of p at off.
func (t *Target) WriteAt(p []byte, off int64) (int, error) {
	if err := t.check("write", t.host.tgtWrite(t.handle, off, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadAt reads at off, and gives io.EOF where the content ends.
func (t *Target) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n := t.host.tgtRead(t.handle, off+int64(done), p[done:])
		if n < 0 {
			return done, fault("read target "+t.role, abi.Errno(n))
		}
		if n == 0 {
			return done, io.EOF
		}
		done += int(n)
	}
	return len(p), nil
}

// Size gives the size in bytes: of what was staged, or of what is read.
func (t *Target) Size() (int64, error) {
	n := t.host.tgtSize(t.handle)
	if n < 0 {
		return 0, fault("size of target "+t.role, abi.Errno(n))
	}
	return n, nil
}

// Truncate cuts what was staged to size bytes.
func (t *Target) Truncate(size int64) error {
	return t.check("truncate", t.host.tgtTruncate(t.handle, size))
}

// Sync makes durable what was written.
func (t *Target) Sync() error { return t.check("sync", t.host.tgtSync(t.handle)) }

// Commit makes what was staged take hold. Only the phase commit may call it.
func (t *Target) Commit() error { return t.check("commit", t.host.tgtCommit(t.handle)) }

// Abort drops what was staged.
func (t *Target) Abort() error { return t.check("abort", t.host.tgtAbort(t.handle)) }

// Close syncs and frees the handle. What was staged stays.
func (t *Target) Close() error { return t.check("close", t.host.tgtClose(t.handle)) }

func (t *Target) check(op string, n int32) error { return check(op+" target "+t.role, n) }

// Copy streams the whole artifact to the start of dst, in the host: the bytes
// never enter the module. The host checkpoints on its own; when install is
// called again after a power cut, Copy goes on where it was. It gives the
// bytes copied, those of earlier calls included. Capability: services.
func (s *Step) Copy(dst *Target, src *Artifact) (int64, error) {
	return s.CopyRange(dst, 0, src, 0, -1)
}

// CopyRange is Copy for n bytes from soff of the artifact to doff of the
// target; n of -1 means to the end.
func (s *Step) CopyRange(dst *Target, doff int64, src *Artifact, soff, n int64) (int64, error) {
	done := s.host.svcCopy(src.handle, soff, dst.handle, doff, n)
	if done < 0 {
		return 0, fault("copy "+src.role+" to "+dst.role, abi.Errno(done))
	}
	return done, nil
}

// Get gives the value of a key, nil and false if there is none. Capability: state.
func (s *Step) Get(key string) ([]byte, bool) {
	text, err := grow(func(p []byte) int32 { return s.host.kvGet(key, p) })
	return text, err == nil
}

// Put sets a value. It is durable after Flush, Mark, or the phase's good end. Capability: state.
func (s *Step) Put(key string, value []byte) error {
	return check("put "+key, s.host.kvPut(key, value))
}

// Delete removes a key, or does nothing. Capability: state.
func (s *Step) Delete(key string) error { return check("delete "+key, s.host.kvDel(key)) }

// Keys lists the keys, sorted. Capability: state.
func (s *Step) Keys() ([]string, error) { return names("keys", s.host.kvList) }

// Flush makes key-values durable, with all that Mark makes durable. Capability: state.
func (s *Step) Flush() error { return check("flush", s.host.kvFlush()) }

// Mark syncs every target, then makes the mark, the key-values and the
// positions in artifacts durable as one. Capability: resume.
func (s *Step) Mark(mark []byte) error { return check("mark", s.host.mark(mark)) }

// LastMark gives the last durable mark of this step, nil and false if there
// is none. Targets opened for writing are cut back to it. Capability: resume.
func (s *Step) LastMark() ([]byte, bool) {
	mark, err := grow(s.host.lastMark)
	return mark, err == nil
}
