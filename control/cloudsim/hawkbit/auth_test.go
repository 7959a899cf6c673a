package hawkbit_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hawkbit"
)

func TestWhoMayComeIn(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	base := r.Endpoints().Face + "/DEFAULT/controller/v1/"
	for _, tt := range []struct {
		name, url, header string
		status            int
		told              string
	}{
		{"own token", base + "gw-1", "TargetToken s3cr3t-1", 200, ""},
		{"token of another device", base + "gw-1", "TargetToken s3cr3t-2", 401, "gw-1: its TargetToken is wrong"},
		{"part of the token", base + "gw-1", "TargetToken s3cr3t-", 401, "gw-1: its TargetToken is wrong"},
		{"blank behind the token", base + "gw-1", "TargetToken  s3cr3t-1", 401, "gw-1: its TargetToken is wrong"},
		{"scheme in small letters", base + "gw-1", "targettoken s3cr3t-1", 401, "neither a TargetToken nor a GatewayToken"},
		{"empty token", base + "gw-1", "TargetToken ", 401, "neither a TargetToken"},
		{"empty token of a device with a certificate", base + "lock-1", "TargetToken  ", 401, "neither a TargetToken"},
		{"unknown device", base + "gw-9", "TargetToken s3cr3t-1", 401, "gw-9: it shows a TargetToken, and there is no such device"},
		{"token instead of a certificate", base + "lock-1", "TargetToken x", 401, "lock-1: it shows a TargetToken, and this device needs a certificate"},
		{"nothing", base + "gw-1", "", 401, "neither a token nor a verified certificate"},
		{"basic", base + "gw-1", "Basic YTpi", 401, "neither a TargetToken nor a GatewayToken"},
		{"gateway", base + "gw-2", "GatewayToken s3cr3t-gateway", 200, ""},
		{"gateway for an unknown device", base + "sensor-7", "GatewayToken s3cr3t-gateway", 200, ""},
		{"wrong gateway", base + "gw-2", "GatewayToken s3cr3t-1", 401, "gw-2: its GatewayToken is wrong"},
		{"gateway for no name", base + "a%2Fb", "GatewayToken s3cr3t-gateway", 401, "expected a name"},
		{"other tenant", r.Endpoints().Face + "/ACME/controller/v1/gw-1", "TargetToken s3cr3t-1", 401, `it asks for the tenant "ACME"`},
		{"unauthorized below", base + "gw-1/deploymentBase/1", "TargetToken x", 401, "wrong"},
		{"elsewhere", r.Endpoints().Face + "/rest/v1/targets", "", 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(r.events.text(cloudsim.EventRefused))
			got := r.do("gw-1", "GET", tt.url, "", "Authorization: "+tt.header)
			told := r.events.text(cloudsim.EventRefused)[before:]
			if got.status != tt.status || !strings.Contains(told, tt.told) || tt.told == "" && told != "" {
				t.Errorf("answer = %s, told %q, want %d and %q", got, told, tt.status, tt.told)
			}
			if tt.status == 401 && got.body != "" {
				t.Errorf("a stranger hears %q, want nothing", got.body)
			}
		})
	}
	if told := r.events.text(cloudsim.EventRefused); strings.Contains(told, "s3cr3t") {
		t.Errorf("people see a token:\n%s", told)
	}
	if _, known := r.Book().Look("sensor-7"); !known {
		t.Error("a device that came with a gateway is not known")
	}
}

func TestExpiredTokens(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultToken, Client: "gw-1", Every: 2}); err != nil {
		t.Fatal(err)
	}
	var got []int
	for range 4 {
		got = append(got, r.do("gw-1", "GET", "", "").status)
	}
	if other := r.do("gw-2", "GET", "", "").status; !slices.Equal(got, []int{200, 401, 200, 401}) || other != 200 {
		t.Errorf("answers %v and %d to another device, want each second 401 and 200", got, other)
	}
	if stranger := r.do("gw-1", "GET", "", "", "Authorization: TargetToken x").status; stranger != 401 || r.Faults()[0].Hits != 2 {
		t.Errorf("a stranger gets %d and the fault has %d hits, want 401 and still 2", stranger, r.Faults()[0].Hits)
	}
	if told, want := r.events.text(cloudsim.EventRefused), "gw-1: fault token\ngw-1: fault token\n"; !strings.HasPrefix(told, want) {
		t.Errorf("told %q, want %q first", told, want)
	}
}

