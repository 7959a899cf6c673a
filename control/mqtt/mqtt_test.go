package mqtt_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/mqtt"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*mqtt.Config)
		want   string // in the message, "" for no error
	}{
		{"TLS", func(*mqtt.Config) {}, ""},
		{"mqtts and a port", func(c *mqtt.Config) { c.URL = "mqtts://h:443" }, ""},
		{"plain without a password", func(c *mqtt.Config) { c.URL = "mqtt://h" }, ""},
		{"plain with a password on this machine", func(c *mqtt.Config) { c.URL, c.User, c.Password = "tcp://127.0.0.1", "u", secret("p") }, ""},
		{"plain with a password on IPv6", func(c *mqtt.Config) { c.URL, c.User, c.Password = "tcp://[::1]:1", "u", secret("p") }, ""},
		{"plain with a password elsewhere", func(c *mqtt.Config) { c.URL, c.User, c.Password = "tcp://h", "u", secret("p") }, "need TLS"},
		{"plain with a user elsewhere", func(c *mqtt.Config) { c.URL, c.User = "tcp://10.0.0.1", "u" }, "need TLS"},
		{"another scheme", func(c *mqtt.Config) { c.URL = "https://h" }, `unknown scheme "https"`},
		{"no url", func(c *mqtt.Config) { c.URL = "" }, "unknown scheme"},
		{"a password in the url", func(c *mqtt.Config) { c.URL = "tls://u:" + canary + "@h" }, "do not belong into the url"},
		{"an url that does not parse", func(c *mqtt.Config) { c.URL = "tls://" + canary + "@h:x y" }, "does not parse"},
		{"a port that there is not", func(c *mqtt.Config) { c.URL = "tls://h:99999" }, "1 to 65535"},
		{"a fragment", func(c *mqtt.Config) { c.URL = "tls://h#x" }, "nothing else"},
		{"a path", func(c *mqtt.Config) { c.URL = "tls://h/x" }, "nothing else"},
		{"no id", func(c *mqtt.Config) { c.ID = "" }, "client id"},
		{"a certificate without its key", func(c *mqtt.Config) { c.Cert = secret("x") }, "come together"},
		{"a certificate without TLS", func(c *mqtt.Config) { c.URL, c.Roots = "tcp://h", secret("x") }, "tls://"},
		{"a password without a user", func(c *mqtt.Config) { c.Password = secret("x") }, "needs a user"},
		{"a login made anew", func(c *mqtt.Config) { c.ID, c.Login = "", noLogin }, ""},
		{"a login made anew, and an id", func(c *mqtt.Config) { c.Login = noLogin }, "made for each connection"},
		{"a login made anew, and a user", func(c *mqtt.Config) { c.ID, c.User, c.Login = "", "u", noLogin }, "made for each connection"},
		{"a login made anew, and a password", func(c *mqtt.Config) { c.ID, c.Password, c.Login = "", secret("x"), noLogin }, "made for each connection"},
		{"a login made anew in the clear", func(c *mqtt.Config) { c.URL, c.ID, c.Login = "tcp://h", "", noLogin }, "need TLS"},
		{"a keep-alive of nothing", func(c *mqtt.Config) { c.KeepAlive = time.Millisecond }, "keep-alive"},
		{"tiny messages", func(c *mqtt.Config) { c.MaxMessage = 1 }, "at least 1024"},
		{"a negative time", func(c *mqtt.Config) { c.AnswerTimeout = -1 }, "negative"},
		{"pauses that shrink", func(c *mqtt.Config) { c.RetryMin, c.RetryMax = time.Hour, time.Second }, "shorter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mqtt.Config{URL: "tls://broker.example", ID: "gw-1"}
			tt.change(&c)
			_, err := mqtt.New(c, newEcho("gw-1"), &host{})
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("New = %v, want no error", err)
			case tt.want != "" && (!errors.Is(err, mqtt.ErrConfig) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary)):
				t.Errorf("New = %v, want ErrConfig with %q and no secret", err, tt.want)
			}
		})
	}
}

// A name such as localhost may lead elsewhere; then the password stays here.
func TestPasswordStaysWhenLocalhostIsElsewhere(t *testing.T) {
	cfg, h := config("tcp://localhost:1883"), &host{}
	cfg.User, cfg.Password = "u", secret(canary)
	sent := make(chan []byte, 1)
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe() // whose address is not of this machine's loopback
		go func() {
			buf := make([]byte, 1024)
			n, _ := there.Read(buf)
			select {
			case sent <- buf[:n]:
			default:
			}
		}()
		return here, nil
	}
	l := start(t, cfg, newEcho("gw-1"), h)
	eventually(t, "ErrInsecure", func() bool { return errors.Is(l.Status().Err, mqtt.ErrInsecure) })
	if got := <-sent; len(got) != 0 {
		t.Errorf("%d bytes were sent", len(got))
	}
}
