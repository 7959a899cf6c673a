package disk

const (
	pageBits = 12
	pageSize = 1 << pageBits
	fanBits  = 6
	fan      = 1 << fanBits
	maxSize  = 1 << 46 // bytes of a file of a Forgetful
)

// content is the bytes of a file: a tree of pages in which a hole costs
// nothing. A copy made by share costs nothing either; both sides then copy the
// pages that they change. Bytes beyond size are zero.
type content struct {
	root   *node
	height int // levels above the pages
	size   int64
	pages  int64 // that exist
	owner  *owned
}

// node is a page or, above the pages, a table of nodes.
type node struct {
	owner *owned // the content that may change it in place
	kids  *[fan]*node
	data  *[pageSize]byte
}

// owned is not empty, so that each has an address of its own.
type owned struct{ _ byte }

// share gives a copy.
func (c *content) share() content {
	c.owner = new(owned)
	other := *c
	other.owner = new(owned)
	return other
}

// page gives page i, or nil for a hole.
func (c *content) page(i int64) *node {
	if i>>(fanBits*c.height) != 0 {
		return nil
	}
	n := c.root
	for level := c.height - 1; level >= 0 && n != nil; level-- {
		n = n.kids[i>>(fanBits*level)&(fan-1)]
	}
	return n
}

// slot gives the place of page i in a table that may be changed.
func (c *content) slot(i int64) **node {
	for i>>(fanBits*c.height) != 0 {
		up := &node{owner: c.owner, kids: new([fan]*node)}
		up.kids[0] = c.root
		c.root = up
		c.height++
	}
	at := &c.root
	for level := c.height - 1; level >= 0; level-- {
		*at = c.table(*at)
		at = &(*at).kids[i>>(fanBits*level)&(fan-1)]
	}
	return at
}

func (c *content) table(n *node) *node {
	if n != nil && n.owner == c.owner {
		return n
	}
	own := &node{owner: c.owner, kids: new([fan]*node)}
	if n != nil {
		*own.kids = *n.kids
	}
	return own
}

// writable gives the bytes of page i to be changed.
func (c *content) writable(i int64) *[pageSize]byte {
	at := c.slot(i)
	switch {
	case *at == nil:
		*at = &node{owner: c.owner, data: new([pageSize]byte)}
		c.pages++
	case (*at).owner != c.owner:
		data := *(*at).data
		*at = &node{owner: c.owner, data: &data}
	}
	return (*at).data
}

// put makes n, which belongs to another content or is nil for a hole, page i.
func (c *content) put(i int64, n *node) {
	was := c.page(i)
	if was == n {
		return
	}
	if was != nil {
		c.pages--
	}
	if n != nil {
		c.pages++
	}
	*c.slot(i) = n
}

// resize cuts or extends to size bytes.
func (c *content) resize(size int64) {
	if size < c.size {
		c.root = c.prune(c.root, c.height, (size+pageSize-1)>>pageBits)
		if tail := size & (pageSize - 1); tail != 0 && c.page(size>>pageBits) != nil {
			clear(c.writable(size >> pageBits)[tail:])
		}
	}
	c.size = size
}

// prune drops all but the first keep pages below n.
func (c *content) prune(n *node, level int, keep int64) *node {
	switch {
	case n == nil || keep >= 1<<(fanBits*level):
		return n
	case keep <= 0:
		c.pages -= countPages(n)
		return nil
	}
	n = c.table(n)
	width := int64(1) << (fanBits * (level - 1))
	for k := keep / width; k < fan; k++ {
		n.kids[k] = c.prune(n.kids[k], level-1, keep-k*width)
	}
	return n
}

func countPages(n *node) (count int64) {
	if n == nil {
		return 0
	}
	if n.data != nil {
		return 1
	}
	for _, kid := range n.kids {
		count += countPages(kid)
	}
	return count
}

// used is the space that the content takes: its size without the holes, bytes.
func (c *content) used() int64 {
	return space(c.pages, c.size, c.page(c.size>>pageBits) != nil)
}

// growth is what used grows by when [off, off+n), within one page, is written.
func (c *content) growth(off, n int64) int64 {
	pages, size := c.pages, max(c.size, off+n)
	if c.page(off>>pageBits) == nil {
		pages++
	}
	last := size >> pageBits
	return space(pages, size, last == off>>pageBits || c.page(last) != nil) - c.used()
}

// space counts the page that size ends in, if it exists, up to size alone.
func space(pages, size int64, last bool) int64 {
	space := pages << pageBits
	if tail := size & (pageSize - 1); tail != 0 && last {
		space -= pageSize - tail
	}
	return space
}

// readAt fills p, which must end within size.
func (c *content) readAt(p []byte, off int64) {
	for len(p) > 0 {
		at := off & (pageSize - 1)
		n := min(int64(len(p)), pageSize-at)
		if page := c.page(off >> pageBits); page != nil {
			copy(p[:n], page.data[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}
