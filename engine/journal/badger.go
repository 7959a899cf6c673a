package journal

import (
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/updraft-ota/updraft/engine"
)

const (
	memTable = 4 << 20      // bytes
	logSize  = 2 * memTable // bytes: how Badger makes a log. check relies on it
	// table and block bound what Badger's table builder allocates at a time. On
	// a 32-bit machine its allocator (ristretto v2.2.0, z.Allocator) hands out
	// the same memory twice once a table outgrows twice this size, and the table
	// is refused by a panic in the background. Blocks that hold the largest
	// value keep the builder's waste small, and turnAt keeps tables small.
	table = 4 << 20   // bytes
	block = 128 << 10 // bytes
	// inline is larger than any value, so that the value log stays empty and
	// needs no garbage collection. check relies on that: never lower it.
	inline = 128 << 10 // bytes
)

// settings names everything that matters here; Badger's defaults map
// gigabytes and do not sync.
func settings(dir string, log badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.Logger = log
	o.SyncWrites = true
	o.NumVersionsToKeep = 1
	o.MemTableSize = memTable
	o.ValueThreshold = inline
	o.ValueLogFileSize = 1 << 20 // Badger maps twice that
	o.BaseTableSize = table
	o.BlockSize = block
	o.NumMemtables = 1
	o.NumLevelZeroTables = 2
	o.NumLevelZeroTablesStall = 8
	o.NumCompactors = 2
	o.CompactL0OnClose = true // overwritten checkpoints go here
	o.BlockCacheSize = 0
	o.IndexCacheSize = 0
	o.Compression = options.None
	o.ChecksumVerificationMode = options.OnTableAndBlockRead
	o.VerifyValueChecksum = true
	o.MetricsEnabled = false
	// One writer at a time, held to it by a mutex and by the folder's lock.
	o.DetectConflicts = false
	o.BypassLockGuard = true
	return o
}

// notes is Badger's logger. It keeps the last complaint for our own errors.
type notes struct {
	mu   sync.Mutex
	last string
}

func (n *notes) Errorf(format string, a ...any) { n.keep(format, a) }

func (n *notes) Warningf(format string, a ...any) { n.keep(format, a) }

func (n *notes) Infof(string, ...any) {}

func (n *notes) Debugf(string, ...any) {}

func (n *notes) keep(format string, a []any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = fmt.Sprintf("%.500s", strings.TrimSpace(fmt.Sprintf(format, a...)))
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}

// explain tells what Badger says about stored bytes from what it says about
// the machine. It gives no error chain to look into, only text.
func (n *notes) explain(err error) error {
	text := err.Error()
	if last := n.String(); last != "" && !strings.Contains(last, text) {
		text += " (" + last + ")"
	}
	for _, errno := range []syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR,
	} {
		if strings.Contains(text, errno.Error()) {
			return fmt.Errorf("%w: %s", errno, text)
		}
	}
	return fmt.Errorf("%w: %s", engine.ErrStore, text)
}

// guarded turns a panic of Badger's into an error. Those in its own goroutines
// it cannot catch.
func guarded(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("badger panicked: %.500v", r)
		}
	}()
	return do()
}
