// Package manifest reads the update manifests of Azure Device Update and
// decides whether to believe them.
//
// [Verify] takes an action as the hub sends it and gives the [Manifest] in it,
// if a signing key that one of the [Roots] has signed vouches for its exact
// bytes. [Production] has the service's own root keys, [ParseRoots] reads others,
// and [Roots.Accept] goes on to a newer package, signed by the keys of before.
// Every error is a [*Refusal] with the reference agent's name for the reason.
//
// A manifest may leave out what it says in further files: [Manifest.Next] names
// the next of them, [Manifest.Attach] takes its content and holds it to the
// signed digest. Until Next has no more, the manifest is not whole.
//
// Nothing here fetches, writes or keeps anything. The formats are those of
// manifest versions 4 and 5; sizes and counts are bounded as the service bounds them.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits of the service's own schema.
const (
	MaxText    = 64 << 10 // bytes of a manifest
	maxSteps   = 10
	maxFiles   = 10
	maxRelated = 4
	maxCompat  = 10
)

// Manifest is what an update is made of.
type Manifest struct {
	Version int // 4 or 5
	ID      UpdateID
	// Compatibility names the devices it is for: any one of the entries.
	Compatibility []map[string]string
	Steps         []Step
	Files         []File // sorted by id
	Created       string

	detached string // id of the file that is the manifest itself
}

// UpdateID names an update.
type UpdateID struct {
	Provider string `json:"provider"`
	Name     string `json:"name"`
	Version  string `json:"version"`
}

// String gives the JSON text in which devices report an id.
func (u UpdateID) String() string {
	raw, _ := json.Marshal(u) // three texts always have a JSON
	return string(raw)
}

// Step is one step, in the order of its doing. It has a Handler, or a Child.
type Step struct {
	Handler    string // such as microsoft/swupdate:2
	Files      []string
	Properties map[string]string // what is no text stands as JSON
	// Child is the manifest that a reference step stands for, nil until it is attached.
	Child *Manifest

	reference string // id of the child's file
}

// Reference gives the id of the file that is the step's child, "" for a step with a handler.
func (s Step) Reference() string { return s.reference }

// Property gives a property of the handler without regard to case, "" if it is missing.
func (s Step) Property(name string) string {
	if value, ok := s.Properties[name]; ok {
		return value
	}
	found := ""
	for key := range s.Properties {
		if strings.EqualFold(key, name) && (found == "" || key < found) {
			found = key
		}
	}
	return s.Properties[found]
}

// File gives the file of that id.
func (m *Manifest) File(id string) (File, bool) {
	for _, f := range m.Files {
		if f.ID == id {
			return f, true
		}
	}
	return File{}, false
}

// Next gives the next manifest that is a file of its own and is to be
// attached; false if the manifest is whole.
func (m *Manifest) Next() (File, bool) {
	if m.detached != "" {
		return m.File(m.detached)
	}
	for _, s := range m.Steps {
		if s.reference != "" && s.Child == nil {
			return m.File(s.reference)
		}
	}
	return File{}, false
}

// Attach takes the content of the file that Next gave.
func (m *Manifest) Attach(content []byte) error {
	f, ok := m.Next()
	if !ok {
		return refuse(BadDetachedManifest, "no further manifest is wanted")
	}
	if sum := sha256.Sum256(content); int64(len(content)) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 {
		return refuse(BadDetachedManifest, "file %.64q has other bytes than the manifest says", f.ID)
	}
	inner, err := Parse(content)
	switch {
	case err != nil:
		return refuse(BadDetachedManifest, "file %.64q: %v", f.ID, err)
	case inner.detached != "":
		return refuse(BadDetachedManifest, "file %.64q leads to a further file", f.ID)
	}
	if m.detached != "" {
		if m.ID != (UpdateID{}) && m.ID != inner.ID {
			return refuse(BadDetachedManifest, "file %.64q is of another update", f.ID)
		}
		*m = inner
		return nil
	}
	if slices.ContainsFunc(inner.Steps, func(s Step) bool { return s.reference != "" }) {
		return refuse(BadDetachedManifest, "file %.64q is a child and has a reference step", f.ID)
	}
	for i := range m.Steps {
		if m.Steps[i].reference == f.ID {
			m.Steps[i].Child = &inner
		}
	}
	return nil
}

// Parse reads the text of a manifest without asking who vouches for it. Errors
// are [*Refusal] with [BadUpdateManifest], [UnsupportedUpdateManifestVersion],
// [BadFilesOrFileURLs] or [MissingDetachedManifestEntity].
func Parse(raw []byte) (Manifest, error) {
	if len(raw) > MaxText {
		return Manifest{}, refuse(BadUpdateManifest, "a manifest of %d bytes, the limit is %d", len(raw), MaxText)
	}
	o, err := readObject(raw)
	if err != nil {
		return Manifest{}, refuse(BadUpdateManifest, "manifest: %v", err)
	}
	version, err := o.text("manifestVersion")
	if err != nil || version != "4" && version != "5" {
		return Manifest{}, refuse(UnsupportedUpdateManifestVersion, "manifestVersion is not 4 or 5")
	}
	m := Manifest{Version: int(version[0] - '0')}
	if m.Files, err = readFiles(o, "files", maxFiles, true); err != nil {
		return Manifest{}, refuse(BadFilesOrFileURLs, "manifest: %v", err)
	}
	if err := m.read(o); err != nil {
		return Manifest{}, refuse(BadUpdateManifest, "manifest: %v", err)
	}
	return m, m.whole()
}

