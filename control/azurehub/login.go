package azurehub

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Identity says who connects to which hub.
type Identity struct {
	// Host is the hub's name, such as contoso.azure-devices.net.
	Host string `yaml:"host"`
	// Device is the device's id, and Module that of a module of it, or "".
	Device string `yaml:"device"`
	Module string `yaml:"module"`
	// Model is the Plug and Play model, such as dtmi:azure:iot:deviceUpdateModel;3, or "".
	Model string `yaml:"model"`
	// Client names the software, for the hub's statistics, or "".
	Client string `yaml:"client"`
	// Life is how long a token is good. The default is one hour.
	Life time.Duration `yaml:"life"`
}

// Login is what one CONNECT says. It holds a secret: do not print it.
type Login struct {
	ClientID string
	User     string
	Password string // a SAS token, or "" where a client certificate speaks for the device
	// Renew is when to connect anew with another token, well before this one
	// expires, when the hub would drop the connection. It is zero without a token.
	Renew time.Time
}

// version of the hub's protocol, which the user name holds.
const apiVersion = "2021-04-12"

// Login makes what the next CONNECT says. key is the device's key as the hub shows it,
// in base64; an empty one stands for a client certificate. It is to be called
// for each connection, with a clock that is right: the hub refuses a token that has
// expired by its own. Errors wrap [ErrConfig] and hold no part of the key.
func (i Identity) Login(key string, now time.Time) (Login, error) {
	if err := i.check(); err != nil {
		return Login{}, err
	}
	l := Login{ClientID: i.Device}
	resource := i.Host + "/devices/" + i.Device
	if i.Module != "" {
		l.ClientID += "/" + i.Module
		resource += "/modules/" + i.Module
	}
	l.User = i.Host + "/" + l.ClientID + "/?api-version=" + apiVersion
	if i.Model != "" {
		l.User += "&model-id=" + i.Model
	}
	if i.Client != "" {
		l.User += "&DeviceClientType=" + escape(i.Client)
	}
	if key == "" {
		return l, nil
	}
	life := i.Life
	if life == 0 {
		life = time.Hour
	}
	var err error
	l.Password, err = Token(resource, key, now.Add(life))
	l.Renew = now.Add(life - life/5).Truncate(time.Second)
	return l, err
}

// Token makes a SAS token for a resource, such as
// contoso.azure-devices.net/devices/gw-1, that is good until expiry. Errors
// wrap [ErrConfig] and hold no part of the key.
func Token(resource, key string, expiry time.Time) (string, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	if err != nil || len(secret) == 0 {
		return "", fmt.Errorf("%w: the device's key is not base64", ErrConfig)
	}
	// The signature is over the name just as it stands in the token.
	sr, se := escape(resource), strconv.FormatInt(expiry.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(sr + "\n" + se))
	sig := escape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return "SharedAccessSignature sr=" + sr + "&sig=" + sig + "&se=" + se, nil
}

// escape leaves only what is reserved nowhere.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func (i Identity) check() error {
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if !isWord(i.Host, 253, ".-") {
		add("host %.140q: want the hub's name, such as contoso.azure-devices.net", i.Host)
	}
	if err := checkID(i.Device); err != nil {
		add("device %.140q: %w", i.Device, err)
	}
	if i.Module != "" {
		if err := checkID(i.Module); err != nil {
			add("module %.140q: %w", i.Module, err)
		}
	}
	if i.Model != "" && (!isWord(i.Model, 128, ":;_") || !strings.HasPrefix(i.Model, "dtmi:")) {
		add("model %.140q: want dtmi:…;VERSION", i.Model)
	}
	if !isLine(i.Client, 256) {
		add("client %.140q: want at most 256 bytes without control characters", i.Client)
	}
	if i.Life != 0 && (i.Life < time.Minute || i.Life > 366*24*time.Hour) {
		add("life %v: want 1m to 366 days", i.Life)
	}
	return errors.Join(wrong...)
}

// isWord says whether text has 1 to limit letters, digits and characters of extra.
func isWord(text string, limit int, extra string) bool {
	return text != "" && len(text) <= limit && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(extra, r)
	})
}
