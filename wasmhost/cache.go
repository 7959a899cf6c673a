package wasmhost

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
)

// cache keeps compiled modules. They are native code, so whoever could change
// one would own the process: each file carries a MAC under a key of the
// device, and wazero sees only a copy that was verified before, in a private
// folder below. One process at a time uses a cache.
//
// A file is: magic, the 64-byte name that wazero gives the entry, the code,
// and HMAC-SHA256 of the file's identity and all before. The identity is the
// digest of the metered module, which differs with the meter's version and
// the memory that is granted, and the name of wazero's own folder, which holds
// its version, architecture and system. Files are not synced: a torn one fails
// its MAC and is compiled again. When the files are more than the quota, those
// that were used longest ago go.
type cache struct {
	dir   string
	key   []byte
	quota int64 // bytes
	warn  func(error)
}

const (
	cacheMagic = "updraft compiled module 1\n"
	entryName  = 2 * sha256.Size // hex
	maxCached  = 1 << 30         // bytes of one file

	handoverPrefix = "handover-" // of the folders that wazero sees
)

// errStale says that a cache file is missing or not to be used.
var errStale = errors.New("not usable")

func openCache(dir string, key []byte, quota int64, warn func(error)) (*cache, error) {
	if len(key) < 32 {
		return nil, fmt.Errorf("key of %d bytes, want at least 32", len(key))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is %v, want a folder of mode 0700", dir, info.Mode())
	}
	left, err := filepath.Glob(filepath.Join(dir, handoverPrefix+"*"))
	for _, name := range left { // of a process that was killed while it loaded
		err = errors.Join(err, os.RemoveAll(name))
	}
	return &cache{dir: dir, key: append([]byte(nil), key...), quota: quota, warn: warn}, err
}

// compile calls compile with a handover folder of wazero's that holds the
// verified entry of the metered module, if there is one, and afterwards keeps
// what is new in it. Compile takes over the wazero cache that works in dir.
func (c *cache) compile(metered []byte, compile func(k wazero.CompilationCache, dir string) error) (err error) {
	private, err := os.MkdirTemp(c.dir, handoverPrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(private)) }()
	hand, err := handover(private)
	if err != nil {
		return err
	}
	file := filepath.Join(c.dir, fmt.Sprintf("%x-%s", sha256.Sum256(metered), filepath.Base(hand.dir)))
	entry, err := c.take(file, hand.dir)
	if err != nil && !errors.Is(err, errStale) {
		return errors.Join(err, hand.cache.Close(context.Background()))
	}
	err = compile(hand.cache, private)
	if err != nil && entry != "" {
		// An entry with a good MAC that wazero does not like: drop it and compile.
		entry = ""
		if err := errors.Join(os.Remove(file), os.RemoveAll(private), os.Mkdir(private, 0o700)); err != nil {
			return err
		}
		if hand, err = handover(private); err != nil {
			return err
		}
		err = compile(hand.cache, private)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	_ = os.Chtimes(file, now, now) // if it cannot be touched, it only goes sooner
	if err := errors.Join(c.keep(file, hand.dir, entry), c.evict()); err != nil && c.warn != nil {
		// A cache that cannot be written costs time, not the update.
		c.warn(fmt.Errorf("keep compiled module: %w", err))
	}
	return nil
}

type hand struct {
	cache wazero.CompilationCache
	dir   string // where wazero's entries lie
}

func handover(private string) (hand, error) {
	k, err := wazero.NewCompilationCacheWithDir(private)
	if err != nil {
		return hand{}, err
	}
	names, err := filepath.Glob(filepath.Join(private, "*"))
	if err != nil || len(names) != 1 {
		return hand{}, errors.Join(fmt.Errorf("wazero made %d folders, want 1", len(names)), err, k.Close(context.Background()))
	}
	return hand{k, names[0]}, nil
}

func (c *cache) mac(file string) hash.Hash {
	mac := hmac.New(sha256.New, c.key)
	name := filepath.Base(file)
	fmt.Fprintf(mac, "%d %s\n", len(name), name)
	return mac
}

// take copies the entry of file to dir if its MAC is right, and gives its
// name. The copy gets wazero's name only after that.
func (c *cache) take(file, dir string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", errors.Join(errStale, err)
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	size := info.Size() - int64(len(cacheMagic)) - entryName - sha256.Size
	if size <= 0 || size > maxCached || !info.Mode().IsRegular() {
		return "", errStale
	}
	mac := c.mac(file)
	r := io.TeeReader(io.LimitReader(f, info.Size()-sha256.Size), mac)
	head := make([]byte, len(cacheMagic)+entryName)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", errors.Join(errStale, err)
	}
	unverified := filepath.Join(dir, "unverified")
	if err := spill(unverified, r, size); err != nil {
		return "", err
	}
	sum := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, sum); err != nil || !hmac.Equal(sum, mac.Sum(nil)) || string(head[:len(cacheMagic)]) != cacheMagic {
		return "", errors.Join(errStale, os.Remove(unverified))
	}
	name := string(head[len(cacheMagic):]) // vouched for by the MAC
	return name, os.Rename(unverified, filepath.Join(dir, name))
}

func spill(name string, r io.Reader, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, f.Close())
}

// keep stores the entry that wazero left in dir, unless it is the taken one.
func (c *cache) keep(file, dir, taken string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != taken && len(e.Name()) == entryName {
			return c.store(file, filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

// evict removes the files that were used longest ago until the rest fits.
func (c *cache) evict() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
			total += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if total <= c.quota {
			break
		}
		err = errors.Join(err, os.Remove(filepath.Join(c.dir, f.Name())))
		total -= f.Size()
	}
	return err
}

func (c *cache) store(file, entry string) (err error) {
	in, err := os.Open(entry)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	// Two writers at once leave a file without a good MAC, and one name leaves
	// at most one file behind after a power cut.
	out, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	mac := c.mac(file)
	_, err = io.WriteString(io.MultiWriter(out, mac), cacheMagic+filepath.Base(entry))
	if err == nil {
		_, err = io.Copy(io.MultiWriter(out, mac), in)
	}
	if err == nil {
		_, err = out.Write(mac.Sum(nil))
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), file)
}
