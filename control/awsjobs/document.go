package awsjobs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Inputs reads a job document. The inputs that it may give are url, version,
// sha256, md5, size, operation, path and args (a JSON list). These forms are known:
//
//	{"url": "https://…", "version": "2.0", "sha256": "…", "size": 1048576, "md5": "…"}
//	{"stream": "s-1", "file": 0, "size": 1048576, "sha256": "…"}
//	{"operation": "install", "files": [{"fileName": "…", "fileVersion": "…", "fileSource": {"url": "https://…"},
//	  "checksum": {"inline": {"value": "…"}, "hashAlgorithm": "SHA256"}}]}
//	{"operation": "download.sh", "args": ["https://…", "/tmp/f"], "path": "default"}
//	{"version": "1.0", "steps": [{"action": {"name": "…", "type": "runHandler",
//	  "input": {"handler": "download.sh", "args": […], "path": "…"}}}]}
//
// The handler of a step is its operation, and the first argument that is an address
// is its url. A workflow decides what an operation means; nothing is run because
// a document names it. So more than one step, a finalStep and runCommand are
// errors, and runAsUser and ignoreStepFailure count for nothing. Unknown
// members are ignored. Errors wrap [ErrMessage] and repeat no address.
func Inputs(document []byte) (map[string]string, error) {
	doc, err := readDocument(document)
	if err != nil {
		return nil, err
	}
	b := inputs{}
	if absent(doc["steps"]) {
		err = b.plain(doc)
	} else {
		err = b.steps(doc)
	}
	if err != nil {
		return nil, err
	}
	return b, b.check()
}

// readDocument reads an object, or a text that holds one.
func readDocument(document []byte) (map[string]json.RawMessage, error) {
	var text string
	if json.Unmarshal(document, &text) == nil && text != "" {
		document = []byte(text)
	}
	return readObject(document, "jobDocument")
}

// inputs are those of a command, without empty ones.
type inputs map[string]string

func (b inputs) set(name, value string) {
	if value != "" {
		b[name] = value
	}
}

// plain reads the forms without steps.
func (b inputs) plain(doc map[string]json.RawMessage) error {
	r := reader{doc, nil}
	for _, name := range []string{"url", "operation", "path"} {
		b.set(name, r.text(name))
	}
	b.set("version", r.textOrNumber("version"))
	b.set("size", r.textOrNumber("size"))
	b.set("sha256", strings.ToLower(r.text("sha256")))
	b.set("md5", strings.ToLower(r.text("md5")))
	stream, file := r.text("stream"), r.count("file")
	if r.err != nil {
		return r.err
	}
	if stream != "" {
		if b["url"] != "" {
			return fmt.Errorf("%w: url and stream are both given", ErrMessage)
		}
		b.set("url", StreamURL(stream, file))
	}
	if err := b.arguments(doc["args"]); err != nil {
		return err
	}
	return b.files(doc["files"])
}

// steps reads the form with steps, of which a workflow can be one.
func (b inputs) steps(doc map[string]json.RawMessage) error {
	r := reader{doc, nil}
	if v := r.textOrNumber("version"); r.err == nil && v != "1.0" {
		r.fail("version of the steps is not 1.0")
	}
	var list []json.RawMessage
	if json.Unmarshal(doc["steps"], &list) != nil {
		r.fail("steps is %s, want a list", kind(doc["steps"]))
	}
	if r.err == nil && (len(list) != 1 || !absent(doc["finalStep"])) {
		r.fail("want one step and no finalStep: the workflow of the device has the others")
	}
	if r.err != nil {
		return r.err
	}
	step, err := readObject(list[0], "step")
	if err != nil {
		return err
	}
	action, err := readObject(step["action"], "action")
	if err != nil {
		return err
	}
	r = reader{action, nil}
	name, what := r.text("name"), cmp.Or(r.text("type"), "runHandler")
	if r.err == nil && what != "runHandler" {
		r.fail("action of type %.40q, want runHandler: this device runs no commands from the cloud", clean(what, 32))
	}
	if r.err != nil {
		return r.err
	}
	input, err := readObject(action["input"], "input")
	if err != nil {
		return err
	}
	r = reader{input, nil}
	b.set("operation", cmp.Or(r.text("handler"), name))
	b.set("path", r.text("path"))
	if r.err != nil {
		return r.err
	}
	return b.arguments(input["args"])
}

// arguments reads a list of texts and numbers.
func (b inputs) arguments(raw json.RawMessage) error {
	if absent(raw) {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) > maxArgs || len(raw) > maxArgText {
		return fmt.Errorf("%w: args is %s of %d bytes, want a list of at most %d in %d bytes", ErrMessage, kind(raw), len(raw), maxArgs, maxArgText)
	}
	texts := make([]string, len(list))
	for i, arg := range list {
		r := reader{map[string]json.RawMessage{"args": arg}, nil}
		if texts[i] = r.textOrNumber("args"); r.err != nil {
			return r.err
		}
		if b["url"] == "" && isAddress(texts[i]) {
			b.set("url", texts[i])
		}
	}
	if len(texts) > 0 {
		b["args"] = string(marshal(texts))
	}
	return nil
}

