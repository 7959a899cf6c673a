package hub

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// maxPages is how many manifests are served before old ones are looked for.
const maxPages = 256

// rootKeysPage is where the root key package is.
const rootKeysPage = "rootkeys.json"

// built is a deployment for a device, without its workflow.
type built struct {
	key     string // of what it was made of, "" for nothing
	service map[string]any
	pages   map[string]string
	update  manifest.UpdateID
}

// updateSet are the members of Order.Set.
type updateSet struct {
	provider, name, handler   string
	properties, compatibility map[string]any
	reference, detached       bool
}

func readUpdateSet(o cloudsim.Order, compatibility map[string]any) (updateSet, error) {
	s := updateSet{provider: "updraft", name: "device", handler: "microsoft/swupdate:1",
		properties: map[string]any{"installedCriteria": o.Software.Version}, compatibility: compatibility}
	known := []string{"compatibility", "detached", "handler", "handlerProperties", "name", "provider", "step"}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(o.Set)) {
		value, ok := o.Set[name], false
		switch name {
		case "provider":
			s.provider, ok = value.(string)
		case "name":
			s.name, ok = value.(string)
		case "handler":
			s.handler, ok = value.(string)
		case "handlerProperties":
			s.properties, ok = value.(map[string]any)
		case "compatibility":
			s.compatibility, ok = value.(map[string]any)
		case "detached":
			s.detached, ok = value.(bool)
		case "step":
			s.reference, ok = value == "reference", value == "inline" || value == "reference"
		default:
			wrong = append(wrong, fmt.Errorf("%w: unknown member %.40q (have %q)", cloudsim.ErrConfig, name, known))
			continue
		}
		if !ok {
			wrong = append(wrong, fmt.Errorf("%w: %s is of the wrong type (texts; objects for compatibility and handlerProperties; "+
				"true or false for detached; inline or reference for step)", cloudsim.ErrConfig, name))
		}
	}
	return s, errors.Join(wrong...)
}

