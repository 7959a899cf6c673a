package hub_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
)

// sas makes a token for a device of the hub.
func sas(t *testing.T, path, key string, expiry time.Time) string {
	t.Helper()
	token, err := azurehub.Token(hostName+path, key, expiry)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// swap gives the fields of a token in another order.
func swap(token string) string {
	f := strings.Split(strings.TrimPrefix(token, "SharedAccessSignature "), "&")
	return "SharedAccessSignature " + f[2] + "&" + f[0] + "&" + f[1]
}

func certificate(t *testing.T, name string, now time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAdmit(t *testing.T) {
	now := time.Unix(1700000000, 0)
	later := now.Add(time.Hour)
	a := accounts("gw-1", "gw-2", "gw-1/m-1")
	a.Devices["cert-1"] = ""
	cloud := newHub(t, hub.Config{Accounts: a, Policies: map[string]string{"iothubowner": keyOf("owner"), "service": keyOf("service"), "device": keyOf("policy")}})
	start(t, cloudsim.Config{Now: func() time.Time { return now }}, cloud)
	const user = hostName + "/gw-1/?api-version=2021-04-12"
	good := sas(t, "/devices/gw-1", keyOf("gw-1"), later)
	bare := func(token string) string { // as encoders do that leave a slash, or write %2f
		return strings.Replace(token, "%2F", "/", 2)
	}
	cert := certificate(t, "cert-1", now)
	for _, tt := range []struct {
		name, client, user, password string
		certificate                  *x509.Certificate
		want                         string // in the error, "" for none
	}{
		{"the SDK's form", "gw-1", user, good, nil, ""},
		{"with a model and a client type", "gw-1", user + "&model-id=dtmi:azure:iot:deviceUpdateModel;3&DeviceClientType=azure-iot-device%2F1.18.4", good, nil, ""},
		{"with an encoded model", "gw-1", user + "&model-id=dtmi%3Aazure%3Aiot%3AdeviceUpdateModel%3B3", good, nil, ""},
		{"the old form", "gw-1", hostName + "/gw-1/api-version=2016-11-14", good, nil, ""},
		{"the old form with a client type", "gw-1", hostName + "/gw-1/api-version=2016-11-14/DeviceClientType=iothubclient%2F1.0", good, nil, ""},
		{"another letter case of the hub", "gw-1", "CONTOSO" + user[7:], good, nil, ""},
		{"other order of the fields", "gw-1", user, swap(good), nil, ""},
		{"an empty policy", "gw-1", user, good + "&skn=", nil, ""},
		{"a module", "gw-1/m-1", hostName + "/gw-1/m-1/?api-version=2021-04-12", sas(t, "/devices/gw-1/modules/m-1", keyOf("gw-1/m-1"), later), nil, ""},
		{"the policy device", "gw-1", user, sas(t, "", keyOf("policy"), later) + "&skn=device", nil, ""},
		{"the policy iothubowner", "gw-1", user, sas(t, "/devices/gw-1", keyOf("owner"), later) + "&skn=iothubowner", nil, ""},
		{"a certificate", "cert-1", hostName + "/cert-1/?api-version=2021-04-12", "", cert, ""},

		{"an unknown device", "gw-9", hostName + "/gw-9/?api-version=2021-04-12", good, nil, "no device"},
		{"another hub", "gw-1", "fabrikam.example/gw-1/?api-version=2021-04-12", good, nil, "for the hub"},
		{"another client in the user name", "gw-1", hostName + "/gw-2/?api-version=2021-04-12", good, nil, "does not name the client"},
		{"a module in the user name alone", "gw-1", hostName + "/gw-1/m-1/?api-version=2021-04-12", good, nil, "api-version"},
		{"no version", "gw-1", hostName + "/gw-1/", good, nil, "api-version"},
		{"no user name", "gw-1", "", good, nil, "for the hub"},
		{"a model that is none", "gw-1", user + "&model-id=vacuum", good, nil, "model-id"},
		{"a bad encoding", "gw-1", user + "&DeviceClientType=%zz", good, nil, "percent-encoding"},
		{"expired", "gw-1", user, sas(t, "/devices/gw-1", keyOf("gw-1"), now), nil, "expired"},
		{"another key", "gw-1", user, sas(t, "/devices/gw-1", keyOf("gw-2"), later), nil, "signature"},
		{"another device's token", "gw-1", user, sas(t, "/devices/gw-2", keyOf("gw-2"), later), nil, "expected"},
		{"a resource above the device", "gw-1", user, sas(t, "/devices", keyOf("gw-1"), later), nil, "expected"},
		{"a longer life than was signed", "gw-1", user, strings.Replace(good, "se=1700003600", "se=1800003600", 1), nil, "signature"},
		{"another encoding than was signed", "gw-1", user, bare(good), nil, "signature"},
		{"a field twice", "gw-1", user, good + "&se=1800003600", nil, "twice"},
		{"no signature", "gw-1", user, "SharedAccessSignature sr=a&se=1", nil, "no sig"},
		{"an empty signature", "gw-1", user, "SharedAccessSignature sr=a&se=1&sig=", nil, "no sig"},
		{"a signature that is no base64", "gw-1", user, "SharedAccessSignature sr=a&se=1&sig=!", nil, "base64"},
		{"a time that is none", "gw-1", user, "SharedAccessSignature sr=a&se=soon&sig=YQ%3D%3D", nil, "no time"},
		{"a negative time", "gw-1", user, "SharedAccessSignature sr=a&se=-1&sig=YQ%3D%3D", nil, "no time"},
		{"no token at all", "gw-1", user, "", nil, "needs a SAS token"},
		{"a password of another kind", "gw-1", user, "hunter2", nil, "no SAS token"},
		{"a certificate in place of a token", "gw-1", user, "", cert, "needs a SAS token"},
		{"the policy service", "gw-1", user, sas(t, "", keyOf("service"), later) + "&skn=service", nil, "may not"},
		{"a policy that is not there", "gw-1", user, sas(t, "", keyOf("gw-1"), later) + "&skn=gw-1", nil, "not there"},
		{"a policy with another key", "gw-1", user, sas(t, "", keyOf("gw-1"), later) + "&skn=device", nil, "signature"},
		{"another name in the certificate", "cert-1", hostName + "/cert-1/?api-version=2021-04-12", "", certificate(t, "cert-2", now), "common name"},
		{"a certificate of another time", "cert-1", hostName + "/cert-1/?api-version=2021-04-12", "", certificate(t, "cert-1", now.Add(-9*time.Hour)), "not valid"},
		{"no certificate", "cert-1", hostName + "/cert-1/?api-version=2021-04-12", "", nil, "needs a certificate"},
		{"a token where a certificate is wanted", "cert-1", hostName + "/cert-1/?api-version=2021-04-12", sas(t, "/devices/cert-1", keyOf("cert-1"), later), cert, "no key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			device, until, err := cloud.Admit(cloudsim.Caller{Client: tt.client, User: tt.user, Password: []byte(tt.password), Certificate: tt.certificate})
			switch {
			case tt.want == "":
				if err != nil || device != tt.client || (tt.password != "") != until.Equal(later) {
					t.Errorf("Admit = %q, %v, %v; want the device until its token ends", device, until, err)
				}
			case !errors.Is(err, cloudsim.ErrRefused) || !strings.Contains(err.Error(), tt.want):
				t.Errorf("Admit = %v, want refused: %s", err, tt.want)
			case tt.password != "" && strings.Contains(err.Error(), tt.password), strings.Contains(err.Error(), keyOf("gw-1")):
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// A token over a resource name that was encoded in another way is good, since
// the bytes that came are what was signed.
func TestTokensAreCheckedAsTheyCame(t *testing.T) {
	raw, err := os.ReadFile("../../azurehub/testdata/examples/azure-sas.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Host, DeviceID, Key, Token string
		SE                         int64
	}
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	v := vectors[0]
	now := time.Unix(v.SE-1, 0)
	cloud := newHub(t, hub.Config{Accounts: cloudsim.Accounts{Host: v.Host, Devices: map[string]string{v.DeviceID: v.Key}}})
	start(t, cloudsim.Config{Now: func() time.Time { return now }}, cloud)
	admit := func(token string) error {
		_, _, err := cloud.Admit(cloudsim.Caller{Client: v.DeviceID, User: v.Host + "/" + v.DeviceID + "/?api-version=2021-04-12", Password: []byte(token)})
		return err
	}
	if err := admit(v.Token); err != nil {
		t.Errorf("the SDK's token: %v", err)
	}
	for _, sr := range []string{v.Host + "/devices/" + v.DeviceID, v.Host + "%2fdevices%2f" + v.DeviceID, strings.ToUpper(v.Host[:1]) + v.Host[1:] + "%2Fdevices/" + v.DeviceID} {
		if err := admit(signed(t, sr, v.Key, v.SE)); err != nil {
			t.Errorf("sr=%s: %v", sr, err)
		}
	}
	for i := range v.Token { // no byte may change
		changed := []byte(v.Token)
		changed[i] ^= 1
		if admit(string(changed)) == nil {
			t.Errorf("the token is taken with byte %d changed", i)
		}
	}
	now = now.Add(time.Second)
	if err := admit(v.Token); err == nil {
		t.Error("the token is taken at the second of its end")
	}
}

// signed makes a token over sr as it stands.
func signed(t *testing.T, sr, key string, se int64) string {
	t.Helper()
	mac := hmacOf(t, key, sr, se)
	return "SharedAccessSignature sr=" + sr + "&sig=" + url.QueryEscape(mac) + "&se=" + seconds(se)
}

func TestNewNamesAllThatIsWrong(t *testing.T) {
	secret := "c2VjcmV0" // base64
	_, err := hub.New(hub.Config{Accounts: cloudsim.Accounts{Host: "a b", Devices: map[string]string{"gw 1": secret, "gw-2": "no base64: hunter2"}},
		Policies: map[string]string{"admin": secret, "service": ""}, Update: true})
	if !errors.Is(err, cloudsim.ErrConfig) {
		t.Fatalf("New = %v, want %v", err, cloudsim.ErrConfig)
	}
	for _, want := range []string{`host "a b"`, `device "gw 1"`, `device "gw-2": the key is not base64`, `policy "admin"`, `policy "service": it has no key`, "needs a signer"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %s in it", err, want)
		}
	}
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("New = %v, with a key in it", err)
	}
}
