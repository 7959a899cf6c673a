package aliyunota

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/engine"
)

// ErrMessage is wrapped by every error of a message from the cloud.
var ErrMessage = aliyun.ErrMessage

// Limits on what is believed.
const (
	maxFiles = 4
	maxExtra = 4096 // bytes of extData, and of digestsign
)

// file is one file of an upgrade. Digests in lower-case hex, "" if they are missing.
type file struct {
	name, url, md5, sha256 string
	size                   int64 // bytes, -1 if it is missing
}

// wanted is what an upgrade asks for.
type wanted struct {
	id, code, text  string
	pending         bool // false: there is nothing to do
	module, version string
	diff            bool // the file is a difference from the version that was said last
	files           []file
	extra, signed   string
	streamed        bool // over MQTT
}

// readUpgrade reads an upgrade, or the answer to a get. After an error,
// module says whose upgrade it was, if that much could be read.
func readUpgrade(payload []byte) (w wanted, err error) {
	doc, err := aliyun.Read(payload, "message")
	if err != nil {
		return w, err
	}
	w.id, w.code, w.text = doc.ID("id"), doc.Text("code"), doc.Text("message")
	if doc.Err != nil {
		return w, doc.Err
	}
	if w.code != "" && w.code != "1000" && w.code != "200" {
		return w, nil
	}
	if doc.Raw("data") == nil {
		return w, nil
	}
	data, err := aliyun.Read(doc.Raw("data"), "data")
	if err != nil || data.Len() == 0 {
		return w, err
	}
	w.module = data.Word("module")
	if data.Err != nil {
		return w, data.Err
	}
	if w.module == "" {
		w.module = DefaultModule
	}
	w.pending = true
	return w, w.read(data)
}

// read reads what an upgrade is made of.
func (w *wanted) read(data *aliyun.Object) error {
	w.version, w.diff = data.Word("version"), data.Flag("isDiff")
	w.streamed = strings.EqualFold(data.Text("dProtocol"), "mqtt")
	w.signed = data.Text("digestsign")
	var extra bytes.Buffer
	if raw := data.Raw("extData"); raw != nil && json.Compact(&extra, raw) == nil {
		w.extra = extra.String()
	}
	switch {
	case data.Err != nil:
		return data.Err
	case w.version == "":
		return fmt.Errorf("%w: version is missing", ErrMessage)
	case len(w.extra) > maxExtra || len(w.signed) > maxExtra:
		return fmt.Errorf("%w: extData or digestsign has more than %d bytes", ErrMessage, maxExtra)
	case w.streamed:
		return nil
	}
	return w.readFiles(data)
}

