package agent

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/internal/document"
)

// Plane is one cloud that the agent listens to. [LoadFile] makes it.
type Plane struct {
	Name    string
	Dialect string
	// Workflow is the file that answers the plane's commands.
	Workflow string
	// Wait keeps a command that comes while another update runs until that has
	// ended; otherwise it is refused.
	Wait bool

	broker mqtt.Config
	words  map[string]string // the settings of the dialect, and device
}

// dialect makes the machines of one cloud.
type dialect struct {
	// settings are the words that an agent file may have; "device" comes besides.
	settings []string
	// inputs are those that a command may bring.
	inputs []string
	// make makes the machine from the words and from what the last one saved.
	make func(words map[string]string, saved []byte) (control.Dialect, error)
	// config is what errors of make wrap.
	config error
}

var dialects = map[string]dialect{
	"awsiot": {
		settings: []string{"delivery", "format", "progress", "quiet", "topic"},
		inputs:   []string{"sha256", "size", "url", "version"},
		config:   awsiot.ErrConfig,
		make: func(words map[string]string, saved []byte) (control.Dialect, error) {
			c, err := awsiot.Settings(words)
			if err != nil {
				return nil, err
			}
			return awsiot.New(c, saved)
		},
	},
}

// newLink makes the plane's dialect, which goes on from what the last one
// saved, and its connection. It starts nothing. tune, if not nil, may change the
// settings of the connection.
func (p Plane) newLink(saved []byte, h mqtt.Host, tune func(*mqtt.Config)) (*mqtt.Link, error) {
	speaks, known := dialects[p.Dialect]
	if !known {
		return nil, fmt.Errorf("plane %s: %s", p.Name, document.Unknown("dialect", p.Dialect, sortedKeys(dialects)))
	}
	d, err := speaks.make(p.words, saved)
	if err != nil {
		return nil, fmt.Errorf("plane %s: %w", p.Name, err)
	}
	c := p.broker
	if tune != nil {
		tune(&c)
	}
	link, err := mqtt.New(c, d, h)
	if err != nil {
		return nil, fmt.Errorf("plane %s: %w", p.Name, err)
	}
	return link, nil
}

// maxPlanes bounds the clouds of one device: each costs a connection.
const maxPlanes = 16

// localPlane is the plane of commands that people give on the device itself.
const localPlane = "local"

// planeName holds names to what can be part of a file's name and of a log line.
var planeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// planes checks the planes, each by itself and for what they would share.
func (r *fileReader) planes() {
	if n := len(r.text.Planes); r.text.Planes != nil && (n == 0 || n > maxPlanes) {
		r.add("planes", document.BadValue, "expected 1 to %d planes, found %d", maxPlanes, n)
		r.text.Planes = nil
	}
	users := map[string]string{}
	for _, name := range sortedKeys(r.text.Planes) {
		at, text := document.Join("planes", name), r.text.Planes[name]
		switch {
		case !planeName.MatchString(name):
			r.addKey(at, document.BadValue, "a plane's name has 1 to 32 letters, digits, '-' and '_'")
		case name == localPlane:
			r.addKey(at, document.BadValue, "a plane cannot be called local: that is who gives commands on the device itself")
		}
		client := text.URL + " " + text.ID
		if other, taken := users[client]; taken && text.URL != "" && text.ID != "" {
			r.add(at+".id", document.Conflict, "plane %s has the same id at the same url: a broker lets only one of them in", other)
		}
		users[client] = name
		r.file.Planes = append(r.file.Planes, Plane{
			Name: name, Dialect: text.Dialect,
			Workflow: r.beside(r.text.Commands[name].Workflow), Wait: r.text.Commands[name].WhenBusy == busyWait,
			broker: r.broker(at, text), words: r.words(at, text),
		})
	}
}

// broker makes the settings of the connection, a field at a time: the one with
// which package mqtt first refuses them is the one that is wrong, and is left out
// so that the others can be judged.
func (r *fileReader) broker(at string, text planeFile) mqtt.Config {
	c := mqtt.Config{URL: "tls://localhost", ID: "any"}
	try := func(key string, set func(*mqtt.Config)) {
		if !r.has(at + "." + key) {
			return
		}
		next := c
		set(&next)
		_, err := mqtt.New(next, nil, nil)
		if err == nil {
			c = next
			return
		}
		if errors.Is(err, mqtt.ErrInsecure) {
			key = "url"
		}
		r.add(at+"."+key, document.BadValue, "%s", strings.ReplaceAll(err.Error(), mqtt.ErrConfig.Error()+": ", ""))
	}
	try("url", func(c *mqtt.Config) { c.URL = text.URL })
	try("id", func(c *mqtt.Config) { c.ID = text.ID })
	login := "user"
	if text.Secrets.Password != nil {
		login = "secrets.password"
	}
	try(login, func(c *mqtt.Config) { c.User, c.Password = text.User, r.secret(text.Secrets.Password) })
	pair := "secrets.cert"
	if text.Secrets.Cert == nil {
		pair = "secrets.key"
	}
	try(pair, func(c *mqtt.Config) { c.Cert, c.Key = r.secret(text.Secrets.Cert), r.secret(text.Secrets.Key) })
	try("secrets.roots", func(c *mqtt.Config) { c.Roots = r.secret(text.Secrets.Roots) })
	if r.seconds(at+".keepAlive", text.KeepAlive) {
		try("keepAlive", func(c *mqtt.Config) { c.KeepAlive = *text.KeepAlive })
	}
	if r.seconds(at+".answerTimeout", text.AnswerTimeout) {
		try("answerTimeout", func(c *mqtt.Config) { c.AnswerTimeout = *text.AnswerTimeout })
	}
	r.onlyTLS(at, text, c)
	c.ServerName, c.ALPN = text.ServerName, text.ALPN
	return c
}

