package hawkbit

import (
	"cmp"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// link is one of a HAL document.
type link struct {
	Href string `json:"href"`
}

// baseDocument answers a poll.
type baseDocument struct {
	Config struct {
		Polling struct {
			Sleep string `json:"sleep"`
		} `json:"polling"`
	} `json:"config"`
	Links map[string]link `json:"_links,omitempty"`
}

// deploymentDocument is one of deploymentBase, installedBase and confirmationBase.
type deploymentDocument struct {
	ID           string      `json:"id"`
	Deployment   *deployment `json:"deployment,omitempty"`
	Confirmation *deployment `json:"confirmation,omitempty"`
	History      *history    `json:"actionHistory,omitempty"`
}

type deployment struct {
	Download string  `json:"download"`
	Update   string  `json:"update"`
	Window   string  `json:"maintenanceWindow,omitempty"`
	Chunks   []chunk `json:"chunks"`
}

type history struct {
	Status   status   `json:"status"`
	Messages []string `json:"messages"`
}

type chunk struct {
	Part      string     `json:"part"`
	Version   string     `json:"version"`
	Name      string     `json:"name"`
	Artifacts []artifact `json:"artifacts"`
	Metadata  []metadata `json:"metadata,omitempty"`
}

type metadata struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type artifact struct {
	Filename string          `json:"filename"`
	Hashes   hashes          `json:"hashes"`
	Size     int64           `json:"size"`
	Links    map[string]link `json:"_links"`
}

type hashes struct {
	SHA1   string `json:"sha1,omitempty"`
	MD5    string `json:"md5,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// poll makes the base document. The links begin with base.
func (t *target) poll(base, sleep string, now time.Time) baseDocument {
	d := baseDocument{Links: map[string]link{}}
	d.Config.Polling.Sleep = sleep
	if a := t.current(); a != nil {
		name, versioned := "deploymentBase", true
		switch {
		case a.Status == unconfirmed:
			name = "confirmationBase"
		case a.cancelled():
			name, versioned = "cancelAction", false
		}
		href := base + "/" + name + "/" + a.job()
		if versioned {
			href += "?c=" + strconv.Itoa(int(a.version(now)))
		}
		d.Links[name] = link{href}
	}
	if t.Installed > 0 {
		d.Links["installedBase"] = link{base + "/installedBase/" + strconv.FormatInt(t.Installed, 10)}
	}
	if !t.Told {
		d.Links["configData"] = link{base + "/configData"}
	}
	return d
}

// deployment says what to do with which software.
func (a *action) deployment(artifacts []artifact, now time.Time) *deployment {
	d := &deployment{Download: "attempt"}
	if a.forced(now) {
		d.Download = "forced"
	}
	d.Update = d.Download
	if a.Type == typeDownload || !a.open(now) {
		d.Update = "skip"
	}
	if a.Window {
		d.Window = map[bool]string{true: windowOpen, false: windowClosed}[a.open(now)]
	}
	c := chunk{Part: a.Part, Version: a.Software.Version, Name: a.Name, Artifacts: artifacts}
	for _, key := range slices.Sorted(maps.Keys(a.Metadata)) {
		c.Metadata = append(c.Metadata, metadata{key, a.Metadata[key]})
	}
	d.Chunks = []chunk{c}
	return d
}

// history gives as many of the newest messages as are asked for, all that are
// kept below 0, and nil if there are none.
func (a *action) history(count int) *history {
	if count < 0 {
		count = len(a.Messages)
	}
	messages := a.Messages[:min(count, len(a.Messages))]
	if len(messages) == 0 {
		return nil
	}
	return &history{a.Status, messages}
}

// filename is the artifact's name.
func (a *action) filename() string {
	if a.Software.File != "" {
		return path.Base(a.Software.File)
	}
	u, err := url.Parse(a.Software.URL)
	if err != nil { // it was checked when it was ordered
		return ""
	}
	return path.Base(u.Path)
}

// artifacts describes the only artifact. Address is where the simulator says
// that it is now: for a file of its own, the query is taken from it, so that
// each telling may have another one.
func (a *action) artifacts(base, address string) []artifact {
	s := a.Software
	out := artifact{Filename: a.filename(), Hashes: hashes{s.SHA1, s.MD5, s.SHA256}, Size: s.Size, Links: map[string]link{}}
	if s.File == "" {
		out.Links[cmp.Or(map[bool]string{true: "download"}[strings.HasPrefix(address, "https:")], "download-http")] = link{address}
		return []artifact{out}
	}
	href := base + "/softwaremodules/" + a.job() + "/artifacts/" + url.PathEscape(out.Filename)
	file := href
	if _, query, found := strings.Cut(address, "?"); found {
		file += "?" + query
	}
	// hawkBit names them by the scheme that devices would use, and gives both
	// where a proxy in front of it speaks TLS.
	out.Links["download-http"], out.Links["md5sum-http"] = link{file}, link{href + md5Suffix}
	if strings.HasPrefix(base, "https:") {
		out.Links["download"], out.Links["md5sum"] = link{file}, link{href + md5Suffix}
	}
	return []artifact{out}
}

// address is where a device finds the software now, by the simulator. Devices
// get files from the face, so it does not matter if the file server has no
// address that they could use.
func (c *Cloud) address(s cloudsim.Software) string {
	address, err := c.sim.Address(s)
	if err != nil {
		return ""
	}
	return address
}
