package cloudsim

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"regexp"
	"sync"
	"time"
	"unicode/utf8"
)

// Line is one message in a trace.
type Line struct {
	Time      time.Time `json:"time"`
	Client    string    `json:"client"`
	Direction string    `json:"direction"` // up: from the client, down: to it
	Topic     string    `json:"topic"`
	QoS       byte      `json:"qos"`
	Dup       bool      `json:"dup,omitempty"`
	Payload   string    `json:"payload"`          // queries of URLs are left out
	Base64    bool      `json:"base64,omitempty"` // the payload is not text
}

// trace writes what is on the wire, in order.
type trace struct {
	to  io.Writer
	now func() time.Time

	mu    sync.Mutex
	fault error // of writing; nothing is written after it
}

// query is what follows a URL's "?": signatures, mostly.
var query = regexp.MustCompile(`(https?://[^\s"'?\\]*)\?[^\s"']*`)

// secretMember is a JSON member that is named as secrets are.
var secretMember = regexp.MustCompile(`(?i)("[a-z_-]*(?:password|secret|token|signature|credential)"\s*:\s*)"(?:[^"\\]|\\.)*"`)

// redact takes out of a text what must not be kept. clientToken is no secret:
// it pairs requests with answers.
func redact(text string) string {
	text = query.ReplaceAllString(text, "${1}?…")
	return secretMember.ReplaceAllStringFunc(text, func(m string) string {
		if clientToken.MatchString(m) {
			return m
		}
		return secretMember.ReplaceAllString(m, `${1}"…"`)
	})
}

var clientToken = regexp.MustCompile(`(?i)^"client_?token"`)

func (t *trace) packet(client, direction string, packet []byte, version byte) {
	if t.to == nil {
		return
	}
	m, ok := parsePublish(packet)
	if !ok {
		return
	}
	if version >= mqtt5 {
		m.payload = skipProperties(m.payload)
	}
	t.line(Line{Client: client, Direction: direction, Topic: m.topic, QoS: m.qos, Dup: packet[0]&8 != 0, Payload: string(m.payload)})
}

// line writes a line with its time, and without secrets.
func (t *trace) line(line Line) {
	if t.to == nil {
		return
	}
	if utf8.ValidString(line.Payload) {
		line.Payload = redact(line.Payload)
	} else {
		line.Payload, line.Base64 = base64.StdEncoding.EncodeToString([]byte(line.Payload)), true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault != nil {
		return
	}
	line.Time = t.now().UTC()
	data, err := json.Marshal(line)
	if err == nil {
		_, err = t.to.Write(append(data, '\n'))
	}
	t.fault = err
}

func (t *trace) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fault
}

// publication is a PUBLISH packet taken apart.
type publication struct {
	topic   string
	qos     byte
	id      uint16
	payload []byte // of MQTT 5 with the properties before it
}

// mqtt5 is the version of the protocol in which messages have properties.
const mqtt5 = 5

// skipProperties leaves out what stands before the payload in MQTT 5.
func skipProperties(body []byte) []byte {
	size, n := binary.Uvarint(body) // the same form as MQTT's
	if n <= 0 || size > uint64(len(body)-n) {
		return body
	}
	return body[n+int(size):]
}

// versionOf gives the version that a CONNECT names, 0 if it names none.
func versionOf(packet []byte) byte {
	at := 1
	for at < len(packet) && packet[at] >= 0x80 {
		at++
	}
	at++
	if at+2 > len(packet) {
		return 0
	}
	if at += 2 + int(binary.BigEndian.Uint16(packet[at:])); at >= len(packet) {
		return 0
	}
	return packet[at]
}

func parsePublish(packet []byte) (p publication, ok bool) {
	head := 1
	for head < len(packet) && packet[head] >= 0x80 {
		head++
	}
	body := packet[min(head+1, len(packet)):]
	if len(body) < 2 {
		return p, false
	}
	p.qos = packet[0] >> 1 & 3
	end := 2 + int(binary.BigEndian.Uint16(body))
	if end > len(body) {
		return p, false
	}
	p.topic = string(body[2:end])
	if p.qos > 0 {
		if end+2 > len(body) {
			return p, false
		}
		p.id = binary.BigEndian.Uint16(body[end:])
		end += 2
	}
	p.payload = body[end:]
	return p, true
}