// files reads the one file of an older document, if it has any.
func (b inputs) files(raw json.RawMessage) error {
	if absent(raw) {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) > 1 {
		return fmt.Errorf("%w: files is %s of %d, want a list of one", ErrMessage, kind(raw), len(list))
	}
	if len(list) == 0 {
		return nil
	}
	file, err := readObject(list[0], "file")
	if err != nil {
		return err
	}
	source, err := readObject(file["fileSource"], "fileSource")
	if err != nil {
		return err
	}
	from, r := reader{source, nil}, reader{file, nil}
	b.set("url", from.text("url"))
	b.set("version", r.textOrNumber("fileVersion"))
	if err := cmp.Or(r.err, from.err); err != nil {
		return err
	}
	return b.checksum(file["checksum"])
}

func (b inputs) checksum(raw json.RawMessage) error {
	if absent(raw) {
		return nil
	}
	sum, err := readObject(raw, "checksum")
	if err != nil {
		return err
	}
	inline, err := readObject(sum["inline"], "inline")
	if err != nil {
		return err
	}
	value, r := reader{inline, nil}, reader{sum, nil}
	digest, name := strings.ToLower(value.text("value")), strings.ToLower(strings.ReplaceAll(r.text("hashAlgorithm"), "-", ""))
	if err := cmp.Or(r.err, value.err); err != nil {
		return err
	}
	if name != "sha256" && name != "md5" { // to leave it out would be to trust more than the cloud asks
		return fmt.Errorf("%w: hashAlgorithm %.40q, want SHA256 or MD5", ErrMessage, clean(name, 32))
	}
	b.set(name, digest)
	return nil
}

var (
	hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)
	hexMD5    = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// check holds the inputs to what can be meant.
func (b inputs) check() error {
	for _, name := range []string{"url", "args", "operation", "path", "version"} {
		if strings.Contains(b[name], "${aws:iot:") {
			return fmt.Errorf("%w: %s holds a placeholder that the cloud has not replaced", ErrMessage, name)
		}
	}
	for _, name := range []string{"operation", "path", "version"} {
		if text := b[name]; len(text) > maxName || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%w: %s is longer than %d bytes or holds control characters", ErrMessage, name, maxName)
		}
	}
	if text, ok := b["url"]; ok {
		if err := checkURL(text); err != nil {
			return err
		}
	}
	if text, ok := b["sha256"]; ok && !hexSHA256.MatchString(text) {
		return fmt.Errorf("%w: sha256 is not 64 hexadecimal digits", ErrMessage)
	}
	if text, ok := b["md5"]; ok && !hexMD5.MatchString(text) {
		return fmt.Errorf("%w: md5 is not 32 hexadecimal digits", ErrMessage)
	}
	if text, ok := b["size"]; ok {
		if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < 0 {
			return fmt.Errorf("%w: size is no whole number of bytes", ErrMessage)
		}
	}
	return nil
}

func isAddress(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

// checkURL takes absolute http and https URLs and those of streams. Its errors
// do not repeat the URL: queries are secrets.
func checkURL(text string) error {
	if len(text) > maxURL {
		return fmt.Errorf("%w: url is %d bytes, the limit is %d", ErrMessage, len(text), maxURL)
	}
	if strings.HasPrefix(text, StreamScheme+":") {
		_, _, err := ParseStreamURL(text)
		return err
	}
	strange := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"\\<>^`{|}", r) }
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsFunc(text, strange):
		return fmt.Errorf("%w: url is no URL", ErrMessage)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%w: url is no absolute http or https URL", ErrMessage)
	case u.User != nil:
		return fmt.Errorf("%w: url holds a user name or password", ErrMessage)
	}
	return nil
}

// What is another with each delivery of the same document.
var (
	signed      = regexp.MustCompile(`(https?://[^\s?#"]*)[?#][^\s"]*`)
	placeholder = regexp.MustCompile(`\$\{aws:iot:s3-presigned-url:([^}]*)\}`)
)

// fingerprint is the same for two deliveries of a document: queries, white
// space and the order of members do not count.
func fingerprint(document []byte) string {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return ""
	}
	sum := sha256.Sum256(marshal(unsigned(v)))
	return hex.EncodeToString(sum[:8])
}

func unsigned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = unsigned(v[k])
		}
	case []any:
		for i := range v {
			v[i] = unsigned(v[i])
		}
	case string:
		return signed.ReplaceAllString(placeholder.ReplaceAllString(v, "$1"), "$1")
	}
	return v
}

// marshal leaves & in URLs as it is.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a bug of ours: there is nothing in it that has no JSON
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
