package vendors

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// swupdate is a device with Debian's SWUpdate, which takes signed archives alone.
type swupdate struct {
	t      *testing.T
	server *sim
	dir    string // its own, with the signer's key, the archives and what was installed
}

func newSWUpdate(t *testing.T) *swupdate {
	t.Helper()
	wanted(t)
	for _, program := range []string{"swupdate", "openssl", "cpio"} {
		if !installed(program) {
			t.Skipf("%s is not installed", program)
		}
	}
	d := &swupdate{t: t, dir: t.TempDir()}
	signer := &x509.Certificate{Subject: pkix.Name{CommonName: "signer"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}
	certify(t, signer, signer, nil, d.file("signer.pem"), d.file("signer.key"))
	config := `globals: {}; identify: ( { name = "serial"; value = "A-17"; } );`
	if err := os.WriteFile(d.file("swupdate.cfg"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *swupdate) file(name string) string { return filepath.Join(d.dir, name) }

func (d *swupdate) run(name string, in []byte, args ...string) (out []byte) {
	d.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdin = d.dir, bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("%s: %v", name, err)
	}
	return out
}

// archive makes one that installs content, for a board of this revision.
func (d *swupdate) archive(name, revision string, content []byte) {
	d.t.Helper()
	description := fmt.Sprintf(`software = {
	version = "2.0";
	hardware-compatibility: [ %q ];
	files: ( { filename = "content.bin"; path = %q; sha256 = "%x"; } );
}
`, revision, d.file("installed.bin"), sha256.Sum256(content))
	for name, text := range map[string][]byte{"sw-description": []byte(description), "content.bin": content} {
		if err := os.WriteFile(d.file(name), text, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
	d.run("openssl", nil, "cms", "-sign", "-binary", "-nosmimecap", "-in", "sw-description", "-out", "sw-description.sig",
		"-signer", "signer.pem", "-inkey", "signer.key", "-outform", "DER")
	whole := d.run("cpio", []byte("sw-description\nsw-description.sig\ncontent.bin\n"), "--quiet", "-o", "-H", "crc")
	if err := os.WriteFile(d.file(name), whole, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// start starts it, as a boot does; more goes to the part that speaks to the server.
func (d *swupdate) start(more string) *vendor {
	d.t.Helper()
	cmd := exec.Command("swupdate", "-v", "-f", d.file("swupdate.cfg"), "-k", d.file("signer.pem"), "-H", "board:1.0",
		"-u", fmt.Sprintf("-t DEFAULT -u %s -i gw-1 -k %s %s", d.server.at.Face, d.server.key("gw-1"), more))
	cmd.Env = append(os.Environ(), "TMPDIR="+d.dir, "RUNTIME_DIRECTORY="+d.dir)
	return start(d.t, "swupdate", cmd)
}

// TestSWUpdate carries out an update that is proven after a restart, in spite of
// a download that is cut, and one that is refused.
func TestSWUpdate(t *testing.T) {
	d := newSWUpdate(t)
	content := bytes.Repeat([]byte("firmware 2\n"), 100_000)
	d.archive("good.swu", "1.0", content)
	d.archive("other.swu", "9.9", []byte("firmware of another board"))
	d.server = simulate(t, "hawkbit", "--device", "gw-1", "--files", d.dir, "--poll", "1s")

	before := d.start("")
	d.server.command("fault", "cut", "--after", "600000")
	order := start(t, "push", exec.Command(updraft, "sim", "hawkbit", "push", "--state", d.server.state, "--json", "--wait", "80s",
		"--device", "gw-1", "--url", "good.swu", "--version", "2.0"))
	before.says("Please restart SWUpdate to report the test results upstream")
	got, err := os.ReadFile(d.file("installed.bin"))
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes were installed, %v, want %d", len(got), err, len(content))
	}
	d.server.heard(`"up"`, "PUT", "/configData", "A-17")
	d.server.heard(`"down"`, "/artifacts/good.swu 206") // the rest after the cut
	before.stop()

	after := d.start("-c 2") // the boot loader's word for success
	order.ends()
	order.says(`"result": "finished"`)

	d.server.push(cloudsim.Failed, "error", "--device", "gw-1", "--url", "other.swu", "--version", "3.0")
	after.says("SW not compatible with hardware")
	if again, err := os.ReadFile(d.file("installed.bin")); err != nil || !bytes.Equal(again, got) {
		t.Errorf("what was installed has changed, %v", err)
	}
}
