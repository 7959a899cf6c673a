package process

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
	aliyunsim "github.com/updraft-ota/updraft/control/cloudsim/aliyun"
	tencentsim "github.com/updraft-ota/updraft/control/cloudsim/tencent"
)

// deviceKey is the secret of all devices that have one, text for one vendor and
// base64 for another.
const deviceKey = "MDEyMzQ1Njc4OWFiY2RlZg=="

// plane is a vendor's language on a broker that is nobody's cloud: a device
// says who it is by the vendor's constant password, which mosquitto has in a
// file, or by a certificate where each password is another. P stands for the
// product and D for the device.
type plane struct {
	dialect     string
	product     string
	id          string // in the agent file
	certificate bool
	settings    string // of the agent, with the old version
	new         string // version
	set         map[string]any
	up, down    []string // topics of what devices say, and of what they hear
	say, answer string   // what a device may say on the first of up, and the topic of what it hears upon it
	lie, order  string   // what another device must not say in its place, and not tell it
	cloud       func(cloudsim.Accounts) (cloudsim.Cloud, error)
}

var planesOnMosquitto = []plane{{
	dialect: "tencent", product: "PRODUCT001", id: "D", certificate: true,
	settings: `{product: P, version: "0.1"}`, new: "0.2",
	up: []string{"$ota/report/P/D"}, down: []string{"$ota/update/P/D"},
	say: `{"type":"report_version","report":{"version":"0.1"}}`, answer: "$ota/update/P/D",
	lie:   `{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-5"},"version":"0.2"}}`,
	order: `{"type":"update_firmware","version":"6.6","url":"https://files.example/v6.bin","file_size":1,"md5sum":"36eb5951179db14a631463a37a9322a2"}`,
	cloud: func(a cloudsim.Accounts) (cloudsim.Cloud, error) {
		return tencentsim.New(tencentsim.Config{Accounts: a})
	},
}, {
	dialect: "aliyunota", product: "a1B2c3", id: "P.D",
	settings: `{version: "1.0.0"}`, new: "1.1.0",
	up:   []string{"/sys/P/D/thing/ota/firmware/get", "/ota/device/progress/P/D", "/ota/device/inform/P/D"},
	down: []string{"/ota/device/upgrade/P/D", "/sys/P/D/thing/ota/firmware/get_reply"},
	say:  `{"id":"1","version":"1.0","params":{},"method":"thing.ota.firmware.get"}`, answer: "/sys/P/D/thing/ota/firmware/get_reply",
	lie:   `{"id":"1","params":{"step":"-1","desc":"a lie"}}`,
	order: `{"code":"1000","data":{"size":1,"version":"6.6","url":"https://files.example/v6.bin","signMethod":"MD5","md5":"36eb5951179db14a631463a37a9322a2"},"id":7,"message":"success"}`,
	cloud: func(a cloudsim.Accounts) (cloudsim.Cloud, error) {
		return aliyunsim.NewOTA(aliyunsim.Config{Accounts: a})
	},
}, {
	dialect: "haas", product: "a1B2c3", id: "P.D",
	settings: `{app: "8800100099990000", version: "0.0.1"}`, new: "0.0.2", set: map[string]any{"appId": "8800100099990000"},
	up:   []string{"/sys/P/D/thing/event/hli_event_upgrade_query/post", "/sys/P/D/thing/event/hli_event/post", "/sys/P/D/thing/service/hli_service_upgrade_push_reply"},
	down: []string{"/sys/P/D/thing/service/hli_service_upgrade_push", "/sys/P/D/thing/event/hli_event_upgrade_query/post_reply", "/sys/P/D/thing/event/hli_event/post_reply"},
	say:  `{"id":1,"version":"1.0","params":{"app":[]}}`, answer: "/sys/P/D/thing/event/hli_event_upgrade_query/post_reply",
	lie:   `{"id":1,"version":"1.0","params":{"app":[{"appId":"8800100099990000","version":"0.0.2"}]}}`,
	order: `{"id":"7","params":{"errorCode":"200","app":[{"appId":"8800100099990000","version":"6.6.6","url":"https://files.example/v6.bin","size":1,"md5":"36eb5951179db14a631463a37a9322a2"}]}}`,
	cloud: func(a cloudsim.Accounts) (cloudsim.Cloud, error) {
		return aliyunsim.NewHaaS(aliyunsim.Config{Accounts: a})
	},
}}

// TestMosquittoPlanes has the agent speak the languages of vendors whose topics
// name the device to the real mosquitto, behind which a simulator is the cloud.
func TestMosquittoPlanes(t *testing.T) {
	if !*withMosquitto {
		t.Skip("it needs mosquitto: run it with -mosquitto")
	}
	a := newAuthority(t, "fleet CA")
	for _, p := range planesOnMosquitto {
		t.Run(p.dialect, func(t *testing.T) {
			t.Run("an update goes through and no other device sees it", func(t *testing.T) { p.goesThrough(t, a) })
			t.Run("mosquitto dies in mid-download", func(t *testing.T) { p.diesInDownload(t, a) })
		})
	}
}

