package aws

import (
	"cmp"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// endOf is the end that a report tells, if it has a job and a result.
func endOf(reported map[string]any, token string) (e cloudsim.End, ok bool) {
	text := func(names ...string) string {
		for _, n := range names {
			if v, ok := reported[n].(string); ok && v != "" {
				return v
			}
		}
		return ""
	}
	e = cloudsim.End{Job: text("jobID"), Result: text("result"), Outcome: cloudsim.Failed, Report: cmp.Or(text("report", "reportID"), token)}
	if e.Result == "SUCCESS" {
		e.Outcome = cloudsim.Succeeded
	}
	if e.Job == "" { // such a job is known by its URL without the query
		e.Job, _, _ = strings.Cut(text("softwareURL"), "?")
	}
	e.Code, e.Message = reason(reported["error"])
	return e, e.Job != "" && e.Result != ""
}

// reason is what a device says of a failure.
func reason(failure any) (code, message string) {
	if object, ok := failure.(map[string]any); ok {
		code, _ = object["code"].(string)
		message, _ = object["message"].(string)
		return code, message
	}
	message, _ = failure.(string)
	return "", message
}
