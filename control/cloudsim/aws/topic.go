package aws

import (
	"regexp"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// family is one of the services that a thing has.
type family string

const (
	familyPattern family = "state" // the plain topics of the update pattern
	familyShadow  family = "shadow"
	familyJobs    family = "jobs"
	familyStreams family = "streams"
)

// topic is where a request goes. Answers are below text.
type topic struct {
	text   string
	device string
	family family
	prefix string // of a shadow, with the slash at its end
	name   string // of the shadow, job or stream; "" for the classic shadow
	verb   string // such as update; "" if the service has nothing there
	format string // of streams: json or cbor
}

var (
	validShadow = regexp.MustCompile(`^[$a-zA-Z0-9:_-]{1,64}$`)
	validJob    = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	validStream = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
)

// parseTopic reads the topic of a request. It gives ok for everything in the
// name space of jobs and streams, where the service answers what it does not know.
func parseTopic(text string) (t topic, ok bool) {
	parts := strings.Split(text, "/")
	t.text = text
	switch {
	case len(parts) == 3 && parts[0] == "state":
		t.device, t.family, t.verb = parts[1], familyPattern, parts[2]
		t.prefix = "state/" + t.device + "/"
		ok = t.verb == "update" || t.verb == "get"
	case len(parts) > 4 && parts[0] == "$aws" && parts[1] == "things":
		t.device, t.family = parts[2], family(parts[3])
		ok = t.parseService(parts[4:])
	}
	return t, ok && validThing(t.device)
}

func (t *topic) parseService(rest []string) bool {
	switch t.family {
	case familyShadow:
		t.prefix = shadowPrefix(t.device, "")
		if len(rest) == 3 && rest[0] == "name" && validShadow.MatchString(rest[1]) {
			t.name, t.prefix, rest = rest[1], shadowPrefix(t.device, rest[1]), rest[2:]
		}
		t.verb = rest[0]
		return len(rest) == 1 && (t.verb == "update" || t.verb == "get" || t.verb == "delete")
	case familyJobs:
		switch {
		case len(rest) == 1 && (rest[0] == "get" || rest[0] == "start-next"):
			t.verb = rest[0]
		case len(rest) == 2 && (rest[1] == "get" || rest[1] == "update"):
			t.name, t.verb = rest[0], rest[1]
		}
	case familyStreams:
		if len(rest) == 3 && (rest[1] == "describe" || rest[1] == "get") && (rest[2] == "json" || rest[2] == "cbor") && validStream.MatchString(rest[0]) {
			t.name, t.verb, t.format = rest[0], rest[1], rest[2]
		}
	default:
		return false
	}
	return t.verb != "" || !ofCloud(rest[len(rest)-1])
}

// ofCloud says that a topic with such an end is the service's to write.
func ofCloud(last string) bool {
	switch last {
	case "accepted", "rejected", "notify", "notify-next":
		return true
	}
	return false
}

func shadowPrefix(device, name string) string {
	if name != "" {
		name = "name/" + name + "/"
	}
	return "$aws/things/" + device + "/shadow/" + name
}

// Permit holds each device to its own topics, and to those that it may write.
func (c *Cloud) Permit(device, filter string, publish bool) cloudsim.Permission {
	if publish {
		if t, ok := parseTopic(filter); ok && t.device == device {
			return cloudsim.Allowed
		}
		return cloudsim.Disconnect
	}
	for _, prefix := range []string{"state/" + device + "/", "$aws/things/" + device + "/"} {
		if strings.HasPrefix(filter, prefix) {
			return cloudsim.Allowed
		}
	}
	return cloudsim.Refused
}

// matches says whether a filter covers a topic.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, part := range f {
		if part == "#" {
			return true
		}
		if i >= len(t) || part != "+" && part != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}
