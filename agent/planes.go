package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
)

// Plane is one cloud that the agent listens to. [LoadFile] makes it.
type Plane struct {
	Name    string
	Dialect string
	// Workflow is the file that answers the plane's commands.
	Workflow string
	// Download is the file that answers those that only want something
	// downloaded, "" if there are none.
	Download string
	// Wait keeps a command that comes while another update runs until that has
	// ended; otherwise it is refused.
	Wait bool

	broker mqtt.Config       // or, of a plane that polls, its server's
	key    mqtt.Secret       // of the device, with which it signs its logins, or its token
	scheme string            // of the token
	words  map[string]string // the settings of the dialect, and device
	fact   bool              // the device's fact is the version among them
}

// maxSetting bounds the text of a file that a setting names.
const maxSetting = 256 << 10 // bytes

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
		speaks := dialects[text.Dialect]
		p := Plane{Name: name, Dialect: text.Dialect,
			Workflow: r.beside(r.text.Commands[name].Workflow), Wait: r.text.Commands[name].WhenBusy == busyWait,
			Download: r.beside(r.text.Commands[name].Download)}
		if speaks.token != nil {
			r.server(at, text, &p)
		} else {
			r.noToken(at, text)
			p.broker, p.key = r.broker(at, text), r.secret(text.Secrets.DeviceKey)
		}
		p.words = r.words(at, text, p.broker.URL)
		if p.Download != "" && speaks.download != "" {
			p.words[speaks.download] = "true"
		}
		_, set := text.Settings["version"]
		p.fact = speaks.version != "" && !set
		r.file.Planes = append(r.file.Planes, p)
		client := r.where(text) + " " + speaks.client(p)
		if other, taken := users[client]; taken && r.where(text) != "" && text.ID != "" {
			why := "a broker lets only one of them in"
			if speaks.token != nil {
				why = "the server takes both for one device"
			}
			r.add(at+".id", document.Conflict, "plane %s has the same id at the same url: %s", other, why)
		}
		users[client] = name
	}
}

// broker makes the settings of the connection, a field at a time: the one with
// which package mqtt first refuses them is the one that is wrong, and is left out
// so that the others can be judged.
func (r *fileReader) broker(at string, text planeFile) mqtt.Config {
	speaks := dialects[text.Dialect]
	c := mqtt.Config{URL: "tls://localhost", ID: "any"}
	if speaks.login != nil {
		c.ID, c.Login = "", func(time.Time) (mqtt.Login, error) { return mqtt.Login{}, mqtt.ErrConfig } // until there is a link
	}
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
	if r.signs(at, text, speaks); speaks.login == nil {
		try("id", func(c *mqtt.Config) { c.ID = text.ID })
		login := "user"
		if text.Secrets.Password != nil {
			login = "secrets.password"
		}
		try(login, func(c *mqtt.Config) { c.User, c.Password = text.User, r.secret(text.Secrets.Password) })
	}
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
	if !r.has(at + ".url") {
		if c.URL = r.where(text); c.URL == "" {
			r.addKey(at, document.Missing, "%s", missingURL(speaks))
		}
	}
	if u, err := url.Parse(c.URL); err == nil && len(c.ALPN) == 0 && speaks.alpn != nil && speaks.alpn(u) != "" {
		c.ALPN = []string{speaks.alpn(u)}
	}
	return c
}

// where gives the url of a plane, which may follow from its settings.
func (r *fileReader) where(text planeFile) string {
	speaks := dialects[text.Dialect]
	if text.URL != "" || speaks.url == nil {
		return text.URL
	}
	words := maps.Clone(text.Settings)
	if words == nil {
		words = map[string]string{}
	}
	words["device"] = text.ID
	return speaks.url(words, text.Secrets.DeviceKey != nil)
}

func missingURL(speaks dialect) string {
	if speaks.place == "" {
		return `key "url" is missing`
	}
	return fmt.Sprintf(`key "url" is missing: expected it, or setting %s`, speaks.place)
}

