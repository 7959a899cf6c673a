package tencent_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/tencent"
)

func TestSettings(t *testing.T) {
	got, err := tencent.Settings(map[string]string{"product": "PRODUCT001", "device": "gw-1", "version": "0.1", "progress": "10s", "method": "hmacsha1", "app": "21010406", "lifetime": "1h"})
	want := tencent.Config{Product: "PRODUCT001", Device: "gw-1", Version: "0.1", Progress: 10 * time.Second, Method: tencent.HMACSHA1, App: "21010406", Lifetime: time.Hour}
	if err != nil || got != want {
		t.Errorf("settings = %+v, %v, want %+v", got, err, want)
	}
	if host := got.Host(); host != "PRODUCT001.iotcloud.tencentdevices.com" {
		t.Errorf("host = %s", host)
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := tencent.Settings(map[string]string{"product": "P/1", "device": "gw/+", "version": "0 1", "progress": "soon", "method": "md5", "app": ";", "lifetime": "1ms", "colour": "red"})
	if !errors.Is(err, tencent.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{`product "P/1": holds '/'`, `device "gw/+": holds '/'`, `version "0 1": holds ' '`, `progress "soon"`, `method "md5": want`, `app ";": holds ';'`, `lifetime 1ms: want at least 1m`, `colour "red": unknown`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %s:\n%v", want, err)
		}
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	good := tencent.Config{Product: "PRODUCT001", Device: "gw-1", Version: "0.1"}
	for _, tt := range []struct {
		name string
		set  func(*tencent.Config)
	}{
		{"no product", func(c *tencent.Config) { c.Product = "" }},
		{"no device", func(c *tencent.Config) { c.Device = "" }},
		{"wildcard in the device", func(c *tencent.Config) { c.Device = "+" }},
		{"separator of user names in the device", func(c *tencent.Config) { c.Device = "a;b" }},
		{"long device", func(c *tencent.Config) { c.Device = strings.Repeat("x", 65) }},
		{"no version", func(c *tencent.Config) { c.Version = "" }},
		{"long version", func(c *tencent.Config) { c.Version = strings.Repeat("1", 33) }},
		{"busy progress", func(c *tencent.Config) { c.Progress = time.Millisecond }},
		{"negative lifetime", func(c *tencent.Config) { c.Lifetime = -time.Hour }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.set(&c)
			if _, err := tencent.New(c, nil); !errors.Is(err, tencent.ErrConfig) {
				t.Errorf("error = %v, want ErrConfig", err)
			}
			if _, _, _, _, err := tencent.Connection(c, nil, time.Now()); !errors.Is(err, tencent.ErrConfig) {
				t.Errorf("error of the connection = %v, want ErrConfig", err)
			}
		})
	}
	if _, err := tencent.New(good, nil); err != nil {
		t.Error(err)
	}
}

func TestConnection(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	secret := []byte(base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")) + "\n")
	c := tencent.Config{Product: "PRODUCT001", Device: "gw-1", Version: "0.1"}
	for _, tt := range []struct {
		name   string
		secret []byte
		now    time.Time
		method tencent.Method
		expiry int64
		renew  time.Time
	}{
		{"a day by default", secret, now, "", now.Add(24 * time.Hour).Unix(), now.Add(24*time.Hour - 5*time.Minute)},
		{"the other method", secret, now, tencent.HMACSHA1, now.Add(24 * time.Hour).Unix(), now.Add(24*time.Hour - 5*time.Minute)},
		{"a certificate", nil, now, "", now.Add(24 * time.Hour).Unix(), time.Time{}},
		{"a clock that is not set", secret, time.Unix(17, 0), "", math.MaxInt64, time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.Method = tt.method
			id, user, password, renew, err := tencent.Connection(c, tt.secret, tt.now)
			if err != nil || id != "PRODUCT001gw-1" || !renew.Equal(tt.renew) {
				t.Fatalf("client id %q, renewed before %v, %v, want %v", id, renew, err, tt.renew)
			}
			parts := strings.Split(user, ";")
			if len(parts) != 4 || parts[0] != id || parts[1] != "12010126" || len(parts[2]) != 5 || parts[3] != strconv.FormatInt(tt.expiry, 10) {
				t.Errorf("user = %q, want an expiry of %d", user, tt.expiry)
			}
			want := ""
			if tt.secret != nil {
				want, err = tencent.Sign(user, tt.secret, tt.method)
			}
			if err != nil || password != want {
				t.Errorf("password = %q, want %q, %v", password, want, err)
			}
			_, other, _, _, _ := tencent.Connection(c, tt.secret, tt.now.Add(time.Millisecond))
			if strings.Split(other, ";")[2] == parts[2] {
				t.Errorf("two connections have the id %s", parts[2])
			}
		})
	}
}

// TestSign has the sums from `printf %s USER | openssl dgst -sha256 -hmac 0123456789abcdef`.
func TestSign(t *testing.T) {
	const user = "PRODUCT001gw-1;12010126;abc12;1777723200"
	secret := []byte("MDEyMzQ1Njc4OWFiY2RlZg==")
	for _, tt := range []struct {
		method tencent.Method
		want   string
	}{
		{tencent.HMACSHA256, "3b104697563bc4ec3de896b36d4f95c8c23c1554595cfeaf4bc5418a9bdd450b;hmacsha256"},
		{"", "3b104697563bc4ec3de896b36d4f95c8c23c1554595cfeaf4bc5418a9bdd450b;hmacsha256"},
		{tencent.HMACSHA1, "f77f3acd4a305b32cf418a57185725f6463ba089;hmacsha1"},
	} {
		if got, err := tencent.Sign(user, secret, tt.method); err != nil || got != tt.want {
			t.Errorf("method %q: password = %q, %v, want %q", tt.method, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "s3cr3t s3cr3t", "czNjcjN0"[:7]} {
		if _, err := tencent.Sign(user, []byte(bad), ""); !errors.Is(err, tencent.ErrSecret) || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(fmt.Sprint(err), "czNj") {
			t.Errorf("secret %q: error = %v, want ErrSecret without the secret", bad, err)
		}
	}
	if _, err := tencent.Sign(user, secret, "md5"); !errors.Is(err, tencent.ErrConfig) {
		t.Errorf("method md5: error = %v, want ErrConfig", err)
	}
}
