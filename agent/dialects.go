package agent

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/haas"
	"github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/control/tencent"
)

// dialect is what the agent knows of one cloud's language.
type dialect struct {
	// settings are the words that an agent file may have; "device" comes besides,
	// from the id of the plane.
	settings []string
	// files are the settings that name a file whose text is meant.
	files []string
	// inputs are those that a command may bring; of some clouds they follow from
	// the settings, which brings reads.
	inputs []string
	brings func(words map[string]string) []string
	// make makes the machine from the words and from what the last one saved.
	make func(words map[string]string, saved []byte) (control.Dialect, error)
	// config is what errors of make and login wrap. Behind it they begin with the
	// setting that is wrong.
	config error

	// login makes what the next connection says, where the cloud wants another one
	// each time. key is the device's key, nil where it has a certificate. Without
	// a login the id of the plane is the client id.
	login func(words map[string]string, at *url.URL, key []byte, now time.Time) (account, error)
	// certificate says that login does without a key.
	certificate bool
	// anyKey has the form of a key, so that an agent file can be checked without reading one.
	anyKey string
	// url gives the broker's if the agent file names none, "" if it must; place is
	// the setting that it needs.
	url   func(words map[string]string, key bool) string
	place string
	// alpn gives the protocol name that a broker wants, "" for none.
	alpn func(at *url.URL) string

	// token makes the header Authorization of a cloud that is asked by HTTP, nil
	// for one with a broker. ours says whether an address may get it. The url of
	// such a plane is a setting too.
	token func(scheme string, token []byte) (string, error)
	ours  func(words map[string]string, address string) bool
	// download is the setting that is true if something answers commands which
	// only want something downloaded, "" if the cloud has none of them.
	download string
	// plain says that the setting plain lets the dialect ask for documents by http too.
	plain bool

	// version is the word for what the device runs, "" if there is none. It
	// comes from the device's fact of the name version, unless the agent file
	// sets a version; where the fact cannot be read, unknown stands for it if not "".
	version, unknown string
}

// versionFact is the name of the fact that says what the device runs.
const versionFact = "version"

var dialects = map[string]dialect{
	"adu": {
		settings:    []string{"contract", "hub", "life", "manufacturer", "model", "plain", "properties", "rootKeys", "test", "version"},
		files:       []string{"rootKeys"},
		inputs:      adu.Inputs(),
		config:      adu.ErrConfig,
		certificate: true,
		anyKey:      "YW55",
		login:       azureLogin(adu.ModelID),
		url:         azureURL,
		place:       "hub",
		plain:       true,
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := adu.Settings(without(words, "hub", "life", "plain"))
			if plain, set := words["plain"]; set && plain != "true" && plain != "false" {
				err = errors.Join(err, fmt.Errorf("%w: plain %.40q: want true or false", adu.ErrConfig, plain))
			}
			if err != nil {
				return nil, err
			}
			return adu.New(c, saved)
		},
	},
	"aliyunota": {
		settings: []string{"ask", "progress", "region", "version"},
		inputs:   aliyunota.Inputs(),
		config:   aliyunota.ErrConfig,
		version:  "running",
		anyKey:   "any",
		login:    aliyunLogin,
		url:      aliyunURL,
		place:    "region",
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := aliyunota.Settings(without(words, "region"))
			if err != nil {
				return nil, err
			}
			return aliyunota.New(c, saved)
		},
	},
	"awsiot": {
		settings: []string{"delivery", "format", "progress", "quiet", "shadow", "topic"},
		inputs:   []string{"sha256", "size", "url", "version"},
		config:   awsiot.ErrConfig,
		alpn:     amazonALPN,
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := awsiot.Settings(words)
			if err != nil {
				return nil, err
			}
			return awsiot.New(c, saved)
		},
	},
	"awsjobs": {
		settings: []string{"progress", "start", "stepTimeout"},
		inputs:   []string{"args", "md5", "operation", "path", "sha256", "size", "url", "version"},
		config:   awsjobs.ErrConfig,
		alpn:     amazonALPN,
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := awsjobs.Settings(words)
			if err != nil {
				return nil, err
			}
			return awsjobs.New(c, saved)
		},
	},
	"azurehub": {
		settings:    []string{"hub", "life", "plain", "progress", "sample", "scheme", "shape", "steps", "version"},
		inputs:      []string{"check", "md5", "sha256", "url", "version"},
		config:      azurehub.ErrConfig,
		version:     "version",
		certificate: true,
		anyKey:      "YW55",
		login:       azureLogin(""),
		url:         azureURL,
		place:       "hub",
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := azurehub.Settings(without(words, "hub", "life"))
			if err != nil {
				return nil, err
			}
			return azurehub.New(c, saved)
		},
	},
	"haas": {
		settings: []string{"app", "build", "firmware", "ip", "mac", "region", "scenario", "vendor", "version"},
		inputs:   haas.Inputs(),
		config:   haas.ErrConfig,
		version:  "running",
		anyKey:   "any",
		login:    aliyunLogin,
		url:      aliyunURL,
		place:    "region",
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := haas.Settings(without(words, "region"))
			if err != nil {
				return nil, err
			}
			return haas.New(c, saved)
		},
	},
	"hawkbit": {
		settings: []string{"attributes", "confirm", "files", "progress", "soft", "tenant"},
		config:   hawkbit.ErrConfig,
		download: "downloads",
		brings: func(words map[string]string) []string {
			c, _ := hawkbit.Settings(words) // what is wrong with it is told where it stands
			return c.Inputs()
		},
		token: func(scheme string, token []byte) (string, error) {
			return hawkbit.Authorization(hawkbit.Scheme(scheme), token)
		},
		ours: func(words map[string]string, address string) bool {
			c, err := hawkbit.Settings(words)
			return err == nil && c.Ours(address)
		},
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := hawkbit.Settings(words)
			if err != nil {
				return nil, err
			}
			return hawkbit.New(c, saved)
		},
	},
	"tencent": {
		settings:    []string{"app", "lifetime", "method", "product", "progress", "version"},
		inputs:      []string{"md5", "size", "url", "version"},
		config:      tencent.ErrConfig,
		version:     "version",
		unknown:     "unknown",
		certificate: true,
		anyKey:      "YW55",
		login:       tencentLogin,
		url:         tencentURL,
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := tencent.Settings(words)
			if err != nil {
				return nil, err
			}
			return tencent.New(c, saved)
		},
	},
}

