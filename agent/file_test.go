package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
)

const (
	goodAgent = `apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes:
  aws:
    dialect: awsiot
    url: tls://broker.example:8883
    id: gw-1
commands:
  aws: {workflow: update.yaml}
`
	wholeAgent = `apiVersion: updraft/v1
kind: Agent
device: device.yaml
state: state
socket: /run/updraft/agent.sock
planes:
  shop:
    {dialect: awsiot, url: "tcp://127.0.0.1:1883", id: gw-1, user: gw, secrets: {password: {env: SHOP_PASSWORD}}}
  aws:
    dialect: awsiot
    url: tls://broker.example
    id: gw-1
    serverName: other.example
    alpn: [mqtt]
    keepAlive: 1m
    answerTimeout: 10s
    secrets: {cert: {file: c.pem}, key: {file: /keys/k.pem}, roots: {file: ca.pem}}
    settings: {progress: 10s, topic: "$aws/things/{device}/shadow/update", quiet: true, delivery: published, format: json}
commands:
  aws: {workflow: update.yaml, whenBusy: wait}
  shop: {workflow: update.yaml}
`
	goodDevice = `apiVersion: updraft/v1
kind: Device
targets:
  config: {file: app.yaml}
trust: {require: none}
`
	goodWorkflow = `apiVersion: updraft/v1
kind: Workflow
name: config
inputs: {url: {type: string}}
steps:
  - {id: new, fetch: {url: "${{ inputs.url }}"}}
  - {id: write, install: {artifacts: {new: new}, targets: {out: {target: config}}}}
`
)

// lay writes files into a new folder and goes there.
func lay(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// noSecrets fails the test when a secret is looked up.
func noSecrets(t *testing.T) func(string) (string, bool) {
	return func(name string) (string, bool) {
		t.Errorf("looked up the secret %s", name)
		return "", false
	}
}

// mistakesOf gives the problems without their source lines.
func mistakesOf(t *testing.T, err error) string {
	t.Helper()
	var problems document.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatalf("error = %v, want problems", err)
	}
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s:%d:%d: %s %s\n", p.File, p.Line, p.Column, p.Code, p.Text)
	}
	return b.String()
}

