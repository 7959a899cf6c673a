package match

import "math/bits"

// Costs are in eighths of a bit of the finished patch. Those of bytes stand in
// the proportion of what each took on average behind an LZMA-class coder; wide
// ranges around them give patches of nearly the same size. A copy costs more
// than its own numbers: it makes those of the next ones less regular, and cuts
// literals and changes, which are then coded further from what they resemble.
const (
	literalCost  = 40  // a byte that no copy covers
	repeatRebate = 24  // off it, if the byte is the same as the one before
	textRebate   = 14  // off it, if both are text, which is easier to guess
	changeCost   = 96  // a changed byte in a copy: its place and its value
	moreCost     = 56  // a changed byte directly after another
	likeRebate   = 36  // off changeCost, if it changed by as much as the last one did
	resumeCost   = 160 // a copy on the diagonal of the one before
	returnCost   = 340 // a copy on the diagonal of one a few before that
	switchCost   = 640 // any other copy, plus the digits of its shift
	digitCost    = 18
	abandonCost  = 768 // a way this much worse than the best one is given up

	// recentNodes is how many nodes back a diagonal still is a recent one.
	recentNodes = 8
)

// shiftCost is the price of a copy whose diagonal is shift away from the one
// of the copy before it.
func shiftCost(shift int) int32 {
	if shift < 0 {
		shift = -shift
	}
	return switchCost + digitCost*int32(bits.Len(uint(shift)))
}

// literalPrice is the price of the literal c after the byte before.
func literalPrice(c, before byte) int32 {
	switch {
	case c == before:
		return literalCost - repeatRebate
	case isText(c) && isText(before):
		return literalCost - textRebate
	}
	return literalCost
}

func isText(c byte) bool { return c-' ' <= '~'-' ' || c == '\n' || c == '\t' }

// changePrice is the price of a byte that changed by delta, where the last
// changed byte changed by last, directly before if again.
func changePrice(delta, last byte, again bool) int32 {
	switch {
	case again:
		return moreCost
	case delta == last:
		return changeCost - likeRebate
	}
	return changeCost
}

// effort is what a level spends.
type effort struct {
	radius int  // of old, one place in 2*radius+1 is in the index
	small  int  // so many places are good at any size of old: below, the radius is less
	key    int  // bytes of a key
	verify int  // places of old looked at for one key
	clear  int  // so many equal bytes ahead and nothing else is looked for
	lanes  int  // diagonals followed at a time
	all    bool // the index holds as many places of old where new has it anyway
}

var efforts = [...]effort{
	Default: {radius: 2, small: 1 << 20, key: 12, verify: 4, clear: 24, lanes: 6},
	Fast:    {radius: 4, small: 1 << 18, key: 16, verify: 1, clear: 16, lanes: 3},
	Max:     {radius: 0, key: 8, verify: 16, clear: 32, lanes: 12, all: true},
	Glance:  {radius: 16, small: 1 << 17, key: 24, verify: 1, clear: 12, lanes: 2},
}
