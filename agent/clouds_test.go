package agent_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/updraft-ota/updraft/agent"
)

// lobby is a broker that lets everybody in, and notes who came.
type lobby struct {
	net.Listener
	mu   sync.Mutex
	came map[string]string // client id to user
	work sync.WaitGroup
}

func newLobby(t *testing.T) *lobby {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lobby{Listener: listener, came: map[string]string{}}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		l.work.Wait() // the clients have gone before
	})
	l.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			l.work.Go(func() { l.serve(c) })
		}
	})
	return l
}

// serve answers what a client waits for; its end ends it.
func (l *lobby) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return
		}
		size, err := binary.ReadUvarint(r) // the lengths of MQTT are written so too
		if err != nil || size > 1<<20 {
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		var answer []byte
		switch kind >> 4 {
		case 1:
			l.note(body[10:]) // behind name, level, flags and keep-alive
			answer = []byte{2 << 4, 2, 0, 0}
		case 3:
			if kind&6 != 0 {
				at := 2 + binary.BigEndian.Uint16(body)
				answer = []byte{4 << 4, 2, body[at], body[at+1]}
			}
		case 8:
			answer = []byte{9 << 4, 3, body[0], body[1], 1}
		case 12:
			answer = []byte{13 << 4, 0}
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

func (l *lobby) note(payload []byte) {
	var texts [2]string
	for i := range texts {
		if len(payload) >= 2 {
			end := 2 + int(binary.BigEndian.Uint16(payload))
			texts[i], payload = string(payload[2:end]), payload[end:]
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came[texts[0]] = texts[1]
}

func (l *lobby) all() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string]string{}
	for id, user := range l.came {
		all[id] = user
	}
	return all
}

// TestServeSpeaksToEachCloud: each kind of plane comes in under its own name, and is ready for commands.
func TestServeSpeaksToEachCloud(t *testing.T) {
	l := newLobby(t)
	planes := map[string]string{
		"one":  `{dialect: awsiot, url: "LOBBY", id: gw-1}`,
		"jobs": `{dialect: awsjobs, url: "LOBBY", id: thing-1}`,
		"hub":  `{dialect: azurehub, url: "LOBBY", id: gw-1/m, secrets: {deviceKey: {file: key}}, settings: {hub: contoso.azure-devices.net}}`,
		"adu":  `{dialect: adu, url: "LOBBY", id: gw-2, secrets: {deviceKey: {file: key}}, settings: {hub: contoso.azure-devices.net, manufacturer: Contoso, model: Toaster}}`,
		"tx":   `{dialect: tencent, url: "LOBBY", id: gw-1, secrets: {deviceKey: {file: key}}, settings: {product: P1, version: "1.0"}}`,
		"ali":  `{dialect: aliyunota, url: "LOBBY", id: a1B2.gw-1, secrets: {deviceKey: {file: key}}, settings: {version: "1.0"}}`,
		"haas": `{dialect: haas, url: "LOBBY", id: a1B2.gw-2, secrets: {deviceKey: {file: key}}, settings: {app: "8800100012345678"}}`,
	}
	want := map[string]string{ // client id to the start of the user
		"gw-1": "", "thing-1": "", "gw-1/m": "contoso.azure-devices.net/gw-1/m/?api-version=2021-04-12", "P1gw-1": "P1gw-1;12010126;",
		"gw-2": "contoso.azure-devices.net/gw-2/?api-version=2021-04-12&model-id=dtmi:azure:iot:deviceUpdateModel;3",
		"a1B2.gw-1|securemode=3,signmethod=hmacsha256,timestamp=2524608000000|": "gw-1&a1B2",
		"a1B2.gw-2|securemode=3,signmethod=hmacsha256,timestamp=2524608000000|": "gw-2&a1B2",
	}
	var rooms, commands []string
	for name, plane := range planes {
		rooms = append(rooms, name+": "+strings.ReplaceAll(plane, "LOBBY", "tcp://"+l.Addr().String()))
		commands = append(commands, name+": {workflow: colour.yaml}")
	}
	s := newStand(t, strings.Join(rooms, ", "), strings.Join(commands, ", "))
	write(s.dir, "key", "c2VjcmV0\n")
	stop := s.serve()
	s.eventually("all planes ready", func() bool {
		status, err := agent.Look(context.Background(), filepath.Join(s.dir, ".updraft", "agent.sock"))
		ready := 0
		for _, p := range status.Planes {
			if p.Ready {
				ready++
			}
		}
		return err == nil && ready == len(planes)
	})
	came := l.all()
	for id, user := range want {
		if got, ok := came[id]; !ok || !strings.HasPrefix(got, user) {
			t.Errorf("client %q came as %q: %t, want as %q…", id, got, ok, user)
		}
	}
	if len(came) != len(want) {
		t.Errorf("came: %q", came)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if text := s.lines(); strings.Contains(text, "c2VjcmV0") || strings.Contains(text, "sig=") {
		t.Errorf("a secret is in the log:\n%s", text)
	}
}
