package planes

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	alisim "github.com/updraft-ota/updraft/control/cloudsim/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
	hawkbitsim "github.com/updraft-ota/updraft/control/cloudsim/hawkbit"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	tencentsim "github.com/updraft-ota/updraft/control/cloudsim/tencent"
	"github.com/updraft-ota/updraft/control/haas"
	"github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/control/tencent"
)

// TestMain fails if a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	hostName = "contoso.azure-devices.net"
	product  = "a1B2c3"
	app      = "8800100099990000"
)

// plane is a cloud with its dialect.
type plane struct {
	name string
	// cloud is a new simulator's half for some devices.
	cloud func(accounts cloudsim.Accounts, poll time.Duration) (cloudsim.Cloud, error)
	// secret is what a device and its cloud know, "" if names are enough.
	secret func(device string) string
	// dialect is a device's, with what it saved.
	dialect func(device string, at cloudsim.Endpoints, save []byte) (control.Dialect, error)
	// login is how a device comes in at a broker; nil for a plane that polls.
	login func(device string, now time.Time) (mqtt.Login, error)
	// set are the members of orders, file and version what is pushed.
	set           map[string]any
	file, version string
	// known says whether the cloud knows by a record what it has to know of a
	// device before a push. Nil for one to which a connection is enough.
	known func(doc string) bool
}

// planes are all of them.
func planes() []plane {
	reported := func(text string) func(string) bool {
		return func(doc string) bool { return strings.Contains(doc, text) }
	}
	return []plane{
		{name: "azurehub-twin", cloud: newHub, secret: key, set: map[string]any{"shape": "twin"}, login: hubLogin(""),
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return azurehub.New(azurehub.Config{Device: device, Shape: azurehub.Firmware, Plain: true}, save)
			}},
		{name: "azurehub-method", cloud: newHub, secret: key, login: hubLogin(""),
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return azurehub.New(azurehub.Config{Device: device}, save)
			}},
		{name: "adu", cloud: newUpdate, secret: key, login: hubLogin(adu.ModelID), known: reported("deviceProperties"),
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				trusted, err := roots()
				if err != nil {
					return nil, err
				}
				return adu.New(adu.Config{Device: device, Manufacturer: "contoso", Model: "vacuum", RootKeys: trusted, Test: true}, save)
			}},
		{name: "tencent", cloud: newTencent, secret: key, login: tencentLogin, known: reported(`"0.1"`),
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return tencent.New(tencent.Config{Product: product, Device: device, Version: "0.1"}, save)
			}},
		{name: "awsiot", cloud: newAWS, login: plainLogin,
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return awsiot.New(awsiot.Config{Device: device}, save)
			}},
		{name: "awsjobs", cloud: newAWS, set: map[string]any{"via": "jobs"}, login: plainLogin,
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return awsjobs.New(awsjobs.Config{Device: device}, save)
			}},
		{name: "haas", cloud: newApps, secret: key, set: map[string]any{"appId": app}, login: aliLogin,
			file: "py9000-" + app + "-2.0.0.tar.gz", version: "2.0.0",
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return haas.New(haas.Config{Device: aliyun.Device{ProductKey: product, Name: device}, App: app}, save)
			}},
		{name: "aliyunota", cloud: newOTA, secret: key, login: aliLogin, known: reported(`"1.0.0"`),
			dialect: func(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return aliyunota.New(aliyunota.Config{Device: aliyun.Device{ProductKey: product, Name: device}, Versions: map[string]string{"default": "1.0.0"}, Ask: true}, save)
			}},
		{name: "hawkbit", cloud: newHawkbit, secret: key,
			dialect: func(device string, at cloudsim.Endpoints, save []byte) (control.Dialect, error) {
				return hawkbit.New(hawkbit.Config{URL: at.Face, Device: device}, save)
			}},
	}
}

func newHub(a cloudsim.Accounts, _ time.Duration) (cloudsim.Cloud, error) {
	return hub.New(hub.Config{Accounts: a})
}

