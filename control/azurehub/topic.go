package azurehub

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// The hub knows a device by its connection: its topics hold no name.
const (
	topicMethods = "$iothub/methods/POST/"                         // a call: {name}/?$rid={id}
	topicResults = "$iothub/methods/res/"                          // our answer: {status}/?$rid={id}
	topicGet     = "$iothub/twin/GET/?$rid="                       // our request for the twin
	topicPatch   = "$iothub/twin/PATCH/properties/reported/?$rid=" // our report
	topicAnswers = "$iothub/twin/res/"                             // the hub's answer to both: {status}/?$rid={id}
	topicDesired = "$iothub/twin/PATCH/properties/desired/"        // a notification: ?$version={n}
)

// topic is the topic of a message from the hub.
type topic struct {
	kind    string // topicMethods, topicAnswers or topicDesired
	name    string // of the method
	status  int    // of the answer
	request string // id, as it was written; "" if there is none
	version int64  // of the twin, 0 if there is none
}

func readTopic(text string) (topic, error) {
	for _, kind := range []string{topicMethods, topicAnswers, topicDesired} {
		rest, ok := strings.CutPrefix(text, kind)
		if !ok {
			continue
		}
		t := topic{kind: kind}
		path, properties, _ := strings.Cut(rest, "?")
		if err := t.properties(properties); err != nil {
			return topic{}, err
		}
		return t, t.path(strings.TrimSuffix(path, "/"))
	}
	return topic{}, fmt.Errorf("%w: no topic that the hub has for this device", ErrMessage)
}

func (t *topic) path(path string) (err error) {
	switch {
	case t.kind == topicMethods:
		if t.name, err = url.PathUnescape(path); err != nil || !isLine(t.name, 128) || t.name == "" {
			return fmt.Errorf("%w: a call of no method", ErrMessage)
		}
	case t.kind == topicAnswers:
		if t.status, err = strconv.Atoi(path); err != nil || t.status < 100 || t.status > 999 {
			return fmt.Errorf("%w: an answer without a status", ErrMessage)
		}
	case path != "":
		return fmt.Errorf("%w: no topic that the hub has for this device", ErrMessage)
	}
	if t.kind != topicDesired && t.request == "" {
		return fmt.Errorf("%w: no request id ($rid)", ErrMessage)
	}
	return nil
}

// properties reads key=value&… in any order.
func (t *topic) properties(text string) error {
	for pair := range strings.SplitSeq(text, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if plain, err := url.PathUnescape(key); err == nil {
			key = plain
		}
		switch key {
		case "$rid":
			if len(value) > maxRequest || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '+' || r == '#' }) {
				return fmt.Errorf("%w: the request id ($rid) is longer than %d bytes or holds what no topic can", ErrMessage, maxRequest)
			}
			t.request = value
		case "$version":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 1 {
				return fmt.Errorf("%w: $version is no whole number above 0", ErrMessage)
			}
			t.version = n
		}
	}
	return nil
}
