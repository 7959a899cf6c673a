package disk

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// inode is a file, folder or link of a Forgetful, apart from its names.
type inode struct {
	id     uint64
	mode   fs.FileMode
	target string  // of a link
	file   *stored // of a file
	dir    *folder // of a folder
	opened int     // handles
	links  int     // live names; after a cut a file may have two
}

func (n *inode) isLink() bool { return n.mode&fs.ModeSymlink != 0 }

// stored is the content of a file, as programs see it and as a power cut
// leaves it.
type stored struct {
	live, kept content
	dirty      map[int64]struct{} // pages written since they were last synced, or given up
	low        int64              // the smallest size since the last sync, bytes
}

func newStored() *stored {
	return &stored{
		live:  content{owner: new(owned)},
		kept:  content{owner: new(owned)},
		dirty: map[int64]struct{}{},
	}
}

// sync makes what was written durable. Pages that a failed sync gave up stay
// as they were on the disk.
func (s *stored) sync() {
	s.syncSize()
	for i := range s.dirty {
		s.kept.put(i, s.live.page(i))
	}
	s.live.owner = new(owned) // the pages have two users now
	s.settle()
}

func (s *stored) syncSize() {
	s.kept.resize(min(s.low, s.kept.size))
	s.kept.resize(s.live.size)
}

// giveUp is what a failed sync does: the pages count as written, but are not.
func (s *stored) giveUp() { s.dirty = map[int64]struct{}{} }

// cut leaves the durable content.
func (s *stored) cut() {
	s.live = s.kept.share()
	s.settle()
}

// tear makes some of the sectors durable that were written and not synced, and
// perhaps the new size.
func (s *stored) tear(dice *rand.Rand) {
	const sector = 512
	if dice.IntN(2) == 1 {
		s.syncSize()
	}
	for _, i := range slices.Sorted(maps.Keys(s.dirty)) {
		page := s.live.page(i)
		for at := int64(0); at < pageSize; at += sector {
			end := min(at+sector, s.kept.size-i<<pageBits)
			if dice.IntN(2) == 1 && page != nil && end > at {
				copy(s.kept.writable(i)[at:end], page.data[at:end])
			}
		}
	}
}

func (s *stored) settle() {
	s.dirty = map[int64]struct{}{} // one that was cleared would keep its size, and its price
	s.low = s.live.size
}

func (s *stored) clone() *stored {
	return &stored{live: s.live.share(), kept: s.kept.share(), dirty: maps.Clone(s.dirty), low: s.low}
}

// folder is the names in a folder, as programs see them and as a power cut
// leaves them.
type folder struct {
	live, kept map[string]*inode
	stale      map[string]struct{} // names in which the two may differ
	// The folder's own durable place: it has one at most.
	above *inode
	name  string
}

func newFolder() *folder {
	return &folder{live: map[string]*inode{}, kept: map[string]*inode{}, stale: map[string]struct{}{}}
}

func (d *folder) add(name string, n *inode) {
	n.links++
	d.live[name] = n
	d.stale[name] = struct{}{}
}

func (d *folder) drop(name string) {
	d.live[name].links--
	delete(d.live, name)
	d.stale[name] = struct{}{}
}

// sync makes the names in the folder self durable.
func (d *folder) sync(self *inode) {
	for name := range d.stale {
		if was := d.kept[name]; was != nil && was.dir != nil && was != d.live[name] {
			was.dir.above = nil
		}
		delete(d.kept, name)
	}
	for name := range d.stale {
		if n := d.live[name]; n != nil {
			d.keep(self, name, n)
		}
	}
	clear(d.stale)
}

// keep makes one name durable. A folder that was moved loses its old place by
// that: no journalling file system shows a folder twice.
func (d *folder) keep(self *inode, name string, n *inode) {
	if n.dir != nil {
		if was := n.dir.above; was != nil && was.dir.kept[n.dir.name] == n {
			delete(was.dir.kept, n.dir.name)
			was.dir.stale[n.dir.name] = struct{}{}
		}
		n.dir.above, n.dir.name = self, name
	}
	d.kept[name] = n
}

// cut leaves the names that the mode leaves.
func (d *folder) cut(self *inode, mode Cut) {
	switch mode {
	case Kill:
	case PowerKeepNames:
		d.sync(self)
	default:
		for name := range d.stale {
			delete(d.live, name)
			if n := d.kept[name]; n != nil {
				d.live[name] = n
			}
		}
		clear(d.stale)
	}
}

// info describes an inode under a name.
type info struct {
	name string
	mode fs.FileMode
	size int64
}

func (n *inode) info(name string) info {
	i := info{name: name, mode: n.mode}
	switch {
	case n.file != nil:
		i.size = n.file.live.size
	case n.isLink():
		i.size = int64(len(n.target))
	}
	return i
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
