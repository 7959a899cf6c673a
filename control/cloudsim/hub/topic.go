package hub

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The topics of devices. They name none: the hub knows who is connected.
const (
	topicGet      = "$iothub/twin/GET/"                       // ?$rid={id}
	topicReported = "$iothub/twin/PATCH/properties/reported/" // ?$rid={id}
	topicResult   = "$iothub/methods/res/"                    // {status}/?$rid={id}

	filterMethods = "$iothub/methods/POST/#"
	filterAnswers = "$iothub/twin/res/#"
	filterDesired = "$iothub/twin/PATCH/properties/desired/#"
)

// Permit allows a device its own topics and filters. The hub ends the
// connection of one that tries others.
func (h *Cloud) Permit(device, filter string, publish bool) cloudsim.Permission {
	own := "devices/" + strings.Replace(device, "/", "/modules/", 1) + "/"
	if publish {
		events := own + "messages/events"
		if readTopic(filter).kind != "" || filter == events || strings.HasPrefix(filter, events+"/") {
			return cloudsim.Allowed
		}
		return cloudsim.Disconnect
	}
	switch filter {
	case filterMethods, filterAnswers, filterDesired, own + "messages/devicebound/#":
		return cloudsim.Allowed
	case own + "#", own + "inputs/#":
		if strings.Contains(device, "/") {
			return cloudsim.Allowed
		}
	}
	return cloudsim.Disconnect
}

// topic is that of a request or of a method's result.
type topic struct {
	kind    string // topicGet, topicReported or topicResult; "" for others
	status  int    // of a result
	request string // id, as it was written; "" if there is none
}

func readTopic(text string) topic {
	for _, kind := range []string{topicGet, topicReported, topicResult} {
		rest, ok := strings.CutPrefix(text, kind)
		if !ok {
			continue
		}
		path, properties, _ := strings.Cut(rest, "?")
		t := topic{kind: kind}
		if kind == topicResult {
			var err error
			if t.status, err = strconv.Atoi(strings.TrimSuffix(path, "/")); err != nil {
				return topic{}
			}
		} else if path != "" {
			return topic{}
		}
		for pair := range strings.SplitSeq(properties, "&") {
			key, value, _ := strings.Cut(pair, "=")
			if plain, err := url.PathUnescape(key); err == nil && plain == "$rid" {
				t.request = value
			}
		}
		return t
	}
	return topic{}
}
