package tencent

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	device "github.com/updraft-ota/updraft/control/tencent"
)

const (
	product = "PRODUCT001"
	secret  = "MDEyMzQ1Njc4OWFiY2RlZg=="
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func accounts() cloudsim.Accounts {
	return cloudsim.Accounts{Product: product, Devices: map[string]string{"gw-1": secret, "gw-2": "c2VjcmV0IG9mIGd3LTI=", "cert-1": ""}}
}

// open starts a simulator until the test ends.
func open(t *testing.T, cfg cloudsim.Config, a cloudsim.Accounts) (*cloudsim.Sim, *Cloud) {
	t.Helper()
	c, err := New(Config{Accounts: a})
	if err != nil {
		t.Fatal(err)
	}
	s, err := cloudsim.Start(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	return s, c
}

func TestAdmit(t *testing.T) {
	_, c := open(t, cloudsim.Config{Now: func() time.Time { return now }}, accounts())
	user := func(id, app, expiry string) string { return id + ";" + app + ";iW4Hg;" + expiry }
	gw1, future := product+"gw-1", fmt.Sprint(now.Unix()+1)
	shown := func(cn string) *x509.Certificate { return &x509.Certificate{Subject: pkix.Name{CommonName: cn}} }
	for _, tt := range []struct {
		name, id, user string
		secret         string
		method         device.Method
		password       string // instead of a signed one
		cert           *x509.Certificate
		want           string // device, or the start of the reason
	}{
		{"HMAC-SHA-1", gw1, user(gw1, "21010406", future), secret, device.HMACSHA1, "", nil, "gw-1"},
		{"HMAC-SHA-256", gw1, user(gw1, "12010126", future), secret, device.HMACSHA256, "", nil, "gw-1"},
		{"an sdkappid of its own", gw1, user(gw1, "x", future), secret, device.HMACSHA256, "", nil, "gw-1"},
		{"milliseconds", gw1, user(gw1, "1", "1795331823754"), secret, device.HMACSHA1, "", nil, "gw-1"},
		{"the largest expiry", gw1, user(gw1, "1", "9223372036854775807"), secret, device.HMACSHA1, "", nil, "gw-1"},
		{"an expiry above the largest", gw1, user(gw1, "1", "9223372036854775808"), secret, device.HMACSHA1, "", nil, "expiry"},
		{"expired now", gw1, user(gw1, "1", fmt.Sprint(now.Unix())), secret, device.HMACSHA1, "", nil, "the user name has expired"},
		{"negative expiry", gw1, user(gw1, "1", "-1"), secret, device.HMACSHA1, "", nil, "the user name has expired"},
		{"no expiry", gw1, user(gw1, "1", ""), secret, device.HMACSHA1, "", nil, "expiry"},
		{"another secret", gw1, user(gw1, "1", future), "YW5vdGhlcg==", device.HMACSHA1, "", nil, "password is not"},
		{"user name of another device", gw1, user(product+"gw-2", "1", future), secret, device.HMACSHA1, "", nil, "user name"},
		{"user name without connection", gw1, gw1 + ";1;" + future, secret, device.HMACSHA1, "", nil, "user name of 3"},
		{"user name with more", gw1, user(gw1, "1", future) + ";", secret, device.HMACSHA1, "", nil, "user name of 5"},
		{"another product", "PRODUCT002gw-1", user("PRODUCT002gw-1", "1", future), secret, device.HMACSHA1, "", nil, "client id"},
		{"no such device", product + "gw-9", user(product+"gw-9", "1", future), secret, device.HMACSHA1, "", nil, "client id"},
		{"the product alone", product, user(product, "1", future), secret, device.HMACSHA1, "", nil, "client id"},
		{"no password", gw1, user(gw1, "1", future), "", "", "", nil, "password without a method"},
		{"no method", gw1, user(gw1, "1", future), "", "", strings.Repeat("0", 64), nil, "password without a method"},
		{"empty method", gw1, user(gw1, "1", future), "", "", strings.Repeat("0", 64) + ";", nil, "password without a method"},
		{"another method", gw1, user(gw1, "1", future), "", "", strings.Repeat("0", 32) + ";hmacmd5", nil, "password: "},
		{"a certificate instead of the secret", gw1, user(gw1, "1", future), "", "", "x", shown(gw1), "password without a method"},
		{"certificate", product + "cert-1", user(product+"cert-1", "1", future), "", "", "", shown(product + "cert-1"), "cert-1"},
		{"certificate and any password", product + "cert-1", user(product+"cert-1", "1", "0"), "", "", "any", shown(product + "cert-1"), "cert-1"},
		{"certificate of another", product + "cert-1", user(product+"cert-1", "1", future), "", "", "", shown(gw1), "certificate of"},
		{"no certificate", product + "cert-1", user(product+"cert-1", "1", future), "", "", "", nil, "no certificate"},
		{"certificate without a user name", product + "cert-1", "", "", "", "", shown(product + "cert-1"), "user name of 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			password := tt.password
			if tt.secret != "" {
				var err error
				if password, err = device.Sign(tt.user, []byte(tt.secret), tt.method); err != nil {
					t.Fatal(err)
				}
			}
			name, until, err := c.Admit(cloudsim.Caller{Client: tt.id, User: tt.user, Password: []byte(password), Certificate: tt.cert})
			if err == nil && (name != tt.want || !until.IsZero()) {
				t.Errorf("Admit = %q until %v, want %q for ever", name, until, tt.want)
			}
			if err == nil {
				return
			}
			if reason := strings.TrimPrefix(err.Error(), "refused: "); !errors.Is(err, cloudsim.ErrRefused) || !strings.HasPrefix(reason, tt.want) {
				t.Errorf("Admit = %v, want refused: %s …", err, tt.want)
			}
			hex, _, _ := strings.Cut(password, ";")
			if strings.Contains(err.Error(), secret) || len(hex) > 8 && strings.Contains(err.Error(), hex) {
				t.Errorf("Admit = %v, which shows a secret", err)
			}
		})
	}
}

// A password that differs from the right one in one place is refused, whichever place.
func TestAdmitEachByte(t *testing.T) {
	_, c := open(t, cloudsim.Config{Now: func() time.Time { return now }}, accounts())
	who := cloudsim.Caller{Client: product + "gw-1", User: product + "gw-1;1;abcde;9223372036854775807"}
	right, err := device.Sign(who.User, []byte(secret), device.HMACSHA256)
	if err != nil {
		t.Fatal(err)
	}
	for i := range right {
		password := []byte(right)
		password[i] ^= 0x20 // the other case, among letters
		who.Password = password
		if name, _, err := c.Admit(who); err == nil {
			t.Errorf("password %q lets %s in, want only %q", password, name, right)
		}
	}
	for _, password := range []string{right + "\n", " " + right, right[1:], right[:len(right)-1]} {
		who.Password = []byte(password)
		if name, _, err := c.Admit(who); err == nil {
			t.Errorf("password %q lets %s in, want only %q", password, name, right)
		}
	}
}

// The CONNECT of a vendor's SDK, captured on the wire.
func TestAdmitCaptured(t *testing.T) {
	var captured []struct {
		ProductID  string `json:"productId"`
		DeviceName string `json:"deviceName"`
		Secret     string `json:"psk_base64"`
		ClientID   string `json:"clientId"`
		Username   string
		Expect     string
	}
	data, err := os.ReadFile("../../tencent/testdata/examples/tencent-auth.json")
	if err == nil {
		err = json.Unmarshal(data, &captured)
	}
	if err != nil || len(captured) == 0 {
		t.Fatalf("%d captured: %v", len(captured), err)
	}
	for _, v := range captured {
		_, c := open(t, cloudsim.Config{}, cloudsim.Accounts{Product: v.ProductID, Devices: map[string]string{v.DeviceName: v.Secret}})
		name, _, err := c.Admit(cloudsim.Caller{Client: v.ClientID, User: v.Username, Password: []byte(v.Expect)})
		if err != nil || name != v.DeviceName {
			t.Errorf("Admit = %q, %v, want %s", name, err, v.DeviceName)
		}
	}
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name     string
		accounts cloudsim.Accounts
		want     string
	}{
		{"nobody", cloudsim.Accounts{Product: product}, "no devices"},
		{"no product", cloudsim.Accounts{Devices: map[string]string{"gw-1": secret}}, "product"},
		{"a product with a slash", cloudsim.Accounts{Product: "a/b", Devices: map[string]string{"gw-1": secret}}, "product"},
		{"a device with a wildcard", cloudsim.Accounts{Product: product, Devices: map[string]string{"gw+": secret}}, `device "gw+"`},
		{"a secret in hex", cloudsim.Accounts{Product: product, Devices: map[string]string{"gw-1": "s3cr3t!"}}, `device "gw-1": tencent device secret`},
		{"an empty key", cloudsim.Accounts{Product: product, Devices: map[string]string{"gw-1": " "}}, `device "gw-1": tencent device secret`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(Config{Accounts: tt.accounts})
			if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("New = %v, want a bad setting of %s, and no secret", err, tt.want)
			}
		})
	}
}