// seconds says whether there is a time, and notes one that is no whole number of seconds.
func (r *fileReader) seconds(path string, d *time.Duration) bool {
	if d != nil && (*d < time.Second || *d%time.Second != 0) {
		r.add(path, document.BadValue, "expected whole seconds, at least 1s")
	}
	return d != nil
}

// onlyTLS notes what would count for nothing without TLS.
func (r *fileReader) onlyTLS(at string, text planeFile, c mqtt.Config) {
	for i, word := range text.ALPN {
		if word == "" || len(word) > 255 {
			r.add(fmt.Sprintf("%s.alpn[%d]", at, i), document.BadValue, "expected a protocol name of 1 to 255 bytes")
		}
	}
	c.Roots = mqtt.SecretEnv("any", r.env) // possible with TLS alone
	if _, err := mqtt.New(c, nil, nil); err == nil {
		return
	}
	for _, key := range []string{"serverName", "alpn"} {
		if r.has(at + "." + key) {
			r.addKey(at+"."+key, document.Conflict, "%s needs a tls:// url", key)
		}
	}
}

// secret makes a secret that is read for each connection.
func (r *fileReader) secret(s *secretFile) mqtt.Secret {
	switch {
	case s == nil:
		return mqtt.Secret{}
	case s.origin.Env != "":
		return mqtt.SecretEnv(s.origin.Env, r.env)
	}
	return mqtt.SecretFile(r.beside(s.origin.File))
}

// words makes the settings of the dialect, one at a time as broker does.
func (r *fileReader) words(at string, text planeFile) map[string]string {
	speaks, known := dialects[text.Dialect]
	if !known {
		if r.has(at + ".dialect") {
			r.add(at+".dialect", document.BadValue, "%s", document.Unknown("dialect", text.Dialect, sortedKeys(dialects)))
		}
		return nil
	}
	words := map[string]string{"device": "any"}
	try := func(path, key, value string) {
		next := maps.Clone(words)
		next[key] = value
		if _, err := speaks.make(next, nil); err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n") // further ones follow from it
			r.add(path, document.BadValue, "%s", strings.TrimPrefix(first, speaks.config.Error()+": "))
			return
		}
		words = next
	}
	if r.has(at + ".id") {
		try(at+".id", "device", text.ID)
	}
	for _, key := range sortedKeys(text.Settings) {
		path := document.Join(at+".settings", key)
		if !slices.Contains(speaks.settings, key) {
			r.addKey(path, document.UnknownKey, "%s", document.Unknown("setting of "+text.Dialect, key, speaks.settings))
			continue
		}
		try(path, key, text.Settings[key])
	}
	return words
}

// commands checks what answers whom. A misspelt plane is one mistake, not two.
func (r *fileReader) commands() {
	if n := len(r.text.Commands); n > maxPlanes {
		r.add("commands", document.BadValue, "expected 1 to %d commands, found %d", maxPlanes, n)
		r.text.Commands = nil
	}
	if r.text.Planes == nil || r.text.Commands == nil {
		return
	}
	planes, meant := sortedKeys(r.text.Planes), map[string]bool{}
	for _, name := range sortedKeys(r.text.Commands) {
		at, text := document.Join("commands", name), r.text.Commands[name]
		if _, known := r.text.Planes[name]; !known {
			r.addKey(at, document.UnknownKey, "%s", document.Unknown("plane", name, planes))
			meant[document.Nearest(name, planes)] = true
		}
		if r.has(at+".workflow") && text.Workflow == "" {
			r.add(at+".workflow", document.BadValue, "expected the path of a workflow")
		}
		if r.has(at+".whenBusy") && text.WhenBusy != busyRefuse && text.WhenBusy != busyWait {
			r.add(at+".whenBusy", document.BadValue, "%s", document.Unknown("answer", text.WhenBusy, []string{busyRefuse, busyWait}))
		}
	}
	for _, name := range planes {
		if _, answered := r.text.Commands[name]; !answered && !meant[name] {
			r.addKey(document.Join("planes", name), document.Missing, "plane %.40s has no command: expected commands: {%.40s: {workflow: FILE}}", name, name)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
