package awsiot

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Result is how a job went, as a device reports it.
type Result struct {
	JobID   string
	Success bool
}

// The words for a result.
const (
	success = "SUCCESS"
	failure = "FAILURE"
)

// ReadResult reads what a device publishes at the end of a job, in either
// form: a shadow update with reported jobID and result, or the text
// "jobID:j-17 SUCCESS", with or without the space. Errors wrap [ErrMessage].
func ReadResult(payload []byte) (Result, error) {
	if len(payload) > maxPayload {
		return Result{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(payload), maxPayload)
	}
	if strings.HasPrefix(string(payload), "jobID:") {
		return readText(payload)
	}
	doc, err := readObject(payload, "message")
	if err != nil {
		return Result{}, err
	}
	return readReported(doc)
}

func readReported(doc map[string]json.RawMessage) (Result, error) {
	state, err := readObject(doc["state"], "state")
	if err != nil {
		return Result{}, err
	}
	reported, err := readObject(state["reported"], "reported")
	if err != nil {
		return Result{}, err
	}
	r := reader{reported, nil}
	id, word := r.text("jobID"), r.text("result")
	if id == "" { // a job without an id is known by its URL
		if text := r.text("softwareURL"); text != "" && r.err == nil {
			id, r.err = identity(text)
		}
	}
	if r.err == nil && (id == "" || word != success && word != failure) {
		r.err = fmt.Errorf("%w: reported names no job with the result %s or %s", ErrMessage, success, failure)
	}
	if r.err != nil {
		return Result{}, r.err
	}
	return Result{id, word == success}, nil
}

func readText(payload []byte) (Result, error) {
	bad := fmt.Errorf("%w: want jobID:ID %s or jobID:ID %s", ErrMessage, success, failure)
	if len(payload) > maxURL+64 {
		return Result{}, bad
	}
	rest, named := strings.CutPrefix(strings.TrimSpace(string(payload)), "jobID:")
	id, ok := strings.CutSuffix(rest, success)
	if !ok {
		var failed bool
		id, failed = strings.CutSuffix(rest, failure)
		named = named && failed
	}
	if id = strings.TrimSpace(id); !named || id == "" {
		return Result{}, bad
	}
	if checkID(id) != nil {
		if clean, err := identity(id); err != nil || clean != id {
			return Result{}, bad
		}
	}
	return Result{id, ok}, nil
}

// text writes the result in the form of the first published devices, which
// leave out the space before a failure; what reads them looks for just that.
func (r Result) text() []byte {
	if r.Success {
		return []byte("jobID:" + r.JobID + " " + success)
	}
	return []byte("jobID:" + r.JobID + failure)
}
