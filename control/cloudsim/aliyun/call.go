package aliyun

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// app is what a call says of one.
type app struct {
	Size        int64  `json:"size"` // bytes
	ID          string `json:"appId"`
	RollingBack int    `json:"rollingBack"`
	Version     string `json:"version"`
	URL         string `json:"url"`
	MD5         string `json:"md5"`
	NeedRestart int    `json:"needRestart"`
}

// params are those of a call.
type params struct {
	App                []app  `json:"app"`
	AppUpdateCount     int    `json:"appUpdateCount"`
	ErrorCode          string `json:"errorCode"`
	NeedUpdateFirmware int    `json:"needUpdateFirmware"`
	Trace              string `json:"haasTraceId"`
}

// calling is the envelope of a call.
type calling struct {
	Method  string `json:"method"`
	ID      string `json:"id"`
	Params  params `json:"params"`
	Version string `json:"version"`
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// offer makes the messages of calls.
func (h *HaaS) offer(name string, calls []call) (out []cloudsim.Message) {
	for _, c := range calls {
		p := params{ErrorCode: c.pushes[0].ErrorCode, Trace: trace()}
		for _, push := range c.pushes {
			address, err := h.sim.Address(push.Package)
			if err != nil {
				h.note(name, "job %s cannot be shown: %v", push.Job, err)
				continue
			}
			p.App = append(p.App, app{push.Package.Size, push.App, bit(push.Back), push.Version, address, push.Package.MD5, bit(push.Restart)})
			p.NeedUpdateFirmware = max(p.NeedUpdateFirmware, bit(push.Firmware))
		}
		if p.AppUpdateCount = len(p.App); p.AppUpdateCount > 0 {
			out = append(out, h.message(name, "/sys/", "/thing/service/"+service, calling{"thing.service." + service, strconv.FormatInt(c.id, 10), p, "1.0.0"}))
		}
	}
	return out
}

// trace names a call in the vendor's logs.
func trace() string {
	b := make([]byte, 15)
	_, _ = rand.Read(b) // it never gives an error
	return hex.EncodeToString(b)
}
