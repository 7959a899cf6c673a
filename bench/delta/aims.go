package main

import (
	"fmt"
	"math"
	"slices"
)

// aim is a ratio that updraft aims at, as measured: Value should be at most
// Limit.
type aim struct {
	Pair  string // empty for one over several pairs
	Level string // of updraft: fast, default or max
	What  string
	Value float64
	Limit float64 // 0 if the ratio is shown without an aim
	Apart bool    // the two sides were measured in different sessions
}

// missed reports whether the ratio is above what is aimed at.
func (a aim) missed() bool { return a.Limit > 0 && a.Value > a.Limit }

var levels = []string{"fast", "default", "max"}

// Speeds of the machine for which the time to apply a patch was set: 250 MB/s
// of output and 10 MB/s of patch.
const (
	setSHA256, setCopy  = 1785.0, 11400.0 // MB/s
	setOutput, setPatch = 250e6, 10e6     // bytes/s
)

const (
	mebibyte             = 1 << 20
	smallPatch           = 128 // bytes that any patch may have on top
	usualPeer            = "hdiffz-zstd"
	smallPair, largePair = "elf-go-11m", "rootfs-ext4"
	bestOfHdiffz         = "size : better of hdiffz zstd-21 and lzma2"
)

// judge computes every ratio for which both sides were measured.
func (r *results) judge(pairs []pair) []aim {
	var aims []aim
	for _, p := range pairs {
		j := judging{results: r, pair: p}
		for _, level := range levels {
			if own := r.find(p.Name, "updraft-"+level); own != nil {
				j.level, j.own = level, own
				j.sizes()
				j.making()
				j.applying()
				j.frames()
			}
		}
		aims = append(aims, j.aims...)
	}
	return append(aims, r.overPairs(pairs, aims)...)
}

// judging is about one pair and one level.
type judging struct {
	*results
	pair  pair
	level string
	own   *record
	aims  []aim
}

// add notes a ratio of own to base, if base is there. other is the record that
// base is from, nil if that is no other record.
func (j *judging) add(what string, own, base, limit float64, other *record) {
	if base <= 0 {
		return
	}
	j.aims = append(j.aims, aim{Pair: j.pair.Name, Level: j.level, What: what, Value: max(own, 0) / base, Limit: limit,
		Apart: other != nil && other.Session != j.own.Session})
}

// at is limit at that level and no aim at others.
func (j *judging) at(level string, limit float64) float64 {
	if j.level == level {
		return limit
	}
	return 0
}

// other is the record of a peer that made a patch, or nil.
func (j *judging) other(peer string) *record {
	if r := j.find(j.pair.Name, peer); r != nil && r.Make.Outcome == ok {
		return r
	}
	return nil
}

// smallest is the peer with the smallest patch.
func (j *judging) smallest(peers ...string) *record {
	var least *record
	for _, name := range peers {
		if r := j.other(name); r != nil && (least == nil || r.Size < least.Size) {
			least = r
		}
	}
	return least
}

func (j *judging) sizes() {
	if j.own.Make.Outcome != ok {
		return
	}
	size := float64(j.own.Size)
	compare := func(what string, limit, extra float64, other *record) {
		if other != nil {
			j.add(what, size-extra, float64(other.Size), limit, other)
		}
	}
	hdiffz := j.smallest("hdiffz-zstd", "hdiffz-lzma2")
	switch {
	case j.pair.Kind == "identical":
		j.add("size in bytes", size, 1, smallPatch, nil)
	case j.pair.Kind == "unrelated":
		compare("size : xz -9e of new", 1.01, 0, j.other("xz"))
	case j.pair.executable():
		compare(bestOfHdiffz, 0.60, 0, hdiffz)
		compare("size : zucchini + xz", 1, 0, j.other("zucchini-xz"))
	case j.pair.Name == "kmod-tar-bare":
		compare(bestOfHdiffz, 0.90, 0, hdiffz)
	case j.pair.holdsExecutables():
		compare(bestOfHdiffz, 0.98, 0, hdiffz)
	default:
		compare("(size - 128) : best of bsdiff, xdelta3, zstd-19, hdiffz", 1.02, smallPatch,
			j.smallest("bsdiff", "xdelta3", "zstd-19", "hdiffz-zstd", "hdiffz-lzma2"))
	}
	if j.level == "fast" && j.pair.Kind != "identical" {
		compare("size of fast : hdiffz zstd-21", 1.25, 0, j.other(usualPeer))
	}
	if j.pair.Kind != "identical" {
		compare("size : go-bsdiff", j.at("default", 0.6), 0, j.other("go-bsdiff"))
	}
}

