package updraft

import (
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Kind names an algorithm or a format of a host service.
type Kind int32

// The kinds of Hash.
const (
	SHA256 Kind = abi.SHA256
	SHA512 Kind = abi.SHA512
	MD5    Kind = abi.MD5 // against damage, never for trust
)

// Recognise lets Patch and Inflate find out the format by themselves.
const Recognise Kind = 0

// The kinds of Patch.
const (
	Udelta    Kind = abi.PatchUdelta
	Bsdiff    Kind = abi.PatchBsdiff
	VCDIFF    Kind = abi.PatchVCDIFF
	ZstdPatch Kind = abi.PatchZstd // of zstd --patch-from
)

// The kinds of Inflate.
const (
	Zstd  Kind = abi.InflateZstd
	Gzip  Kind = abi.InflateGzip
	XZ    Kind = abi.InflateXZ
	LZ4   Kind = abi.InflateLZ4
	Bzip2 Kind = abi.InflateBzip2
)

// Content is what a service reads: an [Artifact], or a [Target] opened for reading.
type Content interface {
	content() (handle int32, name string)
}

func (a *Artifact) content() (handle int32, name string) { return a.handle, a.role }
func (t *Target) content() (handle int32, name string)   { return t.handle, t.role }

// The services work in the host: the bytes never enter the module. Long ones
// make checkpoints on their own, so that a call after a power cut does not
// write again what is durable. Damaged bytes are [abi.EBADDATA]. The
// capability of all of them is services.

// Unpack writes the files of a tar or zip archive, compressed or not, below
// the directory target dst, and gives their number.
func (s *Step) Unpack(dst *Target, src *Artifact) (files int64, err error) {
	return count("unpack "+src.role+" to "+dst.role, s.host.svcUnpack(src.handle, dst.handle))
}

// Hash gives the lower-case hex digest of n bytes from off; n of -1 means to
// the end.
func (s *Step) Hash(of Content, off, n int64, kind Kind) (string, error) {
	h, name := of.content()
	text, err := grow(func(p []byte) int32 { return s.host.svcHash(h, off, n, int32(kind), p) })
	if err != nil {
		return "", fault("hash "+name, err)
	}
	return string(text), nil
}

// Patch makes dst from old and the delta in patch, and gives its size. Old
// must be readable anywhere: a target opened for reading, or an artifact of a
// module with access: random.
func (s *Step) Patch(dst *Target, old Content, patch *Artifact, kind Kind) (int64, error) {
	h, name := old.content()
	return count("patch "+name+" with "+patch.role, s.host.svcPatch(int32(kind), h, patch.handle, dst.handle))
}

// Inflate writes the decompressed artifact to dst and gives its size.
func (s *Step) Inflate(dst *Target, src *Artifact, kind Kind) (int64, error) {
	return count("inflate "+src.role, s.host.svcInflate(int32(kind), src.handle, dst.handle))
}

// Verify checks a minisign signature over the content with a minisign public
// key, both as text. If it does not hold, the error is [abi.EBADDATA].
func (s *Step) Verify(of Content, signature, key string) error {
	h, name := of.content()
	return check("verify "+name, s.host.svcVerify(h, signature, key))
}

func count(op string, n int64) (int64, error) {
	if n < 0 {
		return 0, fault(op, abi.Errno(n))
	}
	return n, nil
}

// Serial sends bytes over the serial port of that name, then fills receive
// until it is full or wait is over, and gives the number of bytes received.
// Capability: serial:PORT.
func (s *Step) Serial(port string, send, receive []byte, wait time.Duration) (int, error) {
	n, err := count("serial "+port, int64(s.host.serialXfer(port, send, receive, int32(wait.Milliseconds()))))
	return int(n), err
}

// Exec runs the command of that name of the device file, whose template the
// parameters fill, and gives its exit status and the last 64 KiB of what it
// printed. Capability: exec:NAME.
func (s *Step) Exec(name string, parameters map[string]string) (status int, output []byte, err error) {
	n, err := count("exec "+name, int64(s.host.exec(name, object(parameters))))
	if err != nil {
		return 0, nil, err
	}
	output, err = grow(s.host.execOutput)
	if err != nil {
		return 0, nil, fault("output of "+name, err)
	}
	return int(n), output, nil
}

// Reboot asks for a restart of the device once the step has ended well, and
// says why. Capability: reboot.
func (s *Step) Reboot(reason string) error { return check("reboot", s.host.reboot(reason)) }
