// Package coder turns decisions, numbers and blocks of bytes into few bytes and
// back: a range coder with adaptive models, and on top of it a coder for one
// bounded block that finds repeats, in the manner of LZMA.
//
// [Encoder] and [Decoder] code decisions under a [Prob] each; [Tree] and
// [Number] build numbers from them. [Compress] and [Decompress] code parts of
// bytes of several kinds; [Encode] and [Block] do the same inside a stream that
// also holds other decisions, and let the decoder go part by part.
//
//	src := coder.Compress(coder.Default, kinds, parts)
//	…
//	d := coder.NewDecoder(src)
//	block, err := coder.NewBlock(d, window, kinds)
//	…
//	raw, err := block.Read(0, n) // as often as there are parts
//	…
//	err = d.Close()
//
// A decoder holds what its caller lends it and the models: 110 KiB for a kind
// at most, nothing that the input could make larger. It takes any bytes, in time
// proportional to the lengths asked for; those that no encoder wrote are
// [ErrCorrupt] or give other bytes than were coded. That is no proof of
// integrity: check a digest of the result. Equal input gives equal bytes on
// every machine.
//
// The interval arithmetic, the twelve states, the four repeats and the slots of
// distances are those of the LZMA specification that Igor Pavlov put into the
// public domain; the models with two speeds, kinds of bytes, known bytes, the
// byte beside and the end mark are not in it, and the bytes are not LZMA's.
//
// # Decisions
//
// All arithmetic is unsigned 32-bit unless stated. The decoder has width, at
// first 0xFFFFFFFF, and code, at first the first four bytes, high byte first.
// Before every decision, if width is below 1<<24, both are shifted left by 8
// and the next byte is added to code.
//
// A model is two signed 16-bit numbers, quick and slow, at first 0. With
// chance = (quick + slow + 65536) / 4, rounded down, and bound = (width >> 15)
// × chance: if code < bound, the decision is 0, width becomes bound, quick
// grows by (32767 - quick) >> 4 and slow by (32767 - slow) >> 7. Otherwise it
// is 1, bound is taken from both width and code, quick falls by
// (quick + 32768) >> 4 and slow by (slow + 32768) >> 7.
//
// A direct bit, at even odds: width is halved, rounded down; if code is width
// or more it is taken from code and the bit is 1, otherwise the bit is 0.
//
// The data ends with one direct bit, which is 1. Then, with width widened once
// more if need be, code is 0 and no byte is left.
//
// A tree of n bits and the number models are described at [Tree] and [Number].
//
// # Blocks
//
// All bytes of a block, known or coded, stand one behind the other in a window.
// Each kind has lc, lp and pb (see [Kind]), models of its own, a position p (how
// many of its bytes were coded), a state (at first 0) and four repeats (at
// first all 1). Each part is cut into pieces of 32,768 bytes, the last of which
// is what is left. A piece of 256 bytes or more begins with the decision stored,
// a model of the kind; after a 1 its bytes are 8 direct bits each, highest
// first, and only p changes. Otherwise, with slot = p mod 2^pb, coding the next
// bytes of a piece takes
//
//	isMatch[state][slot]    0: a literal
//	isRepeat[state]         0: a match: length, then distance; the distance
//	                           becomes the first repeat, the last one is lost
//	notFirst[state]         0: isLong[state][slot]
//	                             0: one byte at the first repeat
//	                             1: repeat length at the first repeat
//	notSecond[state]        0: repeat length at the second repeat
//	notThird[state]         0: at the third, 1: at the fourth repeat; the
//	                           repeat taken becomes the first
//
// and copies that many bytes one by one from that distance back in the window.
// A distance that reaches before the window, or a length beyond the end of the
// piece, is an error. States after a literal: 0 to 3 give 0, 4 to 9 give 3 less,
// 10 and 11 give 6 less. After a match: 7 from a state below 7, else 10; after a
// repeat with a length 8, else 11; after one byte at the first repeat 9, else
// 11. [Part.Beside] makes its distance the first repeat and the state that
// after a match.
//
// A literal has 768 models for each context ((p mod 2^lp) << lc) + (b >> (8-lc)),
// where b is the byte before it in the window, 0 at its start. In a state below
// 7 it is a tree of 8 bits in the first 256. Otherwise e is the byte of the
// window at the first repeat; as long as the bits so far equal those of e, a
// bit is coded at index 256 + 256 × (the bit of e) + m, where m is the index in
// the tree, and from the first difference on at index m. A kind that expects
// (see [Kind.Expect]) codes literals in the second way in all states, except at
// the start of the window; it has 768 further models for each context, used in
// states below 7.
//
// A length is 2 more than a number: beyondLow 0: a tree of 3 bits by slot;
// beyondMiddle 0: 8 more than a second such tree; 1: 16 more than a tree of 8
// bits. Matches and repeats have such models each. The distance of a match is 1
// more than a number v, described at distanceModel; its trees of slots are
// chosen by the length: 2, 3, 4, or more.
package coder
