// Package hawkbit plays an Eclipse hawkBit server towards devices: the Direct
// Device Integration API, which devices poll over HTTP.
//
// [New] makes the [Cloud] of one tenant, and cloudsim.Start opens it. Devices
// reach it at the face of the simulator, below
// /{tenant}/controller/v1/{device}:
//
//	GET  (the base)                        polling time, and links to what there is to do
//	PUT  configData                        attributes: merge, replace, remove
//	GET  deploymentBase/{action}           what to install; ?actionHistory=N adds its messages
//	POST deploymentBase/{action}/feedback
//	GET  cancelAction/{action}             the action that is to be stopped
//	POST cancelAction/{action}/feedback
//	GET  confirmationBase                  automatic confirmation, and what waits for a confirmation
//	GET  confirmationBase/{action}         may it be installed?
//	POST confirmationBase/{action}/feedback
//	POST confirmationBase/activateAutoConfirm, .../deactivateAutoConfirm
//	GET  installedBase/{action}            what was installed
//	GET  softwaremodules/{module}/artifacts and .../{file}, with Range, and .../{file}.MD5SUM
//
// A device shows "Authorization: TargetToken" with its own secret, or
// "GatewayToken" with [Config.GatewayToken], which speaks for every device and
// makes unknown ones known; or a verified client certificate with its name, if
// its secret is "". Everybody else gets 401 without a word more. Bad input gets
// 400, 404, 405, 406, 413, 415 or 429, with exceptionClass, errorCode and
// message where hawkBit has them. Answers to GET have the ETag that hawkBit
// makes of their bytes, and If-None-Match gets 304.
//
// The verbs are push, replace, cancel and retry. A push while another action
// is active replaces it, as hawkBit does where one action at a time is allowed:
// the device is shown the cancellation of the old one, and the new one once it
// has answered. Cancel asks the device; with force, an action that is already
// being cancelled ends without an answer. Retry assigns the software of an
// ended action anew, with its size and digests as they were told then. The
// identity of an update is hawkBit's number of the action; Job of an order may
// name a number that is still free.
//
// Members of Set for push and replace, all optional:
//
//	type       forced (the default), soft, timeforced or downloadonly
//	forcetime  when a timeforced action is forced: milliseconds since 1970, or a duration from now such as "10m"
//	window     the maintenance window: available, unavailable, or a duration until it opens
//	confirm    true: the device, or its automatic confirmation, has to say yes first
//	part, name of the software module; "os" and "software" if missing
//	metadata   an object of texts, shown with the software module
//
// and for cancel: force. A software module has a version, so a push needs one.
//
// How an action ends: closed with success or none is hawkBit's "finished" and
// counts as succeeded, closed with failure is "error", downloaded is the end
// of an action that is downloadonly, and a cancellation that is answered with
// closed is "canceled". Nothing else ends it: rejected and canceled are noted
// and the action goes on. After its end an action answers feedback with 410,
// whatever it says; the first end stands, a different one is told as a note.
// hawkBit makes an ended action RUNNING again when its cancellation is
// answered a second time as rejected; here it stays as it is.
//
// A record holds at most 32 actions and the last 20 messages of each; an action
// takes 1000 reports that are no end, and 50 messages in one, as hawkBit does.
// Throttled devices get 429 with Retry-After, which hawkBit does not send.
//
// Paths, words, statuses, error codes and quotas are those of hawkBit's public
// documentation and sources as of 2025; the sentences in messages are not.
//
// Not played: the management API, CBOR, several software modules or artifacts
// in one deployment, weights, rollouts, schedules of maintenance windows with
// the shorter polling before them, installedBase set by the device, and limits on
// how often a device may ask. ETags of artifacts are SHA-256 here, and SHA-1 in
// hawkBit. Of the faults, those of files, orders, token and throttled happen to what is
// asked here; the others of the broker cannot.
package hawkbit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Config is what the server knows before anybody asks.
type Config struct {
	// Accounts.Devices are the security tokens of the targets, Accounts.Product
	// is the tenant; "DEFAULT" if empty. Host is not used.
	Accounts cloudsim.Accounts
	// GatewayToken lets a gateway speak for every device; none does if "".
	GatewayToken string
	// Poll is how long devices are told to wait between polls, in whole seconds
	// from 1 s to 24 h. The default is 10 s; hawkBit's own is five minutes.
	Poll time.Duration
}

