package haas

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/engine"
)

// ErrMessage is wrapped by every error of a message from the cloud.
var ErrMessage = aliyun.ErrMessage

// Limits on what is believed.
const maxApps = 64

// The codes of a reply.
const (
	codeTaken   = 200 // understood; there may have been nothing to do
	codeRefused = 400 // understood, and not done
	codeBad     = 460 // wrong parameters
)

const service = "hli_service_upgrade_push"

// push is a call of the service.
type push struct {
	id       string // of the call
	code     string // errorCode, "200" if all is well
	trace    string // for logs
	firmware bool   // the firmware must be updated first
	app      *app   // nil if there is none for this one
}

// app is one entry of a push.
type app struct {
	id, version, url, md5 string
	size                  int64 // bytes, -1 if it is missing
	back, restart         bool
}

// readPush reads a call as it stands on the wire, or as the vendor's framework
// hands it to an app. After an error, id may be that of the call.
// Of its entries only that of the app ours is read.
func readPush(payload []byte, ours string) (p push, err error) {
	doc, err := aliyun.Read(payload, "message")
	if err != nil {
		return p, err
	}
	if p.id = doc.ID("id"); p.id == "" {
		p.id = doc.ID("msg_id")
	}
	method, named := doc.Text("method"), doc.Text("service_id")
	switch {
	case doc.Err != nil:
		return p, doc.Err
	case method != "" && method != "thing.service."+service || named != "" && named != service:
		return p, fmt.Errorf("%w: a call of another service", ErrMessage)
	}
	raw := doc.Raw("params")
	if len(raw) > 0 && raw[0] == '"' { // text that holds the object
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return p, fmt.Errorf("%w: params is no text", ErrMessage)
		}
		raw = []byte(text)
	}
	params, err := aliyun.Read(raw, "params")
	if err != nil {
		return p, err
	}
	return p, p.read(params, ours)
}

func (p *push) read(params *aliyun.Object, ours string) error {
	p.code, p.firmware = params.Text("errorCode"), params.Flag("needUpdateFirmware")
	p.trace = aliyun.Redact(params.Text("haasTraceId"), 64)
	var raws []json.RawMessage
	if raw := params.Raw("app"); raw != nil && json.Unmarshal(raw, &raws) != nil {
		return fmt.Errorf("%w: app is no list", ErrMessage)
	}
	if params.Err != nil {
		return params.Err
	}
	if len(raws) > maxApps {
		return fmt.Errorf("%w: %d apps, the limit is %d", ErrMessage, len(raws), maxApps)
	}
	for i, raw := range raws {
		o, err := aliyun.Read(raw, fmt.Sprintf("app[%d]", i))
		if err != nil {
			return err
		}
		id := o.Text("appId")
		if id != ours {
			continue
		}
		a := app{id: id, version: o.Word("version"), url: o.URL("url"), md5: o.Hex("md5", 32), size: o.Number("size"), back: o.Flag("rollingBack"), restart: o.Flag("needRestart")}
		if o.Err != nil {
			return o.Err
		}
		if p.app != nil && (p.app.key() != a.key() || p.app.back != a.back) {
			return fmt.Errorf("%w: two entries for the app %s", ErrMessage, id)
		}
		p.app = &a
	}
	return nil
}

func (a app) key() string {
	return aliyun.Key(a.id, a.version, a.md5, strconv.FormatInt(a.size, 10))
}

// check holds an entry to the rules of packages. A URL that ends in the name of a
// package must name this one.
func (a app) check() error {
	if _, err := ParseVersion(a.version); err != nil {
		return fmt.Errorf("%w: version %q %w", ErrMessage, aliyun.Redact(a.version, 40), err)
	}
	if a.url == "" {
		return fmt.Errorf("%w: url is missing", ErrMessage)
	}
	u, err := url.Parse(a.url)
	if err != nil {
		return fmt.Errorf("%w: url is no URL", ErrMessage)
	}
	if named, err := ReadName(path.Base(u.Path)); err == nil && (named.App != a.id || named.Version != a.version) {
		return fmt.Errorf("%w: the package is that of app %s, version %s, the message says %s, %s", ErrMessage, named.App, named.Version, a.id, a.version)
	}
	return nil
}

