package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/mqtt"
)

// planesOfEachKind has small agent files of all dialects, and what follows from them.
var planesOfEachKind = []struct {
	name, plane string
	want        string // url, ALPN, words
	login       string // id, user, password and for how long; * stands for anything
}{
	{"awsiot", `{dialect: awsiot, url: "tls://x.iot.eu-west-1.amazonaws.com:443", id: gw-1, secrets: {cert: {file: c}, key: {file: k}}}`,
		"tls://x.iot.eu-west-1.amazonaws.com:443 [x-amzn-mqtt-ca] map[device:gw-1]", ""},
	{"awsjobs", `{dialect: awsjobs, url: "tls://x.iot.cn-north-1.amazonaws.com.cn:443", id: gw-1, secrets: {cert: {file: c}, key: {file: k}}, settings: {start: start-next, stepTimeout: 60m}}`,
		"tls://x.iot.cn-north-1.amazonaws.com.cn:443 [x-amzn-mqtt-ca] map[device:gw-1 start:start-next stepTimeout:60m]", ""},
	{"awsjobs at another port", `{dialect: awsjobs, url: "tls://x.iot.eu-west-1.amazonaws.com", id: gw-1}`,
		"tls://x.iot.eu-west-1.amazonaws.com [] map[device:gw-1]", ""},
	{"awsjobs with its own protocol", `{dialect: awsjobs, url: "tls://x.iot.eu-west-1.amazonaws.com:443", id: gw-1, alpn: [mqtt]}`,
		"tls://x.iot.eu-west-1.amazonaws.com:443 [mqtt] map[device:gw-1]", ""},
	{"azurehub with a key", `{dialect: azurehub, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {hub: contoso.azure-devices.net, life: 2h}}`,
		"tls://contoso.azure-devices.net:8883 [] map[device:gw-1 hub:contoso.azure-devices.net life:2h]",
		"gw-1 contoso.azure-devices.net/gw-1/?api-version=2021-04-12 SharedAccessSignature sr=contoso.azure-devices.net%2Fdevices%2Fgw-1&sig=* 1h36m0s"},
	{"azurehub with a certificate, a module and a broker on the desk", `{dialect: azurehub, url: "tls://localhost:8883", id: gw-1/m, secrets: {cert: {file: c}, key: {file: k}}, settings: {hub: contoso.azure-devices.net}}`,
		"tls://localhost:8883 [] map[device:gw-1/m hub:contoso.azure-devices.net]",
		"gw-1/m contoso.azure-devices.net/gw-1/m/?api-version=2021-04-12  never"},
	{"azurehub by its url alone", `{dialect: azurehub, url: "tls://contoso.azure-devices.net", id: gw-1, secrets: {deviceKey: {env: KEY}}}`,
		"tls://contoso.azure-devices.net [] map[device:gw-1]",
		"gw-1 contoso.azure-devices.net/gw-1/?api-version=2021-04-12 SharedAccessSignature sr=contoso.azure-devices.net%2Fdevices%2Fgw-1&sig=* 48m0s"},
	{"adu with the service's own root keys", `{dialect: adu, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {hub: contoso.azure-devices.net, manufacturer: Contoso, model: Toaster}}`,
		"tls://contoso.azure-devices.net:8883 [] map[device:gw-1 hub:contoso.azure-devices.net manufacturer:Contoso model:Toaster]",
		"gw-1 contoso.azure-devices.net/gw-1/?api-version=2021-04-12&model-id=dtmi:azure:iot:deviceUpdateModel;3 SharedAccessSignature sr=contoso.azure-devices.net%2Fdevices%2Fgw-1&sig=* 48m0s"},
	{"tencent with a key", `{dialect: tencent, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {product: P1, version: "1.0"}}`,
		"tls://P1.iotcloud.tencentdevices.com:1883 [] map[device:gw-1 product:P1 version:1.0]",
		"P1gw-1 P1gw-1;12010126;*;hmacsha256 23h55m0s"},
	{"tencent with a certificate", `{dialect: tencent, id: gw-1, secrets: {cert: {file: c}, key: {file: k}}, settings: {product: P1}}`,
		"tls://P1.iotcloud.tencentdevices.com:8883 [] map[device:gw-1 product:P1 version:unknown]",
		"P1gw-1 P1gw-1;12010126;*  never"},
	{"aliyunota by its region", `{dialect: aliyunota, id: a1B2.gw-1, secrets: {deviceKey: {env: KEY}}, settings: {region: cn-shanghai, version: "1.0"}}`,
		"tls://a1b2.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883 [] map[device:a1B2.gw-1 region:cn-shanghai version:1.0]",
		"a1B2.gw-1|securemode=2,signmethod=hmacsha256,timestamp=2524608000000| gw-1&a1B2 * never"},
	{"haas on the desk, without TLS", `{dialect: haas, url: "tcp://127.0.0.1:1883", id: a1B2.gw-1, secrets: {deviceKey: {env: KEY}}, settings: {app: "8800100012345678"}}`,
		"tcp://127.0.0.1:1883 [] map[app:8800100012345678 device:a1B2.gw-1]",
		"a1B2.gw-1|securemode=3,signmethod=hmacsha256,timestamp=2524608000000| gw-1&a1B2 * never"},
	{"hawkbit with a token", `{dialect: hawkbit, url: "https://hawkbit.example", id: gw-1, secrets: {targetToken: {env: KEY}}}`,
		"https://hawkbit.example [] map[device:gw-1 url:https://hawkbit.example]", ""},
	{"hawkbit behind a path, with a gateway's token and a certificate", `{dialect: hawkbit, url: "https://h.example:8443/ddi", id: gw-1, answerTimeout: 2m, secrets: {gatewayToken: {env: KEY}, cert: {file: c}, key: {file: k}, roots: {file: ca}}, settings: {tenant: shop, attributes: "model=gw,site=lab", files: "os/*.json", soft: wait, confirm: true, progress: 1m}}`,
		"https://h.example:8443/ddi [] map[attributes:model=gw,site=lab confirm:true device:gw-1 files:os/*.json progress:1m soft:wait tenant:shop url:https://h.example:8443/ddi]", ""},
}

