// Package aliyun plays Alibaba's IoT platform for the devices of one product:
// [NewOTA] is its general OTA service, [NewHaaS] the app upgrade of its HaaS
// cloud. Both let devices in by the same login.
//
// A device comes with the user name DEVICENAME&PRODUCTKEY, and the HMAC by MD5,
// SHA-1 or SHA-256 that the platform defines as its password. What stands between the bars of
// the client id may have any order, and pairs that mean nothing here. With
// _ss=1 among them, as the vendor's own C library sends, it need not subscribe:
// whatever is for the device reaches it. It may subscribe to what has its own
// product key and name in the topic, and publish there what devices publish.
//
// # General OTA
//
// A push becomes a task of one module of one device. It is shown to the device
// at once, or when it comes back: upon its subscription to
// /ota/device/upgrade/PK/DN while it has not begun, and otherwise with the first
// version that it informs of in a connection, if that is not the wanted one. It
// is given whenever the device asks on …/thing/ota/firmware/get. Each time it
// has the same id, and its URL is made anew.
//
// The task's states have the platform's names: QUEUED, NOTIFIED, IN_PROGRESS
// from the first progress on. Only the new version in an inform ends it as
// SUCCEEDED. It ends as FAILED with a negative step, with a version that is
// neither the old nor the new one once it has begun, and when timeoutMinutes
// have passed since it began. That time is looked at when the device
// or an operator comes, not in between. What is reported after the end is told
// as a note and changes nothing: neither 100 percent nor a version makes a failed task a good one.
// A task that nobody begins stays open: what the platform lets live for a day is the URL.
//
// Push, cancel, retry and replace are what the platform's console has. Cancel
// ends the task in the cloud alone, since there is no message for it. Retry
// shows a task that failed or was cancelled again, under another id. Replace is a push that first
// cancels a task that has not begun. A push to a module with a task that is not
// over is refused, and so is one of the version that runs; with all devices wanted, those are
// skipped. Members of Set:
//
//	module          the module, "default" if left out; with cancel and retry too
//	timeoutMinutes  1 to 1440; no limit if left out
//	needPush        false: the device has to ask
//	signMethod      "MD5", or "SHA256"
//	digestsign      text that is handed on
//	extData         an object that is handed on
//	files           more files: [{"fileName", "fileSize", "fileMd5" or "fileSha256", "fileUrl"}],
//	                without fileUrl the file of that name in the simulator's folder
//
// With a Delta the file is that, and isDiff 1; the device must have informed of the
// version of Source, and gets it only as long as it says that one. A Source
// without a version is what the device runs at the push.
//
// # HaaS
//
// A push is a call of the service hli_service_upgrade_push for one app, at
// once and as the answer to each hli_event_upgrade_query for which it is still
// news: the platform offers an app only if its version is higher than the one that runs, or another
// one with rollingBack. The event app.result ends it: 200 succeeded, 404 and 405
// failed. A query that names the wanted version ends it too, as "query": the
// version of the running manifest is the proof. The device's answer to the
// call is noted and not waited for; 400 or 460 in it ends nothing, since a busy
// device may ask again. A result names no push, only app and version. So a push of
// another version ends the one before, as "replaced", and one of
// the same version is refused until that has its end. Push is the only verb. Members of Set:
//
//	appId                             16 digits that begin with 88001000; needed
//	rollingBack, needRestart          0 or 1
//	needUpdateFirmware                0 or 1
//	errorCode                         of the call, "200" if left out
//
// # Answers
//
// Events and questions on /sys topics are answered in the platform's envelope: 200, 460 for
// what cannot be read, and 429 for a query or a question while the
// simulator throttles. Reports of an end are never throttled: a device takes the broker's
// acknowledgement for the answer. The topics below /ota have no answers; what is
// malformed there is told as an event and dropped.
//
// What the vendor does not document is played as it seems likely: the envelope's
// version and message in answers, which tasks retry and replace take, that HaaS pushes replace one another, the
// words "query" and "replaced", and that a device with _ss=1 which neither informs nor asks
// after a connect is shown nothing. There is no download over MQTT, no
// registration of devices, no login by certificate, and of everything else that
// devices say on /sys topics only events are answered, with 200.
package aliyun

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Config is what the cloud knows at its start.
type Config struct {
	// Accounts has the product key as Product, and the device secrets by device
	// name. Host is not used: nothing in a login names it.
	Accounts cloudsim.Accounts
}

