package hub

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// In a twin that is kept, a URL of the simulator's own stands as one of these
// with a name, since addresses change: with a fault, or with the next start.
const (
	schemeFile = "sim-file:" // a file of the artifact server
	schemePage = "sim-page:" // what this cloud serves below /adu/
)

// link is how a twin keeps the URL of software.
func link(s cloudsim.Software) string {
	if s.File == "" {
		return s.URL
	}
	return schemeFile + s.File
}

// resolve gives a copy in which links are URLs, each made anew.
func (h *Cloud) resolve(v any) any {
	switch v := v.(type) {
	case map[string]any:
		all := make(map[string]any, len(v)+1)
		for name, inner := range v {
			all[name] = h.resolve(inner)
		}
		return all
	case []any:
		all := make([]any, len(v))
		for i, inner := range v {
			all[i] = h.resolve(inner)
		}
		return all
	case string:
		if file, ok := strings.CutPrefix(v, schemeFile); ok {
			v, _ = h.sim.Address(cloudsim.Software{File: file}) // it was checked with the order
		} else if page, ok := strings.CutPrefix(v, schemePage); ok {
			base, _ := h.face()
			v = base + "/adu/" + page
		}
		return v
	}
	return v
}

// address is the URL of software for a device, checked.
func (h *Cloud) address(s cloudsim.Software) (string, error) {
	if s.File == "" && s.URL == "" {
		return "", fmt.Errorf("%w: an update needs a file or a URL", cloudsim.ErrConfig)
	}
	return h.sim.Address(s)
}

// face is where devices reach what this cloud serves.
func (h *Cloud) face() (string, error) {
	if h.c.FaceURL != "" {
		return strings.TrimSuffix(h.c.FaceURL, "/"), nil
	}
	at := h.sim.Endpoints().Face
	u, err := url.Parse(at)
	if err != nil || net.ParseIP(u.Hostname()).IsUnspecified() {
		return "", fmt.Errorf("%w: the HTTP side listens on all addresses; say how devices reach it, http://HOST:PORT", cloudsim.ErrConfig)
	}
	return at, nil
}