const testKey = "c2VjcmV0" // base64, as several clouds have keys

// filePlane is an agent file with one plane.
func filePlane(plane string) string {
	return "apiVersion: updraft/v1\nkind: Agent\ndevice: device.yaml\nplanes:\n  p: " + plane + "\ncommands:\n  p: {workflow: update.yaml}\n"
}

var factDevice = strings.Replace(goodDevice, "trust:", "facts: {version: {file: version.txt}}\ntrust:", 1)

func TestPlanesOfEachKind(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	for _, tt := range planesOfEachKind {
		t.Run(tt.name, func(t *testing.T) {
			lay(t, map[string]string{"agent.yaml": filePlane(tt.plane), "device.yaml": factDevice, "update.yaml": goodWorkflow})
			looked := false
			f, err := LoadFile("agent.yaml", nil, func(string) (string, bool) { looked = true; return testKey + "\n", true })
			if err != nil || looked {
				t.Fatalf("error %v, a secret was read: %t", err, looked)
			}
			p := f.Planes[0]
			seen[p.Dialect] = true
			var c mqtt.Config
			if _, err := p.newLink(nil, nil, func(tuned *mqtt.Config) { c = *tuned }); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s %v %v", c.URL, c.ALPN, p.words); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			before, after, _ := strings.Cut(tt.login, "*")
			if got := loginOf(t, c, now); !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) || tt.login == "" && got != "" {
				t.Errorf("login %s\nwant  %s", got, tt.login)
			}
		})
	}
	for name := range dialects {
		if !seen[name] {
			t.Errorf("no example of %s", name)
		}
	}
}

// loginOf gives what a connection would say.
func loginOf(t *testing.T, c mqtt.Config, now time.Time) string {
	t.Helper()
	if c.Login == nil {
		if c.ID == "" {
			t.Error("neither a client id nor a login")
		}
		return ""
	}
	l, err := c.Login(now)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v %#v", l, c); strings.Contains(text, testKey) {
		t.Errorf("a secret is shown: %s", text)
	}
	password := ""
	if l.Password.Set() {
		b, err := l.Password.Reveal()
		if err != nil {
			t.Fatal(err)
		}
		password = string(b)
		if strings.Contains(fmt.Sprintf("%+v", l), password) {
			t.Error("the password is shown")
		}
	}
	left := "never"
	if !l.Renew.IsZero() {
		left = l.Renew.Sub(now).String()
	}
	return l.ID + " " + l.User + " " + password + " " + left
}