func (j *judging) making() {
	if j.own.Make.Outcome != ok {
		return
	}
	own := j.own.Make
	if o := j.other(usualPeer); o != nil {
		j.add("make, wall : hdiffz zstd-21", own.Wall, o.Make.Wall, j.at("default", 0.8)+j.at("fast", 0.3), o)
		j.add("make, CPU : hdiffz zstd-21", own.CPU, o.Make.CPU, 0, o)
	}
	j.add("make, memory : old + new", float64(own.RSS), float64(j.pair.OldSize+j.pair.NewSize), j.at("default", 2)+j.at("fast", 1.5), nil)
	if o := j.other("go-bsdiff"); o != nil {
		j.add("make, wall : go-bsdiff", own.Wall, o.Make.Wall, j.at("default", 0.2), o)
		j.add("make, memory : go-bsdiff", float64(own.RSS), float64(o.Make.RSS), j.at("default", 0.35), o)
	}
}

func (j *judging) applying() {
	j.applyingOnce("apply", j.own.Apply, func(r *record) *phase { return r.Apply })
	j.applyingOnce("apply cold", j.own.Cold, func(r *record) *phase { return r.Cold })
	if j.own.Pipe.ok() {
		j.add("apply from a pipe, memory in MiB", float64(j.own.Pipe.RSS), mebibyte, 40, nil)
	}
	if j.own.Low.ok() {
		j.add("the same with --low-memory", float64(j.own.Low.RSS), mebibyte, 16, nil)
	}
}

func (j *judging) applyingOnce(what string, own *phase, of func(*record) *phase) {
	if !own.ok() {
		return
	}
	plain, foretold := 0.9, 0.0
	if j.own.Executables > 0 {
		plain, foretold = 0, 1.15
	}
	if o := j.other(usualPeer); o != nil && of(o).ok() {
		j.add(what+", wall : hpatchz + sha256sum + sync", own.Wall, of(o).Wall, plain, o)
	}
	s := j.session(j.own.Session).Speeds
	j.add(what+", wall : output at 250 MB/s + patch at 10 MB/s, scaled", own.Wall, s.allowed(j.pair.NewSize, j.own.Size), foretold, nil)
	if o := j.other("zucchini-xz"); o != nil && of(o).ok() && j.pair.executable() {
		limit := 0.0
		if j.pair.Kind == "kernel-image" || j.pair.Kind == "elf-x86_64-cpp" {
			limit = 0.3
		}
		j.add(what+", wall : zucchini", own.Wall, of(o).Wall, limit, o)
	}
}

// allowed is the time in seconds in which the machine for which it was set
// applies a patch, scaled by the mean of how much slower this one hashes and
// copies; 0 if the speeds are not known.
func (s speeds) allowed(output, patch int64) float64 {
	if s.SHA256 <= 0 || s.Copy <= 0 {
		return 0
	}
	slower := (setSHA256/s.SHA256 + setCopy/s.Copy) / 2
	return (float64(output)/setOutput + float64(patch)/setPatch) * slower
}

func (j *judging) frames() {
	limit := 1.01
	switch j.pair.Kind {
	case "elf-aarch64-rust":
		limit = 1.06
	case "filesystem-image-ext4":
		limit = 1.02
	}
	j.add("size : the same in one frame", float64(j.own.Size), float64(j.own.Solid), limit, nil)
}

// overPairs computes what is about several pairs at once.
func (r *results) overPairs(pairs []pair, aims []aim) []aim {
	executables := 0
	for _, p := range pairs {
		if p.executable() {
			executables++
		}
	}
	var over []aim
	for _, level := range levels {
		sum, n, apart := 0.0, 0, false
		for _, a := range aims {
			of := slices.IndexFunc(pairs, func(p pair) bool { return p.Name == a.Pair })
			if a.Level == level && a.What == bestOfHdiffz && pairs[of].executable() {
				sum, n, apart = sum+math.Log(a.Value), n+1, apart || a.Apart
			}
		}
		if n > 0 {
			over = append(over, aim{Level: level, Value: math.Exp(sum / float64(n)), Limit: 0.46, Apart: apart,
				What: fmt.Sprintf("geometric mean over %d of %d executables, %s", n, executables, bestOfHdiffz)})
		}
		small, large := r.find(smallPair, "updraft-"+level), r.find(largePair, "updraft-"+level)
		if small != nil && large != nil && small.Pipe.ok() && large.Pipe.ok() {
			over = append(over, aim{Level: level, Limit: 4, Apart: small.Session != large.Session,
				Value: math.Abs(float64(large.Pipe.RSS-small.Pipe.RSS)) / mebibyte,
				What:  fmt.Sprintf("apply from a pipe, memory in MiB between %s and %s", smallPair, largePair)})
		}
	}
	return over
}
