package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/internal/disk"
)

// patchHead is how much of a patch is looked at before it is read.
const patchHead = 4096

// patchInput is a patch: a file, or standard input, which comes once and in
// order.
type patchInput struct {
	name    string
	section *io.SectionReader // nil for standard input
	file    disk.File         // nil for standard input
	stream  *bufio.Reader     // nil for a file
	at      int64             // how far stream was read
	head    []byte            // the first bytes
}

// openPatch opens the patch called name, or standard input if that is "-".
func (p *program) openPatch(name string) (*patchInput, error) {
	in := &patchInput{name: name}
	if name == "-" {
		in.name = "the patch"
		in.stream = bufio.NewReaderSize(p.stdin, patchHead)
		head, err := in.stream.Peek(patchHead)
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("read patch: %w", err)
		}
		in.head = bytes.Clone(head)
		return in, nil
	}
	file, section, err := openFile(disk.OS(), name)
	if err != nil {
		return nil, err
	}
	in.file, in.section = file, section
	in.head = make([]byte, min(patchHead, section.Size()))
	if _, err := section.ReadAt(in.head, 0); err != nil && err != io.EOF {
		return nil, errors.Join(err, file.Close())
	}
	return in, nil
}

// Close closes a file.
func (in *patchInput) Close() error {
	if in.file == nil {
		return nil
	}
	return in.file.Close()
}

// identity tells this patch from others.
func (in *patchInput) identity() wanted {
	sum := sha256.Sum256(in.head)
	w := wanted{Head: hex.EncodeToString(sum[:])}
	if in.section != nil {
		w.Size = in.section.Size()
	}
	return w
}

// whole is the patch from its start. A format may read a file at several
// places at once.
func (in *patchInput) whole() io.Reader {
	if in.section != nil {
		return io.NewSectionReader(in.section, 0, in.section.Size())
	}
	return in.stream
}

// part gives length bytes of the patch from an offset on, all that there are
// if length is negative. Parts of standard input must be read one after the
// other, and pass over what is between them.
func (in *patchInput) part(offset, length int64) io.Reader {
	if in.section != nil {
		rest := max(in.section.Size()-offset, 0)
		if length < 0 || length > rest {
			length = rest
		}
		return io.NewSectionReader(in.section, offset, length)
	}
	r := &laterPart{in: in, offset: offset}
	if length < 0 {
		return r
	}
	return io.LimitReader(r, length)
}

// laterPart is standard input from an offset on.
type laterPart struct {
	in     *patchInput
	offset int64
}

// Read passes over what is before the part first.
func (r *laterPart) Read(p []byte) (int, error) {
	if skip := r.offset - r.in.at; skip > 0 {
		n, err := io.CopyN(io.Discard, r.in.stream, skip)
		r.in.at += n
		if err != nil {
			return 0, err // io.EOF: the format says that the patch ends early
		}
	}
	n, err := r.in.stream.Read(p)
	r.in.at += int64(n)
	r.offset = r.in.at
	return n, err
}

// patchMagics tell what a patch is by its first bytes.
var patchMagics = []struct{ magic, format string }{
	{"\x89udelta\n", "udelta"},
	{"BSDIFF40", "bsdiff"},
	{"ENDSLEY/BSDIFF43", "bsdiff"},
	{"\xd6\xc3\xc4", "vcdiff"},
	{"\x28\xb5\x2f\xfd", "zstd"},
	{imageMagic, imageFormat},
}

// format recognises the patch.
func (in *patchInput) format() (string, error) {
	for _, m := range patchMagics {
		if bytes.HasPrefix(in.head, []byte(m.magic)) {
			return m.format, nil
		}
	}
	if len(in.head) == 0 {
		return "", fmt.Errorf("%s is empty: %w", in.name, delta.ErrCorrupt)
	}
	if name := codec.Detect(in.head); name != "" {
		return "", fmt.Errorf("%s is no patch but a file compressed with %s: decompress it first: %w", in.name, name, delta.ErrCorrupt)
	}
	return "", fmt.Errorf("%s is no patch that updraft knows: it begins with %x (have %q): %w", in.name, in.head[:min(len(in.head), 8)], delta.Names(), delta.ErrCorrupt)
}
