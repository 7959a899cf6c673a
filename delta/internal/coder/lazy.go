package coder

import "math/bits"

// After missStep bytes without a match, matches are looked for at every second
// byte only, then at every third, and so on up to mostMissed that are left out.
const (
	missStep   = 64
	mostMissed = 3
)

// lazy codes the next step, without weighing more than the matches here
// against those one byte on.
func (w *writer) lazy(m *kindModel, end int) {
	at := w.at
	var all []found
	if step := 1 + min(w.misses/missStep, mostMissed); w.have || w.misses%step == 0 {
		all = w.matches(end)
	} else {
		w.finder.skip(1)
	}
	rep, repLen := w.bestRepeat(m, at, end)
	gain, length, distance := bestGain(all)
	if repLen >= minMatch && repeatGain(repLen) >= gain {
		w.misses = 0
		w.again(m, uint32(repLen), rep)
		w.finder.skip(repLen - 1)
		return
	}
	if gain <= 0 {
		w.misses++
		w.literalOrShort(m)
		return
	}
	w.misses = 0
	if int(length) < w.effort.nice && at+1 < end {
		w.ahead = w.finder.find()
		w.ahead = clip(w.window, at+1, w.ahead, min(end-at-1, maxMatch))
		next, _, _ := bestGain(w.ahead)
		_, nextRep := w.bestRepeat(m, at+1, end)
		if next > gain+4 || nextRep >= minMatch && repeatGain(nextRep) > gain+2 {
			w.have = true
			w.literalOrShort(m)
			return
		}
		w.match(m, length, distance)
		w.finder.skip(int(length) - 2)
		return
	}
	w.match(m, length, distance)
	w.finder.skip(int(length) - 1)
}

func (w *writer) literalOrShort(m *kindModel) {
	if r := int(m.repeat[0]); m.state.matched() && r <= w.at && w.window[w.at-r] == w.window[w.at] {
		w.again(m, 1, 0)
		return
	}
	w.literal(m)
}

func (w *writer) bestRepeat(m *kindModel, at, end int) (which, length int) {
	for i, d := range m.repeat {
		if n := w.repeatLength(at, d, min(end-at, maxMatch)); n > length {
			which, length = i, n
		}
	}
	return which, length
}

// A literal is taken for six bits, a match for what its distance has and ten
// more, a repeat for eight.
func bestGain(all []found) (gain int, length, distance uint32) {
	for _, f := range all {
		if g := 6*int(f.length) - 10 - bits.Len32(f.distance); g > gain {
			gain, length, distance = g, f.length, f.distance
		}
	}
	return gain, length, distance
}

func repeatGain(length int) int { return 6*length - 8 }