func (p plane) goesThrough(t *testing.T, a *authority) {
	m := p.fleet(t, a)
	m.files.hold()
	m.push(t)
	agent := m.agent(t)
	next(t, m.files.half)

	thief, heard := m.thief(t)
	m.publish(t, thief, m.topic(p.up[0], "gw-1"), p.lie)
	m.publish(t, thief, m.topic(p.down[0], "gw-1"), p.order)
	m.broker.says(t, "Denied PUBLISH from "+m.user("gw-2"), 2)
	m.files.release()
	m.succeeds(t)
	m.updated(t)

	// What the broker gave to the thief it gave in order: this is the last.
	m.publish(t, thief, m.topic(p.up[0], "gw-2"), p.say)
	if topic := next(t, heard); topic != m.topic(p.answer, "gw-2") {
		t.Errorf("gw-2 read %s, want its own answer alone", topic)
	}
	if said := agent.text(); strings.Contains(said, "6.6") || strings.Count(said, "connected as") != 1 {
		t.Errorf("the agent heard of the thief:\n%s", said)
	}
	m.stops(t, agent)
}

func (p plane) diesInDownload(t *testing.T, a *authority) {
	m := p.fleet(t, a)
	m.files.hold()
	m.push(t)
	agent := m.agent(t)
	next(t, m.files.half)
	m.broker.kill()
	killed := time.Now()
	m.startBroker(t)
	agent.says(t, "connected as", 2)
	t.Logf("connected again %v after the kill", time.Since(killed).Round(time.Millisecond))
	m.files.release()
	m.succeeds(t)
	m.updated(t)
	m.stops(t, agent)
	if m.files.count() != 1 {
		t.Errorf("%d downloads, want one", m.files.count())
	}
}

// planeFleet is a fleet whose cloud speaks another language than that of shadows.
type planeFleet struct {
	*fleet
	plane
	sim *cloudsim.Sim
}

const planeConf = `listener %[1]s 127.0.0.1
cafile %[2]s/ca.pem
certfile %[2]s/localhost.pem
keyfile %[2]s/localhost.key
use_username_as_clientid true
allow_anonymous false
acl_file %[2]s/acl
%[3]s
persistence false
log_type all
user root

connection cloud
address %[4]s
remote_clientid mosquitto
try_private false
notifications false
restart_timeout 1
`

func (p plane) fleet(t *testing.T, a *authority) *planeFleet {
	t.Helper()
	m := &planeFleet{plane: p, fleet: &fleet{dir: t.TempDir(), port: freePort(t), files: newGate(t)}}
	t.Cleanup(func() { m.nothingLeft(t) })
	cloud, err := p.cloud(cloudsim.Accounts{Product: p.product, Devices: map[string]string{"gw-1": deviceKey, "gw-2": deviceKey}})
	if err != nil {
		t.Fatal(err)
	}
	if m.sim, err = cloudsim.Start(cloudsim.Config{Applications: []string{"mosquitto"}}, cloud); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.sim.Close() })
	a.client(t, m.dir, "localhost")
	who := "require_certificate true\nuse_identity_as_username true"
	if !p.certificate {
		who = "password_file " + filepath.Join(m.dir, "passwords")
		m.write(t, "passwords", "")
	}
	acl := ""
	conf := fmt.Sprintf(planeConf, m.port, m.dir, who, strings.TrimPrefix(m.sim.Endpoints().Broker, "tcp://"))
	for _, topic := range p.up {
		conf += "topic " + m.topic(topic, "+") + " out 1\n"
	}
	for _, topic := range p.down {
		conf += "topic " + m.topic(topic, "+") + " in 1\n"
	}
	for _, name := range []string{"gw-1", "gw-2"} {
		acl += "user " + m.user(name) + "\n"
		for _, topic := range p.up {
			acl += "topic write " + m.topic(topic, name) + "\n"
		}
		for _, topic := range p.down {
			acl += "topic read " + m.topic(topic, name) + "\n"
		}
		if p.certificate {
			a.client(t, m.dir, m.user(name))
		} else {
			_, password := m.login(t, name)
			if out, err := exec.Command("mosquitto_passwd", "-b", filepath.Join(m.dir, "passwords"), m.user(name), password).CombinedOutput(); err != nil {
				t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
			}
		}
	}
	m.write(t, "ca.pem", string(a.pem))
	m.write(t, "acl", acl)
	m.write(t, "mosquitto.conf", conf)
	m.startBroker(t)
	return m
}

