package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sharedKit is made by the first test that wants it and removed by TestMain:
// building takes longer than most of these tests.
var (
	sharedOnce sync.Once
	sharedKit  *kit
	sharedDir  string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if sharedDir != "" {
		_ = os.RemoveAll(sharedDir)
	}
	if binariesDir != "" {
		_ = os.RemoveAll(binariesDir)
	}
	os.Exit(code)
}

// theKit gives the kit of all tests that do not need one of their own, with
// a folder "warm" that holds a filled compile cache.
func theKit(t *testing.T) *kit {
	t.Helper()
	sharedOnce.Do(func() {
		k := makeKit(t)
		var err error
		if sharedDir, err = os.MkdirTemp("", "updraft-process-"); err != nil {
			t.Fatal(err)
		}
		// The test's own folder goes with the test.
		if err := os.Rename(k.dir, filepath.Join(sharedDir, "kit")); err != nil {
			t.Fatal(err)
		}
		k.dir = filepath.Join(sharedDir, "kit")
		k.updraft = filepath.Join(k.dir, "updraft")
		k.small(t)
		warm := k.box(t, newServer(t, k.dir), "warm", "small-5")
		if err := warm.again(); err != nil {
			t.Fatal(err)
		}
		sharedKit = k
	})
	if sharedKit == nil {
		t.Fatal("the kit could not be made, see the first test")
	}
	return sharedKit
}

// small makes releases of the first MiB of the new image: small-5 and small-4
// with that security version, small-other with another key, small-unsigned.
func (k *kit) small(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, "small"), k.new[:1<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	k.command(t, k.dir, k.updraft, "keys", "new", "other", "--no-password")
	for _, r := range []struct{ kind, version, security, key string }{
		{"small-5", "5.0.0", "5", "rel.key"},
		{"small-4", "6.0.0", "4", "rel.key"}, // newer by its name, but less secure
		{"small-other", "5.0.0", "5", "other.key"},
		{"small-unsigned", "5.0.0", "5", ""},
	} {
		k.command(t, k.dir, k.updraft, "release", "new", "--name", "gw", "--version", r.version, "--security-version", r.security,
			"--artifact", "image=small", "--out", r.kind)
		if r.key != "" {
			k.command(t, k.dir, k.updraft, "release", "sign", r.kind, "--key", r.key)
		}
	}
}

// stand is a device with a server of its own, whose requests are seen and may
// be tampered with.
type stand struct {
	*box
	front *front
}

// newStand makes a device whose files are those of the rig after edits, pairs
// of an old text and the one in its place.
func newStand(t *testing.T, kind string, edits ...string) *stand {
	t.Helper()
	k := theKit(t)
	s := newServer(t, k.dir)
	f := &front{under: s.Config.Handler}
	s.Server = httptest.NewServer(f)
	t.Cleanup(s.Close)
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "'", "", ",", "").Replace(t.Name()))
	b := &stand{k.box(t, s, name, kind), f}
	t.Cleanup(func() { _ = os.RemoveAll(b.dir) })
	for i := 0; i < len(edits); i += 2 {
		b.edit(t, edits[i], edits[i+1])
	}
	b.write(t, "slot-b.img", string(k.old[:100_000])) // an old image, so that its digest says something
	b.warm(t)
	return b
}

// warm lends the device the compiled modules: compiling is not what is tested.
func (b *box) warm(t *testing.T) {
	t.Helper()
	from, to := filepath.Join(b.k.dir, "warm", ".updraft"), filepath.Join(b.dir, ".updraft")
	if err := os.MkdirAll(filepath.Join(to, "modules"), 0o700); err != nil {
		t.Fatal(err)
	}
	compiled, err := filepath.Glob(filepath.Join(from, "modules", "*"))
	if err != nil || len(compiled) == 0 {
		t.Fatalf("no compiled modules in %s: %v", from, err)
	}
	for _, name := range append(compiled, filepath.Join(from, "cache.key")) {
		rel, err := filepath.Rel(from, name)
		if err == nil {
			err = os.Link(name, filepath.Join(to, rel))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// edit replaces a text that stands once, in the device file or the workflow.
func (b *stand) edit(t *testing.T, from, to string) {
	t.Helper()
	found := 0
	for _, file := range []string{"device.yaml", "update.yaml"} {
		text := b.read(t, file)
		found += strings.Count(text, from)
		b.write(t, file, strings.ReplaceAll(text, from, to))
	}
	if found != 1 {
		t.Fatalf("%q stands %d times in the device's files, want once", from, found)
	}
}

var (
	compatList    = regexp.MustCompile(`(?m)^compat:\n( .*\n)+`)
	installModule = regexp.MustCompile(`(?m)^    install: .*$`)
)

// native takes the modules out of the workflow.
func (b *stand) native(t *testing.T) {
	t.Helper()
	text := compatList.ReplaceAllString(b.read(t, "update.yaml"), "")
	text = installModule.ReplaceAllString(text, "    install: {artifacts: {image: checked}, targets: {out: {target: rootfs@inactive}}}")
	if strings.Contains(text, "module") {
		t.Fatalf("a module is left in\n%s", text)
	}
	b.write(t, "update.yaml", text)
}

func (b *stand) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// read gives a file of the device, "" if there is none.
func (b *stand) read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// front sees the requests to a server before it does.
type front struct {
	under http.Handler
	mu    sync.Mutex
	gets  []string // names of the files that were asked for, in order
	// tamper, if set, is shown each piece of an image's body with its offset in
	// the answer and gives what is sent instead. A panic ends the connection.
	tamper func(at int64, p []byte) []byte
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		f.mu.Lock()
		f.gets = append(f.gets, filepath.Base(r.URL.Path))
		tamper := f.tamper
		f.mu.Unlock()
		if tamper != nil && filepath.Base(r.URL.Path) == "image" {
			w = &tampered{ResponseWriter: w, do: tamper}
		}
	}
	f.under.ServeHTTP(w, r)
}

func (f *front) tamperWith(do func(at int64, p []byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tamper = do
}

// asked gives the files that were asked for so far.
func (f *front) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.gets)
}

type tampered struct {
	http.ResponseWriter
	at int64
	do func(at int64, p []byte) []byte
}

// Unwrap lets the server's flushes through.
func (w *tampered) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *tampered) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(w.do(w.at, bytes.Clone(p)))
	w.at += int64(n)
	return n, err
}

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// updraft runs a command of the program in the device's folder.
func (b *stand) updraft(t *testing.T, args ...string) outcome {
	t.Helper()
	return b.k.updraftIn(t, b.dir, args...)
}