// door is what both services share: who comes in, and what they may say.
type door struct {
	product string
	secrets map[string]string
	sim     *cloudsim.Sim

	mu   sync.Mutex
	here map[string]*presence // by device
}

// presence is the newest connection of a device.
type presence struct {
	direct bool            // it need not subscribe
	shown  map[string]bool // tasks, by job
}

func newDoor(c Config) (*door, error) {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(c.Accounts.Devices)) {
		if err := (platform.Device{ProductKey: c.Accounts.Product, Name: name}).Check(); err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %w", cloudsim.ErrConfig, err))
		}
		if c.Accounts.Devices[name] == "" {
			wrong = append(wrong, fmt.Errorf("%w: device %.70q has no secret, and there is no login by certificate here", cloudsim.ErrConfig, name))
		}
	}
	if len(c.Accounts.Devices) == 0 {
		wrong = append(wrong, fmt.Errorf("%w: no devices, expected a secret for each device name", cloudsim.ErrConfig))
	}
	return &door{product: c.Accounts.Product, secrets: maps.Clone(c.Accounts.Devices), here: map[string]*presence{}}, errors.Join(wrong...)
}

// Open gives each device that has none a record, so that an order to all finds it.
func (d *door) Open(s *cloudsim.Sim) error {
	d.sim = s
	for _, name := range slices.Sorted(maps.Keys(d.secrets)) {
		if _, ok := s.Book().Look(name); ok {
			continue
		}
		if err := s.Book().Change(name, func(*cloudsim.Record) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// Admit checks a login.
func (d *door) Admit(c cloudsim.Caller) (string, time.Time, error) {
	who, err := platform.Identify(c.User)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", cloudsim.ErrRefused, err)
	}
	secret, known := d.secrets[who.Name]
	if !known || who.ProductKey != d.product {
		return "", time.Time{}, fmt.Errorf("%w: there is no device %s", cloudsim.ErrRefused, who)
	}
	c.Client = compact(c.Client)
	err = platform.Check(platform.Credentials{ClientID: c.Client, User: c.User, Password: string(c.Password)}, secret)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", cloudsim.ErrRefused, err)
	}
	_, pairs, _ := strings.Cut(strings.TrimSuffix(c.Client, "|"), "|")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.here[who.Name] = &presence{direct: slices.Contains(strings.Split(pairs, ","), "_ss=1"), shown: map[string]bool{}}
	return who.Name, time.Time{}, nil
}

// compact takes out the white space that an early SDK of the vendor's has
// between the pairs of a client id.
func compact(client string) string {
	id, pairs, found := strings.Cut(client, "|")
	if !found {
		return client
	}
	return id + "|" + strings.Join(strings.Fields(pairs), "")
}

// The levels of a topic at which product key and device name stand, by its
// first level. In topics of a product's own they are the first ones.
var places = map[string]int{"sys": 2, "ota": 4, "shadow": 3, "ext": 3}

// locate gives the device that a topic or filter belongs to, and the rest of it
// without key and name; "" if it is nobody's here.
func (d *door) locate(topic string) (device, path string) {
	levels := strings.Split(topic, "/")
	if len(levels) < 4 || levels[0] != "" {
		return "", ""
	}
	at := cmp.Or(places[levels[1]], 1)
	if len(levels) < at+2 || levels[at] != d.product || at == 1 && levels[3] != "user" {
		return "", ""
	}
	if _, ok := d.secrets[levels[at+1]]; !ok {
		return "", ""
	}
	device = levels[at+1]
	return device, strings.Join(slices.Delete(levels, at, at+2), "/")
}

// Permit allows a device what has its own key and name in it, and publishing
// but what only the cloud says.
func (d *door) Permit(device, filter string, publish bool) cloudsim.Permission {
	owner, path := d.locate(filter)
	if owner != device || publish && fromCloud(path) {
		return cloudsim.Refused
	}
	return cloudsim.Allowed
}

// fromCloud says whether a topic is one on which devices only listen: an
// upgrade, a call of a service, or the answer to a device.
func fromCloud(path string) bool {
	call := strings.HasPrefix(path, "/sys/thing/service/")
	return path == upgradePath || call != strings.HasSuffix(path, "_reply") && strings.HasPrefix(path, "/sys/")
}

// message is one for a device.
func (d *door) message(device, prefix, suffix string, payload any) cloudsim.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.here[device]
	return cloudsim.Message{
		Device:  device,
		Topic:   platform.Device{ProductKey: d.product, Name: device}.Topic(prefix, suffix),
		Payload: platform.Marshal(payload),
		QoS:     1,
		Direct:  p != nil && p.direct,
	}
}

