package main

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// peer is a program, or a chain of programs, that makes and applies patches.
//
// A command line is words parted by blanks. $old, $new, $patch and $out stand
// for files, $temp and $temp2 for files in between; "< FILE" and "> FILE" at
// its end redirect, "<| FILE" feeds the file through a pipe.
type peer struct {
	Name    string
	Make    []string
	Apply   []string
	Pipe    []string // applies from a pipe, if that is measured as well
	Low     []string // the same with as little memory as can be
	Version string   // prints its version
	Checks  bool     // refuses a result that is not the new file
	Syncs   bool     // the result is durable when it ends
}

func (p peer) ours() bool { return strings.HasPrefix(p.Name, "updraft-") }

// updraftPeer is our own format at one level.
func updraftPeer(level string) peer {
	return peer{Name: "updraft-" + level, Checks: true, Syncs: true, Version: "updraft version",
		Make:  []string{"updraft diff --level " + level + " --json $old $new $patch"},
		Apply: []string{"updraft patch $old $patch $out"},
		Pipe:  []string{"updraft patch $old - $out <| $patch"},
		Low:   []string{"updraft patch --low-memory $old - $out <| $patch"}}
}

func hdiffzPeer(name, compress string) peer {
	return peer{Name: name, Version: "hdiffz -v",
		Make:  []string{"hdiffz -f -m-1 -block -SD -p-2 " + compress + " $old $new $patch"},
		Apply: []string{"hpatchz -f $old $patch $out"}}
}

func zstdPeer(name, level string) peer {
	return peer{Name: name, Version: "zstd --version", Checks: true,
		Make: []string{zstdMake(level)}, Apply: []string{zstdApply}}
}

// Lines that are measured, and tried for what they have in common with ours.
const (
	bsdiffMake   = "bsdiff $old $new $patch"
	bspatchApply = "bspatch $old $out $patch"
	goBsdiffMake = "bench gabstv-make $old $new $patch"
	zstdApply    = "zstd -q -f -d --long=31 --patch-from=$old $patch -o $out"
)

func zstdMake(level string) string {
	return "zstd -q -f " + level + " --long=31 --patch-from=$old $new -o $patch"
}

// xdelta3Make takes -D, without which it would unpack compressed files with
// other programs, and all of old as the source, not its first 64 MiB.
func xdelta3Make(secondary string) string {
	return "xdelta3 -e -q -f -9 -D -S " + secondary + " -B 536870912 -s $old $new $patch"
}

// peers is every way to make a patch, in the order of the tables. "bench" is
// this program, which runs the Go library go-bsdiff in a process of its own.
// xz is no patch: it is the size of the new file sent whole.
var peers = []peer{
	updraftPeer("fast"),
	updraftPeer("default"),
	updraftPeer("max"),
	hdiffzPeer("hdiffz-zstd", "-c-zstd-21-24"),
	hdiffzPeer("hdiffz-lzma2", "-c-lzma2-9-64m"),
	{Name: "zucchini-xz", Version: "zucchini -version", Checks: true,
		Make:  []string{"zucchini -gen $old $new $temp", "xz -9e -c $temp > $patch"},
		Apply: []string{"xz -dc < $patch > $temp", "zucchini -apply $old $temp $out"}},
	{Name: "bsdiff", Version: "dpkg-query -W bsdiff",
		Make: []string{bsdiffMake}, Apply: []string{bspatchApply}},
	{Name: "go-bsdiff", Version: "bench gabstv-version",
		Make:  []string{goBsdiffMake},
		Apply: []string{"bench gabstv-apply $old $out $patch"}},
	{Name: "xdelta3", Version: "xdelta3 -V", Checks: true,
		Make:  []string{xdelta3Make("lzma")},
		Apply: []string{"xdelta3 -d -q -f -D -R -B 536870912 -s $old $patch $out"}},
	zstdPeer("zstd-3", "-3"),
	zstdPeer("zstd-19", "-19 --ultra"),
	{Name: "rdiff-zstd", Version: "rdiff --version",
		Make: []string{"rdiff -f signature $old $temp", "rdiff -f delta $temp $new $temp2",
			"zstd -q -f -19 --ultra --long=31 $temp2 -o $patch"},
		Apply: []string{"zstd -q -f -d --long=31 $patch -o $temp", "rdiff -f patch $old $temp $out"}},
	{Name: "xz", Version: "xz --version", Checks: true,
		Make:  []string{"xz -9e -c $new > $patch"},
		Apply: []string{"xz -dc < $patch > $out"}},
}

// programs are the paths of the programs that command lines name.
type programs map[string]string

// find gives the peers whose programs are all there, and says of the others
// what is missing.
func (have programs) find(all []peer) (found []peer, missing map[string]string) {
	missing = map[string]string{}
	for _, p := range all {
		if name := have.lacks(p); name != "" {
			missing[p.Name] = fmt.Sprintf("no program %s", name)
			continue
		}
		found = append(found, p)
	}
	return found, missing
}

// lacks names a program of the peer that is not there, and remembers the path
// of those that are.
func (have programs) lacks(p peer) string {
	for _, line := range slices.Concat(p.Make, p.Apply, p.Pipe, p.Low) {
		name, _, _ := strings.Cut(line, " ")
		if have[name] != "" {
			continue
		}
		at, err := exec.LookPath(name)
		if err != nil {
			return name
		}
		have[name] = at
	}
	return ""
}

// command is a command line with everything in its place.
type command struct {
	Args    []string // the program's path first
	In, Out string   // files for standard input and output, if any
	Feed    bool     // In comes through a pipe
}

// parse puts files and programs into a command line.
func (have programs) parse(line string, files map[string]string) command {
	var c command
	words := strings.Fields(line)
	for i := 0; i < len(words); i++ {
		word := words[i]
		// The longest name first: $temp2 is not $temp with a 2.
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(files))) {
			word = strings.ReplaceAll(word, "$"+name, files[name])
		}
		switch word {
		case "<", "<|":
			i++
			c.In, c.Feed = files[words[i][1:]], word == "<|"
		case ">":
			i++
			c.Out = files[words[i][1:]]
		default:
			c.Args = append(c.Args, word)
		}
	}
	if at := have[c.Args[0]]; at != "" {
		c.Args[0] = at
	}
	return c
}

// workFiles names the files of one peer's run in a folder.
func workFiles(c corpus, p pair, dir string) map[string]string {
	return map[string]string{"old": c.file(p, "old"), "new": c.file(p, "new"), "patch": filepath.Join(dir, "patch"),
		"out": filepath.Join(dir, "out"), "temp": filepath.Join(dir, "temp"), "temp2": filepath.Join(dir, "temp2")}
}
