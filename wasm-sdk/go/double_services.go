//go:build !wasip1

package updraft

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// errno is what the module hears of an answer's error.
func errno(err error) int32 {
	var e abi.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int32(e)
	}
	return int32(abi.EIO)
}

func (h host) fuelLeft() int64 { return h.d.Fuel }

// entries calls f for each file of a tar archive until f says that it is
// enough. Anything that may not be unpacked is abi.EBADDATA.
func entries(archive []byte, f func(name string, content []byte) (enough bool)) abi.Errno {
	var r io.Reader = bytes.NewReader(archive)
	if unzipped, err := gzip.NewReader(bytes.NewReader(archive)); err == nil {
		r = unzipped
	}
	for t := tar.NewReader(r); ; {
		head, err := t.Next()
		if err == io.EOF {
			return 0
		}
		if err != nil {
			return abi.EBADDATA
		}
		name := strings.TrimPrefix(path.Clean(head.Name), "./")
		if head.Typeflag == tar.TypeDir {
			continue
		}
		content, err := io.ReadAll(t)
		if head.Typeflag != tar.TypeReg || !fs.ValidPath(name) || err != nil {
			return abi.EBADDATA
		}
		if f(name, content) {
			return 0
		}
	}
}

func (h host) artEntry(i int32, want string) int32 {
	o := h.at(i)
	found, index := int32(abi.ENOENT), int64(0)
	bad := entries(h.artifact(i), func(name string, content []byte) bool {
		index++
		if name != want {
			return false
		}
		// The place of an entry stands for that of its bytes.
		if !h.d.Random && index <= h.d.read[o.name+"/"] {
			found = int32(abi.ESEQ)
			return true
		}
		h.d.read[o.name+"/"] = index
		found = h.add(opened{name: o.name + "/" + name, entry: append([]byte{}, content...)})
		return true
	})
	if bad != 0 {
		return int32(bad)
	}
	return found
}

func (h host) svcUnpack(src, dst int32) int64 {
	archive, bad := h.take(src, 0, -1)
	if bad != 0 {
		return int64(bad)
	}
	into, count, seen := *h.at(dst), int64(0), map[string]bool{}
	if into.mode != abi.ModeWrite {
		return int64(abi.EDENIED)
	}
	twice := false
	bad = entries(archive, func(name string, content []byte) bool {
		twice = seen[name]
		seen[name] = true
		count++
		h.stage(into.name+"/"+name, content)
		return twice
	})
	if twice || bad != 0 {
		return int64(abi.EBADDATA)
	}
	return count
}

// stage puts the whole content of a target or entry.
func (h host) stage(name string, content []byte) {
	if h.d.Staged == nil {
		h.d.Staged = map[string][]byte{}
	}
	h.d.Staged[name] = content
}

func (h host) svcHash(i int32, off, n int64, alg int32, p []byte) int32 {
	b, bad := h.take(i, off, n)
	if bad != 0 {
		return int32(bad)
	}
	switch Kind(alg) {
	case SHA256:
		return fill(p, fmt.Appendf(nil, "%x", sha256.Sum256(b)))
	case SHA512:
		return fill(p, fmt.Appendf(nil, "%x", sha512.Sum512(b)))
	case MD5:
		return fill(p, fmt.Appendf(nil, "%x", md5.Sum(b)))
	}
	return int32(abi.EINVAL)
}

func (h host) svcInflate(kind, src, dst int32) int64 {
	b, bad := h.take(src, 0, -1)
	if bad != 0 {
		return int64(bad)
	}
	if h.at(dst).mode != abi.ModeWrite {
		return int64(abi.EDENIED)
	}
	var r io.Reader
	var err error
	switch known := Kind(kind); {
	case known == Gzip || known == Recognise && bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(bytes.NewReader(b))
	case known == Bzip2 || known == Recognise && bytes.HasPrefix(b, []byte("BZh")):
		r = bzip2.NewReader(bytes.NewReader(b))
	default:
		return int64(abi.EINVAL)
	}
	if err == nil {
		b, err = io.ReadAll(r)
	}
	if err != nil {
		return int64(abi.EBADDATA)
	}
	h.stage(h.at(dst).name, b)
	return int64(len(b))
}

func (h host) svcPatch(_, old, patch, dst int32) int64 {
	if h.d.OnPatch == nil || h.at(dst).mode != abi.ModeWrite {
		return int64(abi.EDENIED)
	}
	before, bad := h.take(old, 0, -1)
	if bad != 0 {
		return int64(bad)
	}
	delta, bad := h.take(patch, 0, -1)
	if bad != 0 {
		return int64(bad)
	}
	after, err := h.d.OnPatch(before, delta)
	if err != nil {
		return int64(errno(err))
	}
	h.stage(h.at(dst).name, after)
	return int64(len(after))
}

func (h host) svcVerify(i int32, signature, key string) int32 {
	if h.d.OnVerify == nil {
		return int32(abi.EDENIED)
	}
	b, bad := h.take(i, 0, -1)
	if bad != 0 {
		return int32(bad)
	}
	return errno(h.d.OnVerify(b, signature, key))
}

// answer is one of OnHTTP that the module has open.
type answer struct {
	head   []byte
	body   *bytes.Reader
	closed bool
}

func (h host) answer(i int32) *answer {
	if i < 0 || int(i) >= len(h.d.answers) || h.d.answers[i].closed {
		panic(fmt.Sprintf("updraft: %d is no open answer; on a device this traps", i))
	}
	return &h.d.answers[i]
}

func (h host) httpDo(request, body []byte) int32 {
	if h.d.OnHTTP == nil {
		return int32(abi.EDENIED)
	}
	var r abi.Request
	if json.Unmarshal(request, &r) != nil {
		return int32(abi.EINVAL)
	}
	status, headers, text, err := h.d.OnHTTP(r, body)
	if err != nil {
		return errno(err)
	}
	head, err := json.Marshal(abi.Response{Status: status, Headers: headers, Size: int64(len(text))})
	if err != nil {
		return int32(abi.EIO)
	}
	h.d.answers = append(h.d.answers, answer{head: head, body: bytes.NewReader(text)})
	return int32(len(h.d.answers) - 1)
}
func (h host) httpAnswer(i int32, p []byte) int32 { return fill(p, h.answer(i).head) }
func (h host) httpRead(i int32, p []byte) int32 {
	n, err := h.answer(i).body.Read(p)
	if err != nil && err != io.EOF {
		return int32(abi.EIO)
	}
	return int32(n)
}
func (h host) httpClose(i int32) int32 { h.answer(i).closed = true; return 0 }

func (h host) serialXfer(port string, send, receive []byte, _ int32) int32 {
	if h.d.OnSerial == nil {
		return int32(abi.EDENIED)
	}
	text, err := h.d.OnSerial(port, send)
	if err != nil {
		return errno(err)
	}
	return int32(copy(receive, text))
}

func (h host) exec(name string, parameters []byte) int32 {
	if h.d.OnExec == nil {
		return int32(abi.EDENIED)
	}
	var given map[string]string
	if json.Unmarshal(parameters, &given) != nil {
		return int32(abi.EINVAL)
	}
	status, output, err := h.d.OnExec(name, given)
	if err != nil {
		return errno(err)
	}
	h.d.output = output
	return int32(status)
}
func (h host) execOutput(p []byte) int32  { return fill(p, h.d.output) }
func (h host) reboot(reason string) int32 { h.d.Restart = reason; return 0 }
