package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
)

func sectionOf(r *Reader) io.Reader { return io.NewSectionReader(r, 0, r.Size()) }

const wholeDevice = `apiVersion: updraft/v1
kind: Device
facts: {manufacturer: contoso, hardware: 1.10, site: "yes", version: {target: rootfs}, serial: {file: serial}, load: {exec: [cat, /proc/loadavg]}}
targets:
  rootfs: {slots: {a: slot-a.img, b: /dev/mmcblk0p3}, boot: {file: boot.json}, active: b, space: 64MiB}
  app: {directory: app}
  config: {file: etc/app.yaml}
restart: {app: {exec: [./restart-app]}, device: {exec: [reboot]}}
report: {to: [{file: reports.ndjson}, {http: "https://example.com/r"}]}
trust: {require: signature, keys: [release.pub]}
serial: {mcu1: {path: tty/mcu}, mcu2: {path: /dev/ttyS2, baud: 9600}}
commands: {flash: {exec: [./flash, --port, "${port}"], timeout: 30s}, tidy: {exec: [tidy]}}
modules: {memory: 32MiB, fuel: 1000000, wall: 2m, isolation: process, grants: [rootfs, app, "serial:mcu1", "exec:flash", "http:api.example.com", "http:[::1]:8080", reboot]}
`

func TestLoad(t *testing.T) {
	got, err := Load("/etc/updraft/device.yaml", []byte(wholeDevice))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		File: "/etc/updraft/device.yaml",
		Facts: map[string]Fact{
			"manufacturer": {Value: "contoso"}, "hardware": {Value: "1.10"}, "site": {Value: "yes"}, "version": {Target: "rootfs"},
			"serial": {File: "/etc/updraft/serial"}, "load": {Exec: []string{"cat", "/proc/loadavg"}},
		},
		Targets: map[string]Place{
			"rootfs": {Slots: map[string]string{"a": "/etc/updraft/slot-a.img", "b": "/dev/mmcblk0p3"}, Boot: BootState{File: "/etc/updraft/boot.json"}, Active: "b", Space: 64 << 20},
			"app":    {Directory: "/etc/updraft/app"},
			"config": {File: "/etc/updraft/etc/app.yaml"},
		},
		Restart:  map[string]Command{"app": {Exec: []string{"./restart-app"}}, "device": {Exec: []string{"reboot"}}},
		Guard:    "/etc/updraft/guard.bin",
		Report:   Report{To: []Receiver{{File: "/etc/updraft/reports.ndjson"}, {HTTP: "https://example.com/r"}}},
		Trust:    Trust{Require: RequireSignature, Keys: []string{"/etc/updraft/release.pub"}},
		Serial:   map[string]SerialPort{"mcu1": {Path: "/etc/updraft/tty/mcu"}, "mcu2": {Path: "/dev/ttyS2", Baud: 9600}},
		Commands: map[string]Tool{"flash": {Exec: []string{"./flash", "--port", "${port}"}, Timeout: 30 * time.Second}, "tidy": {Exec: []string{"tidy"}}},
		Modules: Modules{Memory: 32 << 20, Fuel: 1000000, Wall: 2 * time.Minute, Isolation: IsolationProcess,
			Grants: []string{"rootfs", "app", "serial:mcu1", "exec:flash", "http:api.example.com", "http:[::1]:8080", "reboot"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

const badDevice = `apiVersion: updraft/v2
kind: Workflow
facts: {version: {target: rotfs}, both: {file: x, exec: [y]}, odd: {fiel: x}}
targets:
  Root: {slots: {a: x.img, b: x.img}, boot: {file: boot.json}}
  one: {slots: {a: y.img}, boot: {file: boot.json}, active: c}
  none: {}
  two: {directory: d, file: f}
  app: {directory: app, space: 1MiB}
  boots: {slots: {a: p, inactive: q}}
  device: {file: z}
restart: {two: {exec: [x]}, app: {exec: []}}
guard: x.img
report: {to: [{file: a, http: "https://x"}, {http: "ftp://x"}]}
trust: {require: maybe}
modules: {memory: lots, isolation: vm, grants: [ap]}
extra: 1
serial: {Big: {path: ""}, fast: {path: /dev/x, baud: -1}}
commands: {none: {exec: []}, "any": {exec: ["${what}", "${UP}", "a${open"]}, slow: {exec: [x], timeout: -1s}}
`

func TestMistakes(t *testing.T) {
	_, err := Load("/d/device.yaml", []byte(badDevice))
	var problems document.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error = %v, want problems", err)
	}
	var got strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&got, "%d:%d %s %s\n", p.Line, p.Column, p.Code, p.Text)
	}
	want, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%swant\n%s", &got, want)
	}
}

func TestLoadTexts(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "d.yaml:1:1: E005 the file is empty"},
		{"not a map", "[]", "d.yaml:1:1: "},
		{"no targets", "apiVersion: updraft/v1\nkind: Device\n", `d.yaml:1:1: E010 key "targets" is missing`},
		{"signature without keys", "apiVersion: updraft/v1\nkind: Device\ntargets: {c: {file: x}}\ntrust: {require: signature}\n", "d.yaml:4:1: E010 trust.require: signature needs keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load("d.yaml", []byte(tt.text))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s…", err, tt.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Config{Targets: map[string]Place{"x": {}, "Y": {File: "f"}}}, Env{})
	for _, want := range []string{"target x: expected exactly one", `target name "Y"`, "a file system and a clock are needed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(wholeDevice))
	f.Add([]byte(badDevice))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Load("/d/device.yaml", data)
		var problems document.Problems
		if err != nil {
			if !errors.As(err, &problems) {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		if _, err := New(c, Env{FS: disk.NewForgetful(), Clock: disk.Real()}); err != nil {
			t.Fatalf("New refuses what Load takes: %v", err)
		}
	})
}