// Inputs lists the inputs that a command may bring.
func Inputs() []string {
	return []string{"appId", "md5", "needRestart", "rollingBack", "size", "url", "version"}
}

func (a app) inputs() map[string]string {
	in := map[string]string{"appId": a.id, "version": a.version, "url": a.url, "rollingBack": strconv.FormatBool(a.back), "needRestart": strconv.FormatBool(a.restart)}
	if a.md5 != "" {
		in["md5"] = a.md5
	}
	if a.size >= 0 {
		in["size"] = strconv.FormatInt(a.size, 10)
	}
	return in
}

// message takes what the broker delivers. Whatever it is, it is acknowledged;
// only a message that starts a job waits for the engine.
func (d *Dialect) message(in control.In, emit func(control.Out)) {
	held := false
	p, err := d.open(in)
	code := 0
	if err == nil {
		held, code, err = d.pushed(in, p, emit)
	} else if errors.Is(err, ErrMessage) && p.id != "" {
		code = codeBad
	}
	if err != nil {
		aliyun.Log(emit, "%q: %v%s: ignored", aliyun.Redact(in.Topic, 160), err, p.traced())
	}
	if !held {
		d.reply(p.id, code, emit)
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
	}
}

func (p push) traced() string {
	if p.trace == "" {
		return ""
	}
	return " (trace " + p.trace + ")"
}

func (d *Dialect) open(in control.In) (push, error) {
	switch {
	case in.Topic != d.topic(pushTopic):
		return push{}, fmt.Errorf("%w: not a topic of device %s", ErrMessage, d.c.Device)
	case in.Retained:
		return push{}, fmt.Errorf("%w: retained, so it may be old", ErrMessage)
	case len(in.Payload) > aliyun.MaxPayload:
		return push{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(in.Payload), aliyun.MaxPayload)
	}
	return readPush(in.Payload, d.c.App)
}

// pushed takes what a push asks for. code is that of the reply.
func (d *Dialect) pushed(in control.In, p push, emit func(control.Out)) (held bool, code int, err error) {
	if p.code != "200" {
		return false, codeTaken, fmt.Errorf("errorCode is %q, not 200", aliyun.Redact(p.code, 40))
	}
	a := p.app
	if a == nil {
		return false, codeTaken, nil // nothing is pending for this app
	}
	if err := a.check(); err != nil {
		return false, codeBad, err
	}
	j := d.jobs.Find(a.key())
	wish := aliyun.Wish{Key: a.key(), Ask: p.id, Old: d.version, Inputs: a.inputs()}
	switch {
	case j != nil && j.Covers(p.id, compare(a.version, d.version) == 0):
		held = d.jobs.Again(in, j, wish, emit)
		return held, codeTaken, nil
	case compare(a.version, d.version) == 0:
		return false, codeTaken, nil
	case p.firmware:
		return false, codeRefused, fmt.Errorf("app %s, version %s: the firmware must be updated first", a.id, a.version)
	}
	if !a.back && compare(a.version, d.version) < 0 {
		return false, codeRefused, fmt.Errorf("app %s: version %s is not higher than %s, which runs, and rollingBack is 0", a.id, a.version, d.version)
	}
	if j != nil && (j.AskedBy(p.id) || j.Ending.Fault() == aliyun.CheckFault || j.Ending.Fault() == aliyun.InstallFault) {
		if j.Ending.State != engine.Succeeded {
			d.jobs.TellAgain(in.Now, j, emit)
		}
		return false, codeTaken, nil
	}
	return d.jobs.Begin(in, wish, emit), codeTaken, nil
}

// compare compares two versions that were checked before.
func compare(a, b string) int {
	va, _ := ParseVersion(a)
	vb, _ := ParseVersion(b)
	return va.Compare(vb)
}
