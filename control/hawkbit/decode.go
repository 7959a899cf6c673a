package hawkbit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrMessage is wrapped by every error of what the server answers.
var ErrMessage = errors.New("bad document")

// errForm is an answer that is no document of this API at all, such as the
// page of a proxy: it says nothing about an action.
var errForm = errors.New("not of this interface")

// links are those of a base document that ask for something, as paths with
// their queries.
type links struct {
	cancel, config, confirmation, deployment string
	action                                   string // of the deployment
}

// readBase reads the base document. Links that lead elsewhere, or nowhere, are
// named in the error and left out; what is right counts all the same.
func readBase(payload []byte, base string) (l links, sleep time.Duration, err error) {
	r, err := readDocument(payload)
	if err != nil {
		return l, 0, err
	}
	polling := r.object("config").object("polling")
	var wrong []error
	if text := polling.text("sleep"); text != "" {
		if sleep, err = readSleep(text); err != nil {
			wrong = append(wrong, err)
		}
	}
	all := r.object("_links")
	for _, take := range []struct {
		name string
		to   *string
	}{{"cancelAction", &l.cancel}, {"configData", &l.config}, {"confirmationBase", &l.confirmation}, {"deploymentBase", &l.deployment}} {
		href := all.object(take.name).text("href")
		if href == "" {
			continue
		}
		if *take.to, err = follow(base, href); err != nil {
			wrong = append(wrong, fmt.Errorf("link %s: %w", take.name, err))
		}
	}
	if l.deployment != "" {
		if l.action, err = action(l.deployment, "deploymentBase"); err != nil {
			l.deployment = ""
			wrong = append(wrong, err)
		}
	}
	return l, sleep, errors.Join(append(wrong, r.err())...)
}

// readSleep reads HH:MM:SS, with more than 24 hours too.
func readSleep(text string) (time.Duration, error) {
	total, parts := int64(0), strings.Split(text, ":")
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(parts) != 3 || i > 0 && n > 59 {
			return 0, fmt.Errorf("%w: sleep is %.20q, want HH:MM:SS", ErrMessage, redact(text, 20))
		}
		total = total*60 + int64(n)
	}
	return min(max(time.Duration(total)*time.Second, minSleep), maxSleep), nil
}

// follow gives the address of a link: its path and query at the server that is
// spoken to, whatever name that has for itself.
func follow(base, href string) (string, error) {
	own, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("%w: the base is no URL", ErrMessage)
	}
	to, err := url.Parse(href)
	if err != nil || len(href) > maxURL || strange(href) || to.Opaque != "" {
		return "", fmt.Errorf("%w: it is no URL", ErrMessage)
	}
	to = own.ResolveReference(to)
	to.Scheme, to.Host, to.User, to.Fragment, to.RawFragment = own.Scheme, own.Host, nil, "", ""
	if to.Path == own.Path || !below(own.Path, to) {
		return "", fmt.Errorf("%w: it leads out of %s", ErrMessage, own.Path)
	}
	return to.String(), nil
}

var actionID = regexp.MustCompile(`^[0-9A-Za-z_]{1,64}$`)

// action gives the id of the action in the address of one of its documents.
func action(address, document string) (string, error) {
	path, _, _ := strings.Cut(address, "?")
	_, id, found := strings.Cut(path, "/"+document+"/")
	if !found || !actionID.MatchString(id) {
		return "", fmt.Errorf("%w: a link to %s names no action", ErrMessage, document)
	}
	return id, nil
}

// deployment is what an action asks for.
type deployment struct {
	download, update string // skip, attempt, forced
	window           string // available, unavailable, or "" if there is none
	files            []file
}

// file is an artifact of a deployment, with what its software module says of itself.
type file struct {
	part, module, version string
	name, url             string
	size                  string // decimal bytes, or ""
	sha256, sha1, md5     string // lower-case hexadecimal, or ""
}

