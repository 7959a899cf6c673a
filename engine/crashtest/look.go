package crashtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

// look describes what a target runs from: the slot or version, whether it is
// proven, and the digest of all its bytes as they lie on the disk. Two equal
// texts are the same state.
func look(ctx context.Context, fsys disk.FS, c device.Config, door device.Door, target string) (string, error) {
	place := c.Targets[target]
	if place.Type() == device.File {
		return digest(fsys, place.File)
	}
	boot, err := device.Client{Door: door}.BootOf(ctx, target)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("runs %s, next %q", boot.Active, boot.Next)
	if boot.Active == "" {
		return text, nil
	}
	content := place.Slots[boot.Active]
	if place.Type() == device.Directory {
		content = path.Join(place.Directory, boot.Active)
	}
	sum, err := digest(fsys, content)
	return text + ", content " + sum, err
}

// digest hashes a file, or all files below a folder with their names.
func digest(fsys disk.FS, name string) (string, error) {
	info, err := fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "nothing", nil
	}
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if !info.IsDir() {
		err = hashFile(h, fsys, name)
		return fmt.Sprintf("%x", h.Sum(nil)), err
	}
	entries, err := fsys.ReadDir(name)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		sum, err := digest(fsys, path.Join(name, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %s\n", e.Name(), sum)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

func hashFile(h io.Writer, fsys disk.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		_, err = io.Copy(h, io.NewSectionReader(f, 0, size))
	}
	return errors.Join(err, f.Close())
}
