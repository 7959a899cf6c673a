package match

// aheadSize is how many places of new the index is asked for at once.
const aheadSize = 32

// ahead holds what the index says about the next few places of new. Asking for
// many at once lets the processor wait for all of their cache misses together.
type ahead struct {
	picker picker
	from   int // the first of these places
	n      int
	tags   [aheadSize]uint32
	first  [aheadSize]uint32 // the entries to look at: from here
	end    [aheadSize]uint32 // to here
}

// at gives the entries to look at for the key at j of new, and their tag.
func (a *ahead) at(x *index, new []byte, j int) ([]uint32, uint32) {
	if j < a.from || j >= a.from+a.n {
		a.load(x, new, j)
	}
	k := j - a.from
	return x.entries[a.first[k]:a.end[k]], a.tags[k]
}

// load asks for the places from j on.
func (a *ahead) load(x *index, new []byte, j int) {
	a.from, a.n = j, aheadSize
	clear(a.first[:])
	clear(a.end[:])
	places := a.picker.pick(new, j, aheadSize)
	for _, k := range places {
		h := hash(new[j+int(k):], x.key)
		bucket := x.bucket(h)
		a.tags[k] = x.tag(h)
		a.first[k], a.end[k] = x.first[bucket], x.first[bucket+1]
	}
	for _, k := range places {
		if list := x.entries[a.first[k]:a.end[k]]; len(list) <= 4*bucketLoad && !x.fits(list, a.tags[k]) {
			a.end[k] = a.first[k]
		}
	}
}
