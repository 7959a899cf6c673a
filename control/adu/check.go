package adu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu/manifest"
)

// proceed does what comes next for a job that is checked: root keys, signature,
// further manifests, command.
func (d *Dialect) proceed(emit func(control.Out)) {
	j := d.job
	if j.wish.rootKeys != "" && !j.rooted {
		d.fetch(emit)
		return
	}
	if j.manifest == nil {
		m, err := d.verify(j.wish)
		if err != nil {
			d.refuse(err, emit)
			return
		}
		j.manifest = &m
	}
	m := j.manifest
	if !j.given && m.ID != (manifest.UpdateID{}) && m.ID == d.installed {
		logf(emit, "deployment %s: %s %s is installed", j.ID, m.ID.Name, m.ID.Version)
		d.finish(succeeded(j.identity, m.ID.String(), len(m.Steps)), emit)
		return
	}
	if _, more := m.Next(); more {
		d.fetch(emit)
		return
	}
	if !d.c.fits(m) {
		d.reject(ercRefused, "incompatible: the update is for other devices", emit)
		return
	}
	inputs, err := inputs(m, j.wish.urls, d.have)
	if err != nil {
		d.refuse(err, emit)
		return
	}
	j.Update, j.Steps, j.Files = m.ID, len(m.Steps), digests(m)
	j.stage, j.given, j.manifest = asked, true, nil
	j.ask = d.newToken()
	emit(control.Out{Kind: control.OutCommand, Token: j.ask, Command: control.Command{ID: j.command(), Name: "update", Inputs: inputs}})
}

func (d *Dialect) verify(w *wish) (manifest.Manifest, error) {
	switch {
	case w.manifest == "":
		return manifest.Manifest{}, &manifest.Refusal{Reason: manifest.NoUpdateManifest, Detail: "the deployment has no updateManifest"}
	case w.signature == "":
		return manifest.Manifest{}, &manifest.Refusal{Reason: manifest.ManifestValidationFailed, Detail: "the deployment has no updateManifestSignature"}
	}
	return manifest.VerifyText(w.manifest, w.signature, d.roots)
}

// fetch asks for the root key package, or for the next manifest.
func (d *Dialect) fetch(emit func(control.Out)) {
	j := d.job
	address, limit := j.wish.rootKeys, int64(manifest.MaxPackage)
	if j.rooted || address == "" {
		f, _ := j.manifest.Next()
		if f.Size > manifest.MaxText {
			d.refuse(&manifest.Refusal{Reason: manifest.BadDetachedManifest, Detail: fmt.Sprintf("a manifest of %d bytes, the limit is %d", f.Size, manifest.MaxText)}, emit)
			return
		}
		address, limit = j.wish.urls[f.ID], max(f.Size, 1)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		d.refuse(&manifest.Refusal{Reason: manifest.BadFilesOrFileURLs, Detail: "a document has no usable http or https URL"}, emit)
		return
	}
	j.ask = d.newToken()
	emit(control.Out{Kind: control.OutRequest, Token: j.ask, Method: "GET", URL: address, Max: limit})
}

// response takes a document, or tries again if the server may have it later.
func (d *Dialect) response(in control.In, emit func(control.Out)) {
	j := d.job
	if j == nil || j.stage != checking || in.Token == 0 || in.Token != j.ask {
		return
	}
	j.ask = 0
	if in.Err == "" && in.Status == 200 {
		j.tries = 0
		d.document(in.Payload, emit)
		return
	}
	what, code := "status "+strconv.Itoa(in.Status), ercHTTP(in.Status)
	if in.Err != "" {
		what, code = "no answer: "+redact(in.Err, 200), ercNetwork
	}
	j.tries++
	if again := in.Err != "" || in.Status >= 500 || in.Status == 408 || in.Status == 429; again && j.tries < maxFetches {
		emit(control.Out{Kind: control.OutTimer, Token: timerFetch, After: d.pause(j.command(), j.tries-1)})
		return
	}
	d.reject(code, "fetch a document of the deployment: "+what, emit)
}

func (d *Dialect) document(content []byte, emit func(control.Out)) {
	j, err := d.job, error(nil)
	if j.rooted || j.wish.rootKeys == "" {
		err = j.manifest.Attach(content)
	} else {
		err = d.takeRoots(content)
		j.rooted = true
	}
	if err != nil {
		d.refuse(err, emit)
		return
	}
	d.proceed(emit)
}

// takeRoots puts a root key package in force if those before vouch for it.
func (d *Dialect) takeRoots(content []byte) error {
	next, err := manifest.ParseRoots(content)
	if err != nil {
		return err
	}
	roots, err := d.built.Accept(next, d.roots, d.c.Test)
	if err != nil || d.store != "" && roots.Same(d.roots) {
		return err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, content); err != nil {
		return &manifest.Refusal{Reason: manifest.RootKeyPackageParse, Detail: "root key package: not JSON"}
	}
	d.roots, d.store = roots, b.String()
	return nil
}

// refuse ends the job for a reason that the reference agent has a name for.
func (d *Dialect) refuse(err error, emit func(control.Out)) {
	d.reject(manifest.Why(err).Extended(), err.Error(), emit)
}

