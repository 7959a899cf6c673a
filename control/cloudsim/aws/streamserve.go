package aws

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// streamRequest takes a request about a stream of a thing.
func (c *Cloud) streamRequest(t topic, m message) ([]message, error) {
	if t.verb == "" {
		c.refused(t.device, clip(t.text, 200)+": InvalidTopic")
		body := map[string]any{"o": "InvalidTopic", "m": "no operation has this topic"}
		return []message{{Device: t.device, Topic: t.text + "/rejected", Payload: writeStream("json", body), QoS: 1}}, nil
	}
	kept, err := c.look(t.device)
	if err != nil {
		return nil, err
	}
	prefix := "$aws/things/" + t.device + "/streams/" + t.name + "/"
	a, no := parseStreamAsk(t.format, m.Payload)
	j := kept.find(t.name, nil)
	if no == nil && (j == nil || j.Stream == nil) {
		no = &streamRefusal{"ResourceNotFound", "the thing has no stream " + t.name}
	}
	say := func(what string, body map[string]any, qos byte) message {
		if a.token != "" {
			body["c"] = a.token
		}
		return message{Device: t.device, Topic: prefix + what + "/" + t.format, Payload: writeStream(t.format, body), QoS: qos}
	}
	var out []message
	switch {
	case no != nil:
	case t.verb == "describe":
		return []message{say("description", j.Stream.describe(), 1)}, nil
	default:
		out, no = c.blocks(t, j.Stream, a, say)
	}
	if no != nil {
		c.refused(t.device, fmt.Sprintf("%s: %v", t.text, no))
		return []message{say("rejected", map[string]any{"o": no.code, "m": no.text}, 1)}, nil
	}
	return out, nil
}

// blocks are the messages that a request for blocks is answered with.
func (c *Cloud) blocks(t topic, s *stream, a streamAsk, say func(string, map[string]any, byte) message) (out []message, no *streamRefusal) {
	numbers, no := s.choose(a)
	size := int64(0)
	if a.size != nil {
		size = *a.size
	}
	for len(numbers) > 0 && no == nil {
		run := 1 // of blocks that follow each other
		for run < len(numbers) && numbers[run] == numbers[0]+int64(run) {
			run++
		}
		var data []byte
		if data, no = c.read(s.Software.File, numbers[0]*size, int64(run)*size); no != nil {
			return nil, no
		}
		for i, number := range numbers[:run] {
			from := min(int64(i)*size, int64(len(data)))
			part := data[from:min(from+size, int64(len(data)))]
			if int64(len(part)) < min(size, s.Size-number*size) || c.loses(t, s) { // cut, so there is no such block
				continue
			}
			out = append(out, say("data", map[string]any{"f": s.File, "l": int64(len(part)), "i": number, "p": part}, 0))
		}
		numbers = numbers[run:]
	}
	return out, no
}

// loses says whether the next block of a stream is lost.
func (c *Cloud) loses(t topic, s *stream) bool {
	if s.LoseEach == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[t.device+"/"+t.name]++
	return c.sent[t.device+"/"+t.name]%s.LoseEach == 0
}

// read reads a part of a file as the file server gives it, with its faults.
func (c *Cloud) read(file string, from, size int64) ([]byte, *streamRefusal) {
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/files/" + file}, Header: http.Header{}}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+size-1))
	w := &memory{header: http.Header{}, limit: size}
	c.serve(w, r, file)
	switch w.status {
	case http.StatusPartialContent:
		return w.body.Bytes(), nil
	case http.StatusOK: // the whole file, of which only the beginning was kept
		if from == 0 {
			return w.body.Bytes(), nil
		}
	case http.StatusNotFound:
		return nil, &streamRefusal{"ResourceNotFound", "the file of the stream is missing"}
	}
	return nil, &streamRefusal{"InternalError", fmt.Sprintf("the file of the stream cannot be read: status %d", w.status)}
}

// sizeOf is the size of a file in bytes, whatever is said of it.
func (c *Cloud) sizeOf(file string) (int64, bool) {
	w := &memory{header: http.Header{}}
	c.serve(w, &http.Request{Method: http.MethodHead, URL: &url.URL{Path: "/files/" + file}, Header: http.Header{}}, file)
	n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64)
	return n, err == nil && w.status == http.StatusOK
}

// serve is the file server, where a fault may cut an answer by a panic of its own.
func (c *Cloud) serve(w http.ResponseWriter, r *http.Request, file string) {
	defer func() {
		if cause := recover(); cause != nil && cause != any(http.ErrAbortHandler) {
			panic(cause)
		}
	}()
	c.sim.ServeFile(w, r, file)
}

// errFull ends an answer that is longer than what was asked for.
var errFull = errors.New("that is enough")

// memory takes an answer, up to a limit.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
	limit  int64 // bytes
}

// Header is of [http.ResponseWriter].
func (m *memory) Header() http.Header { return m.header }

// WriteHeader is of [http.ResponseWriter].
func (m *memory) WriteHeader(status int) { m.status = status }

// Write is of [http.ResponseWriter].
func (m *memory) Write(p []byte) (int, error) {
	if m.status == 0 {
		m.status = http.StatusOK
	}
	if room := m.limit - int64(m.body.Len()); int64(len(p)) > room {
		n, _ := m.body.Write(p[:room]) // never fails
		return n, errFull
	}
	return m.body.Write(p)
}
