package abi

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// ErrBinary says that bytes are not a core WebAssembly module.
var ErrBinary = errors.New("not a core WebAssembly module")

var header = []byte("\x00asm\x01\x00\x00\x00")

// Section is one section of a module.
type Section struct {
	ID     byte   // 0 is a custom section
	Name   string // of a custom section
	Offset int    // of Data in the module, bytes
	Data   []byte // without the name; shares memory with the module
}

// Sections gives the sections of a module in order, without looking into
// them. After an error, which is [ErrBinary], it gives nothing more.
func Sections(wasm []byte) iter.Seq2[Section, error] {
	return func(yield func(Section, error) bool) {
		if err := checkHeader(wasm); err != nil {
			yield(Section{}, err)
			return
		}
		for at := len(header); at < len(wasm); {
			s, next, err := section(wasm, at)
			if !yield(s, err) || err != nil {
				return
			}
			at = next
		}
	}
}

func checkHeader(wasm []byte) error {
	switch {
	case len(wasm) < len(header) || string(wasm[:4]) != string(header[:4]):
		return fmt.Errorf("%w: byte 0: want 00 61 73 6d 01 00 00 00", ErrBinary)
	case string(wasm[4:8]) == "\x0d\x00\x01\x00":
		return fmt.Errorf("%w: byte 4: this is a component; build a core module", ErrBinary)
	case string(wasm[4:8]) != string(header[4:]):
		return fmt.Errorf("%w: byte 4: version % x, want 01 00 00 00", ErrBinary, wasm[4:8])
	}
	return nil
}

func section(wasm []byte, at int) (Section, int, error) {
	start := at
	id := wasm[at]
	size, n := Uint32(wasm[at+1:])
	at += 1 + n
	if n == 0 || int64(size) > int64(len(wasm)-at) {
		return Section{}, 0, fmt.Errorf("%w: byte %d: section %d is cut off or has a bad length", ErrBinary, start, id)
	}
	s := Section{ID: id, Offset: at, Data: wasm[at : at+int(size)]}
	if id == 0 {
		length, n := Uint32(s.Data)
		if n == 0 || int64(length) > int64(len(s.Data)-n) {
			return Section{}, 0, fmt.Errorf("%w: byte %d: custom section has a bad name", ErrBinary, start)
		}
		s.Name = string(s.Data[n : n+int(length)])
		s.Data = s.Data[n+int(length):]
		s.Offset += n + int(length)
	}
	return s, at + int(size), nil
}

// Uint32 reads an unsigned LEB128 number of at most 32 bits and gives it with
// its length in bytes, which is 0 if there is none.
func Uint32(b []byte) (uint32, int) {
	for i := 0; i < 5 && i < len(b); i++ {
		if b[i] < 0x80 {
			v, n := binary.Uvarint(b[:i+1])
			if n <= 0 || v > 1<<32-1 {
				return 0, 0
			}
			return uint32(v), n
		}
	}
	return 0, 0
}

// ReadManifest gives the manifest that a module carries. No code runs. The
// errors are [ErrBinary] and [ErrManifest].
func ReadManifest(wasm []byte) (Manifest, error) {
	var found *Section
	for s, err := range Sections(wasm) {
		switch {
		case err != nil:
			return Manifest{}, err
		case s.ID != 0 || s.Name != ManifestSection:
		case found != nil:
			return Manifest{}, fmt.Errorf("%w: bytes %d and %d: two of them", ErrManifest, found.Offset, s.Offset)
		default:
			found = &s
		}
	}
	if found == nil {
		return Manifest{}, fmt.Errorf("%w: the module has none; attach it after the build", ErrManifest)
	}
	return DecodeManifest(found.Data)
}

// WithManifest gives a copy of a module with m as its manifest, in place of
// one that it had. A module's linker cannot do this in every language.
func WithManifest(wasm []byte, m Manifest) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if len(text) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrManifest, len(text), MaxManifest)
	}
	out := append(make([]byte, 0, len(wasm)+len(text)+64), header...)
	for s, err := range Sections(wasm) {
		if err != nil {
			return nil, err
		}
		if s.ID == 0 && s.Name == ManifestSection {
			continue
		}
		out = appendSection(out, s)
	}
	return appendSection(out, Section{Name: ManifestSection, Data: text}), nil
}

func appendSection(out []byte, s Section) []byte {
	var name []byte
	if s.ID == 0 {
		name = append(binary.AppendUvarint(nil, uint64(len(s.Name))), s.Name...)
	}
	out = append(out, s.ID)
	out = binary.AppendUvarint(out, uint64(len(name)+len(s.Data)))
	return append(append(out, name...), s.Data...)
}
