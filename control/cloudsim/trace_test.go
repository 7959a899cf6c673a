package cloudsim_test

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// A client of MQTT 5 has properties before its payloads, and gets some: the
// trace has the payloads alone, without what is secret in them.
func TestTraceOfMQTT5(t *testing.T) {
	var trace buffer
	s := start(t, cloudsim.Config{Trace: &trace})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Endpoints().Broker, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, conn: conn, in: bufio.NewReader(conn)}
	c.send(0x10, "\x00\x04MQTT\x05\x02\x00\x3c\x00"+text("gw-1"))
	c.want(2)
	c.send(0x82, "\x00\x01\x00"+text("state/gw-1/update/accepted")+"\x01")
	c.want(9)
	c.send(0x32, text("state/gw-1/update")+"\x00\x02"+"\x02\x01\x01"+`{"state":{"reported":{"a":"http://h/f?sig=s3cr3t"}}}`) // it says that it is text
	c.want(3)
	lines := trace.lines(t)
	if len(lines) != 2 {
		t.Fatalf("trace = %+v, want a message up and one down", lines)
	}
	for _, l := range lines {
		if !strings.HasPrefix(l.Payload, "{") || l.Base64 || strings.Contains(l.Payload, "s3cr3t") {
			t.Errorf("payload = %q, want JSON without the query", l.Payload)
		}
	}
}
