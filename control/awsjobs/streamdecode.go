package awsjobs

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Message takes a message on one of the topics. What is not about this file, or
// was not asked for, is an error that wraps [ErrMessage] and changes nothing. An error that wraps
// [ErrStream] is the end of the stream, and Read gives it from then on.
func (s *Stream) Message(topic string, payload []byte) error {
	what, ours := strings.CutPrefix(topic, s.topic+"/")
	switch {
	case !ours:
		return fmt.Errorf("%w: not a topic of stream %s", ErrMessage, s.c.Stream)
	case len(payload) > maxBlock*4/3+1024:
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(payload), maxBlock*4/3+1024)
	}
	doc, err := readObject(payload, "message")
	if err != nil {
		return err
	}
	r := reader{doc, nil}
	token := cmp.Or(r.text("c"), r.text("clientToken"))
	switch {
	case r.err != nil:
		return r.err
	case token != "" && !slices.Contains(s.tokens, token):
		return fmt.Errorf("%w: clientToken is of no request", ErrMessage)
	case s.err != nil:
		return s.err
	}
	switch what {
	case "description/json":
		return s.described(&r)
	case "data/json":
		return s.block(&r)
	case "rejected/json":
		return s.refused(&r)
	}
	return fmt.Errorf("%w: not a topic of stream %s", ErrMessage, s.c.Stream)
}

// described takes the list of the stream's files.
func (s *Stream) described(r *reader) error {
	version := r.textOrNumber("s")
	var files []json.RawMessage
	if json.Unmarshal(r.object["r"], &files) != nil {
		r.fail("r is %s, want a list", kind(r.object["r"]))
	}
	if r.err != nil || s.size >= 0 {
		return r.err
	}
	for _, raw := range files[:min(len(files), maxFileID+1)] {
		file, err := readObject(raw, "file")
		if err != nil {
			return err
		}
		f := reader{file, nil}
		number, size := f.count("f"), f.count("z")
		switch {
		case f.err != nil:
			return f.err
		case number != int64(s.c.File):
			continue
		}
		if s.version = version; len(version) > streamToken {
			s.version = ""
		}
		s.err = s.sized(size)
		return s.err
	}
	s.err = fmt.Errorf("%w: stream %s has no file %d", ErrStream, s.c.Stream, s.c.File)
	return s.err
}

// block takes one block of the window; those that are here already are passed over.
func (s *Stream) block(r *reader) error {
	file, length, number, text := r.count("f"), r.count("l"), r.count("i"), r.text("p")
	switch {
	case r.err != nil:
		return r.err
	case s.size < 0:
		return fmt.Errorf("%w: a block before the size of the file is known", ErrMessage)
	case file != int64(s.c.File):
		return fmt.Errorf("%w: a block of file %d, want file %d", ErrMessage, file, s.c.File)
	case number < s.first || number >= s.first+int64(len(s.blocks)): // late, or of nobody's asking
		return nil
	}
	want := min(s.c.Block, s.size-number*s.c.Block)
	b, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return fmt.Errorf("%w: p of block %d is no base64", ErrMessage, number)
	case int64(len(b)) != want || length != s.c.Block && length != want:
		return fmt.Errorf("%w: block %d has %d bytes and the length %d, want %d", ErrMessage, number, len(b), length, want)
	}
	if i := number - s.first; s.blocks[i] == nil {
		s.blocks[i], s.arrived = b, true
	}
	return nil
}

// passing are the refusals after which the same request may be answered.
var passing = []string{"InternalError", "RequestThrottled"}

// refused takes the service's no.
func (s *Stream) refused(r *reader) error {
	e := &StreamError{clean(cmp.Or(r.textOrNumber("o"), r.textOrNumber("code")), 64), clean(cmp.Or(r.text("m"), r.text("message")), maxError)}
	switch {
	case r.err != nil:
		return r.err
	case e.Code == "":
		return fmt.Errorf("%w: a refusal without a code", ErrMessage)
	case slices.Contains(passing, e.Code): // it is asked again after the pause
		return nil
	}
	s.err = e
	return e
}