func TestPermit(t *testing.T) {
	_, c := open(t, cloudsim.Config{}, accounts())
	for _, tt := range []struct {
		topic              string
		publish, subscribe cloudsim.Permission
	}{
		{"$ota/report/PRODUCT001/gw-1", cloudsim.Allowed, cloudsim.Refused},
		{"$ota/update/PRODUCT001/gw-1", cloudsim.Refused, cloudsim.Allowed},
		{"$ota/report/PRODUCT001/gw-2", cloudsim.Refused, cloudsim.Refused},
		{"$ota/update/PRODUCT001/gw-2", cloudsim.Refused, cloudsim.Refused},
		{"$ota/update/PRODUCT001/gw-1/more", cloudsim.Refused, cloudsim.Refused},
		{"$ota/update/PRODUCT001/+", cloudsim.Refused, cloudsim.Refused},
		{"$ota/update/#", cloudsim.Refused, cloudsim.Refused},
		{"#", cloudsim.Refused, cloudsim.Refused},
		{"", cloudsim.Refused, cloudsim.Refused},
	} {
		if p, s := c.Permit("gw-1", tt.topic, true), c.Permit("gw-1", tt.topic, false); p != tt.publish || s != tt.subscribe {
			t.Errorf("%q: publish %v, subscribe %v, want %v and %v", tt.topic, p, s, tt.publish, tt.subscribe)
		}
	}
}
