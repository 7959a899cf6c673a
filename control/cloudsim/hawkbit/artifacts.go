package hawkbit

import (
	"net/http"
	"strings"
)

const md5Suffix = ".MD5SUM"

// artifacts lists those of a software module, whose id is that of its action.
func (c *Cloud) artifacts(q *request) answer {
	a, out := c.action(q)
	if out != nil {
		return *out
	}
	return answer{status: http.StatusOK, body: a.artifacts(q.base, c.address(a.Software))}
}

// download gives an artifact, or what md5sum would say of it. All of it is only
// given while an action wants it; hawkBit does not look when a part is asked for.
func (c *Cloud) download(q *request) answer {
	a, out := c.action(q)
	if out != nil {
		return *out
	}
	name := q.ids[1]
	whole, isSum := strings.CutSuffix(name, md5Suffix)
	if a.Software.File == "" || name != a.filename() && (!isSum || whole != a.filename()) {
		return missing("Artifact", name)
	}
	isSum = name != a.filename()
	if (isSum || q.http.Header.Get("Range") == "") && (!a.active() || a.cancelled()) {
		return unassigned(a.ID)
	}
	if isSum {
		return sum(q, a, whole)
	}
	w := &watched{ResponseWriter: q.w, status: http.StatusOK}
	q.w.Header().Set("Content-Disposition", "attachment;filename="+quoted(name))
	c.sim.ServeFile(w, q.http, a.Software.File)
	return answer{status: w.status, sent: true}
}

func sum(q *request, a *action, name string) answer {
	q.w.Header().Set("Content-Type", "text/plain")
	q.w.Header().Set("Content-Disposition", "attachment;filename="+quoted(name+md5Suffix))
	_, _ = q.w.Write([]byte(a.Software.MD5 + "  " + name)) // a device that is gone asks again
	return answer{status: http.StatusOK, sent: true}
}

// quoted is a file name in a header.
func quoted(name string) string {
	return `"` + strings.NewReplacer(`"`, "_", `\`, "_").Replace(name) + `"`
}

// watched remembers the status, for the trace.
type watched struct {
	http.ResponseWriter
	status int
}

func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the file server flush what it cuts.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
