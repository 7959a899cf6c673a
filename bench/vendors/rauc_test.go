package vendors

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// slotSize is that of the files that play the slots, in bytes.
const slotSize = 1 << 20

// rauc is a device with RAUC and rauc-hawkbit-updater, on a message bus of their own.
type rauc struct {
	t       *testing.T
	updater string
	dir     string
}

func newRAUC(t *testing.T) rauc {
	t.Helper()
	wanted(t)
	updater, err := exec.LookPath("rauc-hawkbit-updater")
	if err != nil {
		updater, err = exec.LookPath(filepath.Join(*modules, "bin", "rauc-hawkbit-updater"))
	}
	if err != nil {
		t.Skipf("rauc-hawkbit-updater is not installed: %v", err)
	}
	for _, program := range []string{"rauc", "mksquashfs", "dbus-daemon"} {
		if !installed(program) {
			t.Skipf("%s is not installed", program)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("RAUC mounts its bundles, which only root may")
	}
	r := rauc{t, updater, t.TempDir()}
	signer := &x509.Certificate{Subject: pkix.Name{CommonName: "signer"}}
	certify(t, signer, signer, nil, r.file("signer.pem"), r.file("signer.key"))
	for name, text := range map[string]string{
		"slot-a": string(make([]byte, slotSize)), "slot-b": string(make([]byte, slotSize)),
		"system.conf": strings.ReplaceAll(`[system]
compatible=gw-200
bootloader=noop
mountprefix=DIR/mount
[keyring]
path=DIR/signer.pem
[slot.rootfs.0]
device=DIR/slot-a
type=raw
bootname=A
[slot.rootfs.1]
device=DIR/slot-b
type=raw
bootname=B
`, "DIR", r.dir),
	} {
		r.write(name, []byte(text))
	}
	return r
}

func (r rauc) file(name string) string { return filepath.Join(r.dir, name) }

func (r rauc) write(name string, text []byte) {
	r.t.Helper()
	if err := os.WriteFile(r.file(name), text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// bundle makes files/update.raucb, which writes content to a slot.
func (r rauc) bundle(content []byte) {
	r.t.Helper()
	for _, dir := range []string{"content", "files"} {
		if err := os.Mkdir(r.file(dir), 0o700); err != nil {
			r.t.Fatal(err)
		}
	}
	r.write("content/rootfs.img", content)
	r.write("content/manifest.raucm", []byte("[update]\ncompatible=gw-200\nversion=2.0\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=rootfs.img\n"))
	cmd := exec.Command("rauc", "bundle", "--cert", r.file("signer.pem"), "--key", r.file("signer.key"), r.file("content"), r.file("files/update.raucb"))
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("rauc bundle: %v\n%s", err, out)
	}
}

// start starts the bus, the service and the updater.
func (r rauc) start(server *sim) *vendor {
	r.t.Helper()
	r.write("updater.conf", fmt.Appendf(nil, `[client]
hawkbit_server = %s
ssl = false
tenant_id = DEFAULT
target_name = gw-1
auth_token = %s
bundle_download_location = %s
retry_wait = 1
connect_timeout = 5
timeout = 20
log_level = message
[device]
serial = A-17
`, strings.TrimPrefix(server.at.Face, "http://"), server.key("gw-1"), r.file("downloaded.raucb")))
	r.command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", "--address=unix:path="+r.file("bus")).says("unix:path=")
	r.command("rauc", "-c", "system.conf", "--override-boot-slot=A", "service").says("Using per-slot statusfile")
	return r.command(r.updater, "-c", "updater.conf")
}

// command starts a part of the device.
func (r rauc) command(name string, args ...string) *vendor {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "DBUS_STARTER_BUS_TYPE=session", "DBUS_SESSION_BUS_ADDRESS=unix:path="+r.file("bus"))
	return start(r.t, name, cmd)
}

// TestRAUC carries out an update whose first download is cut.
func TestRAUC(t *testing.T) {
	r := newRAUC(t)
	content := bytes.Repeat([]byte("firmware 2\n"), 30_000)
	r.bundle(content)
	server := simulate(t, "hawkbit", "--device", "gw-1", "--files", r.file("files"), "--poll", "1s")
	device := r.start(server)
	device.says("Checking for new software")
	server.command("fault", "cut", "--after", "1000")
	server.push(cloudsim.Failed, "error", "--device", "gw-1", "--url", "update.raucb", "--version", "2.0")
	device.says("Download failed")
	server.heard(`"up"`, "PUT", "/configData", "A-17")

	server.command("fault", "none")
	server.push(cloudsim.Succeeded, "finished", "--device", "gw-1", "--url", "update.raucb", "--version", "2.0")
	got, err := os.ReadFile(r.file("slot-b"))
	if err != nil || !bytes.HasPrefix(got, content) {
		t.Errorf("the other slot has not the image: %v", err)
	}
	if old, err := os.ReadFile(r.file("slot-a")); err != nil || !bytes.Equal(old, make([]byte, slotSize)) {
		t.Errorf("the slot that runs was written to: %v", err)
	}
}
