package agent

import (
	"net/url"

	"github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/internal/document"
)

// server reads what an agent file says of a server that is polled. The dialect
// judges the url and the id.
func (r *fileReader) server(at string, text planeFile, p *Plane) {
	for _, key := range []string{"user", "serverName", "alpn", "keepAlive", "secrets.password", "secrets.deviceKey"} {
		if r.has(at + "." + key) {
			r.addKey(at+"."+key, document.Conflict, "%s is asked by HTTP and has no %s", text.Dialect, key)
		}
	}
	r.shows(at, text, p)
	s := text.Secrets
	p.broker = mqtt.Config{URL: text.URL, ID: text.ID, Cert: r.secret(s.Cert), Key: r.secret(s.Key), Roots: r.secret(s.Roots)}
	if r.seconds(at+".answerTimeout", text.AnswerTimeout) {
		p.broker.AnswerTimeout = *text.AnswerTimeout
	}
	switch u, err := url.Parse(text.URL); {
	case (s.Cert == nil) != (s.Key == nil):
		pair := "secrets.cert"
		if s.Cert == nil {
			pair = "secrets.key"
		}
		r.addKey(at+"."+pair, document.Conflict, "a client certificate and its key come together")
	case err == nil && u.Scheme == "http":
		for _, key := range []string{"secrets.cert", "secrets.roots"} {
			if r.has(at + "." + key) {
				r.addKey(at+"."+key, document.Conflict, "certificates need an https:// url")
			}
		}
	}
}

// shows reads what the device shows the server: one token, or a certificate, or both.
func (r *fileReader) shows(at string, text planeFile, p *Plane) {
	s := text.Secrets
	switch {
	case s.TargetToken != nil && s.GatewayToken != nil:
		r.addKey(at+".secrets.gatewayToken", document.Conflict, "a device shows one token: expected targetToken or gatewayToken")
	case s.TargetToken != nil:
		p.key, p.scheme = r.secret(s.TargetToken), string(hawkbit.TargetToken)
	case s.GatewayToken != nil:
		p.key, p.scheme = r.secret(s.GatewayToken), string(hawkbit.GatewayToken)
	case s.Cert == nil && s.Key == nil && !r.has(at+".secrets.targetToken") && !r.has(at+".secrets.gatewayToken"):
		r.addKey(at, document.Missing, "secrets.targetToken is missing: expected it, secrets.gatewayToken, or secrets.cert and secrets.key")
	}
}

// noToken notes tokens of a plane whose cloud knows none.
func (r *fileReader) noToken(at string, text planeFile) {
	for _, key := range []string{"targetToken", "gatewayToken"} {
		if path := at + ".secrets." + key; r.has(path) && dialects[text.Dialect].make != nil {
			r.addKey(path, document.Conflict, "%s knows no %s", text.Dialect, key)
		}
	}
}
