package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

const introduction = `# What modules cost

Each aim that updraft has for modules, and what one run measured, both sides taking turns in it. This page is written by

    go run ./bench/wasm -report

which builds its guests from [bench/wasm/guest](../bench/wasm/guest) and the modules in [examples](../examples). Figures are medians of %d rounds. Each run of a module is in a fresh instance, and making that counts. Files lie where the line below says, so that no disk hides what the host itself costs.

`

// save writes the page.
func (r *results) save(name string) error {
	var page bytes.Buffer
	fmt.Fprintf(&page, introduction, r.Rounds)
	r.write(&page)
	return os.WriteFile(name, page.Bytes(), 0o644)
}

// write prints the results in Markdown.
func (r *results) write(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "Measured on %s on %s, %d cores, %s, %s, %s, %s, files on %s.\n", r.Date, m.CPU, m.Cores, m.Memory, m.System, m.Go, m.Wazero, m.Files)
	if r.Quick {
		fmt.Fprint(w, "A quick run: the figures tell little.\n")
	}
	for _, why := range r.Missing {
		fmt.Fprintf(w, "\nLeft out: %s.\n", why)
	}
	reached, all := r.reached()
	fmt.Fprintf(w, "\n## Aims\n\n%d of %d are reached.\n\n", reached, all)
	r.aims().print(w)
	for _, s := range r.Sections {
		fmt.Fprintf(w, "\n## %s\n\n%s\n\n", s.Title, s.Note)
		s.table().print(w)
	}
}

func (r *results) reached() (reached, all int) {
	for _, s := range r.Sections {
		for _, a := range s.Aims {
			if all++; a.Reached {
				reached++
			}
		}
	}
	return reached, all
}

func (r *results) aims() *table {
	t := &table{rows: [][]string{{"aim", "figure", "wanted", "state"}}}
	for _, s := range r.Sections {
		for _, a := range s.Aims {
			sign, state := "≤ ", "reached"
			if a.Least {
				sign = "≥ "
			}
			if !a.Reached {
				state = "**missed**"
			}
			t.add(a.What, a.Unit.text(a.Value), sign+a.Unit.text(a.Limit), state)
		}
	}
	return t
}

// table has a column for each that a row names, in the order of the first ones.
func (s *section) table() *table {
	head := []string{""}
	for _, r := range s.Rows {
		for _, f := range r.Figures {
			if !slices.Contains(head, f.Column) {
				head = append(head, f.Column)
			}
		}
	}
	t := &table{rows: [][]string{head}}
	for _, r := range s.Rows {
		cells := make([]string, len(head))
		cells[0] = r.What
		for _, f := range r.Figures {
			cells[slices.Index(head, f.Column)] = f.Unit.text(f.Value)
		}
		t.add(cells...)
	}
	return t
}

// table is rows of text under a heading, printed so that a terminal shows the
// same as a page.
type table struct{ rows [][]string }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	width := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range t.rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				fmt.Fprint(w, "| ", cell, pad, " |")
			} else {
				fmt.Fprint(w, " ", pad, cell, " |")
			}
		}
		fmt.Fprintln(w)
		if n > 0 {
			continue
		}
		fmt.Fprint(w, "|", strings.Repeat("-", width[0]+2), "|")
		for _, n := range width[1:] {
			fmt.Fprint(w, strings.Repeat("-", n+1), ":|")
		}
		fmt.Fprintln(w)
	}
}