func TestCertificates(t *testing.T) {
	cloud, err := hawkbit.New(hawkbit.Config{Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, cloud)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	for _, tt := range []struct {
		name, device, subject string
		verified              bool
		status                int
	}{
		{"own", "lock-1", "lock-1", true, 200},
		{"not verified", "lock-1", "lock-1", false, 401},
		{"of another", "lock-1", "gw-1", true, 401},
		{"instead of a token", "gw-1", "gw-1", true, 401},
		{"unknown device", "lock-9", "lock-9", true, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := &x509.Certificate{Subject: pkix.Name{CommonName: tt.subject}}
			state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
			if tt.verified {
				state.VerifiedChains = [][]*x509.Certificate{{cert}}
			}
			q := httptest.NewRequest("GET", "https://hawkbit.example/DEFAULT/controller/v1/"+tt.device, nil)
			q.TLS = state
			w := httptest.NewRecorder()
			cloud.ServeHTTP(w, q)
			if w.Code != tt.status {
				t.Errorf("status = %d, want %d", w.Code, tt.status)
			}
			if w.Code == 200 && !strings.Contains(w.Body.String(), `"https://hawkbit.example/DEFAULT/controller/v1/lock-1/configData"`) {
				t.Errorf("document = %s, want links with https", w.Body)
			}
		})
	}
}

func TestGatewayTokenIsOffByDefault(t *testing.T) {
	cloud, err := hawkbit.New(hawkbit.Config{})
	if err != nil {
		t.Fatal(err)
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, cloud)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	for _, header := range []string{"GatewayToken ", "GatewayToken x"} {
		q := httptest.NewRequest("GET", "/DEFAULT/controller/v1/gw-1", nil)
		q.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		cloud.ServeHTTP(w, q)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%q: status = %d, want 401", header, w.Code)
		}
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	devices := func(name, token string) cloudsim.Accounts {
		return cloudsim.Accounts{Devices: map[string]string{name: token}}
	}
	for _, tt := range []struct {
		name string
		c    hawkbit.Config
	}{
		{"tenant", hawkbit.Config{Accounts: cloudsim.Accounts{Product: "A B"}}},
		{"name", hawkbit.Config{Accounts: devices("a/b", "s3cr3t")}},
		{"dots", hawkbit.Config{Accounts: devices("..", "s3cr3t")}},
		{"long name", hawkbit.Config{Accounts: devices(strings.Repeat("x", 201), "s3cr3t")}},
		{"no name", hawkbit.Config{Accounts: devices("", "s3cr3t")}},
		{"blank in a token", hawkbit.Config{Accounts: devices("gw-1", "s3cr3t\n")}},
		{"long token", hawkbit.Config{Accounts: devices("gw-1", strings.Repeat("s3cr3t", 30))}},
		{"gateway token", hawkbit.Config{GatewayToken: "s3cr3t s3cr3t"}},
		{"poll too often", hawkbit.Config{Poll: time.Millisecond}},
		{"poll too seldom", hawkbit.Config{Poll: 25 * time.Hour}},
		{"part of a second", hawkbit.Config{Poll: 1500 * time.Millisecond}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := hawkbit.New(tt.c)
			if !errors.Is(err, cloudsim.ErrConfig) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("error = %v, want ErrConfig without the secret", err)
			}
		})
	}
}

func TestNobodyIsLetIntoTheBroker(t *testing.T) {
	cloud, err := hawkbit.New(hawkbit.Config{Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := cloud.Admit(cloudsim.Caller{Client: "gw-1", User: "gw-1", Password: []byte("s3cr3t-1")}); !errors.Is(err, cloudsim.ErrRefused) {
		t.Errorf("Admit = %v, want ErrRefused", err)
	}
	if p := cloud.Permit("gw-1", "#", false); p != cloudsim.Refused {
		t.Errorf("Permit = %v, want Refused", p)
	}
}
