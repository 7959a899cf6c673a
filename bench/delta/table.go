package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// table is rows of text under a heading. It is printed in Markdown with its
// columns in line, so that a terminal shows the same table as a page.
type table struct {
	rows [][]string // the first is the heading
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	width := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	for n, row := range t.rows {
		line := "|"
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line += " " + cell + pad + " |"
			} else {
				line += " " + pad + cell + " |"
			}
		}
		fmt.Fprintln(w, line)
		if n > 0 {
			continue
		}
		line = "|"
		for i := range row {
			if i == 0 {
				line += strings.Repeat("-", width[i]+2) + "|"
			} else {
				line += strings.Repeat("-", width[i]+1) + ":|"
			}
		}
		fmt.Fprintln(w, line)
	}
}

// group writes a number with a comma at each thousand.
func group(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func mebibytes(n int64) string {
	if n < 100*mebibyte {
		return strconv.FormatFloat(float64(n)/mebibyte, 'f', 1, 64)
	}
	return group((n + mebibyte/2) / mebibyte)
}

// seconds writes a time with three figures that say something.
func seconds(s float64) string {
	switch {
	case s < 10:
		return strconv.FormatFloat(s, 'f', 3, 64)
	case s < 100:
		return strconv.FormatFloat(s, 'f', 1, 64)
	}
	return strconv.FormatFloat(s, 'f', 0, 64)
}

// sizesTable has a row for each pair and a column for each peer that was tried.
func (r *results) sizesTable(pairs []pair, peers []peer) *table {
	var t table
	heading := []string{"pair", "old", "new"}
	var tried []peer
	for _, q := range peers {
		for _, p := range pairs {
			if r.find(p.Name, q.Name) != nil {
				tried, heading = append(tried, q), append(heading, q.Name)
				break
			}
		}
	}
	t.add(heading...)
	for _, p := range pairs {
		row := []string{p.Name, group(p.OldSize), group(p.NewSize)}
		least, at, any := int64(0), 0, false
		for _, q := range tried {
			o := r.find(p.Name, q.Name)
			any = any || o != nil
			row = append(row, sizeCell(o))
			if o != nil && o.complete() && (least == 0 || o.Size < least) {
				least, at = o.Size, len(row)-1
			}
		}
		if least > 0 {
			row[at] = "**" + row[at] + "**"
		}
		if any {
			t.add(row...)
		}
	}
	return &t
}

func sizeCell(o *record) string {
	switch {
	case o == nil:
		return "–"
	case o.Make.Outcome != ok:
		return string(o.Make.Outcome)
	case !o.complete():
		return group(o.Size) + " (" + string(o.worst().Outcome) + ")"
	}
	return group(o.Size)
}

// worst is the first phase that did not go well, or nil.
func (r *record) worst() *phase {
	for _, p := range []*phase{&r.Make, r.Apply, r.Cold, r.Pipe, r.Low} {
		if p != nil && p.Outcome != ok {
			return p
		}
	}
	return nil
}

// pairTable has a row for each peer that was tried on the pair.
func (r *results) pairTable(p pair, peers []peer) *table {
	var t table
	t.add("program", "patch, bytes", "of new", "make, s", "CPU, s", "memory, MiB", "apply, s", "CPU, s", "memory, MiB", "cold, s", "pipe, MiB", "low, MiB", "rounds", "day")
	for _, q := range peers {
		o := r.find(p.Name, q.Name)
		if o == nil {
			continue
		}
		row := []string{q.Name, "–", "–"}
		if o.Size > 0 {
			row = []string{q.Name, group(o.Size), fmt.Sprintf("%.2f %%", 100*float64(o.Size)/float64(p.NewSize))}
		}
		row = append(append(row, o.Make.cells()...), o.Apply.cells()...)
		cold, pipe, low := o.Cold.cells()[0], o.Pipe.cells()[2], o.Low.cells()[2]
		t.add(append(row, cold, pipe, low, strconv.Itoa(o.Rounds), r.session(o.Session).day())...)
	}
	return &t
}

// cells are the wall time, CPU time and memory of a phase.
func (p *phase) cells() []string {
	switch {
	case p == nil:
		return []string{"–", "–", "–"}
	case p.Outcome != ok:
		return []string{string(p.Outcome), seconds(p.CPU), mebibytes(p.RSS)}
	}
	return []string{seconds(p.Wall), seconds(p.CPU), mebibytes(p.RSS)}
}

// aimsTable has a row for each ratio and a column for each level; what is not
// met is in bold.
func aimsTable(aims []aim) *table {
	var t table
	t.add(append([]string{"ratio"}, levels...)...)
	var order []string
	cells := map[string][]string{}
	for _, a := range aims {
		row := cells[a.What]
		if row == nil {
			row = []string{a.What, "–", "–", "–"}
			order, cells[a.What] = append(order, a.What), row
		}
		row[1+slices.Index(levels, a.Level)] = a.cell()
	}
	for _, what := range order {
		t.add(cells[what]...)
	}
	return &t
}

// missedTable lists what is not met.
func missedTable(aims []aim) *table {
	var t table
	t.add("pair", "level", "ratio", "measured")
	for _, a := range aims {
		if a.missed() {
			t.add(cmp.Or(a.Pair, "all"), a.Level, a.What, a.cell())
		}
	}
	return &t
}

// cell is the ratio and what is aimed at.
func (a aim) cell() string {
	cell := strconv.FormatFloat(a.Value, 'f', 3, 64)
	if a.Value >= 10 {
		cell = strconv.FormatFloat(a.Value, 'f', 1, 64)
	}
	if a.Apart {
		cell += "†"
	}
	if a.missed() {
		cell = "**" + cell + "**"
	}
	if a.Limit > 0 {
		cell += " (≤ " + strconv.FormatFloat(a.Limit, 'f', -1, 64) + ")"
	}
	return cell
}

// ofPair are the aims of one pair, or with an empty name those over all.
func ofPair(aims []aim, name string) []aim {
	return slices.DeleteFunc(slices.Clone(aims), func(a aim) bool { return a.Pair != name })
}

// crossTable has a row for each pair and a column for each maker and applier.
func (r *results) crossTable(pairs []pair) *table {
	var t table
	heading := []string{"pair"}
	for _, x := range crossings {
		heading = append(heading, x.Maker+" → "+x.Applier)
	}
	t.add(heading...)
	for _, p := range pairs {
		row, any := []string{p.Name}, false
		for _, x := range crossings {
			cell := "–"
			for _, o := range r.Crosses {
				if o.Pair == p.Name && o.Maker == x.Maker && o.Applier == x.Applier {
					cell, any = o.cell(), true
				}
			}
			row = append(row, cell)
		}
		if any {
			t.add(row...)
		}
	}
	return &t
}
