package trust

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	oracle "aead.dev/minisign"
)

func parsePublic(t testing.TB, text []byte) Public {
	t.Helper()
	p, err := ParsePublic(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Files that minisign 0.11 made are read, whether the program is here or not.
func TestFilesOfMinisign(t *testing.T) {
	for _, tt := range []struct {
		name     string
		password []byte
	}{
		{"plain", nil},
		{"locked", []byte("pw")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.password != nil && testing.Short() {
				t.Skip("minisign's own cost takes 1 GiB")
			}
			public := parsePublic(t, fixture(t, tt.name+".pub"))
			secret, err := ParseSecret(fixture(t, tt.name+".key"), tt.password)
			if err != nil || secret.Public() != public {
				t.Errorf("secret key = %v, %v, want that of %s", secret, err, public.ID())
			}
			got, err := Verify(bytes.NewReader(fixture(t, "message")), fixture(t, "message."+tt.name+".minisig"), []Public{public})
			if err != nil || !strings.HasSuffix(got.TrustedComment, "\tfile:m\thashed") {
				t.Errorf("Verify = %q, %v", got.TrustedComment, err)
			}
		})
	}
	_, err := Verify(bytes.NewReader(fixture(t, "message")), fixture(t, "message.legacy.minisig"), []Public{parsePublic(t, fixture(t, "plain.pub"))})
	if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "legacy") {
		t.Errorf("legacy signature: %v, want ErrUntrusted that names the legacy form", err)
	}
	plain := fixture(t, "plain.key")
	secret, err := ParseSecret(plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := secret.Encode(nil, nil); err != nil || !bytes.Equal(again, plain) {
		t.Errorf("our file of minisign's key differs: %v", err)
	}
}

// Another implementation of the formats, written by others, agrees.
func TestAgreesWithOracle(t *testing.T) {
	secret, public := newKey(t, 1)
	signature := sign(t, secret, message, "trusted")
	var theirs oracle.PublicKey
	if err := theirs.UnmarshalText(public.Encode()); err != nil {
		t.Fatal(err)
	}
	if !oracle.Verify(theirs, []byte(message), signature) {
		t.Error("our signature is refused")
	}
	for _, c := range []cost{{1 << 15, 1 << 20}, {1 << 17, 32 << 20}, {1 << 18, 1 << 19}, {0, 0}} {
		text, err := secret.encode([]byte("pw"), random(2), c)
		if err != nil {
			t.Fatal(err)
		}
		key, err := oracle.DecryptKey("pw", text)
		if err != nil {
			t.Errorf("cost %v: %v", c, err)
			continue
		}
		reader := oracle.NewReader(strings.NewReader(message))
		if _, err := bytes.NewBuffer(nil).ReadFrom(reader); err != nil {
			t.Fatal(err)
		}
		back := reader.SignWithComments(key, "of theirs", "x")
		if got, err := Verify(strings.NewReader(message), back, []Public{public}); err != nil || got.TrustedComment != "of theirs" {
			t.Errorf("their signature: %v, %v", got, err)
		}
	}
}

// program runs minisign in a folder and gives its output; ok says whether it
// ended well.
type program struct {
	path, dir string
}

func newProgram(t *testing.T) program {
	t.Helper()
	path, err := exec.LookPath("minisign")
	if err != nil {
		t.Skip("the minisign program is not installed (Debian: apt-get install minisign)")
	}
	return program{path, t.TempDir()}
}

func (p program) run(input string, args ...string) (string, bool) {
	cmd := exec.Command(p.path, args...)
	cmd.Dir = p.dir
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func (p program) must(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, ok := p.run(input, args...)
	if !ok {
		t.Fatalf("minisign %v: %s", args, out)
	}
	return out
}

func (p program) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p program) read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestMinisignReadsOurs(t *testing.T) {
	m := newProgram(t)
	secret, public := newKey(t, 7)
	m.write(t, "m", []byte(message))
	m.write(t, "our.pub", public.Encode())
	m.write(t, "m.minisig", sign(t, secret, message, "version:2"))
	for _, how := range [][]string{{"-p", "our.pub"}, {"-P", public.String()}} {
		out := m.must(t, "", append([]string{"-V", "-H", "-m", "m"}, how...)...)
		if !strings.Contains(out, "version:2") {
			t.Errorf("minisign said %q, want the trusted comment", out)
		}
	}
	m.write(t, "long", []byte(message))
	long, err := Sign(strings.NewReader(message), secret, strings.Repeat("x", maxTrusted), strings.Repeat("y", maxUntrusted))
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "long.minisig", long)
	m.must(t, "", "-V", "-H", "-m", "long", "-p", "our.pub")

	m.write(t, "m", []byte(message+"!"))
	if out, ok := m.run("", "-V", "-H", "-m", "m", "-p", "our.pub"); ok {
		t.Errorf("minisign accepted changed data: %s", out)
	}
}

func TestMinisignSignsWithOurKeys(t *testing.T) {
	m := newProgram(t)
	secret, public := newKey(t, 7)
	m.write(t, "m", []byte(message))
	for _, tt := range []struct {
		name     string
		password []byte
		cost     cost
	}{
		{"no password", nil, cost{}},
		{"password", []byte("pw"), cheap},
		{"password, time bound", []byte("pw"), cost{1 << 17, 32 << 20}},
		{"password, our cost", []byte("pw"), encodeCost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := secret.encode(tt.password, random(3), tt.cost)
			if err != nil {
				t.Fatal(err)
			}
			m.write(t, "our.key", text)
			m.must(t, string(tt.password)+"\n", "-S", "-H", "-s", "our.key", "-m", "m", "-x", "sig", "-t", "by minisign")
			got, err := Verify(strings.NewReader(message), m.read(t, "sig"), []Public{public})
			if err != nil || got.TrustedComment != "by minisign" {
				t.Errorf("Verify = %v, %v", got, err)
			}
		})
	}
}

func TestWeReadMinisigns(t *testing.T) {
	m := newProgram(t)
	m.write(t, "m", []byte(message))
	m.must(t, "", "-G", "-W", "-p", "k.pub", "-s", "k.key")
	m.must(t, "", "-S", "-H", "-s", "k.key", "-m", "m", "-x", "sig")
	m.must(t, "", "-S", "-l", "-s", "k.key", "-m", "m", "-x", "old")
	public := parsePublic(t, m.read(t, "k.pub"))
	if _, err := Verify(strings.NewReader(message), m.read(t, "sig"), []Public{public}); err != nil {
		t.Error(err)
	}
	if secret, err := ParseSecret(m.read(t, "k.key"), nil); err != nil || secret.Public() != public {
		t.Errorf("secret key = %v, %v", secret, err)
	}
	if _, err := Verify(strings.NewReader(message), m.read(t, "old"), []Public{public}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("legacy signature: %v, want ErrUntrusted", err)
	}
}

func TestWeReadMinisignsEncryptedKey(t *testing.T) {
	if testing.Short() {
		t.Skip("minisign's own cost takes 1 GiB and seconds")
	}
	m := newProgram(t)
	m.must(t, "sécret\nsécret\n", "-G", "-p", "k.pub", "-s", "k.key")
	secret, err := ParseSecret(m.read(t, "k.key"), []byte("sécret"))
	if err != nil || secret.Public() != parsePublic(t, m.read(t, "k.pub")) {
		t.Errorf("secret key = %v, %v", secret, err)
	}
}
