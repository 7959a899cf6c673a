package coder

import "fmt"

// effort is what a level means.
type effort struct {
	nice, depth int // see finder
	refresh     int // steps coded between two looks at prices
	lazy        bool
	// A piece is stored if coding it would not save a part in 1<<worth:
	// stored bytes take a tenth of the time to decode.
	worth int
}

func (l Level) effort() effort {
	switch l {
	case Fast:
		return effort{nice: 64, depth: 8, lazy: true, worth: 6}
	case Default:
		return effort{nice: 96, depth: 24, refresh: 256, worth: 6}
	case Max:
		return effort{nice: maxMatch, depth: 512, refresh: 64, worth: 15}
	}
	panic(fmt.Sprintf("coder: no level %d", l))
}

// Encode codes the raw bytes of parts, in order, with e, as [Compress] does;
// other decisions may be coded before and after. It takes nine times the length
// of all parts, known bytes included, and 5 MiB at Default and Max; five times
// that length and 1 MiB at Fast.
func Encode(e *Encoder, level Level, kinds []Kind, parts []Part) {
	new(Compressor).Encode(e, level, kinds, parts)
}

// Compressor does what [Encode] and [Compress] do and keeps its memory for the
// next block. The zero value is ready. It serves one goroutine at a time.
type Compressor struct{ w writer }

// Compress is [Compress].
func (c *Compressor) Compress(level Level, kinds []Kind, parts []Part) []byte {
	e := NewEncoder()
	c.Encode(e, level, kinds, parts)
	return e.Finish()
}

// Encode is [Encode].
func (c *Compressor) Encode(e *Encoder, level Level, kinds []Kind, parts []Part) {
	if err := CheckKinds(kinds); err != nil {
		panic("coder: " + err.Error())
	}
	total := 0
	for _, p := range parts {
		total += len(p.Known) + len(p.Raw)
	}
	if total > MaxWindow {
		panic(fmt.Sprintf("coder: window of %d bytes", total))
	}
	w := &c.w
	w.reset(e, level.effort(), kinds, total)
	for _, p := range parts {
		w.window = append(append(w.window, p.Known...), p.Raw...)
	}
	w.finder.reset(w.window, w.effort.nice, w.effort.depth, w.effort.lazy)
	for _, p := range parts {
		w.finder.skip(len(p.Known))
		w.at += len(p.Known)
		if p.Beside != 0 {
			w.models[p.Kind].beside(p.Beside, w.at)
		}
		w.part(p.Kind, len(p.Raw))
	}
	w.e = nil
}

// writer codes one block.
type writer struct {
	e      *Encoder
	window []byte
	at     int // how much of window is coded or known
	finder finder
	effort effort
	models []kindModel
	prices []prices // of each kind
	plan   plan
	ahead  []found // the matches at w.at, if the finder is already past it
	have   bool
	misses int // bytes since the last match or repeat, when lazy

	literals []Prob // a copy of a kind's, to go back to
}

// reset begins a block with a window of so many bytes.
func (w *writer) reset(e *Encoder, effort effort, kinds []Kind, size int) {
	w.e, w.effort, w.at, w.have, w.misses = e, effort, 0, false, 0
	if cap(w.window) < size {
		w.window = make([]byte, 0, roomFor(size))
	}
	w.window = w.window[:0]
	for len(w.models) < len(kinds) {
		w.models = append(w.models, kindModel{})
		w.prices = append(w.prices, prices{})
	}
	for i, k := range kinds {
		w.models[i].reset(k)
		w.prices[i].left = 0
	}
}

// roomFor is how much room to make for n: more than that, because what comes
// later is often a little larger.
func roomFor(n int) int { return n + n/8 }

// part codes the next n bytes.
func (w *writer) part(kind, n int) {
	for end := w.at + n; w.at < end; {
		w.piece(kind, min(w.at+pieceSize, end))
	}
}

// piece codes the bytes up to end, or stores them if that is not much longer:
// then nothing is learned from them.
func (w *writer) piece(kind, end int) {
	m, start := &w.models[kind], w.at
	if end-start < minStored {
		w.code(m, kind, end)
		return
	}
	if w.hopeless(end - start) {
		w.finder.pass(end - start)
		w.store(m, kind, end)
		return
	}
	e, before := *w.e, *m
	w.literals = append(w.literals[:0], m.literals...)
	w.e.Bit(&m.stored, 0)
	w.code(m, kind, end)
	if n := end - start; w.e.Len()-e.Len() <= int64(n-n>>w.effort.worth) {
		return
	}
	*w.e, *m = e, before
	copy(m.literals, w.literals)
	w.at = start
	w.store(m, kind, end)
}

// store codes the bytes up to end as they are.
func (w *writer) store(m *kindModel, kind, end int) {
	w.prices[kind].left = 0
	w.e.Bit(&m.stored, 1)
	w.e.DirectBytes(w.window[w.at:end])
	m.position += uint32(end - w.at)
	w.at = end
}