func (w *wanted) readFiles(data *aliyun.Object) error {
	method := data.Text("signMethod")
	list := data.Raw("files")
	if list == nil {
		f := file{url: data.URL("url"), size: data.Number("size"), md5: data.Hex("md5", 32)}
		return w.add(data, f, data.Text("sign"), method)
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(list, &raws); err != nil {
		return fmt.Errorf("%w: files is no list", ErrMessage)
	}
	if len(raws) == 0 || len(raws) > maxFiles {
		return fmt.Errorf("%w: %d files, want 1 to %d", ErrMessage, len(raws), maxFiles)
	}
	for i, raw := range raws {
		o, err := aliyun.Read(raw, fmt.Sprintf("files[%d]", i))
		if err != nil {
			return err
		}
		f := file{name: o.Word("fileName"), url: o.URL("fileUrl"), size: o.Number("fileSize"), md5: o.Hex("fileMd5", 32)}
		if err := w.add(o, f, o.Text("fileSign"), method); err != nil {
			return err
		}
	}
	return data.Err
}

// add takes a file whose digest may stand in sign, by the method that is named.
func (w *wanted) add(o *aliyun.Object, f file, sign, method string) error {
	if o.Err != nil {
		return o.Err
	}
	sign = strings.ToLower(sign)
	switch strings.ToLower(method) {
	case "md5":
		if f.md5 != "" && sign != "" && sign != f.md5 {
			return fmt.Errorf("%w: sign and md5 differ", ErrMessage)
		}
		if f.md5 == "" {
			f.md5 = sign
		}
	case "sha256":
		f.sha256 = sign
	case "": // md5 alone
	default:
		return fmt.Errorf("%w: signMethod is neither MD5 nor SHA256", ErrMessage)
	}
	switch {
	case f.url == "":
		return fmt.Errorf("%w: url is missing", ErrMessage)
	case f.md5 != "" && !aliyun.IsHex(f.md5, 32) || f.sha256 != "" && !aliyun.IsHex(f.sha256, 64):
		return fmt.Errorf("%w: sign is not of the method %s", ErrMessage, strings.ToUpper(method))
	}
	w.files = append(w.files, f)
	return nil
}

// key names the job: of a URL, which changes, nothing belongs to it.
func (w wanted) key() string {
	content := []string{strconv.FormatBool(w.diff)}
	for _, f := range w.files {
		content = append(content, f.name, f.md5, f.sha256, strconv.FormatInt(f.size, 10))
	}
	return aliyun.Key(w.module, w.version, content...)
}

// Inputs lists the inputs that a command may bring. Those of further files end in _2, _3 and _4.
func Inputs() []string {
	all := []string{"module", "version", "isDiff", "extData", "digestsign"}
	for n := range maxFiles {
		for _, name := range []string{"url", "size", "md5", "sha256", "fileName"} {
			all = append(all, name+suffix(n))
		}
	}
	slices.Sort(all)
	return all
}

func suffix(n int) string {
	if n == 0 {
		return ""
	}
	return "_" + strconv.Itoa(n+1)
}

func (w wanted) inputs() map[string]string {
	in := map[string]string{"module": w.module, "version": w.version, "isDiff": strconv.FormatBool(w.diff)}
	set := func(name, value string) {
		if value != "" {
			in[name] = value
		}
	}
	set("extData", w.extra)
	set("digestsign", w.signed)
	for n, f := range w.files {
		for name, value := range map[string]string{"url": f.url, "md5": f.md5, "sha256": f.sha256, "fileName": f.name} {
			set(name+suffix(n), value)
		}
		if f.size >= 0 {
			set("size"+suffix(n), strconv.FormatInt(f.size, 10))
		}
	}
	return in
}

// message takes what the broker delivers. Whatever it is, it is acknowledged;
// only a message that starts a job waits for the engine.
func (d *Dialect) message(in control.In, emit func(control.Out)) {
	held, err := d.read(in, emit)
	if err != nil {
		aliyun.Log(emit, "%q: %v: ignored", aliyun.Redact(in.Topic, 160), err)
	}
	if !held {
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
	}
}

// read says whether the message is to be acknowledged later.
func (d *Dialect) read(in control.In, emit func(control.Out)) (held bool, err error) {
	reply := in.Topic == d.topic(getReply)
	switch {
	case !reply && in.Topic != d.topic(upgrade):
		return false, fmt.Errorf("%w: not a topic of device %s", ErrMessage, d.c.Device)
	case in.Retained:
		return false, fmt.Errorf("%w: retained, so it may be old", ErrMessage)
	case len(in.Payload) > aliyun.MaxPayload:
		return false, fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(in.Payload), aliyun.MaxPayload)
	}
	w, err := readUpgrade(in.Payload)
	if reply {
		module, ours := d.gets[w.id]
		if !ours {
			return false, cmp.Or(err, fmt.Errorf("%w: the answer %.70q is to no question of this connection", ErrMessage, w.id))
		}
		delete(d.gets, w.id)
		w.id = "" // it is ours, and says nothing of who asked for the job
		d.answered(in.Now, module, w, err, emit)
	}
	switch {
	case err != nil:
		d.decline(w, err, emit)
		return false, err
	case w.code != "" && w.code != "1000" && w.code != "200":
		return false, fmt.Errorf("the cloud says %s", aliyun.Redact(w.code+" "+w.text, 120))
	case !w.pending:
		return false, nil
	case !d.c.has(w.module):
		err = fmt.Errorf("module %s is not on this device (have %s)", aliyun.Redact(w.module, 64), strings.Join(d.c.modules(), ", "))
		d.decline(w, err, emit)
		return false, err
	}
	return d.want(in, w, emit)
}

// answered has an end that is in doubt told or forgotten by what the cloud says
// is pending for a module. What cannot be read is no job that was done here.
func (d *Dialect) answered(now time.Time, module string, w wanted, bad error, emit func(control.Out)) {
	switch {
	case w.pending && w.module == module && bad == nil:
		d.jobs.Waits(now, module, w.key(), emit)
	case w.pending && w.module == module, !w.pending && bad == nil && (w.code == "200" || w.code == "1000"):
		d.jobs.Waits(now, module, "", emit)
	}
}

// decline tells the cloud of an upgrade that cannot be one, unless the module
// has a job: the step -1 would end that one too.
func (d *Dialect) decline(w wanted, why error, emit func(control.Out)) {
	if w.module != "" && !d.jobs.Open(w.module) && d.connected {
		emit(d.step(1, w.module, "-1", aliyun.Redact(why.Error(), 200)))
	}
}

// want takes the job that an upgrade names.
func (d *Dialect) want(in control.In, w wanted, emit func(control.Out)) (held bool, err error) {
	if w.streamed {
		err = errors.New("a download over MQTT is not possible here, only https")
		if !d.jobs.Open(w.module) && d.connected {
			emit(d.step(1, w.module, "-2", err.Error()))
		}
		return false, err
	}
	runs, j := d.versions[w.module], d.jobs.Find(w.key())
	wish := aliyun.Wish{Key: w.key(), Ask: w.id, Old: runs, Inputs: w.inputs()}
	switch {
	case j != nil && j.Covers(w.id, w.version == runs):
		return d.jobs.Again(in, j, wish, emit), nil
	case w.version == runs: // whoever brought it, the cloud has not heard
		d.informAgain(in.Now, w.module, emit)
		return false, nil
	case w.diff && runs == "":
		err = errors.New("a difference needs a version, and none was said")
		d.decline(w, err, emit)
		return false, err
	case j != nil && j.AskedBy(w.id):
		if j.Ending.State != engine.Succeeded { // a success is past: another version runs by now
			d.jobs.TellAgain(in.Now, j, emit)
		}
		return false, nil
	}
	return d.jobs.Begin(in, wish, emit), nil
}
