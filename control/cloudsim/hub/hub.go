// Package hub plays Azure IoT Hub, and Azure Device Update over it, in a
// simulator of package cloudsim: devices and vendor software speak to it as they
// do to the vendor's cloud.
//
// [New] makes the [Cloud] of one hub; [cloudsim.Start] opens it. It answers
//
//   - CONNECT with a SAS token of the device's key, checked over the bytes as they came,
//     or with a certificate whose subject's common name is the device id; of modules
//     (DEVICE/MODULE) too. A connection ends when its token does.
//   - the twin: GET, merge patches of what is reported, with versions, the limits of size and
//     200, 204, 400 and 429. What is desired is notified to connected devices alone;
//     nothing is sent again to one that comes back: it asks for the twin.
//   - direct methods, for connected devices alone.
//   - telemetry, which it takes and forgets. Messages to devices, files from devices
//     and jobs of the hub's own are not there.
//
// Another topic or filter than a device's own ends its connection.
//
// # The service side
//
// A Cloud speaks HTTP: POST /twins/{id}/methods, GET and PATCH /twins/{id} (and
// /twins/{id}/modules/{module}…), each with ?api-version=. With [Config.Policies]
// a caller needs a SAS token of iothubowner or service; without, it must be a program on this machine
// that calls the host by a name of this machine or of the hub.
//
// # Azure IoT Hub
//
// The one verb is push: the firmware update of the vendor's samples. Members of Order.Set are
//
//	shape                     method (the default): the method firmwareUpdate with {"fwPackageUri": "…"}
//	                          node: the same as text in a text; twin: the desired property
//	                          firmware {fwVersion, fwPackageURI, fwPackageCheckValue}
//	check                     sha256, md5 or none: the fwPackageCheckValue; sha256 for twin, else none
//	methodName                another method than firmwareUpdate
//	responseTimeoutInSeconds  5 to 300, 30 by default
//
// A method call to a device that is not connected is an error, DeviceNotOnline:
// the hub keeps none. An order for all devices waits for no answers, and passes over devices
// that are not connected. A call that is answered with 4xx or 5xx is the end "rejected" of its job.
//
// Reports name no job. An end that is reported is that of the newest update of
// which a stage was reported, or else of the oldest that was taken; updates before it get the end
// "timed-out" with the result "unknown". All three forms of the samples are
// known: firmwareStatus; iothubDM.firmwareUpdate; firmware, where the version says which job it is.
// A second end of the same update is a note and changes no record. An end that comes again first thing in a
// connection, the same to the letter, is the old one that its device was not sure of.
//
// # Azure Device Update
//
// With [Config.Update] the verbs are push, cancel (action 255), retry (another retryTimestamp)
// and replace (a push that needs an update under way). A push writes an update
// manifest of version 5, signs it, and desires it; root key packages and detached manifests are
// served over HTTP below /adu/. Order.Job is workflow.id. Members of Order.Set are
//
//	provider, name     of the updateId, "updraft" and "device" by default; its version is Software.Version
//	compatibility      an object such as {"manufacturer": "…", "model": "…"}; by default what the device has reported
//	handler            of the step, microsoft/swupdate:1 by default
//	handlerProperties  an object, {"installedCriteria": VERSION} by default
//	step               inline (the default), or reference: the step is a child manifest, a file of its own
//	detached           true: what is desired is a mini manifest, and the manifest a file
//
// Order.Delta with Order.Source becomes a related file with the download
// handler microsoft/delta:1. The size of what is desired is limited to 32 KB: longer manifests need
// detached. URLs are made anew each time the twin is told, which the fault new-url shows.
//
// The end of a deployment is what deviceUpdate.agent reports for its workflow
// (id and retryTimestamp, which is the Report of the End): state 0 with the installedUpdateId of
// the update is succeeded, resultCode -1 cancelled, any other 0 and 255 failed.
// Result is STATE/RESULTCODE, Code the extendedResultCodes. A deployment that
// another one replaced gets the end "cancelled" with the result "replaced" when the other ends.
// Another end for the same workflow is a note and changes no record, since the service counts one per device.
package hub

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Config says which hub it is.
type Config struct {
	// Accounts are the hub's name and the devices: keys in base64 by id, or by
	// DEVICE/MODULE. With the key "" a device shows a certificate; who signed that is
	// checked by the listener, if it has roots.
	Accounts cloudsim.Accounts
	// Policies are the keys, in base64, of the hub's shared access policies: service
	// and iothubowner for callers of the service side, device and iothubowner for
	// devices. Without any the service side is for callers on this machine.
	Policies map[string]string
	// Update plays Azure Device Update. Otherwise it is the hub with the samples'
	// firmware update, and what follows is not used.
	Update bool
	// Signer signs manifests and root key packages.
	Signer manifest.Signer
	// RootKeys is what the root key package says; its Version is 1 if 0.
	RootKeys manifest.Package
	// FaceURL is how devices reach the HTTP side, such as https://host:8443; made
	// of its address if "".
	FaceURL string
}

// Cloud is one hub. It may be used by any goroutine.
type Cloud struct {
	c        Config
	keys     map[string][]byte // of devices; nil for one with a certificate
	policies map[string][]byte
	roots    []byte // the root key package
	sim      *cloudsim.Sim

	mu    sync.Mutex
	calls map[string]*call  // of methods, by request id
	hears map[string]bool   // devices that have subscribed to method calls
	fresh map[string]bool   // devices that have reported nothing in their connection
	pages map[string]string // manifests that are served, by name
	built built             // the latest deployment that was made for all
}

