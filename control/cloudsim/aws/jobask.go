package aws

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// jobAsk is what a device asks of its jobs.
type jobAsk struct {
	token              string
	status             status
	details            map[string]string // nil: not given
	expected, number   *int64
	timeout            *int64 // minutes, -1 for none
	withState, without bool   // the execution's state; without its document, if that is the default
	with               bool   // its document
}

// jobRefusal is a no of the jobs service.
type jobRefusal struct {
	code, text string
	state      *job // to be shown, if it helps
	repeated   bool // the device said again how the execution had ended
}

func (r *jobRefusal) Error() string { return r.code + ": " + r.text }

// validDetail is the name of one of the statusDetails.
var validDetail = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

// parseJobAsk reads a request. Numbers may come as text.
func parseJobAsk(payload []byte) (a jobAsk, refused *jobRefusal) {
	doc, err := object(payload)
	if err != nil || !utf8.Valid(payload) {
		return a, &jobRefusal{code: "InvalidJson", text: "the request is no JSON object in UTF-8"}
	}
	invalid := func(name, want string) {
		if refused == nil {
			refused = &jobRefusal{code: "InvalidRequest", text: name + ": want " + want}
		}
	}
	text := func(name string) (out string) {
		if raw, ok := given(doc, name); ok && json.Unmarshal(raw, &out) != nil {
			invalid(name, "text")
		}
		return out
	}
	whole := func(name string, least, most int64) *int64 {
		raw, ok := given(doc, name)
		if !ok {
			return nil
		}
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < least || n > most {
			invalid(name, fmt.Sprintf("a number from %d to %d", least, most))
			return nil
		}
		return &n
	}
	flag := func(name string) (out, ok bool) {
		raw, ok := given(doc, name)
		if ok && json.Unmarshal(raw, &out) != nil {
			invalid(name, "true or false")
		}
		return out, ok
	}
	a.token = text("clientToken")
	if len(a.token) > maxToken {
		a.token = ""
		invalid("clientToken", fmt.Sprintf("at most %d bytes", maxToken))
	}
	a.status = status(text("status"))
	a.expected, a.number = whole("expectedVersion", 0, 1<<53), whole("executionNumber", 1, 1<<53)
	a.timeout = whole("stepTimeoutInMinutes", -1, maxTimeout)
	if a.timeout != nil && *a.timeout == 0 {
		invalid("stepTimeoutInMinutes", fmt.Sprintf("1 to %d, or -1", maxTimeout))
	}
	a.withState, _ = flag("includeJobExecutionState")
	with, ok := flag("includeJobDocument")
	a.with, a.without = with, ok && !with
	if raw, ok := given(doc, "statusDetails"); ok {
		if a.details, err = parseDetails(raw); err != nil {
			invalid("statusDetails", err.Error())
		}
	}
	return a, refused
}

func given(doc map[string]json.RawMessage, name string) (json.RawMessage, bool) {
	raw, ok := doc[name]
	return raw, ok && string(raw) != "null"
}

// parseDetails gives what is wanted as the error.
func parseDetails(raw json.RawMessage) (map[string]string, error) {
	details := map[string]string{}
	if json.Unmarshal(raw, &details) != nil {
		return nil, fmt.Errorf("an object of texts")
	}
	if len(details) > maxDetails {
		return nil, fmt.Errorf("at most %d pairs", maxDetails)
	}
	for name, value := range details {
		if !validDetail.MatchString(name) {
			return nil, fmt.Errorf("names of up to %d letters, digits and :_-", maxName)
		}
		for _, r := range value {
			if unicode.Is(unicode.C, r) {
				return nil, fmt.Errorf("values without control characters")
			}
		}
		if n := utf8.RuneCountInString(value); n < 1 || n > maxDetail {
			return nil, fmt.Errorf("values of 1 to %d characters", maxDetail)
		}
	}
	return details, nil
}
