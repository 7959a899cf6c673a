package aliyun

import (
	"encoding/json"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// upgrade is what the cloud says of a package.
type upgrade struct {
	Size       int64           `json:"size,omitempty"` // bytes
	Version    string          `json:"version"`
	IsDiff     int             `json:"isDiff,omitempty"`
	URL        string          `json:"url,omitempty"`
	MD5        string          `json:"md5,omitempty"`
	Sign       string          `json:"sign,omitempty"`
	SignMethod string          `json:"signMethod"`
	Module     string          `json:"module,omitempty"`
	DigestSign string          `json:"digestsign,omitempty"`
	ExtData    json.RawMessage `json:"extData,omitempty"`
	Files      []file          `json:"files,omitempty"`
}

// file is one of several.
type file struct {
	Size int64  `json:"fileSize"` // bytes
	Name string `json:"fileName"`
	URL  string `json:"fileUrl"`
	MD5  string `json:"fileMd5,omitempty"`
	Sign string `json:"fileSign"`
}

// describe says what a task is, with new addresses. Each look at it has its own.
func (o *OTA) describe(t *task) (u upgrade, err error) {
	u = upgrade{Version: t.Version, SignMethod: t.Method, DigestSign: t.Digest, ExtData: t.Extra}
	if t.Source != "" {
		u.IsDiff = 1
	}
	if t.Module != defaultModule {
		u.Module = t.Module
	}
	first, err := o.file(t, t.Package)
	if err != nil {
		return u, err
	}
	if len(t.Files) == 0 {
		u.Size, u.URL, u.MD5, u.Sign = first.Size, first.URL, first.MD5, first.Sign
		return u, nil
	}
	u.Files = []file{first}
	for _, more := range t.Files {
		f, err := o.file(t, more)
		if err != nil {
			return u, err
		}
		f.Name = more.Version
		u.Files = append(u.Files, f)
	}
	return u, nil
}

func (o *OTA) file(t *task, s cloudsim.Software) (file, error) {
	address, err := o.sim.Address(s)
	if err != nil {
		return file{}, err
	}
	path, _, _ := strings.Cut(address, "?")
	f := file{Size: s.Size, Name: path[strings.LastIndex(path, "/")+1:], URL: address, MD5: s.MD5, Sign: s.MD5}
	if t.Method == "SHA256" { // then there is no MD5
		f.MD5, f.Sign = "", s.SHA256
	}
	return f, nil
}

// envelope is that of an upgrade. Its code is text.
type envelope struct {
	Code    string  `json:"code"`
	Data    upgrade `json:"data"`
	ID      int64   `json:"id"`
	Message string  `json:"message"`
}

// offer makes the message that shows a task to a device.
func (o *OTA) offer(name string, t *task) []cloudsim.Message {
	u, err := o.describe(t)
	if err != nil {
		o.note(name, "job %s cannot be shown: %v", t.Job, err)
		return nil
	}
	return []cloudsim.Message{o.message(name, "/ota/device/upgrade/", "", envelope{"1000", u, t.ID, "success"})}
}
