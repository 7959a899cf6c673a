package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const lockEnv = "UPDRAFT_TEST_LOCK"

// TestMain lets the test program be a second process that holds a lock.
func TestMain(m *testing.M) {
	path := os.Getenv(lockEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	held, err := Lock(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test is gone
	_ = held.Close()
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(path)
	if want := fmt.Sprintf("process %d", os.Getpid()); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("a second lock = %v, want ErrLocked by %s", err, want)
	}
	boot := must(BootID())
	if note := must(ReadFile(OS(), path, ownerSize)); len(note) != ownerSize || !strings.Contains(string(note), "boot "+boot) {
		t.Errorf("the lock file holds %q, want %d bytes with the boot id %q", note, ownerSize, boot)
	}
	mustDo(t, first.Close())
	if err := first.Close(); err == nil {
		t.Error("a second Close = nil, want an error")
	}
	third, err := Lock(path)
	if err != nil {
		t.Fatalf("a lock that was given back = %v", err)
	}
	mustDo(t, third.Close())
	if _, err := Lock(filepath.Join(path, "below")); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a lock that cannot be made = %v, want another error", err)
	}
}

// The lock of a process that was killed is free at once.
func TestLockOfAKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), lockEnv+"="+path)
	stdin, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close() //nolint:errcheck // the process is gone then
	stdout, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, owner.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "held\n" {
		t.Fatalf("the second process says %q, %v", line, err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", owner.Process.Pid)) {
		t.Errorf("while it lives: %v, want ErrLocked by process %d", err, owner.Process.Pid)
	}
	mustDo(t, owner.Process.Kill())
	_ = owner.Wait()
	held, err := Lock(path)
	if err != nil {
		t.Fatalf("after it was killed: %v", err)
	}
	mustDo(t, held.Close())
}

func TestOwnerOfADamagedLock(t *testing.T) {
	for name, tt := range map[string]struct{ note, want string }{
		"nothing":  {"", "an unknown process"},
		"controls": {"\x1b[2J\xff\n", `"\x1b[2J?"`},
		"endless":  {strings.Repeat("x", 5000), `"` + strings.Repeat("x", ownerSize) + `"`},
	} {
		path := filepath.Join(t.TempDir(), "lock")
		mustDo(t, WriteFile(OS(), path, []byte(tt.note), 0))
		f := must(os.Open(path))
		if got := owner(f); got != tt.want {
			t.Errorf("%s: owner = %s, want %s", name, got, tt.want)
		}
		mustDo(t, f.Close())
	}
}

func TestBootID(t *testing.T) {
	id, err := BootID()
	if err != nil || id != "" && !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) {
		t.Errorf("BootID = %q, %v; want a UUID or nothing", id, err)
	}
}

func TestLockContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if _, err := LockContent(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v, want %v", err, fs.ErrNotExist)
	}
	mustDo(t, os.WriteFile(path, []byte("image"), 0o600))
	first, err := LockContent(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockContent(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock = %v, want ErrLocked", err)
	}
	if got := must(ReadFile(OS(), path, 100)); string(got) != "image" {
		t.Errorf("the file has %q now", got)
	}
	mustDo(t, first.Close())
	again, err := LockContent(path)
	if err != nil {
		t.Fatalf("a lock that was given back = %v", err)
	}
	mustDo(t, again.Close())
}