func (k *kit) updraftIn(t *testing.T, dir string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.updraft, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("updraft %v: %v", args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
}

// release is the address of the device's release.
func (b *stand) release() string {
	return "release=" + b.s.URL + "/" + b.name + "/" + b.kind + "/release.json"
}

// run runs the update under an id; a restart is simulated unless more says otherwise.
func (b *stand) run(t *testing.T, id string, more ...string) outcome {
	t.Helper()
	args := []string{"run", "update.yaml", "--device", "device.yaml", "--id", id, "--progress", "json", "--input", b.release()}
	if !slices.Contains(more, "--restart") {
		args = append(args, "--restart", "simulate")
	}
	return b.updraft(t, append(args, more...)...)
}

// end is the last line of --progress json.
type end struct {
	Kind, Run, State, Code, Step, Message string
	Exit                                  int
}

// end gives the result that the command printed.
func (o outcome) end(t *testing.T) end {
	t.Helper()
	var e end
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Kind != "result" {
		t.Fatalf("exit %d, but the last line is no result: %q\n%s", o.code, lines[len(lines)-1], o.stderr)
	}
	return e
}

// wants holds the exit code and the result to what they must be. The message
// must contain each of the texts.
func (o outcome) wants(t *testing.T, exit int, state, code string, texts ...string) {
	t.Helper()
	if o.code != exit {
		t.Errorf("exit code %d, want %d\n%s", o.code, exit, o.stderr)
	}
	e := o.end(t)
	if e.State != state || e.Code != code || e.Exit != exit {
		t.Errorf("ended %s (%s), exit %d; want %s (%s), exit %d: %s", e.State, e.Code, e.Exit, state, code, exit, e.Message)
	}
	for _, text := range texts {
		if !strings.Contains(e.Message, text) {
			t.Errorf("the message is %q, want %q in it", e.Message, text)
		}
	}
}

// says holds a command that prints no result to its exit code and its texts.
func (o outcome) says(t *testing.T, exit int, texts ...string) {
	t.Helper()
	if o.code != exit {
		t.Errorf("exit code %d, want %d: %s", o.code, exit, o.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(o.stdout+o.stderr, text) {
			t.Errorf("it says %q, want %q in it", o.stdout+o.stderr, text)
		}
	}
}

// look gives the digests of the slots and of the boot state, "" for a file
// that is not there.
func (b *stand) look(t *testing.T) map[string]string {
	t.Helper()
	at := map[string]string{}
	for _, name := range []string{"slot-a.img", "slot-b.img", "boot.json"} {
		if _, err := os.Stat(filepath.Join(b.dir, name)); err == nil {
			at[name] = digest(t, filepath.Join(b.dir, name))
		}
	}
	return at
}

// boot is the boot state of the one target.
type boot struct {
	Active, Next, Nonce string
	Tries               int
	Good                []string
	Stamps              map[string]struct {
		Version, SHA256 string
		Size            int64
	}
}

func (b *stand) boot(t *testing.T) boot {
	t.Helper()
	var file struct{ Targets map[string]boot }
	if err := json.Unmarshal([]byte(b.read(t, "boot.json")), &file); err != nil {
		t.Fatalf("boot.json: %v", err)
	}
	return file.Targets["rootfs"]
}

// onOld holds the device to the old version: slot a untouched and started
// next, slot b neither chosen nor proven.
func (b *stand) onOld(t *testing.T) {
	t.Helper()
	if got, want := b.read(t, "slot-a.img"), string(b.k.old); got != want {
		t.Errorf("slot a has changed")
	}
	if b.read(t, "boot.json") == "" {
		return // nothing was ever chosen: a is the first by name
	}
	if at := b.boot(t); at.Active != "a" || at.Next != "" || slices.Contains(at.Good, "b") {
		t.Errorf("boot state %+v, want a active, nothing next and b not good", at)
	}
}

// reported holds the receiver to one report, of the run and its end.
func (b *stand) reported(t *testing.T, run, state string) {
	t.Helper()
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	var got []string
	for key := range b.s.reports {
		if rest, ok := strings.CutPrefix(key, b.name+" "+run+"."); ok {
			got = append(got, rest)
		}
	}
	if want := "0 " + state; len(got) != 1 || got[0] != want {
		t.Errorf("reports of run %s: %q, want %q alone", run, got, want)
	}
}

// mount mounts, or skips the test where that is not permitted.
func mount(t *testing.T, at string, args ...string) {
	t.Helper()
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", append(args, at)...).CombinedOutput(); err != nil {
		t.Skipf("mount %s is not permitted here: %v %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v %s", at, err, out)
		}
	})
}
