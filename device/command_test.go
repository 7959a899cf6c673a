package device

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
)

func TestParametersFillOneArgument(t *testing.T) {
	template := []string{"./flash", "--port", "${port}", "--speed=${speed}"}
	for _, tt := range []struct {
		name, port, speed, want string
	}{
		{"plain", "ttyS1", "9600", ""},
		{"spaces and quotes", `a b" 'c' $(reboot) ; reboot | x`, "`reboot`", ""},
		{"a placeholder as value", "${speed}", "${port}", ""},
		{"nothing", "", "", ""},
		{"an option", "--force", "1", "argument 2 would be an option"},
		{"a dash", "-", "1", "argument 2 would be an option"},
		{"a dash inside", "a-b", "-1", ""},
		{"a zero byte", "a\x00b", "1", "zero byte"},
		{"too long", strings.Repeat("x", maxParameter+1), "1", "more than 4096 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fill(template, map[string]string{"port": tt.port, "speed": tt.speed})
			if (err == nil) != (tt.want == "") || err != nil && (!errors.Is(err, ErrParameter) || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("error = %v, want %q", err, tt.want)
			}
			want := []string{"./flash", "--port", tt.port, "--speed=" + tt.speed}
			if err == nil && !slices.Equal(got, want) {
				t.Errorf("argv = %q, want %q", got, want)
			}
		})
	}
	for name, values := range map[string]map[string]string{
		`no value for "speed"`:             {"port": "x"},
		`the command has no parameter "x"`: {"port": "x", "speed": "1", "x": "y"},
	} {
		if _, err := fill(template, values); !errors.Is(err, ErrParameter) || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v, want %q", err, name)
		}
	}
}

// workshop is a door with a command of each kind.
func workshop(t *testing.T, clock disk.Clock) *Files {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho out $1; echo err >&2; env\nexit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := New(Config{File: dir + "/device.yaml", Commands: map[string]Tool{
		"tool":  {Exec: []string{"./tool", "${x}"}},
		"long":  {Exec: []string{"sh", "-c", "yes line | head -c 300000; echo the end"}},
		"kill":  {Exec: []string{"sh", "-c", "kill -9 $$"}},
		"hang":  {Exec: []string{"sh", "-c", "echo begun; sleep 3600 & sleep 3600"}, Timeout: time.Second},
		"ghost": {Exec: []string{"./not-there"}},
	}}, Env{FS: disk.OS(), Clock: clock, Tool: RunTool})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestExecute(t *testing.T) {
	t.Setenv("UPDRAFT_TEST_SECRET", "hidden")
	f := workshop(t, disk.Real())
	execute := func(name string, params map[string]string) (Answer, error) {
		return f.Do(t.Context(), Op{Kind: Execute, Run: "r", Target: name, Params: params})
	}
	a, err := execute("tool", map[string]string{"x": "a  b"})
	if err != nil || a.N != 3 || !strings.HasPrefix(string(a.Bytes), "out a b\nerr\n") {
		t.Errorf("status %d, output %q, error %v", a.N, a.Bytes, err)
	}
	if out := string(a.Bytes); strings.Contains(out, "hidden") || strings.Contains(out, "HOME=") || !strings.Contains(out, "PATH=") {
		t.Errorf("the command sees the environment %q", out)
	}
	a, err = execute("long", nil)
	if err != nil || len(a.Bytes) != maxOutput || !strings.HasSuffix(string(a.Bytes), "line\nthe end\n") {
		t.Errorf("%d bytes of output, error %v, want the last %d", len(a.Bytes), err, maxOutput)
	}
	if a, err = execute("kill", nil); err != nil || a.N != 137 {
		t.Errorf("status %d, error %v, want 137", a.N, err)
	}
	if _, err = execute("ghost", nil); err == nil || !strings.Contains(err.Error(), "not-there") {
		t.Errorf("error = %v, want one that names the program", err)
	}
	if _, err = execute("other", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("error = %v, want ErrUnknown", err)
	}
	if _, err = execute("hang", nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("error %v, want ErrTimeout", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := f.Do(ctx, Op{Kind: Execute, Run: "r", Target: "hang"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want that of the context", err)
	}
}

// Under plan nothing runs and no port is opened; all is listed.
func TestPlanningRunsNothing(t *testing.T) {
	var listed []Kind
	p := Planning(workshop(t, disk.Real()), func(op Op) { listed = append(listed, op.Kind) })
	port, err := p.Do(t.Context(), Op{Kind: OpenPort, Run: "r", Target: "mcu"})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []Op{{Kind: Transfer, Handle: port.Handle, Bytes: []byte("x")}, {Kind: Execute, Target: "hang"}, {Kind: Close, Handle: port.Handle}} {
		if a, err := p.Do(t.Context(), op); err != nil || a.N != 0 {
			t.Errorf("%s: %+v, %v", op.Kind, a, err)
		}
	}
	if want := []Kind{OpenPort, Transfer, Execute}; !slices.Equal(listed, want) {
		t.Errorf("listed %v, want %v", listed, want)
	}
}

func TestFoldersOfAStage(t *testing.T) {
	for name, fsys := range map[string]disk.FS{"forgetful": disk.NewForgetful(), "os": disk.OS()} {
		t.Run(name, func(t *testing.T) {
			root := "/d"
			if name == "os" {
				root = t.TempDir()
			}
			f, err := New(Config{File: root + "/device.yaml", Targets: map[string]Place{"app": {Directory: root + "/app"}}},
				Env{FS: fsys, Clock: disk.NewVirtual(time.Unix(0, 0))})
			if err != nil {
				t.Fatal(err)
			}
			c := Client{Door: f, Run: "run-1"}
			w, err := c.OpenWriter(t.Context(), "app", 0)
			if err != nil {
				t.Fatal(err)
			}
			folder := func(entry string) error {
				_, err := f.Do(t.Context(), Op{Kind: OpenEntry, Run: "run-1", Handle: w.Handle(), Entry: entry, Perm: os.ModeDir | 0o700})
				return err
			}
			e, err := w.OpenEntry("file", 0o640)
			if err := errors.Join(err, folder("a/b"), folder("a/b"), folder("a"), w.Sync(), e.Close()); err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"../x", "/x", "file", "file/x", "A", ""} {
				if err := folder(bad); !errors.Is(err, ErrDenied) {
					t.Errorf("folder %q: %v, want ErrDenied", bad, err)
				}
			}
			if _, err := c.Commit(t.Context(), "app", 0, "", Stamp{Version: "1"}); err != nil {
				t.Fatal(err)
			}
			if info, err := fsys.Lstat(root + "/app/1/a/b"); err != nil || !info.IsDir() {
				t.Errorf("a/b: %v, %v, want a folder", info, err)
			}
		})
	}
}