// topic is that of a device, or with + of all.
func (m *planeFleet) topic(template, device string) string {
	levels := strings.Split(template, "/")
	for i, level := range levels {
		switch level {
		case "P":
			levels[i] = m.product
		case "D":
			levels[i] = device
		}
	}
	return strings.Join(levels, "/")
}

// user is the name of a device for mosquitto, and its client id.
func (m *planeFleet) user(device string) string {
	if m.certificate {
		return m.product + device
	}
	return device + "&" + m.product
}

// login is that of a device without a certificate.
func (m *planeFleet) login(t *testing.T, device string) (id, password string) {
	t.Helper()
	c, err := aliyun.Login(aliyun.Device{ProductKey: m.product, Name: device}, aliyun.Settings{}, deviceKey)
	if err != nil {
		t.Fatal(err)
	}
	return c.ClientID, c.Password
}

// agent starts that of gw-1.
func (m *planeFleet) agent(t *testing.T) *process {
	t.Helper()
	secrets := "{deviceKey: {file: device.key}, roots: {file: ../ca.pem}}"
	if m.certificate {
		secrets = fmt.Sprintf("{cert: {file: ../%[1]s.pem}, key: {file: ../%[1]s.key}, roots: {file: ../ca.pem}}", m.user("gw-1"))
	}
	m.write(t, "gw-1/device.key", deviceKey+"\n")
	m.write(t, "gw-1/agent.yaml", fmt.Sprintf(`apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes:
  fleet:
    dialect: %s
    url: tls://localhost:%s
    id: %s
    secrets: %s
    settings: %s
commands: {fleet: {workflow: update.yaml}}
`, m.dialect, m.port, strings.NewReplacer("P", m.product, "D", "gw-1").Replace(m.id), secrets, strings.ReplaceAll(m.settings, "P", m.product)))
	m.write(t, "gw-1/device.yaml", `apiVersion: updraft/v1
kind: Device
targets: {app: {file: app.conf}}
trust: {require: none}
`)
	m.write(t, "gw-1/update.yaml", `apiVersion: updraft/v1
kind: Workflow
name: app
inputs: {url: {type: string}, md5: {type: string}, size: {type: int}}
steps:
  - id: new
    fetch: {url: "${{ inputs.url }}", md5: "${{ inputs.md5 }}", size: "${{ inputs.size }}"}
  - id: write
    install: {artifacts: {new: new}, targets: {out: {target: app}}}
`)
	return begin(t, m.dir, filepath.Join(programs(t), "updraft-agent"), "--config", "gw-1/agent.yaml")
}

// push makes a job that waits for gw-1.
func (m *planeFleet) push(t *testing.T) {
	t.Helper()
	_, err := m.sim.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "job-1", Set: m.set, Software: cloudsim.Software{
		URL: m.files.URL + "/app", Version: m.new, Size: int64(len(m.files.data)), MD5: fmt.Sprintf("%x", md5.Sum(m.files.data))}})
	if err != nil {
		t.Fatal(err)
	}
}

// succeeds waits for the one end of the job.
func (m *planeFleet) succeeds(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := m.sim.Wait(ctx, "gw-1", func(r cloudsim.Record) bool { return len(r.Ends) > 0 })
	if err != nil || len(r.Ends) != 1 || r.Ends[0].Job != "job-1" || r.Ends[0].Outcome != cloudsim.Succeeded {
		t.Errorf("%v: the cloud has %s and the ends %+v, want one success of job-1", err, r.Doc, r.Ends)
	}
}

// thief is gw-2, which listens to what is for gw-1. The topics of what it hears
// come through the channel.
func (m *planeFleet) thief(t *testing.T) (paho.Client, <-chan string) {
	t.Helper()
	var topics []string
	for _, topic := range append(m.down, m.up...) {
		topics = append(topics, m.topic(topic, "gw-1"), m.topic(topic, "gw-2"))
	}
	if m.certificate {
		return m.client(t, m.user("gw-2"), m.user("gw-1"), topics...)
	}
	id, password := m.login(t, "gw-2")
	roots := x509.NewCertPool()
	if ca, err := os.ReadFile(filepath.Join(m.dir, "ca.pem")); err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("ca.pem: %v", err)
	}
	heard := make(chan string, 100)
	o := paho.NewClientOptions().AddBroker("tls://localhost:" + m.port).SetClientID(id).SetUsername(m.user("gw-2")).SetPassword(password)
	o.SetAutoReconnect(false).SetTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	o.SetDefaultPublishHandler(func(_ paho.Client, got paho.Message) { heard <- got.Topic() })
	c := paho.NewClient(o)
	m.done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(100) })
	for _, topic := range topics {
		m.done(t, c.Subscribe(topic, 1, nil))
	}
	return c, heard
}
