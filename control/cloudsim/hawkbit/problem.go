package hawkbit

import (
	"fmt"
	"net/http"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// problem is the body of a refusal.
type problem struct {
	ExceptionClass string `json:"exceptionClass"`
	ErrorCode      string `json:"errorCode"`
	Message        string `json:"message"`
}

const (
	repository = "org.eclipse.hawkbit.repository.exception."
	serverCode = "hawkbit.server.error."
)

// unreadable is a body or path that is not what it should be.
func unreadable(status int, err error) answer {
	return answer{status: status, body: problem{"org.eclipse.hawkbit.rest.exception.MessageNotReadableException", serverCode + "rest.body.notReadable", bounded(err.Error())}}
}

// missing is something that there is none of.
func missing(what string, id any) answer {
	return answer{status: http.StatusNotFound, body: problem{repository + "EntityNotFoundException", serverCode + "repo.entityNotFound", bounded(fmt.Sprintf("%s %v does not exist", what, id))}}
}

func unassigned(id int64) answer {
	return answer{status: http.StatusNotFound, body: problem{repository + "SoftwareModuleNotAssignedToTargetException", serverCode + "repo.entityNotFound",
		fmt.Sprintf("no active action has the software module %d", id)}}
}

func notCancelable(text string) answer {
	return answer{status: http.StatusMethodNotAllowed, body: problem{repository + "CancelActionNotAllowedException", serverCode + "action.notCancelable", text}}
}

func badAttributes(text string) answer {
	return answer{status: http.StatusBadRequest, body: problem{repository + "InvalidTargetAttributeException", serverCode + "repo.invalidTargetAttributes", text}}
}

// tooMany is a quota that is used up.
func tooMany(what string, limit int) answer {
	return answer{status: http.StatusTooManyRequests, body: problem{repository + "AssignmentQuotaExceededException", serverCode + "quota.tooManyEntries",
		fmt.Sprintf("at most %d %s are taken", limit, what)}}
}

func alreadyActive() answer {
	return answer{status: http.StatusConflict, body: problem{repository + "AutoConfirmationAlreadyActiveException", serverCode + "repo.autoConfAlreadyActive",
		"automatic confirmation is active already"}}
}

// broken is a record that cannot be read or written: the device asks again.
func (c *Cloud) broken(q *request, err error) answer {
	c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventRefused, Client: q.device, Text: q.topic() + ": " + err.Error()})
	return answer{status: http.StatusInternalServerError}
}
