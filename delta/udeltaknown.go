package delta

const (
	knownReach = 1 << 10 // on either side of a place, at most
	knownGap   = 2 << 10 // between two places whose surroundings are one range
	knownMost  = 4 << 10 // for the literals of one gap, at most
)

// oldRange is a stretch of the old file.
type oldRange struct{ from, to int64 }

// udeltaKnown says which bytes of old a coder sees before the literals of a
// gap: those around the place where old goes on after the copy before, and
// where the copy after begins. The text that the literals replace is there.
//
// The rule is part of the format. Nothing of it depends on bytes, only on the
// copies of the frame.
type udeltaKnown struct {
	oldSize int64
	left    int64 // bytes that the frame may still have
	end     int64 // where old goes on after the copy before; -1 before the first
	last    oldRange
}

func newUdeltaKnown(h *udeltaHeader) udeltaKnown {
	return udeltaKnown{oldSize: h.oldSize, left: 1 << h.caps.Known, end: -1}
}

// knownAtMost bounds the known bytes of a frame.
func knownAtMost(caps udeltaCaps, h *udeltaFrameHead, inside bool) int {
	n := min(int64(h.raw[udeltaLiterals])*knownMost, int64(1)<<caps.Known)
	if !inside {
		n = min(n, int64(h.ops+1)*knownMost)
	}
	return int(n)
}

// before gives the known bytes of the literals of op, in the order in which
// they come, and how far before the first literal the byte then stands with
// which old went on; 0 if that one is not among them.
func (k *udeltaKnown) before(op udeltaClip) (r [2]oldRange, beside int) {
	end, start := k.end, op.old
	if op.length == 0 {
		start = -1
	}
	k.end = op.old + int64(op.length)
	if op.gap == 0 {
		return r, 0
	}
	reach := min(16+2*int64(op.gap), knownReach)
	switch {
	case end >= 0 && start >= end && start-end <= knownGap:
		r[0] = k.take(oldRange{end - reach, start + reach})
	default:
		if end >= 0 {
			r[0] = k.take(oldRange{end - reach, end + reach})
		}
		if start >= 0 {
			r[1] = k.take(oldRange{start - reach, start + reach})
		}
	}
	if end >= r[0].from && end < r[0].to {
		beside = int(r[0].to - end + r[1].to - r[1].from)
	}
	return r, beside
}

// take cuts r to what there is of old, to what was not known before it in the
// range before, and to what the frame may still have.
func (k *udeltaKnown) take(r oldRange) oldRange {
	r.from, r.to = max(r.from, 0), min(r.to, k.oldSize)
	if r.from >= k.last.from && r.from < k.last.to {
		r.from = k.last.to
	}
	r.to = min(r.to, r.from+k.left)
	if r.to <= r.from {
		return oldRange{}
	}
	k.left -= r.to - r.from
	k.last = r
	return r
}
