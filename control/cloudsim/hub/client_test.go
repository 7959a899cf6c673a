package hub_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wire is a device that says just what the test says.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	next uint16
}

// message is a publication from the hub.
type message struct {
	topic, payload string
	qos            byte
}

// dial connects and gives the code of CONNACK.
func dial(t *testing.T, broker, client, user, password string) (*wire, byte) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(broker, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w := &wire{t: t, conn: conn, in: bufio.NewReader(conn)}
	flags, tail := byte(0x82), field(client)+field(user)
	if password != "" {
		flags, tail = 0xc2, tail+field(password)
	}
	w.send(0x10, field("MQTT")+string([]byte{4, flags, 0, 60})+tail)
	kind, body := w.read()
	if kind>>4 != 2 {
		t.Fatalf("packet %#x, want CONNACK", kind)
	}
	return w, body[1]
}

func field(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

func (w *wire) send(head byte, body string) {
	w.t.Helper()
	packet := append(binary.AppendUvarint([]byte{head}, uint64(len(body))), body...) // MQTT's form of a length
	if _, err := w.conn.Write(packet); err != nil {
		w.t.Logf("send: %v", err)
	}
}

// read gives the next packet, or a head of 0 at the end of the connection.
func (w *wire) read() (head byte, body []byte) {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // cannot fail on TCP
	head, err := w.in.ReadByte()
	if err != nil {
		if err, ok := err.(net.Error); ok && err.Timeout() {
			w.t.Fatal("nothing came")
		}
		return 0, nil
	}
	length, err := binary.ReadUvarint(w.in)
	if err != nil {
		return 0, nil
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(w.in, body); err != nil {
		return 0, nil
	}
	return head, body
}

// subscribe gives the code of SUBACK, or 0xff if the connection ends.
func (w *wire) subscribe(filter string, qos byte) byte {
	w.t.Helper()
	w.next++
	w.send(0x82, string(binary.BigEndian.AppendUint16(nil, w.next))+field(filter)+string([]byte{qos}))
	head, body := w.read()
	if head == 0 {
		return 0xff
	}
	if head>>4 != 9 {
		w.t.Fatalf("packet %#x, want SUBACK", head)
	}
	return body[2]
}

func (w *wire) publish(topic, payload string) { w.send(0x30, field(topic)+payload) }

// message gives the next publication, acknowledged. ok is false at the end of the connection.
func (w *wire) message() (m message, ok bool) {
	w.t.Helper()
	head, body := w.read()
	if head == 0 {
		return m, false
	}
	if head>>4 != 3 {
		w.t.Fatalf("packet %#x, want PUBLISH", head)
	}
	end := 2 + binary.BigEndian.Uint16(body)
	m.topic, body = string(body[2:end]), body[end:]
	if m.qos = head >> 1 & 3; m.qos > 0 {
		w.send(0x40, string(body[:2]))
		body = body[2:]
	}
	m.payload = string(body)
	return m, true
}

// asks publishes and gives the answer.
func (w *wire) asks(topic, payload string) message {
	w.t.Helper()
	w.publish(topic, payload)
	m, ok := w.message()
	if !ok {
		w.t.Fatalf("%s: the connection ended", topic)
	}
	return m
}

// hmacOf signs sr and se as a SAS token does.
func hmacOf(t *testing.T, key, sr string, se int64) string {
	t.Helper()
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(sr + "\n" + seconds(se)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func seconds(se int64) string { return strconv.FormatInt(se, 10) }
