package hawkbit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// hawkBit's types of actions.
const (
	typeForced   = "forced"
	typeSoft     = "soft"
	typeTime     = "timeforced"
	typeDownload = "downloadonly"
)

// hawkBit's words for a maintenance window.
const (
	windowOpen   = "available"
	windowClosed = "unavailable"
)

// members of Set, by verb.
var (
	planMembers  = []string{"confirm", "forcetime", "metadata", "name", "part", "type", "window"}
	forceMembers = []string{"force"}
)

func checkMembers(set map[string]any, known []string) error {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if !slices.Contains(known, key) {
			return wrong("unknown member %.80q (have %q)", key, known)
		}
	}
	return nil
}

// readPlan reads Set for a push.
func readPlan(set map[string]any, now time.Time) (p plan, err error) {
	if err := checkMembers(set, planMembers); err != nil {
		return p, err
	}
	p = plan{Type: typeForced, Part: "os", Name: "software"}
	for _, to := range []struct {
		key string
		to  *string
	}{{"type", &p.Type}, {"part", &p.Part}, {"name", &p.Name}} {
		if v, given := set[to.key]; given {
			text, ok := v.(string)
			if !ok || text == "" || len(text) > 128 {
				return p, wrong("%s is %v, expected a text of 1 to 128 letters", to.key, v)
			}
			*to.to = text
		}
	}
	if types := []string{typeForced, typeSoft, typeTime, typeDownload}; !slices.Contains(types, p.Type) {
		return p, wrong("type is %.80q, expected one of %q", p.Type, types)
	}
	if p.Confirm, err = readBool(set, "confirm"); err != nil {
		return p, err
	}
	if err := p.readTimes(set, now); err != nil {
		return p, err
	}
	switch p.Part { // devices go on to see the names that these types had first
	case "application":
		p.Part = "bApp"
	case "runtime":
		p.Part = "jvm"
	}
	return p, p.readMetadata(set)
}

// readTimes reads forcetime and window.
func (p *plan) readTimes(set map[string]any, now time.Time) error {
	v, given := set["forcetime"]
	if given != (p.Type == typeTime) {
		return wrong("forcetime belongs to the type timeforced, which needs it")
	}
	if given {
		if f, float := v.(float64); float {
			v = int64(f)
		}
		at, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		if wait, bad := time.ParseDuration(fmt.Sprint(v)); bad == nil {
			at, err = now.Add(wait).UnixMilli(), nil
		}
		if err != nil || at < 0 {
			return wrong("forcetime is %v, expected milliseconds since 1970, or a duration from now such as \"10m\"", v)
		}
		p.Force = at
	}
	v, p.Window = set["window"]
	switch wait, err := time.ParseDuration(fmt.Sprint(v)); {
	case !p.Window || v == windowClosed:
	case v == windowOpen:
		p.Opens = 1
	case err != nil || wait < 0:
		return wrong("window is %v, expected %s, %s, or a duration until it opens such as \"10m\"", v, windowOpen, windowClosed)
	default:
		p.Opens = now.Add(wait).UnixMilli()
	}
	return nil
}

func (p *plan) readMetadata(set map[string]any) error {
	v, given := set["metadata"]
	if !given {
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil || json.Unmarshal(data, &p.Metadata) != nil || p.Metadata == nil || len(data) > 16<<10 {
		return wrong("metadata is no object of texts up to %d bytes", 16<<10)
	}
	return nil
}

func readForce(set map[string]any) (bool, error) {
	if err := checkMembers(set, forceMembers); err != nil {
		return false, err
	}
	return readBool(set, "force")
}

// readBool reads true or false, also as a text.
func readBool(set map[string]any, key string) (bool, error) {
	v, given := set[key]
	switch v {
	case true, "true":
		return true, nil
	case false, "false":
		return false, nil
	}
	if given {
		return false, wrong("%s is %v, expected true or false", key, v)
	}
	return false, nil
}
