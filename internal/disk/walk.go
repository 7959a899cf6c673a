package disk

import (
	"errors"
	"slices"
	"strings"
	"syscall"
)

// errLeaves refuses a name that leads out of a Sub.
var errLeaves = errors.New("path leads out of the folder")

// place is where a name leads in a Forgetful.
type place struct {
	dir  *inode // the folder it is in; nil for the folder that the walk began in, or one reached by ".."
	name string
	node *inode   // nil if missing
	way  []*inode // folders gone through, the last is dir
}

const (
	maxLinks = 40  // followed in one name, as in Linux
	maxPart  = 255 // bytes of one part of a name
)

// find walks name. A missing last part is no error.
func (v view) find(name string, follow bool) (place, error) {
	if name == "" {
		return place{}, syscall.ENOENT
	}
	if strings.Contains(name, "\x00") {
		return place{}, syscall.EINVAL
	}
	way := []*inode{v.base}
	if v.jail && name[0] == '/' {
		return place{}, errLeaves
	}
	links := 0
	for rest := parts(name); len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			if len(way) > 1 {
				way = way[:len(way)-1]
			} else if v.jail {
				return place{}, errLeaves
			}
			continue
		}
		if len(part) > maxPart {
			return place{}, syscall.ENAMETOOLONG
		}
		dir := way[len(way)-1]
		at := place{dir: dir, name: part, node: dir.dir.live[part], way: way}
		last := len(rest) == 0
		switch {
		case at.node == nil && !last:
			return place{}, syscall.ENOENT
		case at.node != nil && at.node.isLink() && (follow || !last):
			if links++; links > maxLinks {
				return place{}, syscall.ELOOP
			}
			if at.node.target[0] == '/' {
				if v.jail {
					return place{}, errLeaves
				}
				way = way[:1]
			}
			rest = slices.Concat(parts(at.node.target), rest)
		case last:
			return at, nil
		case at.node.dir == nil:
			return place{}, syscall.ENOTDIR
		default:
			way = append(way, at.node)
		}
	}
	return place{node: way[len(way)-1]}, nil
}

// parts splits a name and leaves out what does not move.
func parts(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(p string) bool { return p == "" || p == "." })
}

// existing is find for a name that must be there.
func (v view) existing(name string, follow bool) (place, error) {
	at, err := v.find(name, follow)
	if err == nil && at.node == nil {
		err = syscall.ENOENT
	}
	return at, err
}

// vacant is find for a name that must not be there, in a folder that must.
func (v view) vacant(name string) (place, error) {
	at, err := v.find(name, false)
	switch {
	case err != nil:
	case at.node != nil:
		err = syscall.EEXIST
	case at.dir.links == 0: // the folder of a Sub that was removed
		err = syscall.ENOENT
	}
	return at, err
}

// folder is find for a folder, or a link to one.
func (v view) folder(name string) (*inode, error) {
	at, err := v.existing(name, true)
	if err == nil && at.node.dir == nil {
		err = syscall.ENOTDIR
	}
	return at.node, err
}