// signs checks what a device logs in with: its key, where the cloud has keys,
// or else user and password, or a certificate.
func (r *fileReader) signs(at string, text planeFile, speaks dialect) {
	key, made := at+".secrets.deviceKey", speaks.login != nil
	switch {
	case text.Secrets.DeviceKey != nil && speaks.make != nil && !made:
		r.addKey(key, document.Conflict, "%s knows no device key: expected user and password, or cert and key", text.Dialect)
	case text.Secrets.DeviceKey != nil && text.Secrets.Cert != nil && made:
		r.addKey(key, document.Conflict, "a device has a key or a certificate, not both")
	case made && !speaks.certificate && text.Secrets.DeviceKey == nil:
		r.addKey(at, document.Missing, "secrets.deviceKey is missing: expected {file: FILE} or {env: NAME}")
	case made && text.Secrets.DeviceKey == nil && text.Secrets.Cert == nil:
		r.addKey(at, document.Missing, "secrets.deviceKey is missing: expected it, or secrets.cert and secrets.key")
	}
	for _, path := range []string{at + ".user", at + ".secrets.password"} {
		if made && r.has(path) {
			r.addKey(path, document.Conflict, "user and password of %s are made from id and secrets.deviceKey", text.Dialect)
		}
	}
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

// words checks the settings of the dialect together, with the id, and gives them.
func (r *fileReader) words(at string, text planeFile, broker string) map[string]string {
	speaks, known := dialects[text.Dialect]
	if !known {
		if r.has(at + ".dialect") {
			r.add(at+".dialect", document.BadValue, "%s", document.Unknown("dialect", text.Dialect, sortedKeys(dialects)))
		}
		return nil
	}
	words := map[string]string{"device": text.ID}
	if speaks.token != nil {
		words["url"] = text.URL
	}
	for _, key := range sortedKeys(text.Settings) {
		if slices.Contains(speaks.files, key) {
			words[key] = r.read(document.Join(at+".settings", key), text.Settings[key])
			continue
		}
		if slices.Contains(speaks.settings, key) {
			words[key] = text.Settings[key]
			continue
		}
		r.addKey(document.Join(at+".settings", key), document.UnknownKey, "%s", document.Unknown("setting of "+text.Dialect, key, speaks.settings))
	}
	if speaks.unknown != "" && !r.has(at+".settings.version") {
		words[speaks.version] = speaks.unknown // until the device is asked
	}
	_, err := speaks.make(words, nil)
	if err == nil && speaks.login != nil {
		_, err = speaks.trial(words, broker, text.Secrets.DeviceKey != nil)
	}
	if err != nil {
		r.refused(at, speaks, err)
	}
	return words
}

// read gives the text of a file that a setting names.
func (r *fileReader) read(path, name string) string {
	data, err := disk.ReadFile(disk.OS(), r.beside(name), maxSetting)
	if err != nil {
		r.foreign(path, err)
	}
	return string(data)
}

// refused notes what a dialect says of its settings, a line for each, at the
// setting that the line begins with.
func (r *fileReader) refused(at string, speaks dialect, err error) {
	before := len(r.problems)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		line = bare(line, speaks.config, aliyun.ErrConfig, azurehub.ErrConfig)
		key, _, _ := strings.Cut(line, " ")
		key = strings.TrimSuffix(key, ":")
		if key == "host" {
			key = speaks.place // it names the host
		}
		path := document.Join(at+".settings", key)
		switch {
		case key == "url" && speaks.token != nil:
			if r.has(at + ".url") {
				r.add(at+".url", document.BadValue, "%s", line)
			} else {
				r.addKey(at, document.Missing, "%s", missingURL(speaks))
			}
		case key == "device":
			if r.has(at + ".id") { // else it is missing, which is told
				r.add(at+".id", document.BadValue, "%s", line)
			}
		case r.has(path):
			r.add(path, document.BadValue, "%s", line)
		case slices.Contains(speaks.settings, key) && strings.HasPrefix(line, key+` ""`):
			why := strings.TrimLeft(strings.TrimPrefix(line, key+` ""`), ": ")
			r.addKey(at, document.Missing, "setting %s is missing: %s", key, why)
		case len(r.problems) == before: // else it follows from them
			r.add(at+".settings", document.BadValue, "%s", line)
		}
	}
}

// bare takes away what a line begins with that only programs care for.
func bare(line string, prefixes ...error) string {
	for _, p := range prefixes {
		line = strings.TrimPrefix(line, p.Error()+": ")
	}
	return line
}

// versions notes planes that can say of no version that it runs.
func (r *fileReader) versions(facts map[string]device.Fact) {
	for _, p := range r.file.Planes {
		if _, known := facts[versionFact]; p.fact && !known && dialects[p.Dialect].unknown != "" {
			r.addKey(document.Join("planes", p.Name), document.Missing,
				"setting version is missing: expected it, or a fact %s in the device file", versionFact)
		}
	}
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
		if dialect := r.text.Planes[name].Dialect; r.has(at + ".download") {
			switch speaks, known := dialects[dialect]; {
			case known && speaks.download == "":
				r.addKey(at+".download", document.Conflict, "%s has no commands that only want something downloaded: expected workflow alone", dialect)
			case text.Download == "":
				r.add(at+".download", document.BadValue, "expected the path of a workflow")
			}
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