// readDeployment reads what stands in member (deployment, confirmation). It
// prefers encrypted downloads if secure says so. Errors that wrap [errForm] say
// nothing about the action.
func readDeployment(payload []byte, member, action string, secure bool) (d deployment, err error) {
	r, err := readDocument(payload)
	if err != nil {
		return d, err
	}
	id, body := r.textOrNumber("id"), r.object(member)
	if err := r.err(); err != nil || id != action || body.members == nil {
		return d, fmt.Errorf("%w: %w: want one of action %s with the member %s", ErrMessage, errForm, action, member)
	}
	d.download, d.update, d.window = body.word("download", "attempt"), body.word("update", "attempt"), body.text("maintenanceWindow")
	for i, chunk := range body.list("chunks") {
		c := body.entry(fmt.Sprintf("chunks[%d]", i), chunk)
		module := file{part: c.name("part"), module: c.name("name"), version: c.name("version")}
		for k, artifact := range c.list("artifacts") {
			if len(d.files) >= maxFiles {
				return d, fmt.Errorf("%w: it has more than %d artifacts", ErrMessage, maxFiles)
			}
			f, err := c.entry(fmt.Sprintf("artifacts[%d]", k), artifact).file(module, secure)
			if err != nil {
				return d, err
			}
			d.files = append(d.files, f)
		}
		if err := c.err(); err != nil {
			return d, err
		}
	}
	if err := r.err(); err != nil {
		return d, err
	}
	return d, d.check()
}

func (d deployment) check() error {
	for _, h := range []string{d.download, d.update} {
		if h != "skip" && h != "attempt" && h != "forced" {
			return fmt.Errorf("%w: a deployment is to be handled %q, want skip, attempt or forced", ErrMessage, redact(h, 20))
		}
	}
	if d.window != "" && d.window != "available" && d.window != "unavailable" {
		return fmt.Errorf("%w: the maintenance window is %q, want available or unavailable", ErrMessage, redact(d.window, 20))
	}
	return nil
}

// file reads one artifact of a software module.
func (r *reader) file(module file, secure bool) (file, error) {
	f := module
	f.name, f.size = r.name("filename"), r.textOrNumber("size")
	hashes, all := r.object("hashes"), r.object("_links")
	f.sha256, f.sha1, f.md5 = hashes.digest("sha256", 64), hashes.digest("sha1", 40), hashes.digest("md5", 32)
	order := []string{"download", "download-http"}
	if !secure {
		order = []string{"download-http", "download"}
	}
	for _, name := range order {
		if href := all.object(name).text("href"); href != "" && f.url == "" {
			f.url = href
		}
	}
	if n, err := strconv.ParseInt(f.size, 10, 64); f.size != "" && (err != nil || n < 0) {
		return f, fmt.Errorf("%w: size of %s is no whole number of bytes", ErrMessage, r.at)
	}
	if err := r.err(); err != nil {
		return f, err
	}
	if f.name == "" {
		return f, fmt.Errorf("%w: %s has no filename", ErrMessage, r.at)
	}
	return f, checkDownload(f)
}

// checkDownload never quotes the link: its query may be a secret.
func checkDownload(f file) error {
	u, err := url.Parse(f.url)
	switch {
	case f.url == "":
		return fmt.Errorf("%w: artifact %s has no link download or download-http", ErrMessage, redact(f.name, 80))
	case err != nil || len(f.url) > maxURL || strange(f.url) || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%w: the link of artifact %s is no absolute http or https URL up to %d bytes", ErrMessage, redact(f.name, 80), maxURL)
	case u.User != nil:
		return fmt.Errorf("%w: the link of artifact %s holds a user name or password", ErrMessage, redact(f.name, 80))
	}
	return nil
}

// readCancel reads which action is to be stopped.
func readCancel(payload []byte) (stop string, err error) {
	r, err := readDocument(payload)
	if err != nil {
		return "", err
	}
	c := r.object("cancelAction")
	stop = c.textOrNumber("stopId")
	if err := r.err(); err != nil {
		return "", err
	}
	if !actionID.MatchString(stop) {
		return "", fmt.Errorf("%w: cancelAction.stopId names no action", ErrMessage)
	}
	return stop, nil
}