func TestLoadFile(t *testing.T) {
	lay(t, nil)
	if err := os.Mkdir("etc", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"agent.yaml": wholeAgent, "device.yaml": goodDevice, "update.yaml": goodWorkflow} {
		if err := os.WriteFile(filepath.Join("etc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := LoadFile("etc/agent.yaml", nil, noSecrets(t))
	if err != nil {
		t.Fatal(err)
	}
	planes := f.Planes
	f.Planes = nil
	if want := (File{Name: "etc/agent.yaml", Device: "etc/device.yaml", State: "etc/state", Socket: "/run/updraft/agent.sock"}); !reflect.DeepEqual(f, want) {
		t.Errorf("file = %+v, want %+v", f, want)
	}
	var got strings.Builder
	for _, p := range planes {
		b := p.broker
		fmt.Fprintf(&got, "%s %s %s wait=%t\n  %s %s user=%s password=%s cert=%s key=%s roots=%s\n  name=%s alpn=%q %s %s\n  %v\n",
			p.Name, p.Dialect, p.Workflow, p.Wait, b.URL, b.ID, b.User, b.Password, b.Cert, b.Key, b.Roots, b.ServerName, b.ALPN, b.KeepAlive, b.AnswerTimeout, p.words)
		if _, err := p.newLink(nil, nil, nil); err != nil {
			t.Errorf("link: %v", err)
		}
	}
	want := `aws awsiot etc/update.yaml wait=true
  tls://broker.example gw-1 user= password=no secret cert=secret from file etc/c.pem key=secret from file /keys/k.pem roots=secret from file etc/ca.pem
  name=other.example alpn=["mqtt"] 1m0s 10s
  map[delivery:published device:gw-1 format:json progress:10s quiet:true topic:$aws/things/{device}/shadow/update]
shop awsiot etc/update.yaml wait=false
  tcp://127.0.0.1:1883 gw-1 user=gw password=secret from environment SHOP_PASSWORD cert=no secret key=no secret roots=no secret
  name= alpn=[] 0s 0s
  map[device:gw-1]
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", &got, want)
	}
}

func TestFileDefaults(t *testing.T) {
	lay(t, map[string]string{"agent.yaml": goodAgent, "device.yaml": goodDevice, "update.yaml": goodWorkflow})
	f, err := LoadFile("agent.yaml", nil, noSecrets(t))
	if err != nil {
		t.Fatal(err)
	}
	if f.State != ".updraft" || f.Socket != ".updraft/agent.sock" || f.Planes[0].Wait {
		t.Errorf("got %+v", f)
	}
}

func TestFileMistakes(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"all right", "", "", ""},
		{"another kind", "kind: Agent", "kind: Agnet", `agent.yaml:2:7: E013 expected kind Agent, found "Agnet"`},
		{"another version", "updraft/v1", "updraft/v2", `agent.yaml:1:13: E013 expected apiVersion updraft/v1, found "updraft/v2"`},
		{"a misspelt key", "planes:", "plane:", `agent.yaml:4:1: E009 unknown key "plane", did you mean "planes"?`},
		{"no commands", "commands:\n  aws: {workflow: update.yaml}\n", "", `agent.yaml:1:1: E010 key "commands" is missing`},
		{"no planes", "planes:\n  aws:\n    dialect: awsiot\n    url: tls://broker.example:8883\n    id: gw-1\ncommands:\n  aws: {workflow: update.yaml}\n",
			"planes: {}\ncommands: {}\n", `agent.yaml:4:1: E012 expected 1 to 16 planes, found 0`},
		{"not a map", goodAgent, "[]\n", `agent.yaml:1:1: E011 expected a map, found a list`},
		{"not YAML", "device: device.yaml", "device: [", `agent.yaml:5:6: E001 not YAML: did not find expected ',' or ']' while parsing a flow sequence that begins in line 3`},
		{"an empty device", "device.yaml", `""`, `agent.yaml:3:9: E012 expected the path of a device file`},
		{"no device file", "device.yaml", "devices.yaml", `agent.yaml:3:9: E029 cannot read devices.yaml: no such file or directory`},
		{"a folder as the device file", "device.yaml", ".", `agent.yaml:3:9: E029 cannot read .: is a directory`},
		{"no workflow file", "update.yaml", "upgrade.yaml", `agent.yaml:10:19: E029 cannot read upgrade.yaml: no such file or directory`},
		{"a workflow that is none", "update.yaml", "device.yaml", `device.yaml:2:7: E013 expected kind Workflow, found "Device"`},
		{"an empty workflow", "update.yaml", `""`, `agent.yaml:10:19: E012 expected the path of a workflow`},
		{"an unknown answer", "update.yaml}", "update.yaml, whenBusy: wiat}", `agent.yaml:10:42: E012 unknown answer "wiat", did you mean "wait"?`},
		{"a long socket", "planes:", "socket: /" + strings.Repeat("s", 120) + "\nplanes:", "agent.yaml:4:9: E012 socket /"},

		{"an unknown dialect", "awsiot", "awsoit", `agent.yaml:6:14: E012 unknown dialect "awsoit", did you mean "awsiot"?`},
		{"a dialect far from any", "awsiot", "x", `agent.yaml:6:14: E012 unknown dialect "x" (have ["adu" "aliyunota" "awsiot" "awsjobs" "azurehub" "haas" "hawkbit" "tencent"])`},
		{"a misspelt plane", "  aws: {", "  asw: {", `agent.yaml:10:3: E009 unknown plane "asw", did you mean "aws"?`},
		{"a foreign plane, and one without a command", "  aws: {", "  shop: {", `agent.yaml:5:3: E010 plane aws has no command: expected commands: {aws: {workflow: FILE}}
agent.yaml:10:3: E009 unknown plane "shop" (have ["aws"])`},
		{"the plane local", "aws:", "local:", `agent.yaml:5:3: E012 a plane cannot be called local: that is who gives commands on the device itself`},
		{"a name with a dot", "aws:", "a.b:", `agent.yaml:5:3: E012 a plane's name has 1 to 32 letters, digits, '-' and '_'`},
		{"a name of 33 letters", "aws:", strings.Repeat("a", 33) + ":", `agent.yaml:5:3: E012 a plane's name has 1 to 32 letters, digits, '-' and '_'`},

		{"no url", "    url: tls://broker.example:8883\n", "", `agent.yaml:5:3: E010 key "url" is missing`},
		{"a plane with nothing", "    dialect: awsiot\n    url: tls://broker.example:8883\n    id: gw-1\ncommands:\n  aws: {workflow: update.yaml}", "    {}\ncommands: {}", `agent.yaml:5:3: E010 key "dialect" is missing
agent.yaml:5:3: E010 key "id" is missing
agent.yaml:5:3: E010 key "url" is missing
agent.yaml:5:3: E010 plane aws has no command: expected commands: {aws: {workflow: FILE}}`},
		{"no id", "    id: gw-1\n", "", `agent.yaml:5:3: E010 key "id" is missing`},
		{"an empty id", "gw-1", `""`, `agent.yaml:8:9: E012 a client id is needed`},
		{"an id that cannot be in a topic", "gw-1", "gw+1", `agent.yaml:8:9: E012 device "gw+1": holds '+', want letters, digits and ._:=~-`},
		{"another scheme", "tls://", "http://", `agent.yaml:7:10: E012 unknown scheme "http", expected tls or tcp`},
		{"no scheme", "tls://broker.example:8883", "broker.example", `agent.yaml:7:10: E012 unknown scheme "", expected tls or tcp`},
		{"no url at all", "tls://broker.example:8883", "tls://%zz", `agent.yaml:7:10: E012 the url does not parse, expected tls://host:port`},
		{"a path in the url", "8883", "8883/mqtt", `agent.yaml:7:10: E012 expected tls://host:port and nothing else`},
		{"a user in the url", "tls://", "tls://me:secret@", `agent.yaml:7:10: E012 user and password do not belong into the url`},
		{"a password in the clear", "tls://broker.example:8883", "tcp://broker.example\n    user: gw\n    secrets: {password: {env: P}}",
			`agent.yaml:7:10: E012 user and password need TLS, or a broker on this machine: tcp://broker.example:1883`},
		{"a user in the clear", "tls://broker.example:8883", "tcp://broker.example\n    user: gw",
			`agent.yaml:7:10: E012 user and password need TLS, or a broker on this machine: tcp://broker.example:1883`},
		{"a password without a user", "    id: gw-1", "    id: gw-1\n    secrets: {password: {env: P}}", `agent.yaml:9:15: E012 a password needs a user`},
		{"a certificate without a key", "    id: gw-1", "    id: gw-1\n    secrets: {cert: {file: c}}", `agent.yaml:9:15: E012 a client certificate and its key come together`},
		{"a key without a certificate", "    id: gw-1", "    id: gw-1\n    secrets: {key: {file: c}}", `agent.yaml:9:15: E012 a client certificate and its key come together`},
		{"all that is for TLS, without TLS", "tls://broker.example:8883", "tcp://broker.example\n    serverName: x\n    alpn: [a]\n    secrets: {cert: {file: c}, key: {file: c}, roots: {file: c}}",
			`agent.yaml:8:5: E030 serverName needs a tls:// url
agent.yaml:9:5: E030 alpn needs a tls:// url
agent.yaml:10:15: E012 certificates need a tls:// url
agent.yaml:10:48: E012 certificates need a tls:// url`},
		{"an empty protocol name", "    id: gw-1", `    id: gw-1` + "\n" + `    alpn: [mqtt, ""]`, `agent.yaml:9:18: E012 expected a protocol name of 1 to 255 bytes`},
		{"two planes that are one client", "commands:\n  aws: {workflow: update.yaml}", "  two: {dialect: awsiot, url: \"tls://broker.example:8883\", id: gw-1}\ncommands:\n  aws: {workflow: update.yaml}\n  two: {workflow: update.yaml}",
			`agent.yaml:9:64: E030 plane aws has the same id at the same url: a broker lets only one of them in`},

		{"a bad duration", "    id: gw-1", "    id: gw-1\n    keepAlive: 30", `agent.yaml:9:16: E011 expected a duration such as 30s, 10m or 1h30m, found "30"`},
		{"no time at all", "    id: gw-1", "    id: gw-1\n    keepAlive: 0s", `agent.yaml:9:16: E012 expected whole seconds, at least 1s`},
		{"half a second", "    id: gw-1", "    id: gw-1\n    answerTimeout: 1500ms", `agent.yaml:9:20: E012 expected whole seconds, at least 1s`},
		{"a day", "    id: gw-1", "    id: gw-1\n    keepAlive: 24h", `agent.yaml:9:16: E012 keep-alive of 24h0m0s, expected 1 s to 18 h`},

		{"an unknown setting", "    id: gw-1", "    id: gw-1\n    settings: {progres: 10s}", `agent.yaml:9:16: E009 unknown setting of awsiot "progres", did you mean "progress"?`},
		{"the device as a setting", "    id: gw-1", "    id: gw-1\n    settings: {device: gw-2}",
			`agent.yaml:9:16: E009 unknown setting of awsiot "device" (have ["delivery" "format" "progress" "quiet" "shadow" "topic"])`},
		{"settings with bad values", "    id: gw-1", "    id: gw-1\n    settings: {format: xml, progress: 1ms, quiet: perhaps, topic: a/b, delivery: now}",
			`agent.yaml:9:24: E012 format "xml": want json or text
agent.yaml:9:39: E012 progress 1ms: want at least 1s, and format json
agent.yaml:9:51: E012 quiet "perhaps": want true or false
agent.yaml:9:67: E012 topic "a/b": want {device} in it, so that no two devices share a shadow
agent.yaml:9:82: E012 delivery "now": want accepted or published`},
		{"settings that do not go together", "    id: gw-1", "    id: gw-1\n    settings: {progress: 10s, format: text}", `agent.yaml:9:26: E012 progress 10s: want at least 1s, and format json`},

		{"both file and env", "    id: gw-1", "    id: gw-1\n    secrets: {roots: {file: ca.pem, env: CA}}", `agent.yaml:9:15: E030 expected exactly one of file and env`},
		{"neither file nor env", "    id: gw-1", "    id: gw-1\n    secrets: {roots: {}}", `agent.yaml:9:15: E030 expected exactly one of file and env`},
		{"a misspelt file", "    id: gw-1", "    id: gw-1\n    secrets: {roots: {fiel: ca.pem}}", `agent.yaml:9:23: E009 unknown key "fiel", did you mean "file"?`},
		{"a secret in the file", "    id: gw-1", "    id: gw-1\n    user: gw\n    secrets: {password: hunter2}",
			`agent.yaml:10:15: E011 a secret does not stand in the agent file: expected {file: FILE} or {env: NAME}`},
		{"an unknown secret", "    id: gw-1", "    id: gw-1\n    secrets: {pasword: {env: P}}", `agent.yaml:9:15: E009 unknown key "pasword", did you mean "password"?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := goodAgent
			if tt.old != "" {
				text = strings.Replace(text, tt.old, tt.new, 1)
				if strings.Contains(tt.name, "plane local") || strings.Contains(tt.name, "a name") {
					text = strings.Replace(text, "  aws: {", "  "+strings.TrimSuffix(tt.new, ":")+": {", 1)
				}
				if text == goodAgent {
					t.Fatal("nothing is replaced")
				}
			}
			lay(t, map[string]string{"agent.yaml": text, "device.yaml": goodDevice, "update.yaml": goodWorkflow})
			_, err := LoadFile("agent.yaml", nil, noSecrets(t))
			got := strings.TrimSuffix(mistakesOf(t, err), "\n")
			if tt.name == "a long socket" {
				if !strings.HasPrefix(got, tt.want) || strings.Contains(got, "\n") {
					t.Errorf("got %s, want %s…", got, tt.want)
				}
				return
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestTooManyPlanes(t *testing.T) {
	var planes, commands strings.Builder
	for i := range maxPlanes + 1 {
		fmt.Fprintf(&planes, "  p%d: {}\n", i)
		fmt.Fprintf(&commands, "  p%d: {}\n", i)
	}
	head, _, _ := strings.Cut(goodAgent, "planes:")
	r, err := parseFile("agent.yaml", []byte(head+"planes:\n"+planes.String()+"commands:\n"+commands.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := mistakesOf(t, r.problems.Err())
	for _, want := range []string{"agent.yaml:4:1: E012 expected 1 to 16 planes, found 17\n", "agent.yaml:22:1: E012 expected 1 to 16 commands, found 17\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%swant %sin it", got, want)
		}
	}
}

// TestMistakesOfThreeFiles: agent file, device file and workflow are told in one error.
func TestMistakesOfThreeFiles(t *testing.T) {
	files := map[string]string{
		"agent.yaml":  strings.NewReplacer("awsiot", "awsoit", "tls:", "udp:").Replace(goodAgent),
		"device.yaml": strings.Replace(goodDevice, "file:", "fiel:", 1),
		"update.yaml": strings.Replace(goodWorkflow, "fetch", "fecth", 1),
	}
	lay(t, files)
	const agent = `agent.yaml:6:14: E012 unknown dialect "awsoit", did you mean "awsiot"?
agent.yaml:7:10: E012 unknown scheme "udp", expected tls or tcp
`
	want := agent + `device.yaml:4:3: E030 target config: expected exactly one of slots, directory and file
device.yaml:4:12: E009 unknown key "fiel", did you mean "file"?
update.yaml:6:15: E014 unknown verb "fecth", did you mean "fetch"?
`
	for name, load := range map[string]func() error{
		"LoadFile":          func() error { _, err := LoadFile("agent.yaml", nil, noSecrets(t)); return err },
		"Check":             func() error { return Check([]string{"agent.yaml"}) },
		"Check of all":      func() error { return Check([]string{"update.yaml", "agent.yaml", "device.yaml"}) },
		"Check of it twice": func() error { return Check([]string{"agent.yaml", "agent.yaml"}) },
	} {
		if got := mistakesOf(t, load()); got != want {
			t.Errorf("%s: got\n%swant\n%s", name, got, want)
		}
	}
}

func TestWorkflowsAreCheckedAgainstTheDevice(t *testing.T) {
	lay(t, map[string]string{"agent.yaml": goodAgent, "device.yaml": strings.Replace(goodDevice, "config:", "settings:", 1), "update.yaml": goodWorkflow})
	_, err := LoadFile("agent.yaml", nil, noSecrets(t))
	if got, want := mistakesOf(t, err), "update.yaml:7:74: E022 unknown target \"config\" (have [\"settings\"])\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
}

func TestInputsThatNeverCome(t *testing.T) {
	workflow := strings.Replace(goodWorkflow, "inputs: {", "inputs: {release: {type: string}, size: {type: int}, site: {type: string, default: lab}, ", 1)
	lay(t, map[string]string{"agent.yaml": goodAgent, "device.yaml": goodDevice, "update.yaml": workflow})
	_, err := LoadFile("agent.yaml", nil, noSecrets(t))
	want := "agent.yaml:10:19: E030 the workflow needs release, but a command of awsiot brings sha256, size, url, version only: give it a default\n"
	if got := mistakesOf(t, err); got != want {
		t.Errorf("got %swant %s", got, want)
	}
}

// pause is a verb of the maker's own.
type pause struct {
	Text string `yaml:"text"`
}

func (*pause) Do(context.Context, *engine.Task) error { return nil }

func TestVerbsOfTheMaker(t *testing.T) {
	own := map[string]engine.Verb{"pause": {New: func() any { return new(pause) }, Class: engine.Idempotent}}
	lay(t, map[string]string{"agent.yaml": goodAgent, "device.yaml": goodDevice, "update.yaml": goodWorkflow + "  - {id: rest, pause: {text: x}}\n"})
	if _, err := LoadFile("agent.yaml", own, noSecrets(t)); err != nil {
		t.Error(err)
	}
	if got, want := mistakesOf(t, Check([]string{"agent.yaml"})), `update.yaml:8:16: E014 unknown verb "pause"`; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
	if _, err := LoadFile("agent.yaml", map[string]engine.Verb{"fetch": own["pause"]}, nil); err == nil || !strings.Contains(err.Error(), "built-in") {
		t.Errorf("error = %v, want that there is a built-in fetch", err)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	lay(t, map[string]string{"large.yaml": strings.Repeat("#", maxDocument+1), "pod.yaml": "kind: Pod\n", "agnet.yaml": "kind: Agnet\n", "none.yaml": "a: 1\n"})
	if _, err := LoadFile("missing.yaml", nil, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "read agent file") {
		t.Errorf("error = %v", err)
	}
	if _, err := LoadFile("large.yaml", nil, nil); !errors.Is(err, disk.ErrLimit) {
		t.Errorf("error = %v", err)
	}
	want := "agnet.yaml:1:7: E013 unknown kind \"Agnet\", did you mean \"Agent\"?\n" +
		"none.yaml:1:1: E010 missing kind: Agent, or kind: Device, or kind: Workflow\n" +
		"pod.yaml:1:7: E013 unknown kind \"Pod\" (have [\"Agent\" \"Device\" \"Workflow\"])\n"
	if got := mistakesOf(t, Check([]string{"pod.yaml", "agnet.yaml", "none.yaml"})); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestNoSecretIsShown: whatever is wrong, a password that stands in the file
// by mistake is neither in a message nor in the line below it.
func TestNoSecretIsShown(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		shown      bool // the source line is
	}{
		{"a secret as text", strings.Replace(goodAgent, "id: gw-1", "{id: gw-1, secrets: {password: hunter2}}", 1), false},
		{"as a key of its own", strings.Replace(goodAgent, "id: gw-1", "id: gw-1\n    password: hunter2", 1), false},
		{"under a key that is none", strings.Replace(goodAgent, "id: gw-1", "id: gw-1\n    secrets: {password: {value: hunter2}}", 1), false},
		{"in lines of its own", strings.Replace(goodAgent, "id: gw-1", "id: gw-1\n    secrets:\n      password:\n        value: hunter2", 1), false},
		{"in a list", strings.Replace(goodAgent, "id: gw-1", "id: gw-1\n    secrets: {password: [hunter2]}", 1), false},
		{"beside bad YAML", "planes: {aws: {password: hunter2, id: [}}\n", false},
		{"of another kind", "kind: {password: hunter2}\n", false},
		{"without a kind", "{password: hunter2}\n", false},
		{"a private key", strings.Replace(goodAgent, "id: gw-1", "id: gw-1\n    secrets: {key: \"-----BEGIN EC PRIVATE KEY----- hunter2\", cert: {file: c}}", 1), false},
		{"in the url", strings.Replace(goodAgent, "tls://", "tls://gw:hunter2@", 1), true},
		{"not there, but elsewhere", strings.Replace(goodAgent, "id: gw-1", "id: gw-1\n    secrets: {password: {env: P}}", 1), true},
		{"not there, but elsewhere in lines", strings.Replace(goodAgent, "id: gw-1", "id: gw-1\n    secrets:\n      password:\n        file: p", 1), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lay(t, map[string]string{"agent.yaml": tt.text, "device.yaml": goodDevice, "update.yaml": goodWorkflow})
			_, err := LoadFile("agent.yaml", nil, noSecrets(t))
			for _, err := range []error{err, Check([]string{"agent.yaml"})} {
				if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n  ") != tt.shown {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// TestPlainOfUpdates: only the agent file lets documents come by http.
func TestPlainOfUpdates(t *testing.T) {
	for _, plain := range []bool{false, true} {
		settings := "hub: h.example, manufacturer: Contoso, model: Toaster"
		if plain {
			settings += ", plain: true"
		}
		lay(t, map[string]string{"agent.yaml": filePlane(`{dialect: adu, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {` + settings + `}}`),
			"device.yaml": goodDevice, "update.yaml": goodWorkflow})
		f, err := LoadFile("agent.yaml", nil, noSecrets(t))
		if err != nil {
			t.Fatal(err)
		}
		var c mqtt.Config
		if _, err := f.Planes[0].newLink(nil, nil, func(tuned *mqtt.Config) { c = *tuned }); err != nil || c.PlainRequests != plain {
			t.Errorf("requests by http: %t, %v; want %t", c.PlainRequests, err, plain)
		}
	}
}

// TestAnswersOfDownloads: what answers downloads is checked as what answers updates, by the inputs that the settings bring.
func TestAnswersOfDownloads(t *testing.T) {
	const plane = `{dialect: hawkbit, url: "https://h.example", id: gw-1, secrets: {targetToken: {env: KEY}}, settings: {files: "app=os/*.img"}}`
	wants := func(input string) string { return strings.ReplaceAll(goodWorkflow, "url: {type", input+": {type") }
	read := func(input string) string {
		return strings.ReplaceAll(wants(input), "inputs.url", "inputs."+input)
	}
	for _, tt := range []struct{ name, plane, command, download, want string }{
		{"both", plane, "{workflow: update.yaml, download: stash.yaml}", read("app_url"), ""},
		{"an input that never comes", plane, "{workflow: update.yaml, download: stash.yaml}", goodWorkflow,
			"agent.yaml:7:40: E030 the workflow needs url, but a command of hawkbit brings app_filename, app_md5, app_name, app_part, app_sha1, app_sha256, app_size, app_url, app_version only: give it a default\n"},
		{"no file", plane, `{workflow: update.yaml, download: ""}`, "", "agent.yaml:7:40: E012 expected the path of a workflow\n"},
		{"a cloud without downloads", `{dialect: awsiot, url: "tls://h", id: gw-1}`, "{workflow: stash.yaml, download: stash.yaml}", goodWorkflow,
			"agent.yaml:7:29: E030 awsiot has no commands that only want something downloaded: expected workflow alone\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(filePlane(tt.plane), "{workflow: update.yaml}", tt.command, 1)
			lay(t, map[string]string{"agent.yaml": text, "device.yaml": goodDevice, "update.yaml": read("app_url"), "stash.yaml": tt.download})
			f, err := LoadFile("agent.yaml", nil, noSecrets(t))
			if got := mistakesOf(t, err); got != tt.want {
				t.Errorf("got  %swant %s", got, tt.want)
			}
			if err == nil && f.Planes[0].words["downloads"] != "true" {
				t.Errorf("words %v, want downloads among them", f.Planes[0].words)
			}
		})
	}
}

func TestNewLink(t *testing.T) {
	lay(t, map[string]string{"agent.yaml": goodAgent, "device.yaml": goodDevice, "update.yaml": goodWorkflow})
	f, err := LoadFile("agent.yaml", nil, noSecrets(t))
	if err != nil {
		t.Fatal(err)
	}
	var tuned mqtt.Config
	link, err := f.Planes[0].newLink([]byte(`{"seen": 7}`), nil, func(c *mqtt.Config) { tuned = *c; c.ID = "other" })
	if err != nil || link == nil || tuned.ID != "gw-1" || f.Planes[0].broker.ID != "gw-1" {
		t.Errorf("link = %v, %v; tuned %q", link, err, tuned.ID)
	}
	if _, err := f.Planes[0].newLink(nil, nil, func(c *mqtt.Config) { c.ID = "" }); !errors.Is(err, mqtt.ErrConfig) || !strings.HasPrefix(err.Error(), "plane aws: ") {
		t.Errorf("error = %v", err)
	}
	for _, p := range []Plane{{Name: "x", Dialect: "none"}, {Name: "x", Dialect: "awsiot"}} {
		if _, err := p.newLink(nil, nil, nil); err == nil {
			t.Errorf("a link of %+v", p)
		}
	}
	d, err := dialects["awsiot"].make(f.Planes[0].words, []byte(`{"seen": 7}`))
	if err != nil {
		t.Fatal(err)
	}
	var topics []string
	d.Step(control.In{Kind: control.InConnected, Session: true}, func(o control.Out) { topics = append(topics, o.Topic) })
	if len(topics) == 0 || topics[0] != "state/gw-1/update/delta" || !strings.Contains(string(d.Save()), `"seen":7`) {
		t.Errorf("topics %q, save %s: want the device's own, and what was saved", topics, d.Save())
	}
}

// named finds the file that an example says it is, in its first line.
var named = regexp.MustCompile("(?ms)^```yaml\n# ([a-z-]+\\.yaml)\n(.*?)^```$")

// TestThePageOfTheAgentFile checks the examples of docs/agent.md, and that it has every word.
func TestThePageOfTheAgentFile(t *testing.T) {
	page, err := os.ReadFile("../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, m := range named.FindAllStringSubmatch(string(page), -1) {
		files[m[1]] = m[2]
	}
	if files["agent.yaml"] == "" || files["device.yaml"] == "" {
		t.Fatalf("the page has %d examples", len(files))
	}
	var words []string
	for _, v := range []any{agentFile{}, planeFile{}, secretsFile{}, secretOrigin{}, commandFile{}} {
		for f := range reflect.TypeOf(v).Fields() {
			word, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			words = append(words, word)
		}
	}
	for name, d := range dialects {
		words = append(append(append(words, name), d.settings...), d.inputs...)
		if d.brings != nil {
			words = append(words, d.brings(nil)...)
		}
	}
	words = slices.DeleteFunc(words, regexp.MustCompile(`_[2-4]$|^(url|size|sha256|fileName)([2-9]|10)$`).MatchString) // of further files, which are explained together
	for _, word := range append(words, busyRefuse, busyWait) {
		if !strings.Contains(string(page), "`"+word+"`") {
			t.Errorf("the page does not explain `%s`", word)
		}
	}
	lay(t, files)
	if err := Check([]string{"agent.yaml"}); err != nil {
		t.Errorf("the examples do not check:\n%v", err)
	}
}

func FuzzAgentFile(f *testing.F) {
	f.Add([]byte(goodAgent))
	f.Add([]byte(wholeAgent))
	for _, kind := range planesOfEachKind {
		f.Add([]byte(filePlane(kind.plane)))
	}
	f.Add([]byte("planes: {\"a.b[0]\": {url: \"tcp://x\", id: [], secrets: {password: x, cert: {file: &a b}}, settings: {topic: \"\"}}}\ncommands: {local: {whenBusy: }}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseFile("dir/agent.yaml", data, noSecrets(t))
		var problems document.Problems
		if err == nil {
			err = r.problems.Err()
		}
		if err != nil {
			if !errors.As(err, &problems) {
				t.Fatalf("error %T: %v", err, err)
			}
			for _, p := range problems {
				if document.Codes[p.Code] == "" || p.Line < 1 || p.Column < 1 || p.File != "dir/agent.yaml" {
					t.Errorf("problem %+v", p)
				}
			}
			_ = err.Error()
			return
		}
		if len(r.file.Planes) == 0 || r.file.Device == "" || r.file.State == "" || r.file.Socket == "" {
			t.Errorf("file %+v", r.file)
		}
		for _, p := range r.file.Planes {
			if !planeName.MatchString(p.Name) || p.Workflow == "" {
				t.Errorf("plane %+v", p)
			}
			if _, err := p.newLink(nil, nil, nil); err != nil {
				t.Errorf("newLink refuses what was taken: %v", err)
			}
		}
	})
}