// Cloud is one tenant of a hawkBit server. It may be used by any goroutine
// once a simulator has opened it.
type Cloud struct {
	tenant  string
	gateway secret
	tokens  map[string]secret // by device
	poll    string            // HH:MM:SS
	sim     *cloudsim.Sim

	mu   sync.Mutex
	last int64 // the newest action
}

var _ cloudsim.Face = (*Cloud)(nil)

// secret is a digest of a token, so that comparing takes the same time whatever
// its length is. The zero value is no token's.
type secret [sha256.Size]byte

func secretOf(token string) secret { return sha256.Sum256([]byte(token)) }

// New checks the settings. Errors wrap [cloudsim.ErrConfig] and hold no secret.
func New(cfg Config) (*Cloud, error) {
	c := &Cloud{tenant: cmp.Or(cfg.Accounts.Product, "DEFAULT"), tokens: map[string]secret{}}
	if err := checkName(c.tenant); err != nil {
		return nil, fmt.Errorf("%w: tenant %.80q: %w", cloudsim.ErrConfig, c.tenant, err)
	}
	if cfg.GatewayToken != "" {
		if err := checkToken(cfg.GatewayToken); err != nil {
			return nil, fmt.Errorf("%w: gateway token: %w", cloudsim.ErrConfig, err)
		}
		c.gateway = secretOf(cfg.GatewayToken)
	}
	for _, device := range slices.Sorted(maps.Keys(cfg.Accounts.Devices)) {
		token := cfg.Accounts.Devices[device]
		err := checkName(device)
		if err == nil && token != "" {
			err = checkToken(token)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: device %.80q: %w", cloudsim.ErrConfig, device, err)
		}
		c.tokens[device] = secret{}
		if token != "" {
			c.tokens[device] = secretOf(token)
		}
	}
	poll := cmp.Or(cfg.Poll, 10*time.Second)
	if poll < time.Second || poll > 24*time.Hour || poll%time.Second != 0 {
		return nil, fmt.Errorf("%w: polling every %s, expected whole seconds from 1s to 24h", cloudsim.ErrConfig, poll)
	}
	s := int(poll / time.Second)
	c.poll = fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	return c, nil
}

// checkToken holds a token to hawkBit's form: it has no blanks and fits its column.
func checkToken(token string) error {
	if len(token) > 128 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("expected a token of 1 to 128 visible ASCII letters")
	}
	return nil
}

// checkName holds the name of a target to what can stand in a path, and in the
// name of its file.
func checkName(name string) error {
	bad := func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(`/\+#?%`, r)
	}
	if name == "" || len(name) > 256 || len(url.QueryEscape(name)) > 200 || strings.Trim(name, ".") == "" ||
		strings.HasPrefix(name, "$") || strings.ContainsFunc(name, bad) {
		return errors.New(`expected a name without blanks and / \ + # ? %, up to 200 bytes when escaped`)
	}
	return nil
}

// Open makes the devices of the accounts known and finds the newest action.
func (c *Cloud) Open(sim *cloudsim.Sim) error {
	c.sim = sim
	for _, device := range slices.Sorted(maps.Keys(c.tokens)) {
		if err := c.register(device); err != nil {
			return err
		}
	}
	for _, device := range sim.Book().Devices() {
		record, _ := sim.Book().Look(device)
		d, err := readTarget(record)
		if err != nil {
			return fmt.Errorf("device %q: %w", device, err)
		}
		for _, a := range d.Actions {
			c.last = max(c.last, a.ID)
		}
	}
	return nil
}

// Admit refuses everybody: hawkBit has no broker for devices.
func (c *Cloud) Admit(cloudsim.Caller) (string, time.Time, error) {
	return "", time.Time{}, fmt.Errorf("%w: hawkBit is polled over HTTP and has no broker", cloudsim.ErrRefused)
}

// Permit refuses everything: nobody is connected to the broker.
func (c *Cloud) Permit(string, string, bool) cloudsim.Permission { return cloudsim.Refused }

// Take takes nothing.
func (c *Cloud) Take(cloudsim.Message) ([]cloudsim.Message, error) { return nil, nil }

// Subscribed has nothing to give: each poll shows all that is to be done.
func (c *Cloud) Subscribed(string, string) []cloudsim.Message { return nil }

// Verbs are all orders.
func (c *Cloud) Verbs() []cloudsim.Verb { return cloudsim.Verbs() }

// Order does what an operator wants. Devices hear of it when they poll, so that
// nothing is sent.
func (c *Cloud) Order(_ context.Context, o cloudsim.Order) (cloudsim.Done, []cloudsim.Message, error) {
	done, err := c.order(o)
	return done, nil, err
}