func newUpdate(a cloudsim.Accounts, _ time.Duration) (cloudsim.Cloud, error) {
	s, err := signer()
	if err != nil {
		return nil, err
	}
	return hub.New(hub.Config{Accounts: a, Update: true, Signer: s, RootKeys: manifest.Package{Test: true}})
}

func newTencent(a cloudsim.Accounts, _ time.Duration) (cloudsim.Cloud, error) {
	return tencentsim.New(tencentsim.Config{Accounts: a})
}

func newAWS(cloudsim.Accounts, time.Duration) (cloudsim.Cloud, error) { return aws.New(aws.Config{}) }

func newApps(a cloudsim.Accounts, _ time.Duration) (cloudsim.Cloud, error) {
	return alisim.NewHaaS(alisim.Config{Accounts: a})
}

func newOTA(a cloudsim.Accounts, _ time.Duration) (cloudsim.Cloud, error) {
	return alisim.NewOTA(alisim.Config{Accounts: a})
}

func newHawkbit(a cloudsim.Accounts, poll time.Duration) (cloudsim.Cloud, error) {
	a.Product = "" // the tenant
	return hawkbitsim.New(hawkbitsim.Config{Accounts: a, Poll: poll})
}

// key is a device's in the form that all these clouds take.
func key(device string) string {
	return base64.StdEncoding.EncodeToString([]byte("the key of " + device))
}

func plainLogin(device string, _ time.Time) (mqtt.Login, error) { return mqtt.Login{ID: device}, nil }

func hubLogin(model string) func(string, time.Time) (mqtt.Login, error) {
	return func(device string, now time.Time) (mqtt.Login, error) {
		l, err := azurehub.Identity{Host: hostName, Device: device, Model: model}.Login(key(device), now)
		return mqtt.Login{ID: l.ClientID, User: l.User, Password: text(l.Password), Renew: l.Renew}, err
	}
}

func tencentLogin(device string, now time.Time) (mqtt.Login, error) {
	id, user, password, renew, err := tencent.Connection(tencent.Config{Product: product, Device: device, Version: "0.1"}, []byte(key(device)), now)
	return mqtt.Login{ID: id, User: user, Password: text(password), Renew: renew}, err
}

func aliLogin(device string, _ time.Time) (mqtt.Login, error) {
	c, err := aliyun.Login(aliyun.Device{ProductKey: product, Name: device}, aliyun.Settings{Plain: true}, key(device))
	return mqtt.Login{ID: c.ClientID, User: c.User, Password: text(c.Password)}, err
}

func text(password string) mqtt.Secret {
	return mqtt.SecretFrom("test", func() ([]byte, error) { return []byte(password), nil })
}

// accounts are those of the devices.
func (p plane) accounts(devices []string) cloudsim.Accounts {
	a := cloudsim.Accounts{Host: hostName, Product: product, Devices: map[string]string{}}
	for _, d := range devices {
		a.Devices[d] = ""
		if p.secret != nil {
			a.Devices[d] = p.secret(d)
		}
	}
	return a
}

// signer has the keys that the dialect's tests have: to make such keys takes seconds.
var signer = sync.OnceValues(func() (manifest.Signer, error) {
	raw, err := os.ReadFile("../../control/adu/testdata/keys.pem")
	if err != nil {
		return manifest.Signer{}, err
	}
	var keys []*rsa.PrivateKey
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return manifest.Signer{}, err
		}
		keys = append(keys, key)
	}
	return manifest.Signer{RootKid: "TEST.R", Root: keys[0], Kid: "TEST.S", Key: keys[1]}, nil
})

// roots is the root key package that the devices trust.
var roots = sync.OnceValues(func() (string, error) {
	s, err := signer()
	if err != nil {
		return "", err
	}
	trusted, err := s.RootKeys(manifest.Package{Version: 1, Test: true})
	return string(trusted), err
})
