package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// ErrLocked means that another process, or another part of this one, holds a
// lock. The message of the error that wraps it names the owner.
var ErrLocked = errors.New("locked")

// ownerSize is the length of the note in a lock file, bytes. It never
// changes, so that taking a lock again needs no space on a full disk.
const ownerSize = 128

// Held is a lock that is held. Close gives it back; so does the end of the
// process, however it ends, and so does losing the last pointer to it.
type Held struct{ file *os.File }

// Lock takes the lock file at path, a path of the host, and makes it if it is
// missing. It does not wait: when the lock is held the error is [ErrLocked].
// The file stays; the kernel's lock on it is what counts, so nothing stale can
// be left. Inside stand the owner's process id and boot id.
func Lock(path string) (*Held, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	taken, err := flock(f)
	switch {
	case err != nil:
		err = fmt.Errorf("lock %s: %w", path, err)
	case !taken:
		err = fmt.Errorf("%s is %w by %s", path, ErrLocked, owner(f))
	default:
		err = sign(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Held{file: f}, nil
}

// Close gives the lock back. A second call is an error.
func (h *Held) Close() error { return h.file.Close() }

func sign(f *os.File) error {
	boot, err := BootID()
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%-*s\n", ownerSize-1, fmt.Sprintf("process %d, boot %s", os.Getpid(), boot))
	if _, err := f.WriteAt([]byte(note), 0); err != nil {
		return fmt.Errorf("write the owner into the lock: %w", err)
	}
	return nil
}

// owner reads the note of whoever holds the lock. It may not be written yet.
func owner(f *os.File) string {
	note := make([]byte, ownerSize)
	n, err := f.ReadAt(note, 0)
	text := strings.TrimSpace(strings.ToValidUTF8(string(note[:n]), "?"))
	if (err != nil && err != io.EOF) || text == "" {
		return "an unknown process"
	}
	return fmt.Sprintf("%.*q", ownerSize, text)
}

// BootID tells one boot of the machine from the next. It is "" on a platform
// that has none.
func BootID() (string, error) {
	id, err := ReadFile(OS(), "/proc/sys/kernel/random/boot_id", 64)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
