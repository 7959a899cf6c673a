package vendors

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// tencentHost is where the vendor's sample finds its broker, at port 1883; it gets
// files from port 80 alone. It sees a table of hosts of its own.
const tencentHost = "PRODUCT001.iotcloud.tencentdevices.com"

// sample is a device with the vendor's SDK for C: its program for updates.
type sample struct {
	t   *testing.T
	dir string
}

func newSample(t *testing.T) sample {
	t.Helper()
	wanted(t)
	program := filepath.Join(*modules, "bin", "ota_mqtt_sample")
	_, err := os.Stat(program)
	switch {
	case err != nil:
		t.Skipf("the SDK's sample is not there: %v", err)
	case os.Geteuid() != 0 || !installed("unshare"):
		t.Skip("only root can give a program a table of hosts of its own, with unshare")
	}
	s := sample{t, t.TempDir()}
	text, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(s.file("sample"), text, 0o700)
	}
	if err == nil {
		err = os.WriteFile(s.file("hosts"), []byte("127.0.0.1 localhost\n"+ownAddress+" "+tencentHost+"\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s sample) file(name string) string { return filepath.Join(s.dir, name) }

func (s sample) start(key string) *vendor {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{"auth_mode": "KEY", "productId": "PRODUCT001", "productSecret": "none", "deviceName": "gw-1",
		"key_deviceinfo":  map[string]string{"deviceSecret": key},
		"cert_deviceinfo": map[string]string{"devCertFile": "none", "devPrivateKeyFile": "none"},
		"subDev":          map[string]string{"sub_productId": "none", "sub_devName": "none"}})
	if err == nil {
		err = os.WriteFile(s.file("device_info.json"), text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-m", "sh", "-c", "mount --bind hosts /etc/hosts && exec ./sample")
	cmd.Dir = s.dir
	return start(s.t, "ota_mqtt_sample", cmd)
}

// TestTencent cuts the download of an update, which the device reports as failed;
// started again, it goes on where it was with the next push, to a good end.
func TestTencent(t *testing.T) {
	s := newSample(t)
	content := bytes.Repeat([]byte("firmware 2\n"), 20_000)
	cloud := simulate(t, "tencent", "--device", "gw-1", "--files", image(t, content), "--listen", ownAddress+":1883",
		"--files-listen", ownAddress+":80", "--files-url", "http://"+ownAddress+"/files/")
	first := s.start(cloud.key("gw-1"))
	first.says("wait for ota upgrade command")
	cloud.heard(`"up"`, "report_version")
	cloud.command("fault", "cut", "--after", "90000")
	cloud.push(cloudsim.Failed, "fail", "--device", "gw-1", "--url", "image.bin", "--version", "2.0")
	first.stop()

	cloud.command("fault", "none")
	second := s.start(cloud.key("gw-1"))
	second.says("wait for ota upgrade command")
	cloud.push(cloudsim.Succeeded, "done", "--device", "gw-1", "--url", "image.bin", "--version", "2.0")
	second.says("calc MD5 for resuming download from offset")
	second.says("The firmware is valid")
	got, err := os.ReadFile(s.file("FW_PRODUCT001gw-1_2.0.bin"))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes were stored, %v, want %d", len(got), err, len(content))
	}
	cloud.heard(`"up"`, `\"percent\":\"100\"`)
}
