package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/agent"
)

// command shows a command as somebody would type it.
func (g *page) command(name string, args []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.json != nil {
		return
	}
	line := "   $ " + name
	for i := 0; i < len(args); i++ {
		word := quoted(args[i])
		if strings.HasPrefix(word, "--") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			word += " " + quoted(args[i]) // a flag stays with its value
		}
		if utf8.RuneCountInString(line+" "+word+` \`) > pageWidth {
			fmt.Fprintln(g.to, line+` \`)
			line = "      "
		}
		line += " " + word
	}
	fmt.Fprintln(g.to, line)
}

// output shows a line that a command has printed.
func (g *page) output(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.json == nil && !isDull(line) && !strings.HasPrefix(line, "image: ") {
		fmt.Fprintln(g.to, fit("   "+agent.Printable(line)))
	}
}

// dull are parts of lines that the page leaves out, since other lines tell them
// too. The commands print them all, and updraft log does.
var dull = []string{
	"keep release.key secret", "sign it: ", "release.json: release ", " signed with key ", "image from ", "image: full image of ",
	": connected as ", " accepted: ", " resumed", " succeeded", " rolled_back: ", "waits for the restart", "restart the device, then start", "listens to ",
	": begin", ": done in ", "restart armed", "restart due", "restart booted", "restart confirmed", "prove: undone", "report delivered",
}

func isDull(line string) bool {
	return slices.ContainsFunc(dull, func(part string) bool { return strings.Contains(line, part) })
}

// fit shortens a line to the page.
func fit(line string) string {
	if r := []rune(line); len(r) > pageWidth {
		return string(r[:pageWidth-1]) + "…"
	}
	return line
}

// lineWriter hands on what is written, line by line.
type lineWriter struct {
	line func(string)
	rest []byte // that has not ended yet
}

// Write hands on each line once it is whole.
func (w *lineWriter) Write(p []byte) (int, error) {
	for w.rest = append(w.rest, p...); ; {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			return len(p), nil
		}
		w.line(string(w.rest[:end]))
		w.rest = w.rest[end+1:]
	}
}