func TestFacts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ok", "\n gw-1 \n")
	write("long", strings.Repeat("x", maxFact+1))
	write("binary", "a\x00b")
	for _, tt := range []struct {
		name       string
		fact       Fact
		want, says string
	}{
		{"a literal", Fact{Value: "1.10"}, "1.10", ""},
		{"a file", Fact{File: dir + "/ok"}, "gw-1", ""},
		{"a long file", Fact{File: dir + "/long"}, "", "too large"},
		{"no file", Fact{File: dir + "/none"}, "", "fact x: "},
		{"no text", Fact{File: dir + "/binary"}, "", "no text"},
		{"a command", Fact{Exec: []string{"cat", "ok"}}, "gw-1", ""},
		{"a command that fails", Fact{Exec: []string{"sh", "-c", "echo no luck >&2; exit 3"}}, "", "no luck"},
		{"a command that says much", Fact{Exec: []string{"sh", "-c", "cat long"}}, "", "at most 4096"},
		{"a command that never stops talking", Fact{Exec: []string{"cat", "/dev/zero"}}, "", "more than 65536 bytes"},
		{"a command without end", Fact{Exec: []string{"sh", "-c", "sleep 3600 & sleep 3600"}}, "", "it took too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := disk.NewVirtual(time.Unix(0, 0))
			run := func(ctx context.Context, argv []string, dir string) ([]byte, error) {
				if tt.name == "a command without end" {
					clock.Advance(factTime)
				}
				return RunCommand(ctx, argv, dir)
			}
			f, err := New(Config{File: dir + "/device.yaml", Facts: map[string]Fact{"x": tt.fact}}, Env{FS: disk.OS(), Clock: clock, Exec: run})
			if err != nil {
				t.Fatal(err)
			}
			facts, err := Client{Door: f}.Facts(context.Background())
			if facts["x"] != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("facts = %v, %v; want %q, error with %q", facts, err, tt.want, tt.says)
			}
		})
	}
}

// TestModes holds that permissions do not depend on the umask of the host.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config")
	if err := errors.Join(os.WriteFile(name, []byte("old"), 0o600), os.Chmod(name, 0o666)); err != nil {
		t.Fatal(err)
	}
	f, err := New(Config{Targets: map[string]Place{"c": {File: name}, "d": {Directory: dir + "/d"}}}, Env{FS: disk.OS(), Clock: disk.Real()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := play(f, []act{preserved("c"), written("c"), committed("c", "2")}, 0); err != nil {
		t.Fatal(err)
	}
	check := func(name string, want os.FileMode) {
		t.Helper()
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	check(name, 0o666)
	undo := Undo{Target: "c", From: hexOf("old"), Keep: filepath.Join(dir, ".config.before-"+run)}
	if err := f.client().Restore(context.Background(), undo); err != nil {
		t.Fatal(err)
	}
	check(name, 0o666)
	w, err := f.client().OpenWriter(context.Background(), "d", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.OpenEntry("x", 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client().Commit(context.Background(), "d", 0, "", Stamp{Version: "v1"}); err != nil {
		t.Fatal(err)
	}
	check(dir+"/d/v1/x", 0o777)
}

// TestKilledGroup ends a program that has started another one. Both hold a
// pipe open, which ends when the last of them is gone.
func TestKilledGroup(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	fifo := filepath.Join(t.TempDir(), "alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := RunCommand(ctx, []string{"sh", "-c", "exec 3>" + fifo + "; sleep 3600 & echo >&3; wait"}, "/")
		done <- err
	}()
	f, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel(errors.New("enough"))
	if err := <-done; err == nil {
		t.Error("it ended well")
	}
	if rest, err := io.ReadAll(f); err != nil || len(rest) > 0 {
		t.Errorf("the pipe ends with %q, %v", rest, err)
	}
}

func TestGrantsOfModules(t *testing.T) {
	c := Config{Targets: map[string]Place{"app": {Directory: "/d"}}, Serial: map[string]SerialPort{"mcu": {}}, Commands: map[string]Tool{"flash": {}}}
	for grant, want := range map[string]string{
		"app": "", "serial:mcu": "", "exec:flash": "", "http:example.com": "", "http:example.com:8443": "", "http:127.0.0.1:80": "", "http:::1": "", "reboot": "",
		"rootfs": "unknown target", "serial:mcv": `did you mean "mcu"`, "serial": "unknown target", "exec:flush": `did you mean "flash"`, "http:": "expected http:HOST",
		"http:https://example.com": "expected http:HOST", "http:example.com/x": "expected http:HOST", "http:example.com:0": "expected http:HOST",
		"http:*": "expected http:HOST", "http:user@example.com": "expected http:HOST", "reboot:now": "expected a target", "file:/x": "expected a target",
	} {
		if _, got := c.grant(grant); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("grant %q: %q, want %q", grant, got, want)
		}
	}
}
