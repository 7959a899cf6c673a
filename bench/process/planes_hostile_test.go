package process

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	"github.com/updraft-ota/updraft/control/cloudsim/tencent"
)

// hostilePlanes are the topics on which a device of each plane listens, and the
// cloud that speaks there.
func hostilePlanes(t *testing.T, a cloudsim.Accounts) map[string]struct {
	cloud  func() (cloudsim.Cloud, error)
	topics []string
} {
	t.Helper()
	signer := manifest.Signer{RootKid: "SIM.R", Kid: "SIM.S"}
	for _, key := range []**rsa.PrivateKey{&signer.Root, &signer.Key} {
		var err error
		if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	named := func(product string) cloudsim.Accounts { a.Product, a.Host = product, "localhost"; return a }
	twin := []string{"$iothub/twin/PATCH/properties/desired/?$version=9", "$iothub/twin/res/200/?$rid=1", "$iothub/methods/POST/firmwareUpdate/?$rid=77", "$iothub/methods/POST/%zz/?"}
	return map[string]struct {
		cloud  func() (cloudsim.Cloud, error)
		topics []string
	}{
		"azurehub": {func() (cloudsim.Cloud, error) { return hub.New(hub.Config{Accounts: named("")}) }, twin},
		"adu": {func() (cloudsim.Cloud, error) {
			return hub.New(hub.Config{Accounts: named(""), Update: true, Signer: signer})
		}, twin},
		"tencent": {func() (cloudsim.Cloud, error) { return tencent.New(tencent.Config{Accounts: named("PRODUCT001")}) },
			[]string{"$ota/update/PRODUCT001/gw-1"}},
		"awsiot": {func() (cloudsim.Cloud, error) { return aws.New(aws.Config{}) },
			[]string{"$aws/things/gw-1/shadow/update/delta", "$aws/things/gw-1/shadow/get/accepted", "$aws/things/gw-1/shadow/update/rejected"}},
		"awsjobs": {func() (cloudsim.Cloud, error) { return aws.New(aws.Config{}) },
			[]string{"$aws/things/gw-1/jobs/notify-next", "$aws/things/gw-1/jobs/$next/get/accepted", "$aws/things/gw-1/jobs/job-1/update/rejected"}},
		"haas": {func() (cloudsim.Cloud, error) { return aliyun.NewHaaS(aliyun.Config{Accounts: named("a1B2c3")}) },
			[]string{"/sys/a1B2c3/gw-1/thing/service/hli_service_upgrade_push"}},
		"aliyunota": {func() (cloudsim.Cloud, error) { return aliyun.NewOTA(aliyun.Config{Accounts: named("a1B2c3")}) },
			[]string{"/ota/device/upgrade/a1B2c3/gw-1"}},
	}
}

// hostilePayloads are what no cloud says.
func hostilePayloads() []string {
	return []string{
		"", " ", "{", "[]", "null", `"text"`, "17", "\xff\xfe", `{"a":`, strings.Repeat("[", 50_000), `{"x":"` + strings.Repeat("y", 100<<10) + `"}`,
		`{"$version":"nine","firmware":{"fwVersion":7,"fwPackageURI":[],"fwPackageCheckValue":{}}}`, `{"fwPackageUri":5}`, `{"fwPackageUri":"file:///etc/passwd"}`,
		`{"deviceUpdate":{"__t":"c","service":{"workflow":{"action":3}}},"$version":9}`, `{"deviceUpdate":{"service":{"workflow":{"action":"3","id":""}}},"$version":10}`,
		`{"deviceUpdate":{"__t":"c","service":{"workflow":{"action":3,"id":"evil"},"updateManifest":"{}","updateManifestSignature":"a.b.c","fileUrls":{}}},"$version":11}`,
		`{"type":"update_firmware"}`, `{"type":"update_firmware","file_size":-1,"md5sum":"x","url":"file:///etc/passwd","version":"9"}`, `{"type":7,"version":{}}`,
		`{"state":{"softwareURL":7,"jobID":"j"}}`, `{"state":{"softwareURL":"ftp://host/x","jobID":"../../etc"}}`, `{"code":"409","message":7}`,
		`{"execution":{"jobId":"../evil","jobDocument":{"url":"x"},"status":"QUEUED","versionNumber":"1"}}`, `{"execution":{"jobId":"e","jobDocument":[],"status":"QUEUED","versionNumber":1,"executionNumber":1}}`,
		`{"method":"thing.service.hli_service_upgrade_push","id":"1","params":{"errorCode":"200","app":[{"appId":"8800100099990000","version":"../../x","url":"file:///etc/passwd","md5":"","size":"big"}]}}`,
		`{"code":"1000","data":{"size":-5,"version":"","url":"file:///etc/passwd","md5":"zz"},"id":1}`, `{"code":"1000","data":{"files":[{"fileUrl":7}]},"id":2}`,
	}
}

// TestPlanesHostile says to a device of each plane what no cloud says, on all its
// topics. The agent stays connected, starts nothing, says in its log what was
// wrong, and does the update that comes then.
func TestPlanesHostile(t *testing.T) {
	const key = "aG9zdGlsZS1zZWNyZXQtb2YtMzItYnl0ZXMtaGVyZSE="
	clouds := hostilePlanes(t, cloudsim.Accounts{Devices: map[string]string{"gw-1": key}})
	for _, p := range planesToTest() {
		c, ok := clouds[p.name]
		if !ok {
			continue // it has no broker
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := newCloudFleet(t, p, "gw-1")
			cloud, err := c.cloud()
			if err != nil {
				t.Fatal(err)
			}
			trace, err := os.Create(filepath.Join(f.dir, "trace.ndjson"))
			if err != nil {
				t.Fatal(err)
			}
			defer trace.Close()
			sim, err := cloudsim.Start(cloudsim.Config{Trace: trace, State: filepath.Join(f.dir, "cloud"), Files: filepath.Join(f.dir, "files")}, cloud)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := sim.Close(); err != nil {
					t.Error(err)
				}
			}()
			f.at = sim.Endpoints()
			f.remote = cloudsim.Remote{Control: f.at.Control}
			u := f.unit(t, "gw-1")
			u.write(t, "device.key", []byte(key+"\n"), 0o600)
			if adu, ok := cloud.(*hub.Cloud); ok && p.name == "adu" {
				u.write(t, "rootkeys.json", adu.RootKeys(), 0o600)
			}
			agent, err := u.agent()
			if err != nil {
				t.Fatal(err)
			}
			defer agent.kill()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			agent.until(t, "the connection", func(have string) bool { return strings.Contains(have, "connected as") && sim.Connected("gw-1") })
			for range 50 { // what it asks first is answered by then
				if r, _ := sim.Book().Look("gw-1"); len(r.Doc) > 0 {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			connects := sim.Clients()["gw-1"].Connects
			for _, topic := range c.topics {
				for _, payload := range append(hostilePayloads(), hostilePayloads()...) {
					sim.Send(cloudsim.Message{Device: "gw-1", Topic: topic, Payload: []byte(payload), QoS: 1, Direct: true})
				}
			}
			for said := ""; ; { // the order is not to cross what it answers
				time.Sleep(500 * time.Millisecond)
				if now := agent.text(); now == said {
					break
				} else {
					said = now
				}
			}
			file, err := u.image("1.0.9", false, 1<<10)
			if err != nil {
				t.Fatal(err)
			}
			done, err := u.order(ctx, cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{File: file, Version: "1.0.9"}})
			if err != nil {
				t.Fatal(err)
			}
			end, err := u.end(ctx, done.Job)
			if err != nil || end.Outcome != cloudsim.Succeeded {
				t.Fatalf("end %+v, %v\n%s\nits last messages\n%s", end, err, agent.text(), tail(trace.Name(), "", 12))
			}
			if runs, err := u.running(); runs != "1.0.9" || err != nil {
				t.Errorf("version %q runs, %v", runs, err)
			}
			text := agent.text()
			if again := sim.Clients()["gw-1"].Connects; again != connects {
				t.Errorf("it connected %d times more\n%s", again-connects, text)
			}
			if runs := strings.Count(text, " accepted: "); runs != 1 {
				t.Errorf("%d runs were accepted, want the one that was ordered\n%s", runs, text)
			}
			if strings.Contains(text, key) || len(text) > 100<<10 {
				t.Errorf("the log has %d bytes, and the key: %t", len(text), strings.Contains(text, key))
			}
			t.Logf("%d messages, %d lines of log", 2*len(c.topics)*len(hostilePayloads()), strings.Count(text, "\n"))
		})
	}
}
