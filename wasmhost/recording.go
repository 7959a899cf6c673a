package wasmhost

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// ErrRecording says that a recording is damaged, or not one at all.
var ErrRecording = errors.New("bad recording")

// errCut says that a recording ends in the middle of a call.
var errCut = errors.New("cut")

const maxRecordedPhases = 10_000

// lineReader reads the lines of a recording.
type lineReader struct {
	r  *bufio.Reader
	at int64 // bytes read
}

func linesFrom(recording *io.SectionReader, at int64) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(io.NewSectionReader(recording, at, recording.Size()-at), recordLine), at: at}
}

// next gives the next line, or io.EOF. A last line without its end was cut off
// with the process that wrote it, and does not count.
func (l *lineReader) next() (*recorded, error) {
	text, err := l.r.ReadSlice('\n')
	begin := l.at
	l.at += int64(len(text))
	switch {
	case err == io.EOF:
		return nil, io.EOF
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: byte %d: a line of more than %d bytes", ErrRecording, begin, recordLine)
	case err != nil:
		return nil, fmt.Errorf("read recording: %w", err)
	}
	var line recorded
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&line); err != nil {
		return nil, fmt.Errorf("%w: byte %d: %w", ErrRecording, begin+d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: byte %d: more than one value in a line", ErrRecording, begin+d.InputOffset())
	}
	if err := line.check(); err != nil {
		return nil, fmt.Errorf("%w: byte %d: %w", ErrRecording, begin, err)
	}
	return &line, nil
}

// check says whether a line is one of the kinds.
func (r *recorded) check() error {
	kinds := 0
	for _, is := range []bool{r.Recording != 0, r.Module != "", r.Begin != nil, r.Call != nil, r.End != nil, r.Module == "" && r.Data != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1 || (r.Recording != 0 || r.Module != "") != (r.Phase == 0):
		return errors.New("a line is one of recording, module with data, and phase with begin, call, data or end")
	case r.Recording != 0 && r.Recording != recordingVersion:
		return fmt.Errorf("version %d, this updraft reads version %d", r.Recording, recordingVersion)
	case r.Begin != nil && (abi.PhaseNamed(r.Begin.Phase) == 0 || r.Begin.Memory < 0 || r.Begin.Fuel < 0):
		return fmt.Errorf("phase %q with %d bytes of memory and %d fuel", r.Begin.Phase, r.Begin.Memory, r.Begin.Fuel)
	case r.Call != nil && (r.Call.Filled < 0 || len(r.Call.Out) > max(0, r.Call.Room) || r.Call.Filled > max(0, r.Call.Room)):
		return fmt.Errorf("call %d fills more than the %d bytes that there is room for", r.Call.Number, r.Call.Room)
	}
	return nil
}

// recordingIndex says where the phases and modules of a recording begin.
type recordingIndex struct {
	phases  []indexedPhase
	modules map[string][]int64 // by digest
}

type indexedPhase struct {
	number int64 // within what its process recorded
	after  int64 // offset of the line after the head
	head   recordedPhase
}

func (p *indexedPhase) name() string { return nameOf(p.head.Name) }

// nameOf takes the version from the name in a head.
func nameOf(s string) string {
	if i := strings.LastIndexByte(s, ' '); i >= 0 {
		return s[:i]
	}
	return s
}

// readIndex reads the whole recording once.
func readIndex(recording *io.SectionReader) (*recordingIndex, error) {
	index := &recordingIndex{modules: map[string][]int64{}}
	lines, module := linesFrom(recording, 0), ""
	for first := true; ; first = false {
		begin := lines.at
		l, err := lines.next()
		if err == io.EOF && !first {
			return index, nil
		}
		if first && (err != nil || l.Recording == 0) {
			return nil, errors.Join(fmt.Errorf("%w: byte 0: want a first line {\"recording\":%d}", ErrRecording, recordingVersion), err)
		}
		if err != nil {
			return nil, err
		}
		if l.Module != "" && l.Module != module {
			index.modules[l.Module] = append(index.modules[l.Module], begin)
		}
		module = l.Module
		if l.Begin == nil {
			continue
		}
		if len(index.phases) == maxRecordedPhases {
			return nil, fmt.Errorf("%w: byte %d: more than %d phases", ErrRecording, begin, maxRecordedPhases)
		}
		index.phases = append(index.phases, indexedPhase{number: l.Phase, after: lines.at, head: *l.Begin})
	}
}

// module gives the bytes of a module.
func (x *recordingIndex) module(recording *io.SectionReader, digest string) ([]byte, error) {
	for _, at := range x.modules[digest] {
		var wasm []byte
		for lines := linesFrom(recording, at); len(wasm) <= abi.MaxModule; {
			l, err := lines.next()
			if err == io.EOF || err == nil && l.Module != digest {
				break
			}
			if err != nil {
				return nil, err
			}
			wasm = append(wasm, l.Data...)
		}
		if sum := sha256.Sum256(wasm); hex.EncodeToString(sum[:]) == digest {
			return wasm, nil
		}
	}
	return nil, fmt.Errorf("%w: the module %.12s is missing, or its bytes are damaged", ErrRecording, clean([]byte(digest)))
}

// track gives the lines of one phase.
type track struct {
	lines *lineReader
	phase int64
	over  bool
}

// next gives the next line, a call or the end, or nil if the recording ends first.
func (t *track) next() (*recorded, error) {
	l, err := t.line()
	if err == nil && l != nil && (l.Data != nil || l.Begin != nil) {
		return nil, fmt.Errorf("%w: before byte %d: a line that belongs to no call of phase %d", ErrRecording, t.lines.at, t.phase)
	}
	return l, err
}

func (t *track) line() (*recorded, error) {
	for !t.over {
		l, err := t.lines.next()
		switch {
		case err == io.EOF || err == nil && l.Recording != 0:
			t.over = true // another process goes on
		case err != nil:
			return nil, err
		case l.Phase == t.phase:
			t.over = l.End != nil
			return l, nil
		}
	}
	return nil, nil
}

// fill puts what was filled in into the guest's buffer, which is as large as
// the recorded one.
func (t *track) fill(room []byte, k *recordedCall) error {
	n := copy(room, k.Out)
	for n < k.Filled {
		l, err := t.line()
		if err != nil {
			return err
		}
		if l == nil {
			return errCut
		}
		if l.Data == nil || len(l.Data) > k.Filled-n {
			return fmt.Errorf("%w: before byte %d: call %d of phase %d filled %d bytes, %d are there", ErrRecording, t.lines.at, k.Number, t.phase, k.Filled, n)
		}
		n += copy(room[n:], l.Data)
	}
	return nil
}