// show notes that a task is shown in the connection of a device, and says
// whether it was before.
func (d *door) show(device, job string) (again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.here[device]
	if p == nil {
		return false
	}
	again = p.shown[job]
	p.shown[job] = true
	return again
}

// checkOrder is for what is wrong with an order whatever the device's record says.
func (d *door) checkOrder(o cloudsim.Order) error {
	if _, ok := d.secrets[o.Device]; !ok {
		return fmt.Errorf("%w: there is no device %s.%s", cloudsim.ErrConfig, d.product, platform.Redact(o.Device, 64))
	}
	return nil
}

// take reads a message whose sender is known, or an application's, and whose
// owner is one of the devices here.
func (d *door) take(m cloudsim.Message) (device, path string, err error) {
	device, path = d.locate(m.Topic)
	switch {
	case device == "" || m.Device != "" && m.Device != device:
		return "", "", fmt.Errorf("%w: %q is a topic of no device here", errMessage, platform.Redact(m.Topic, 160))
	case len(m.Payload) > platform.MaxPayload:
		return device, "", fmt.Errorf("%w: %d bytes on %q, the limit is %d", errMessage, len(m.Payload), platform.Redact(m.Topic, 160), platform.MaxPayload)
	}
	return device, path, nil
}

func (d *door) refuse(device string, why error) {
	d.sim.Tell(cloudsim.Event{Kind: cloudsim.EventRefused, Client: device, Text: why.Error()})
}

func (d *door) note(device, format string, args ...any) {
	d.sim.Tell(cloudsim.Event{Kind: cloudsim.EventNote, Client: device, Text: fmt.Sprintf(format, args...)})
}

// news is what people are told of a change, after it is durable.
type news struct {
	ends  []cloudsim.End
	notes []string
}

func (n *news) note(format string, args ...any) {
	n.notes = append(n.notes, fmt.Sprintf(format, args...))
}

// errSame ends a change that has nothing to change.
var errSame = errors.New("nothing has changed")

// change changes what is kept of a device, and tells of it once it is durable.
// An end that is known already counts as having come again.
func change[Doc any](d *door, device string, f func(*Doc, *news) error) error {
	var n news
	err := d.sim.Book().Change(device, func(r *cloudsim.Record) error {
		var doc Doc
		if err := r.Read(&doc); err != nil {
			return err
		}
		if err := f(&doc, &n); err != nil {
			return err
		}
		for i, e := range n.ends {
			n.ends[i] = r.End(e, d.sim.Now())
		}
		return r.Write(doc)
	})
	if err != nil && !errors.Is(err, errSame) {
		return err
	}
	for _, e := range n.ends {
		d.sim.Tell(cloudsim.Event{Kind: cloudsim.EventReport, Client: device, End: e})
	}
	for _, text := range n.notes {
		d.note(device, "%s", text)
	}
	return nil
}
