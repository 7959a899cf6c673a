package mqtt_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/mqtt"
)

const canary = "c4n4ry-s3cr3t"

func secret(text string) mqtt.Secret {
	return mqtt.SecretFrom("test", func() ([]byte, error) { return []byte(text), nil })
}

// lockedBuffer may be written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSecretIsNeverPrinted(t *testing.T) {
	cfg := config("tcp://127.0.0.1:1")
	cfg.User, cfg.Password = "u", secret(canary)
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", cfg.Password, "all", fmt.Sprint(cfg))
	data, err := json.Marshal(struct{ S mqtt.Secret }{cfg.Password})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %x %q", cfg, cfg, cfg, cfg.Password, cfg.Password, cfg.Password) + logged.String() + string(data)
	if strings.Contains(all, canary) || strings.Contains(all, fmt.Sprintf("%x", canary)) {
		t.Errorf("the secret is in %s", all)
	}
	if got, err := cfg.Password.Reveal(); err != nil || string(got) != canary {
		t.Errorf("Reveal = %q, %v", got, err)
	}
}

func TestSecretSources(t *testing.T) {
	dir := t.TempDir()
	full, empty, large := filepath.Join(dir, "full"), filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	for name, data := range map[string][]byte{full: []byte("x\n"), empty: nil, large: make([]byte, 1<<20+1)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) (string, bool) { return "y", name == "THERE" }
	for _, tt := range []struct {
		name   string
		secret mqtt.Secret
		want   string
	}{
		{"a file", mqtt.SecretFile(full), "x\n"},
		{"an empty file", mqtt.SecretFile(empty), ""},
		{"a large file", mqtt.SecretFile(large), ""},
		{"no file", mqtt.SecretFile(filepath.Join(dir, "none")), ""},
		{"a variable", mqtt.SecretEnv("THERE", env), "y"},
		{"no variable", mqtt.SecretEnv("GONE", env), ""},
		{"none at all", mqtt.Secret{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.secret.Reveal()
			if string(got) != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, mqtt.ErrSecret) {
				t.Errorf("Reveal = %q, %v; want %q or ErrSecret", got, err, tt.want)
			}
		})
	}
}

// Everything that a connection with secrets writes, in good and bad times.
func TestNoSecretInLogs(t *testing.T) {
	var trace lockedBuffer
	s := simulator(t, cloudsim.Config{Trace: &trace, Login: func(_, _, password string) bool { return password == canary }})
	h, d := &host{}, newEcho("gw-1")
	d.also = func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InConnected {
			emit(control.Out{Kind: control.OutRequest, Method: "GET", Token: 9, URL: "http://127.0.0.1:1/x?sig=" + canary, Header: map[string]string{"X-Key": canary}})
		}
		if in.Kind == control.InResponse {
			emit(control.Out{Kind: control.OutLog, Text: in.Err})
		}
	}
	cfg := config(s.Endpoints().Broker)
	cfg.User, cfg.Password = "u", secret(canary+"\n")
	l := start(t, cfg, d, h)
	connected(t, l)
	if _, err := s.Push("gw-1", map[string]any{"softwareURL": "https://h/f?X-Sig=" + canary, "password": canary}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command", func() bool { return len(h.get(&h.commands)) > 0 })
	eventually(t, "the failed request", func() bool { return strings.Contains(strings.Join(h.get(&h.logs), "\n"), "GET http://127.0.0.1:1/x:") })
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDrop})
	eventually(t, "connected anew", func() bool { return s.Clients()["gw-1"].Connects > 1 })
	wrong := config(s.Endpoints().Broker)
	wrong.ID, wrong.User, wrong.Password = "gw-2", "u", secret("not "+canary)
	l2 := start(t, wrong, newEcho("gw-2"), h)
	eventually(t, "refused", func() bool { return errors.Is(l2.Status().Err, mqtt.ErrRefused) })
	all := strings.Join(h.get(&h.logs), "\n") + trace.String() + fmt.Sprint(l2.Status(), s.Faults(), s.Clients())
	if !strings.Contains(all, "softwareURL") || strings.Contains(all, canary) {
		t.Errorf("the secret is in, or nothing is in:\n%s", all)
	}
}