func (m *Manifest) read(o object) (err error) {
	if m.detached, err = o.text("detachedManifestFileId"); err != nil {
		return err
	}
	if m.Created, err = o.text("createdDateTime"); err != nil {
		return err
	}
	if m.ID, err = readID(o, m.detached != ""); err != nil || m.detached != "" {
		return err
	}
	entries, err := o.list("compatibility", maxCompat)
	if err != nil {
		return err
	}
	for _, raw := range entries {
		entry, err := readObject(raw)
		if err != nil {
			return fmt.Errorf("compatibility: %w", err)
		}
		m.Compatibility = append(m.Compatibility, entry.texts())
	}
	instructions, err := o.object("instructions")
	if err != nil {
		return err
	}
	steps, err := instructions.list("steps", maxSteps)
	if err == nil && len(steps) == 0 {
		err = fmt.Errorf("instructions: want 1 to %d steps", maxSteps)
	}
	for i, raw := range steps {
		step, err := readStep(raw)
		if err != nil {
			return fmt.Errorf("steps[%d]: %w", i, err)
		}
		m.Steps = append(m.Steps, step)
	}
	return err
}

// whole says whether each file that is named is there.
func (m *Manifest) whole() error {
	if m.detached != "" {
		if _, ok := m.File(m.detached); !ok {
			return refuse(MissingDetachedManifestEntity, "detachedManifestFileId names no file of the manifest")
		}
	}
	for i, s := range m.Steps {
		if s.reference != "" {
			if _, ok := m.File(s.reference); !ok {
				return refuse(MissingDetachedManifestEntity, "steps[%d] names no file of the manifest", i)
			}
		}
		for _, id := range s.Files {
			if _, ok := m.File(id); !ok {
				return refuse(BadFilesOrFileURLs, "steps[%d] names the file %.64q, which is not in the manifest", i, id)
			}
		}
	}
	return nil
}

var (
	idName    = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)
	idVersion = regexp.MustCompile(`^[0-9]{1,10}(\.[0-9]{1,10}){1,3}$`)
	handlerID = regexp.MustCompile(`^\S+/\S+:[0-9]{1,5}$`)
)

func readID(o object, optional bool) (UpdateID, error) {
	inner, err := o.object("updateId")
	if err != nil || inner == nil && optional {
		return UpdateID{}, err
	}
	var id UpdateID
	for name, to := range map[string]*string{"provider": &id.Provider, "name": &id.Name, "version": &id.Version} {
		raw := inner.get(name)
		*to, _ = text(raw) // anything else fails below
	}
	ok := idName.MatchString(id.Provider) && idName.MatchString(id.Name) && idVersion.MatchString(id.Version)
	for part := range strings.SplitSeq(id.Version, ".") {
		if _, err := strconv.ParseInt(part, 10, 32); err != nil {
			ok = false
		}
	}
	if !ok {
		return UpdateID{}, fmt.Errorf("updateId: want provider and name of 1 to 64 letters, digits, . and -, and a version of 2 to 4 numbers")
	}
	return id, nil
}

func readStep(raw []byte) (Step, error) {
	o, err := readObject(raw)
	if err != nil {
		return Step{}, err
	}
	var s Step
	kind, err := o.text("type")
	if err != nil {
		return s, err
	}
	if strings.EqualFold(kind, "reference") {
		s.reference, err = o.text("detachedManifestFileId")
		if err == nil && s.reference == "" {
			err = fmt.Errorf("detachedManifestFileId is missing")
		}
		return s, err
	}
	if kind != "" && !strings.EqualFold(kind, "inline") {
		return s, fmt.Errorf("type: want inline or reference")
	}
	if s.Handler, err = o.text("handler"); err != nil {
		return s, err
	}
	if n := len(s.Handler); n < 5 || n > 32 || !handlerID.MatchString(s.Handler) {
		return s, fmt.Errorf("handler: want PROVIDER/NAME:VERSION of 5 to 32 characters")
	}
	files, err := o.list("files", maxFiles)
	if err != nil {
		return s, err
	}
	for _, raw := range files {
		id, ok := text(raw)
		if !ok {
			return s, fmt.Errorf("files: want ids")
		}
		s.Files = append(s.Files, id)
	}
	properties, err := o.object("handlerProperties")
	s.Properties = properties.texts()
	return s, err
}