var _ cloudsim.Face = (*Cloud)(nil)

// New makes a hub. Errors wrap [cloudsim.ErrConfig], name all that is wrong, and hold no key.
func New(c Config) (*Cloud, error) {
	h := &Cloud{c: c, keys: map[string][]byte{}, policies: map[string][]byte{}, calls: map[string]*call{},
		hears: map[string]bool{}, fresh: map[string]bool{}, pages: map[string]string{}}
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{cloudsim.ErrConfig}, args...)...))
	}
	if !hostName.MatchString(c.Accounts.Host) {
		add("host %.140q, expected the hub's name, such as hub.example", c.Accounts.Host)
	}
	for _, id := range slices.Sorted(maps.Keys(c.Accounts.Devices)) {
		if !deviceID.MatchString(id) {
			add("device %.140q, expected a device id of the hub, or DEVICE/MODULE", id)
		}
		key, err := readKey(c.Accounts.Devices[id])
		if err != nil {
			add("device %.140q: %w", id, err)
		}
		h.keys[id] = key
	}
	for _, name := range slices.Sorted(maps.Keys(c.Policies)) {
		if !slices.Contains([]string{policyOwner, policyService, policyDevice}, name) {
			add("policy %.40q (have iothubowner, service, device)", name)
		}
		key, err := readKey(c.Policies[name])
		if err == nil && key == nil {
			err = errors.New("it has no key")
		}
		if err != nil {
			add("policy %.40q: %w", name, err)
		}
		h.policies[name] = key
	}
	if err := h.readUpdate(); err != nil {
		wrong = append(wrong, err)
	}
	return h, errors.Join(wrong...)
}

// readUpdate makes the root key package.
func (h *Cloud) readUpdate() (err error) {
	s := h.c.Signer
	switch {
	case !h.c.Update:
		return nil
	case s.Root == nil || s.Key == nil || s.RootKid == "" || s.Kid == "":
		return fmt.Errorf("%w: device update needs a signer: a root key and a signing key, each with an id", cloudsim.ErrConfig)
	}
	if h.c.RootKeys.Version == 0 {
		h.c.RootKeys.Version = 1
	}
	if h.roots, err = s.RootKeys(h.c.RootKeys); err == nil {
		_, err = manifest.ParseRoots(h.roots)
	}
	if err != nil {
		return fmt.Errorf("%w: root key package: %w", cloudsim.ErrConfig, err)
	}
	return nil
}

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`)
	deviceID = regexp.MustCompile(`^[A-Za-z0-9.%_*?!(),:=@'-][A-Za-z0-9.%_*?!(),:=@$'-]{0,127}(/[A-Za-z0-9.%_*?!(),:=@$'-]{1,128})?$`)
)

// readKey gives nil for "".
func readKey(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) == 0 { // err may show a part of the key
		return nil, errors.New("the key is not base64")
	}
	return key, nil
}

// Open gives each device a twin that has none.
func (h *Cloud) Open(s *cloudsim.Sim) error {
	h.sim = s
	for id := range h.keys {
		record, known := s.Book().Look(id)
		if !known {
			if err := s.Book().Change(id, func(r *cloudsim.Record) error { return r.Write(newTwin()) }); err != nil {
				return err
			}
			continue
		}
		var t twin
		if err := record.Read(&t); err != nil {
			return fmt.Errorf("device %s: %w", id, err)
		}
		if t.Deployment != nil {
			maps.Copy(h.pages, t.Deployment.Pages)
		}
	}
	return nil
}

// RootKeys is the root key package that device update serves, in the form in
// which a device is told whom to trust; nil without device update.
func (h *Cloud) RootKeys() []byte { return bytes.Clone(h.roots) }

// Verbs are push alone, or all of them for device update.
func (h *Cloud) Verbs() []cloudsim.Verb {
	if h.c.Update {
		return cloudsim.Verbs()
	}
	return []cloudsim.Verb{cloudsim.VerbPush}
}

// Take answers a device. Applications say nothing that a hub would hear.
func (h *Cloud) Take(m cloudsim.Message) ([]cloudsim.Message, error) {
	if m.Device == "" {
		return nil, nil
	}
	t := readTopic(m.Topic)
	if t.kind != "" && t.request == "" {
		h.refuse(m.Device, "a request without an id ($rid)")
		return nil, nil
	}
	switch t.kind {
	case topicGet:
		return h.get(m.Device, t.request)
	case topicReported:
		return h.reported(m.Device, t.request, m.Payload)
	case topicResult:
		return nil, h.answered(m.Device, t, m.Payload)
	}
	return nil, nil // telemetry
}

// Subscribed notes who hears method calls. There is nothing to send again.
func (h *Cloud) Subscribed(device, filter string) []cloudsim.Message {
	if filter == filterMethods {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.hears[device] = true
	}
	return nil
}

func (h *Cloud) refuse(device, what string) {
	h.sim.Tell(cloudsim.Event{Kind: cloudsim.EventRefused, Client: device, Text: what})
}

func (h *Cloud) note(device, what string) {
	h.sim.Tell(cloudsim.Event{Kind: cloudsim.EventNote, Client: device, Text: what})
}

// query is what follows a question mark in a text for people: it may be a secret.
var query = regexp.MustCompile(`\?\S*`)

// shown makes a foreign text fit to be shown.
func shown(text string) string {
	text = strings.Join(strings.Fields(query.ReplaceAllString(text, "")), " ")
	return strings.ToValidUTF8(text[:min(len(text), 300)], "")
}
