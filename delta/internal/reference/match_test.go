package reference

import (
	"math/bits"
	"slices"
)

// simpleCopies is a matcher just good enough to measure with: anchors of 16
// bytes by hash, each second place of old, then approximate extension.
func simpleCopies(old, new []byte) []Copy {
	const key, step = 16, 2
	width := bits.Len(uint(len(old) / step))
	table := make([]int32, 1<<width)
	hash := func(b []byte) uint64 {
		x := little.Uint64(b)*0x9E3779B185EBCA87 ^ little.Uint64(b[8:])*0xC2B2AE3D27D4EB4F
		return (x ^ x>>29) * 0x9E3779B97F4A7C15 >> (64 - width)
	}
	for i := 0; i+key <= len(old); i += step {
		if h := hash(old[i:]); table[h] == 0 {
			table[h] = int32(i + 1)
		}
	}
	var out []Copy
	add := func(o, n, length int) {
		if k := len(out) - 1; k >= 0 && out[k].Old-out[k].New == int64(o-n) && int64(n)-out[k].New-out[k].Length < 64 {
			out[k].Length = int64(n+length) - out[k].New
			return
		}
		out = append(out, Copy{int64(o), int64(n), int64(length)})
	}
	shift, have, done := 0, false, 0
	for i := 0; i+key <= len(new); {
		if p := i + shift; have && p >= 0 && p+8 <= len(old) && little.Uint64(old[p:]) == little.Uint64(new[i:]) {
			n := equal(old[p:], new[i:])
			add(p, i, n)
			i += n
			done = i
			continue
		}
		if v := table[hash(new[i:])]; v != 0 {
			p := int(v - 1)
			if n := equal(old[p:], new[i:]); n >= key {
				back := 0
				for i-back > done && p-back > 0 && old[p-back-1] == new[i-back-1] {
					back++
				}
				if n+back >= 24 || i-done > 32 {
					shift, have = p-i, true
					add(p-back, i-back, n+back)
					i += n
					done = i
					continue
				}
			}
		}
		i++
	}
	out = extend(old, new, out)
	for least := int64(16); len(out) > MaxCopies; least += 8 {
		out = slices.DeleteFunc(out, func(c Copy) bool { return c.Length < least })
	}
	return out
}

func equal(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// extend lets each copy grow into the ground before and behind it as long as
// at least half of the bytes match.
func extend(old, new []byte, list []Copy) []Copy {
	for k := range list {
		c := &list[k]
		end, start := int64(len(new)), int64(0)
		if k+1 < len(list) {
			end = list[k+1].New
		}
		if k > 0 {
			start = list[k-1].New + list[k-1].Length
		}
		c.Length += grown(func(i int64) (bool, bool) {
			o, n := c.Old+c.Length+i, c.New+c.Length+i
			if n >= end || o >= int64(len(old)) {
				return false, false
			}
			return old[o] == new[n], true
		})
		b := grown(func(i int64) (bool, bool) {
			o, n := c.Old-1-i, c.New-1-i
			if n < start || o < 0 {
				return false, false
			}
			return old[o] == new[n], true
		})
		c.Old, c.New, c.Length = c.Old-b, c.New-b, c.Length+b
	}
	return slices.DeleteFunc(list, func(c Copy) bool { return c.Length == 0 })
}

func grown(same func(i int64) (eq, ok bool)) int64 {
	score, best, length := int64(0), int64(0), int64(0)
	for i := int64(0); i-length < 256; i++ {
		eq, ok := same(i)
		if !ok {
			break
		}
		if eq {
			score++
		}
		if v := 2*score - i - 1; v > best {
			best, length = v, i+1
		}
	}
	return length
}