// amazonALPN is what the cloud wants at the port that it shares with HTTPS.
func amazonALPN(at *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(at.Hostname()), ".cn")
	if at.Port() == "443" && strings.HasSuffix(host, ".amazonaws.com") {
		return awsjobs.ALPN
	}
	return ""
}

// without gives the words but for some.
func without(words map[string]string, some ...string) map[string]string {
	words = maps.Clone(words)
	for _, key := range some {
		delete(words, key)
	}
	return words
}

// account is what a dialect's login comes to.
type account struct {
	id, user, password string
	renew              time.Time
}

func tencentLogin(words map[string]string, _ *url.URL, key []byte, now time.Time) (a account, err error) {
	c, err := tencent.Settings(words)
	if err != nil {
		return a, err
	}
	a.id, a.user, a.password, a.renew, err = tencent.Connection(c, key, now)
	return a, err
}

func tencentURL(words map[string]string, key bool) string {
	host := tencent.Config{Product: words["product"]}.Host()
	if key {
		return "tls://" + host + ":1883"
	}
	return "tls://" + host + ":8883"
}

// azureLogin makes the logins of devices with a Plug and Play model, or "".
func azureLogin(model string) func(map[string]string, *url.URL, []byte, time.Time) (account, error) {
	return func(words map[string]string, at *url.URL, key []byte, now time.Time) (account, error) {
		i := azurehub.Identity{Host: cmp.Or(words["hub"], at.Hostname()), Model: model}
		i.Device, i.Module, _ = strings.Cut(words["device"], "/")
		if life := words["life"]; life != "" {
			var err error
			if i.Life, err = time.ParseDuration(life); err != nil {
				return account{}, fmt.Errorf("%w: life %.40q: %w", azurehub.ErrConfig, life, err)
			}
		}
		l, err := i.Login(string(key), now)
		return account{l.ClientID, l.User, l.Password, l.Renew}, err
	}
}

func azureURL(words map[string]string, _ bool) string {
	if words["hub"] == "" {
		return ""
	}
	return "tls://" + words["hub"] + ":8883"
}

func aliyunLogin(words map[string]string, at *url.URL, key []byte, _ time.Time) (account, error) {
	d, err := aliyun.ParseDevice(words["device"])
	if err != nil {
		return account{}, err
	}
	if region := words["region"]; strings.Trim(strings.ToLower(region), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return account{}, fmt.Errorf("%w: region %.40q: want letters, digits and -, such as cn-shanghai", aliyun.ErrConfig, region)
	}
	c, err := aliyun.Login(d, aliyun.Settings{Plain: at.Scheme == "tcp" || at.Scheme == "mqtt"}, string(key))
	return account{id: c.ClientID, user: c.User, password: c.Password}, err
}

func aliyunURL(words map[string]string, _ bool) string {
	if words["region"] == "" {
		return ""
	}
	d, _ := aliyun.ParseDevice(words["device"]) // what is wrong with it is told at the id
	return "tls://" + d.Host(words["region"]) + ":1883"
}

// trial makes a login without reading a secret.
func (d dialect) trial(words map[string]string, broker string, key bool) (account, error) {
	at, err := url.Parse(broker)
	if err != nil { // because of a setting that is wrong
		at = new(url.URL)
	}
	secret := []byte(d.anyKey)
	if d.certificate && !key {
		secret = nil
	}
	return d.login(words, at, secret, time.Unix(0, 0))
}

// client gives the client id of a plane, or what stands for it.
func (d dialect) client(p Plane) string {
	if d.login != nil {
		if a, err := d.trial(p.words, p.broker.URL, p.key.Set()); err == nil {
			return a.id
		}
	}
	if tenant := p.words["tenant"]; tenant != "" {
		return p.words["device"] + " of " + tenant
	}
	return p.words["device"]
}

// signIn gives the maker of logins for a plane, nil if it needs none.
func (d dialect) signIn(words map[string]string, broker string, key mqtt.Secret) func(time.Time) (mqtt.Login, error) {
	if d.login == nil {
		return nil
	}
	return func(now time.Time) (mqtt.Login, error) {
		at, err := url.Parse(broker)
		if err != nil {
			return mqtt.Login{}, mqtt.ErrConfig // never: it was checked
		}
		var secret []byte
		if key.Set() {
			if secret, err = key.Reveal(); err != nil {
				return mqtt.Login{}, err
			}
			secret = bytes.TrimRight(secret, "\r\n") // as editors end files
		}
		a, err := d.login(words, at, secret, now)
		l := mqtt.Login{ID: a.id, User: a.user, Renew: a.renew}
		if a.password != "" {
			l.Password = mqtt.SecretFrom("login with the "+key.String(), func() ([]byte, error) { return []byte(a.password), nil })
		}
		return l, err
	}
}
