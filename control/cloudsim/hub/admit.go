package hub

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The shared access policies that a hub has from the start.
const (
	policyOwner   = "iothubowner"
	policyService = "service"
	policyDevice  = "device"
)

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{cloudsim.ErrRefused}, args...)...)
}

// Admit checks the client id, the user name, and the token or certificate.
func (h *Cloud) Admit(who cloudsim.Caller) (string, time.Time, error) {
	device := who.Client
	key, known := h.keys[device]
	if !known {
		return "", time.Time{}, refused("the hub has no device %.140q", device)
	}
	model, err := readUser(who.User, h.c.Accounts.Host, device)
	if err != nil {
		return "", time.Time{}, err
	}
	until, err := h.prove(who, key)
	if err != nil {
		return "", time.Time{}, err
	}
	h.mu.Lock()
	h.fresh[device] = true
	h.mu.Unlock()
	return device, until, h.remember(device, model)
}

// remember keeps the Plug and Play model that a device names.
func (h *Cloud) remember(device, model string) error {
	t, err := h.look(device)
	if err != nil || t.Model == model || model == "" {
		return err
	}
	return h.change(device, func(_ *cloudsim.Record, t *twin) error {
		t.Model = model
		return nil
	})
}

var apiVersion = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$`)

// readUser holds a user name to its form and gives the model-id in it:
// HOST/CLIENT/?api-version=…&model-id=…&DeviceClientType=…, or the old form without the question mark.
func readUser(user, host, client string) (model string, err error) {
	name, rest, _ := strings.Cut(user, "/")
	if !strings.EqualFold(name, host) {
		return "", refused("the user name is for the hub %.140q, this is %q", name, host)
	}
	rest, ok := strings.CutPrefix(rest, client+"/")
	if !ok {
		return "", refused("the user name does not name the client %.140q after the hub", client)
	}
	version := ""
	for pair := range strings.SplitSeq(strings.TrimPrefix(rest, "?"), "&") {
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			return "", refused("the user name has %.40q with a bad percent-encoding", key)
		}
		switch key {
		case "api-version":
			version, _, _ = strings.Cut(value, "/") // an old form has another property behind it
		case "model-id":
			model = value
		}
	}
	switch {
	case !apiVersion.MatchString(version):
		return "", refused("the user name has no api-version of the form 2021-04-12")
	case model != "" && (!strings.HasPrefix(model, "dtmi:") || len(model) > 128):
		return "", refused("model-id %.140q, expected dtmi:…;VERSION", model)
	}
	return model, nil
}

// prove says who a device is by its token, until that expires, or by its certificate.
func (h *Cloud) prove(who cloudsim.Caller, key []byte) (time.Time, error) {
	device, _, _ := strings.Cut(who.Client, "/")
	switch {
	case len(who.Password) > 0:
	case key != nil:
		return time.Time{}, refused("device %q has a key and needs a SAS token as password", who.Client)
	case who.Certificate == nil:
		return time.Time{}, refused("device %q needs a certificate, and shows none", who.Client)
	case who.Certificate.Subject.CommonName != device:
		return time.Time{}, refused("the certificate is of %.140q, expected the common name %q", who.Certificate.Subject.CommonName, device)
	case h.sim.Now().Before(who.Certificate.NotBefore) || h.sim.Now().After(who.Certificate.NotAfter):
		return time.Time{}, refused("the certificate is not valid now")
	default:
		return time.Time{}, nil
	}
	t, err := readToken(string(who.Password))
	if err != nil {
		return time.Time{}, err
	}
	resource := h.c.Accounts.Host + "/devices/" + strings.Replace(who.Client, "/", "/modules/", 1)
	if t.policy != "" {
		return t.expiry, h.checkPolicy(t, resource, policyDevice)
	}
	switch {
	case key == nil:
		return time.Time{}, refused("device %q has no key: it needs a certificate and no password", who.Client)
	case !covers(t.resource, resource, false):
		return time.Time{}, refused("the token is for %.300q, expected %q", t.resource, resource)
	}
	return t.expiry, t.check(key, h.sim.Now())
}

// checkPolicy takes the token of a policy that may do what a role may.
func (h *Cloud) checkPolicy(t token, resource, role string) error {
	key := h.policies[t.policy]
	switch {
	case !slices.Contains([]string{policyOwner, role}, t.policy) || key == nil:
		return refused("the policy %.40q is not there, or may not do this", t.policy)
	case !covers(t.resource, resource, true):
		return refused("the token is for %.300q, expected %q or what is above it", t.resource, resource)
	}
	return t.check(key, h.sim.Now())
}

// token is a SAS token.
type token struct {
	signed   string // the text under the signature, as it came
	resource string // sr, decoded
	expiry   time.Time
	policy   string // skn
	sig      []byte
}

// readToken takes the fields in any order.
func readToken(text string) (token, error) {
	text, ok := strings.CutPrefix(text, "SharedAccessSignature ")
	if !ok {
		return token{}, refused("the password is no SAS token: it does not begin with SharedAccessSignature")
	}
	fields := map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimSpace(text), "&") {
		key, value, _ := strings.Cut(pair, "=")
		if _, twice := fields[key]; twice {
			return token{}, refused("the token has the field %.10q twice", key)
		}
		fields[key] = value
	}
	for _, name := range []string{"sr", "sig", "se"} {
		if fields[name] == "" {
			return token{}, refused("the token has no %s", name)
		}
	}
	seconds, err := strconv.ParseInt(fields["se"], 10, 64)
	if err != nil || seconds < 0 {
		return token{}, refused("se of the token is no time in seconds")
	}
	// The signature is over sr just as it stands: encoders differ.
	t := token{signed: fields["sr"] + "\n" + fields["se"], expiry: time.Unix(seconds, 0)}
	t.resource, err = url.PathUnescape(fields["sr"])
	if err != nil {
		return token{}, refused("sr of the token has a bad percent-encoding")
	}
	if t.policy, err = url.PathUnescape(fields["skn"]); err != nil {
		return token{}, refused("skn of the token has a bad percent-encoding")
	}
	sig, err := url.PathUnescape(fields["sig"])
	if err == nil {
		t.sig, err = base64.StdEncoding.Strict().DecodeString(sig)
	}
	if err != nil { // which may show a part of it
		return token{}, refused("sig of the token is no base64 in percent-encoding")
	}
	return t, nil
}

// check holds a token to a key and a time.
func (t token) check(key []byte, now time.Time) error {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(t.signed))
	if !hmac.Equal(mac.Sum(nil), t.sig) {
		return refused("the signature of the token does not fit: another key, or another sr or se was signed")
	}
	if !now.Before(t.expiry) {
		return refused("the token expired at %s", t.expiry.UTC().Format(time.RFC3339))
	}
	return nil
}

// covers says whether a token for a resource is good for another: the same, or
// with above one that is below it. The hub's name is no matter of case.
func covers(have, want string, above bool) bool {
	haveHost, havePath, _ := strings.Cut(have, "/")
	wantHost, wantPath, _ := strings.Cut(want, "/")
	if !strings.EqualFold(haveHost, wantHost) {
		return false
	}
	return havePath == wantPath || above && (havePath == "" || strings.HasPrefix(wantPath, havePath+"/"))
}