func TestMistakesOfEachKind(t *testing.T) {
	const (
		azure   = `{dialect: azurehub, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {hub: contoso.azure-devices.net}}`
		tencent = `{dialect: tencent, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {product: P1, version: "1.0"}}`
		ali     = `{dialect: aliyunota, id: a1B2.gw-1, secrets: {deviceKey: {env: KEY}}, settings: {region: cn-shanghai, version: "1.0"}}`
		update  = `{dialect: adu, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {hub: h.example, manufacturer: Contoso, model: Toaster}}`
		haas    = `{dialect: haas, id: a1B2.gw-1, secrets: {deviceKey: {env: KEY}}, settings: {region: cn-shanghai, app: "8800100012345678"}}`
		jobs    = `{dialect: awsjobs, url: "tls://h", id: gw-1, settings: {start: update}}`
		shadow  = `{dialect: awsiot, url: "tls://h", id: gw-1, secrets: {roots: {file: ca}}}`
		hawkbit = `{dialect: hawkbit, url: "https://h.example", id: gw-1, secrets: {targetToken: {env: KEY}}, settings: {tenant: shop}}`
	)
	for _, tt := range []struct {
		name, plane, old, new string
		want                  string // <text> is the column of the text in the line
	}{
		{"azurehub, a misspelt setting", azure, "{hub:", "{hib: a, hub:", `5:<hib>: E009 unknown setting of azurehub "hib", did you mean "hub"?`},
		{"azurehub, no hub and no url", azure, ", settings: {hub: contoso.azure-devices.net}", "", `5:3: E010 key "url" is missing: expected it, or setting hub`},
		{"azurehub, a hub that is none", azure, "contoso.", "con toso.", `5:<con >: E012 host "con toso.azure-devices.net": want the hub's name, such as contoso.azure-devices.net`},
		{"azurehub, an id that is none", azure, "gw-1", `"gw 1"`, `5:<"gw 1">: E012 device "gw 1": holds ' ', want letters, digits and -.%_*?!(),:=@$'`},
		{"azurehub, a life that is none", azure, "{hub:", "{life: day, hub:", `5:<day>: E012 life "day": time: invalid duration "day"`},
		{"azurehub, a life that is too short", azure, "{hub:", "{life: 1s, hub:", `5:<1s>: E012 life 1s: want 1m to 366 days`},
		{"azurehub, several at once", azure, "{hub:", "{shape: round, plain: perhaps, hub:", `5:<round>: E012 shape "round": want flat, iothubDM or firmware
5:<perhaps>: E012 plain "perhaps": want true or false`},
		{"azurehub, nothing to log in with", azure, "secrets: {deviceKey: {env: KEY}}, ", "", `5:3: E010 secrets.deviceKey is missing: expected it, or secrets.cert and secrets.key`},
		{"azurehub, a key and a certificate", azure, "{env: KEY}", "{env: KEY}, cert: {file: c}, key: {file: k}", `5:<deviceKey>: E030 a device has a key or a certificate, not both`},
		{"azurehub, a user", azure, "id: gw-1", "id: gw-1, user: u", `5:<user>: E030 user and password of azurehub are made from id and secrets.deviceKey`},
		{"azurehub, a password", azure, "{deviceKey", "{password: {env: P}, deviceKey", `5:<password>: E030 user and password of azurehub are made from id and secrets.deviceKey`},
		{"azurehub, in the clear", azure, "id: gw-1", "url: \"tcp://h\", id: gw-1", `5:<"tcp>: E012 user and password need TLS, or a broker on this machine: tcp://h:1883`},
		{"azurehub, a key in the file", azure, "{env: KEY}", "c2VjcmV0", `5:<deviceKey>: E011 a secret does not stand in the agent file: expected {file: FILE} or {env: NAME}`},
		{"tencent, no product", tencent, "product: P1, ", "", `5:3: E010 setting product is missing: has 0 bytes, want 1 to 32`},
		{"tencent, no settings", tencent, `, settings: {product: P1, version: "1.0"}`, "", `5:3: E010 setting product is missing: has 0 bytes, want 1 to 32
5:3: E010 setting version is missing: expected it, or a fact version in the device file`},
		{"tencent, several at once", tencent, "{product: P1,", "{product: P-1, progress: 1ms, method: md5,", `5:<P-1>: E012 product "P-1": holds '-', want letters and digits
5:<1ms>: E012 progress 1ms: want at least 1s
5:<md5>: E012 method "md5": want hmacsha256 or hmacsha1`},
		{"tencent, an empty version", tencent, `version: "1.0"`, `version: ""`, `5:<"">: E012 version "": has 0 bytes, want 1 to 32`},
		{"tencent, no version", tencent, `, version: "1.0"`, "", `5:3: E010 setting version is missing: expected it, or a fact version in the device file`},
		{"tencent, no id", tencent, "id: gw-1, ", "", `5:3: E010 key "id" is missing`},
		{"aliyunota, an id without a product", ali, "a1B2.gw-1", "gw-1", `5:<gw-1>: E012 device "gw-1": device settings: device "gw-1": want PRODUCTKEY.DEVICENAME`},
		{"aliyunota, no region and no url", ali, "region: cn-shanghai, ", "", `5:3: E010 key "url" is missing: expected it, or setting region`},
		{"aliyunota, no key", ali, "secrets: {deviceKey: {env: KEY}}, ", "", `5:3: E010 secrets.deviceKey is missing: expected {file: FILE} or {env: NAME}`},
		{"aliyunota, a setting of the agent's own", ali, "{region:", `{running: "1", region:`, `5:<running>: E009 unknown setting of aliyunota "running" (have ["ask" "progress" "region" "version"])`},
		{"aliyunota, a region that is none", ali, "cn-shanghai", `"a/b"`, `5:<"a/b">: E012 region "a/b": want letters, digits and -, such as cn-shanghai`},
		{"adu, no model", update, ", model: Toaster", "", `5:3: E010 setting model is missing: want 1 to 256 printable characters`},
		{"adu, root keys that are not there", update, "{hub:", "{rootKeys: keys.json, hub:", `5:<keys.json>: E029 cannot read keys.json: no such file or directory`},
		{"adu, root keys that are none", update, "{hub:", "{rootKeys: device.yaml, hub:", `5:<device.yaml>: E012 rootKeys: `},
		{"adu, a hub that is none", update, "h.example", "h_example", `5:<h_example>: E012 host "h_example": want the hub's name, such as contoso.azure-devices.net`},
		{"haas, no app", haas, `, app: "8800100012345678"`, "", `5:3: E010 setting app is missing: is not 16 digits that begin with 88001000`},
		{"haas, another app", haas, `"8800100012345678"`, `"1"`, `5:<"1">: E012 app "1" is not 16 digits that begin with 88001000`},
		{"awsjobs, another start", jobs, "update", "now", `5:<now>: E012 start "now": want update or start-next`},
		{"awsjobs, a key of a device", jobs, "settings:", "secrets: {deviceKey: {env: KEY}}, settings:", `5:<deviceKey>: E030 awsjobs knows no device key: expected user and password, or cert and key`},
		{"awsjobs, no url", jobs, `url: "tls://h", `, "", `5:3: E010 key "url" is missing`},
		{"adu, a plain that is none", update, "{hub:", "{plain: perhaps, hub:", `5:<perhaps>: E012 plain "perhaps": want true or false`},
		{"awsiot, a token", shadow, "roots: {file: ca}", "targetToken: {env: KEY}", `5:<targetToken>: E030 awsiot knows no targetToken`},
		{"hawkbit, no url", hawkbit, `url: "https://h.example", `, "", `5:3: E010 key "url" is missing`},
		{"hawkbit, a broker's url", hawkbit, "https:", "tls:", `5:<"tls:>: E012 url: want https, or http and a server on this machine: the token would cross a network in the clear`},
		{"hawkbit, in the clear", hawkbit, "https:", "http:", `5:<"http:>: E012 url: want https, or http and a server on this machine: the token would cross a network in the clear`},
		{"hawkbit, an id that is none", hawkbit, "gw-1", `"gw 1"`, `5:<"gw 1">: E012 device "gw 1": holds ' ', want letters, digits and ._:=~-`},
		{"hawkbit, a misspelt setting", hawkbit, "tenant:", "tennant:", `5:<tennant>: E009 unknown setting of hawkbit "tennant", did you mean "tenant"?`},
		{"hawkbit, a setting of the agent's own", hawkbit, "{tenant:", `{downloads: true, tenant:`, `5:<downloads>: E009 unknown setting of hawkbit "downloads" (have ["attributes" "confirm" "files" "progress" "soft" "tenant"])`},
		{"hawkbit, several at once", hawkbit, "tenant: shop", `tenant: "a b", soft: never, progress: 1s, files: x, confirm: 7, attributes: x`, `5:<"a b">: E012 tenant "a b": holds ' ', want letters, digits and ._:=~-
5:<never>: E012 soft "never": want run or wait
5:<1s>: E012 progress 1s: want at least 10s
5:<x, con>: E012 files: "x": want [NAME=]PART/FILE
5:<7>: E012 confirm "7": want true or false
5:<x}}>: E012 attributes "x": want key=value, with commas between, each key once`},
		{"hawkbit, nothing to show", hawkbit, "secrets: {targetToken: {env: KEY}}, ", "", `5:3: E010 secrets.targetToken is missing: expected it, secrets.gatewayToken, or secrets.cert and secrets.key`},
		{"hawkbit, two tokens", hawkbit, "{env: KEY}", "{env: KEY}, gatewayToken: {env: G}", `5:<gatewayToken>: E030 a device shows one token: expected targetToken or gatewayToken`},
		{"hawkbit, a token in the file", hawkbit, "{env: KEY}", testKey, `5:<targetToken>: E011 a secret does not stand in the agent file: expected {file: FILE} or {env: NAME}`},
		{"hawkbit, a certificate without a key", hawkbit, "{env: KEY}", "{env: KEY}, cert: {file: c}", `5:<cert>: E030 a client certificate and its key come together`},
		{"hawkbit, a certificate in the clear", hawkbit, `https://h.example", id: gw-1, secrets: {`, `http://127.0.0.1:80", id: gw-1, secrets: {cert: {file: c}, key: {file: k}, `, `5:<cert>: E030 certificates need an https:// url`},
		{"hawkbit, a broker's words", hawkbit, "id: gw-1", "id: gw-1, user: u, keepAlive: 1m", `5:<user>: E030 hawkbit is asked by HTTP and has no user
5:<keepAlive>: E030 hawkbit is asked by HTTP and has no keepAlive`},
		{"hawkbit, an answer at once", hawkbit, "id: gw-1", "id: gw-1, answerTimeout: 1ms", `5:<1ms>: E012 expected whole seconds, at least 1s`},
		{"awsiot, a key of a device", shadow, "roots: {file: ca}", "deviceKey: {env: KEY}", `5:<deviceKey>: E030 awsiot knows no device key: expected user and password, or cert and key`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.plane, tt.old) {
				t.Fatal("nothing is replaced")
			}
			text := filePlane(strings.Replace(tt.plane, tt.old, tt.new, 1))
			lay(t, map[string]string{"agent.yaml": text, "device.yaml": goodDevice, "update.yaml": goodWorkflow})
			_, err := LoadFile("agent.yaml", nil, noSecrets(t))
			got := strings.ReplaceAll(strings.TrimSuffix(mistakesOf(t, err), "\n"), "agent.yaml:", "")
			want := regexp.MustCompile(`<[^>]+>`).ReplaceAllStringFunc(tt.want, func(what string) string {
				return fmt.Sprint(strings.Index(strings.Split(text, "\n")[4], what[1:len(what)-1]) + 1)
			})
			if whole := !strings.HasSuffix(want, " "); got != want && (whole || !strings.HasPrefix(got, want) || strings.Contains(got, "\n")) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if err != nil && strings.Contains(err.Error(), testKey) {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

// TestTwoDevicesOfOneCloud: the url that follows from settings counts as much as one that stands there.
func TestTwoDevicesOfOneCloud(t *testing.T) {
	text := strings.Replace(goodAgent, "commands:\n", `  a: {dialect: tencent, id: d, secrets: {deviceKey: {env: K}}, settings: {product: P, version: "1"}}
  b: {dialect: tencent, id: d, secrets: {deviceKey: {env: K}}, settings: {product: P, version: "1"}}
  c: {dialect: tencent, id: d, secrets: {deviceKey: {env: K}}, settings: {product: Q, version: "1"}}
commands:
  a: {workflow: update.yaml}
  b: {workflow: update.yaml}
  c: {workflow: update.yaml}
`, 1)
	lay(t, map[string]string{"agent.yaml": text, "device.yaml": goodDevice, "update.yaml": goodWorkflow})
	_, err := LoadFile("agent.yaml", nil, noSecrets(t))
	want := "agent.yaml:10:29: E030 plane a has the same id at the same url: a broker lets only one of them in\n"
	if got := mistakesOf(t, err); got != want {
		t.Errorf("got %swant %s", got, want)
	}
}

// TestDialectsKnowTheirSettings holds the table to what the dialects say of themselves.
func TestDialectsKnowTheirSettings(t *testing.T) {
	for name, d := range dialects {
		_, err := d.make(map[string]string{"?": "?"}, nil)
		have := regexp.MustCompile(`have ([A-Za-z, ]+)`).FindStringSubmatch(fmt.Sprint(err))
		if have == nil || !errors.Is(err, d.config) {
			t.Errorf("%s: error = %v, want what it has", name, err)
			continue
		}
		words := slices.DeleteFunc(strings.Split(have[1], ", "), func(word string) bool {
			return slices.Contains([]string{"device", "running", "url", "downloads"}, word) // which the agent gives
		})
		own := slices.DeleteFunc(slices.Clone(d.settings), func(word string) bool {
			return word == "hub" || word == "life" || word == "region" || word == "plain" && d.plain // of the connection
		})
		if !slices.Equal(words, own) {
			t.Errorf("%s has %q, the agent file %q", name, words, own)
		}
		if !slices.IsSorted(d.settings) || !slices.IsSorted(d.inputs) {
			t.Errorf("%s: settings %q, inputs %q: want them sorted", name, d.settings, d.inputs)
		}
	}
}

// TestVersionOfTheDevice: where the agent file sets no version, the device is asked.
func TestVersionOfTheDevice(t *testing.T) {
	for _, tt := range []struct {
		name, settings, fact string
		want                 string // of the words
		log                  bool
	}{
		{"from the fact", "", "2.1\n", "2.1", false},
		{"the setting counts", `, version: "1.0"`, "2.1\n", "1.0", false},
		{"a fact that is no version", "", "two words\n", "unknown", true},
		{"an empty fact", "", "", "unknown", true},
		{"a fact that cannot be read", "", "-", "unknown", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plane := `{dialect: tencent, id: gw-1, secrets: {deviceKey: {env: KEY}}, settings: {product: P1` + tt.settings + `}}`
			files := map[string]string{"agent.yaml": filePlane(plane), "device.yaml": factDevice, "update.yaml": goodWorkflow, "app.yaml": "", "version.txt": tt.fact}
			if tt.fact == "-" {
				delete(files, "version.txt")
			}
			lay(t, files)
			f, err := LoadFile("agent.yaml", nil, noSecrets(t))
			if err != nil {
				t.Fatal(err)
			}
			a, err := Open(context.Background(), Config{Device: f.Device})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			}()
			var log bytes.Buffer
			s := &service{agent: a, c: ServeConfig{Log: func(text string) { log.WriteString(text) }}}
			p := s.versioned(context.Background(), f.Planes[0])
			if p.words["version"] != tt.want || (log.Len() > 0) != tt.log {
				t.Errorf("version %q, log %q; want %q", p.words["version"], &log, tt.want)
			}
		})
	}
}