// reader takes members out of an object, and remembers the first that is wrong.
// Readers of the objects within share what is remembered.
type reader struct {
	at      string // where the object is, for errors; "" for the whole document
	members map[string]json.RawMessage
	first   *error
}

func readDocument(payload []byte) (*reader, error) {
	r := &reader{first: new(error)}
	if !utf8.Valid(payload) || json.Unmarshal(payload, &r.members) != nil || r.members == nil {
		return nil, fmt.Errorf("%w: %w: it is %s, want an object in JSON", ErrMessage, errForm, kind(payload))
	}
	return r, nil
}

func (r *reader) err() error { return *r.first }

func (r *reader) wrong(name string, raw []byte, want string) {
	if *r.first == nil {
		*r.first = fmt.Errorf("%w: %s is %s, want %s", ErrMessage, r.path(name), kind(raw), want)
	}
}

func (r *reader) path(name string) string { return strings.TrimPrefix(r.at+"."+name, ".") }

// raw gives nil for a member that is missing or null.
func (r *reader) raw(name string) []byte {
	raw := r.members[name]
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	return raw
}

// object gives an empty reader for a member that is missing.
func (r *reader) object(name string) *reader { return r.entry(name, r.raw(name)) }

func (r *reader) entry(name string, raw []byte) *reader {
	in := &reader{at: r.path(name), first: r.first}
	if raw != nil && (json.Unmarshal(raw, &in.members) != nil || in.members == nil) {
		r.wrong(name, raw, "an object")
	}
	return in
}

func (r *reader) list(name string) (all []json.RawMessage) {
	if raw := r.raw(name); raw != nil && json.Unmarshal(raw, &all) != nil {
		r.wrong(name, raw, "a list")
	}
	return all
}

// text gives "" for a member that is missing or null.
func (r *reader) text(name string) (s string) {
	if raw := r.raw(name); raw != nil && json.Unmarshal(raw, &s) != nil {
		r.wrong(name, raw, "text")
	}
	return s
}

// textOrNumber gives a number as it was written.
func (r *reader) textOrNumber(name string) string {
	if raw := r.raw(name); raw != nil && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw)
	}
	return r.text(name)
}

// word gives a word in small letters, or what stands for one that is missing.
func (r *reader) word(name, missing string) string {
	if r.raw(name) == nil {
		return missing
	}
	return strings.ToLower(r.text(name))
}

// name gives a text that people chose: one line of at most 256 bytes.
func (r *reader) name(name string) string {
	s := r.textOrNumber(name)
	if len(s) > 256 || strings.ContainsFunc(s, unicode.IsControl) {
		r.wrong(name, r.members[name], "one line of at most 256 bytes")
		return ""
	}
	return s
}

// digest gives hexadecimal digits in small letters.
func (r *reader) digest(name string, digits int) string {
	s := strings.ToLower(r.text(name))
	if s != "" && (len(s) != digits || strings.Trim(s, "0123456789abcdef") != "") {
		r.wrong(name, r.members[name], fmt.Sprintf("%d hexadecimal digits", digits))
		return ""
	}
	return s
}

// kind names what stands in the place of something else.
func kind(raw []byte) string {
	switch raw = bytes.TrimSpace(raw); {
	case len(raw) == 0:
		return "missing"
	case !json.Valid(raw):
		return "no JSON"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// strange says that a text holds what no URL holds.
func strange(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"\\<>^`{|}", r) })
}

// query is what follows a question mark in a text for people: it may be a secret.
var query = regexp.MustCompile(`\?\S*`)

// redact makes a foreign text fit to be shown: one line, bounded, no queries.
func redact(text string, limit int) string {
	text = query.ReplaceAllString(text, "")
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		} else if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + " …"
	}
	return text
}