// reportedCompatibility is what the device says that updates are to fit, nil for nothing.
func (t *twin) reportedCompatibility() map[string]any {
	of, _ := t.Reported.Values[component].(map[string]any)
	agent, _ := of["agent"].(map[string]any)
	properties, _ := agent["deviceProperties"].(map[string]any)
	all := map[string]any{}
	for name := range strings.SplitSeq(cmp.Or(text(agent["compatPropertyNames"]), "manufacturer,model"), ",") {
		if value, ok := properties[strings.TrimSpace(name)].(string); ok {
			all[strings.TrimSpace(name)] = value
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// build makes a deployment. That of an order for all devices is made once, as
// far as it is the same.
func (h *Cloud) build(o cloudsim.Order, compatibility map[string]any) (built, error) {
	set, err := readUpdateSet(o, compatibility)
	if err != nil {
		return built{}, err
	}
	key := ""
	if o.All {
		same := o
		same.Device = ""
		key = string(marshal([]any{same, compatibility}))
		h.mu.Lock()
		b := h.built
		h.mu.Unlock()
		if b.key == key {
			return b, nil
		}
	}
	b, err := h.write(o, set)
	if err != nil {
		return built{}, err
	}
	b.key = key
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.built = b; len(h.pages) >= maxPages {
		h.forgetPages()
	}
	maps.Copy(h.pages, b.pages)
	return b, nil
}

// forgetPages keeps those that a device may want.
func (h *Cloud) forgetPages() {
	clear(h.pages)
	for device := range h.keys {
		if t, err := h.look(device); err == nil && t.Deployment != nil {
			maps.Copy(h.pages, t.Deployment.Pages)
		}
	}
}

// writer collects what a manifest names.
type writer struct {
	set   updateSet
	id    manifest.UpdateID
	made  string            // createdDateTime
	urls  map[string]any    // links by file id
	pages map[string]string // manifests that are files
}

// write makes the manifest, with those that are files, and signs it.
func (h *Cloud) write(o cloudsim.Order, set updateSet) (built, error) {
	w := &writer{set: set, id: manifest.UpdateID{Provider: set.provider, Name: set.name, Version: o.Software.Version},
		made: h.sim.Now().UTC().Format(timestamp), urls: map[string]any{}, pages: map[string]string{}}
	text, err := w.manifest(o)
	if err != nil {
		return built{}, err
	}
	if _, err := manifest.Parse([]byte(text)); err != nil {
		return built{}, fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
	}
	signature, err := h.c.Signer.Sign(text)
	if err != nil {
		return built{}, fmt.Errorf("%w: sign the manifest: %w", cloudsim.ErrConfig, err)
	}
	return built{update: w.id, pages: w.pages, service: map[string]any{
		"rootKeyPackageUrl": schemePage + rootKeysPage, "updateManifest": text, "updateManifestSignature": signature, "fileUrls": w.urls,
	}}, nil
}

// manifest gives the text that is to be signed.
func (w *writer) manifest(o cloudsim.Order) (string, error) {
	id, file, err := w.payload(o)
	if err != nil {
		return "", err
	}
	inline := map[string]any{"handler": w.set.handler, "files": []string{id}, "handlerProperties": w.set.properties}
	update := w.update(w.id, inline, map[string]any{id: file})
	if w.set.reference {
		child := w.id
		child.Name += "-step"
		page, file := w.page(w.update(child, inline, map[string]any{id: file}))
		update = w.update(w.id, map[string]any{"type": "reference", "detachedManifestFileId": page}, map[string]any{page: file})
	}
	if w.set.detached {
		page, file := w.page(update)
		update = map[string]any{"manifestVersion": "5", "updateId": w.id, "detachedManifestFileId": page,
			"files": map[string]any{page: file}, "createdDateTime": w.made}
	}
	return string(marshal(update)), w.check()
}

// update is a manifest with one step.
func (w *writer) update(id manifest.UpdateID, step, files map[string]any) map[string]any {
	all := map[string]any{"manifestVersion": "5", "updateId": id, "instructions": map[string]any{"steps": []any{step}},
		"files": files, "createdDateTime": w.made}
	if len(w.set.compatibility) > 0 {
		all["compatibility"] = []any{w.set.compatibility}
	}
	return all
}

// page makes a manifest a file, and gives its id and its entry.
func (w *writer) page(update map[string]any) (string, map[string]any) {
	text := string(marshal(update))
	sum := sha256.Sum256([]byte(text))
	name := "manifest-" + hex.EncodeToString(sum[:8]) + ".json"
	id := fileID(name)
	w.pages[name], w.urls[id] = text, schemePage+name
	return id, map[string]any{"fileName": name, "sizeInBytes": len(text), "hashes": map[string]string{"sha256": base64.StdEncoding.EncodeToString(sum[:])}}
}

// check reads the manifests that are files as a device does.
func (w *writer) check() error {
	for _, text := range w.pages {
		if _, err := manifest.Parse([]byte(text)); err != nil {
			return fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
		}
	}
	return nil
}

// payload gives the id and the entry of the file that is to be installed.
func (w *writer) payload(o cloudsim.Order) (string, map[string]any, error) {
	id, entry, err := w.file(o.Software)
	if err != nil || o.Delta == nil {
		return id, entry, err
	}
	if o.Source == nil {
		return "", nil, fmt.Errorf("%w: a delta needs the source that it is a difference to", cloudsim.ErrConfig)
	}
	source, err := base64Of(o.Source.SHA256)
	if err != nil {
		return "", nil, fmt.Errorf("source: %w", err)
	}
	related, delta, err := w.file(*o.Delta)
	if err != nil {
		return "", nil, fmt.Errorf("delta: %w", err)
	}
	delta["properties"] = map[string]string{"microsoft.sourceFileHash": source, "microsoft.sourceFileHashAlgorithm": "sha256"}
	entry["relatedFiles"] = map[string]any{related: delta}
	entry["downloadHandler"] = map[string]string{"id": "microsoft/delta:1"}
	return id, entry, nil
}

// file gives the id and the entry of a file, and notes its link.
func (w *writer) file(s cloudsim.Software) (string, map[string]any, error) {
	sum, err := base64Of(s.SHA256)
	if err != nil {
		return "", nil, err
	}
	at, _, _ := strings.Cut(cmp.Or(s.File, s.URL), "?")
	id := fileID(at)
	w.urls[id] = link(s)
	return id, map[string]any{"fileName": path.Base(at), "sizeInBytes": s.Size, "hashes": map[string]string{"sha256": sum}}, nil
}

// fileID gives an id of the service's form.
func fileID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "f" + hex.EncodeToString(sum[:8])
}

// base64Of turns a digest into the form of manifests.
func base64Of(sha256 string) (string, error) {
	raw, err := hex.DecodeString(sha256)
	if err != nil || len(raw) != 32 {
		return "", fmt.Errorf("%w: a file needs its size and its sha256 in 64 hexadecimal digits", cloudsim.ErrConfig)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}