// hopeless tells, without trying it, that the next n bytes would hardly become
// fewer: all values are about equally frequent, and next to nothing of it was
// there before.
func (w *writer) hopeless(n int) bool {
	if n < minHopeless || w.have {
		return false
	}
	var counts [256]int
	for _, c := range w.window[w.at : w.at+n] {
		counts[c]++
	}
	squares := 0
	for _, c := range counts {
		squares += c * c
	}
	// Random bytes give n*n/256 + n, more or less. A part in 64 more is one
	// of 360 that could be saved.
	return squares <= n*n/256+n*n/(256*64)+n && w.finder.seen(n) <= n/128
}

func (w *writer) code(m *kindModel, kind, end int) {
	for w.at < end {
		if w.effort.lazy {
			w.lazy(m, end)
		} else {
			w.best(m, &w.prices[kind], end)
		}
	}
}

// matches gives the matches at w.at, none longer than end allows.
func (w *writer) matches(end int) []found {
	var all []found
	if w.have {
		all, w.have = w.ahead, false
	} else {
		all = w.finder.find()
	}
	return clip(w.window, w.at, all, min(end-w.at, maxMatch))
}

// clip cuts matches to limit bytes and stretches the last one towards it,
// where the finder may have stopped early.
func clip(window []byte, at int, all []found, limit int) []found {
	for i := range all {
		if int(all[i].length) >= limit {
			all[i].length = uint32(limit)
			all = all[:i+1]
			break
		}
	}
	for len(all) > 0 && all[len(all)-1].length < minMatch {
		all = all[:len(all)-1]
	}
	if n := len(all); n > 0 {
		last := &all[n-1]
		l := int(last.length)
		last.length += uint32(common(window, at+l-int(last.distance), at+l, limit-l))
	}
	return all
}

// repeatLength is how far the bytes at a position agree with those at a
// distance before it.
func (w *writer) repeatLength(at int, distance uint32, limit int) int {
	if int(distance) > at {
		return 0
	}
	return common(w.window, at-int(distance), at, limit)
}

// literal codes the byte at w.at.
func (w *writer) literal(m *kindModel) {
	w.e.Bit(&m.isMatch[m.state][m.slot()], 0)
	var before byte
	if w.at > 0 {
		before = w.window[w.at-1]
	}
	models, expect := m.literal(m.position, w.at, before, m.state)
	c := uint32(w.window[w.at])
	if expect {
		expected := uint32(w.window[w.at-int(m.repeat[0])])
		encodeMatched(w.e, models, c, expected)
	} else {
		Tree(models[:]).Encode(w.e, 8, c)
	}
	m.state = m.state.afterLiteral()
	m.position++
	w.at++
}

// encodeMatched is the reverse of matchedLiteral.
func encodeMatched(e *Encoder, models *[literalModels]Prob, c, expected uint32) {
	sym, agree := uint32(1), uint32(0x100)
	for i := 7; i >= 0; i-- {
		expected <<= 1
		want := expected & agree
		bit := c >> i & 1
		e.Bit(&models[agree+want+sym], int(bit))
		sym = sym<<1 | bit
		if bit == 0 {
			agree &^= want
		} else {
			agree &= want
		}
	}
}

// match codes a match with a new distance.
func (w *writer) match(m *kindModel, length, distance uint32) {
	slot := m.slot()
	w.e.Bit(&m.isMatch[m.state][slot], 1)
	w.e.Bit(&m.isRepeat[m.state], 0)
	m.matchLength.encode(w.e, slot, length)
	m.distance.encode(w.e, lengthClass(length), distance)
	m.state = m.state.afterMatch()
	m.repeat = pushed(m.repeat, distance)
	w.advance(m, length)
}

// again codes a match at repeat[i]; length 1 is for the first only.
func (w *writer) again(m *kindModel, length uint32, i int) {
	slot, s := m.slot(), m.state
	w.e.Bit(&m.isMatch[s][slot], 1)
	w.e.Bit(&m.isRepeat[s], 1)
	w.e.Bit(&m.notFirst[s], min(i, 1))
	if i == 0 {
		w.e.Bit(&m.isLong[s][slot], int(min(length-1, 1)))
	} else {
		w.e.Bit(&m.notSecond[s], min(i-1, 1))
		if i > 1 {
			w.e.Bit(&m.notThird[s], i-2)
		}
	}
	m.promote(i)
	if length == 1 {
		m.state = s.afterShort()
	} else {
		m.state = s.afterRepeat()
		m.repeatLength.encode(w.e, slot, length)
	}
	w.advance(m, length)
}

func (w *writer) advance(m *kindModel, length uint32) {
	w.at += int(length)
	m.position += length
}