// reject ends a job that is checked; not one whose run the engine may know: it
// is the run then that says how it ends.
func (d *Dialect) reject(code uint32, why string, emit func(control.Out)) {
	j := d.job
	why = redact(why, maxDetails)
	logf(emit, "deployment %s: %s", j.ID, why)
	if j.given {
		j.stage, j.manifest = running, nil
		return
	}
	d.finish(failed(j.identity, code, why), emit)
}

// maxNumbered is how many files have inputs of their own.
const maxNumbered = 10

// Inputs names the inputs that the command "update" may bring. provider, name and version are the
// update's id. handler and criteria (installedCriteria) are of the first step
// with a handler, and fileName, url, sha256 (hexadecimal) and size of the first
// file that a step names; those of the next are fileName2, url2 and so on up to 10. delta… are
// of a related file that makes the first file out of one with the digest
// deltaBase, if the update that was installed last had such a file. update is all of it as JSON.
func Inputs() []string {
	all := []string{"provider", "name", "version", "handler", "criteria", "deltaUrl", "deltaSha256", "deltaSize", "deltaBase", "deltaHandler", "update"}
	for n := 1; n <= maxNumbered; n++ {
		for _, name := range []string{"fileName", "url", "sha256", "size"} {
			all = append(all, numbered(name, n))
		}
	}
	slices.Sort(all)
	return all
}

func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + strconv.Itoa(n)
}

// stepInput is one step with a handler, in the input update.
type stepInput struct {
	Step       int               `json:"step"` // of the update; the steps of a child share theirs
	Handler    string            `json:"handler"`
	Properties map[string]string `json:"properties,omitempty"`
	Files      []fileInput       `json:"files,omitempty"`
}

type fileInput struct {
	Name    string      `json:"fileName"`
	URL     string      `json:"url"`
	SHA256  string      `json:"sha256"`
	Size    int64       `json:"size"`
	Source  string      `json:"source,omitempty"` // digest of what a related file is a difference to
	Handler string      `json:"downloadHandler,omitempty"`
	Related []fileInput `json:"relatedFiles,omitempty"`
}

// inputs makes the inputs of the command. have are the digests of the files of what is installed.
func inputs(m *manifest.Manifest, urls map[string]string, have []string) (map[string]string, error) {
	steps, files, err := flatten(m, urls)
	if err != nil {
		return nil, err
	}
	in := map[string]string{"provider": m.ID.Provider, "name": m.ID.Name, "version": m.ID.Version}
	in["update"] = string(marshal(map[string]any{"updateId": m.ID, "steps": steps}))
	first := m.Steps[0]
	if first.Child != nil {
		first = first.Child.Steps[0]
	}
	in["handler"] = first.Handler
	if criteria := first.Property("installedCriteria"); criteria != "" {
		in["criteria"] = criteria
	}
	for i, f := range files {
		if n := i + 1; n <= maxNumbered {
			in[numbered("fileName", n)], in[numbered("url", n)] = f.Name, urls[f.ID]
			in[numbered("sha256", n)], in[numbered("size", n)] = f.SHA256, strconv.FormatInt(f.Size, 10)
		}
	}
	if len(files) > 0 {
		if r, ok := files[0].Delta(have); ok && urls[r.ID] != "" {
			in["deltaUrl"], in["deltaSha256"], in["deltaSize"] = urls[r.ID], r.SHA256, strconv.FormatInt(r.Size, 10)
			in["deltaBase"], in["deltaHandler"] = r.Source(), files[0].DownloadHandler
		}
	}
	return in, nil
}

// flatten gives the steps with their files, those of children in their place,
// and each file once in the order in which steps name them. Each must have a URL.
func flatten(m *manifest.Manifest, urls map[string]string) (steps []stepInput, files []manifest.File, err error) {
	add := func(at int, of *manifest.Manifest, s manifest.Step) {
		step := stepInput{Step: at, Handler: s.Handler, Properties: s.Properties}
		for _, id := range s.Files {
			f, _ := of.File(id)
			if urls[id] == "" && err == nil {
				err = &manifest.Refusal{Reason: manifest.BadFilesOrFileURLs, Detail: fmt.Sprintf("file %.64q has no URL", id)}
			}
			step.Files = append(step.Files, fileOf(f, urls))
			if !slices.ContainsFunc(files, func(known manifest.File) bool { return known.ID == f.ID && known.SHA256 == f.SHA256 }) {
				files = append(files, f)
			}
		}
		steps = append(steps, step)
	}
	for i, s := range m.Steps {
		if s.Child == nil {
			add(i, m, s)
			continue
		}
		for _, inner := range s.Child.Steps {
			add(i, s.Child, inner)
		}
	}
	return steps, files, err
}

func fileOf(f manifest.File, urls map[string]string) fileInput {
	in := fileInput{Name: f.Name, URL: urls[f.ID], SHA256: f.SHA256, Size: f.Size, Source: f.Source(), Handler: f.DownloadHandler}
	for _, r := range f.Related {
		if urls[r.ID] != "" {
			in.Related = append(in.Related, fileOf(r, urls))
		}
	}
	return in
}

// digests gives the digests of an update's files, those of its steps first.
func digests(m *manifest.Manifest) []string {
	var all []string
	for _, f := range m.Files {
		if len(all) < maxNumbered {
			all = append(all, f.SHA256)
		}
	}
	return all
}
