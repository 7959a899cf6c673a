package cloudsim_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

const patience = 3 * time.Second

// A client and the broker number their packets independently. A message that
// waits for its acknowledgement must not disturb a packet of the client that
// has the same number.
func TestNumbersOfBothSides(t *testing.T) {
	s := start(t, cloudsim.Config{})
	at := s.Endpoints().Broker
	subscribed := func(c *client, number uint16) (code byte, early []packet) {
		t.Helper()
		c.send(0x82, string(binary.BigEndian.AppendUint16(nil, number))+text("state/gw-1/update/delta")+"\x01")
		for {
			p, ok := c.read(patience)
			if !ok {
				t.Fatal("no SUBACK came")
			}
			if p.kind == 9 {
				if p.id != number {
					t.Errorf("SUBACK %d, want %d", p.id, number)
				}
				return p.body[0], early
			}
			early = append(early, p)
		}
	}
	c, _ := dial(t, at, "gw-1")
	for _, number := range []uint16{1, 2, 32767, 32768, 32769, 65535} {
		if code, _ := subscribed(c, number); code != 1 {
			t.Fatalf("SUBACK with code %d for number %d, want 1", code, number)
		}
	}
	if _, err := s.Push("gw-1", map[string]any{"jobID": "j-1", "softwareURL": "http://h/f"}); err != nil {
		t.Fatal(err)
	}
	p, ok := c.read(patience)
	if !ok || p.kind != 3 || p.id == 0 {
		t.Fatalf("got %+v, want a delta", p)
	}
	// The delta is not acknowledged, and the connection breaks.
	_ = c.conn.Close()
	c, _ = dial(t, at, "gw-1")
	code, early := subscribed(c, p.id)
	if code != 1 {
		t.Errorf("SUBACK with code %d for the number of a message that waits, want 1", code)
	}
	// A message of the client with its number is not an acknowledgement.
	c.send(0x32, text("state/gw-1/update")+string(binary.BigEndian.AppendUint16(nil, p.id))+`{"state": {"reported": {"a": 1}}}`)
	for {
		q, ok := c.read(patience)
		if !ok {
			t.Fatal("no PUBACK came")
		}
		if q.kind == 4 && q.id != p.id {
			t.Errorf("PUBACK %d, want %d", q.id, p.id)
		}
		if q.kind == 4 {
			break
		}
	}
	_ = c.conn.Close()
	again, _ := dial(t, at, "gw-1")
	for {
		q, ok := again.read(patience)
		if !ok {
			t.Fatalf("message %d, which was not acknowledged, does not come again (it came with %+v before)", p.id, early)
		}
		if q.kind == 3 && q.id == p.id && q.body == p.body {
			return
		}
	}
}
