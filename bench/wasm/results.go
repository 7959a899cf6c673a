package main

import (
	"fmt"
	"strconv"
	"time"
)

// results are those of one run.
type results struct {
	Date     string    `json:"date"`
	Machine  machine   `json:"machine"`
	Rounds   int       `json:"rounds"`
	Quick    bool      `json:"quick,omitempty"`
	Missing  []string  `json:"missing,omitempty"`
	Sections []section `json:"sections"`
}

// section is one of the things that are measured.
type section struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Note  string `json:"note"` // what was done, and how the figures are meant
	Rows  []row  `json:"rows"`
	Aims  []aim  `json:"aims"`
}

// row is a line of a section's table.
type row struct {
	What    string   `json:"what"`
	Figures []figure `json:"figures"`
}

// figure is a number in a column.
type figure struct {
	Column string  `json:"column"`
	Value  float64 `json:"value"`
	Unit   unit    `json:"unit"`
}

// unit says what a number counts.
type unit string

const (
	milliseconds unit = "ms"
	speed        unit = "MB/s" // of 1,000,000 bytes
	mebibytes    unit = "MiB"
	bytesUnit    unit = "bytes"
	lines        unit = "lines"
	percent      unit = "%"
	times        unit = "×" // a ratio
)

// aim is what a figure is to be.
type aim struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  unit    `json:"unit"`
	Limit float64 `json:"limit"`
	// Least says that the figure is to be at least the limit, not at most.
	Least   bool `json:"least,omitempty"`
	Reached bool `json:"reached"`
}

// atMost and atLeast judge a figure.
func (s *section) atMost(what string, value float64, u unit, limit float64) {
	s.Aims = append(s.Aims, aim{What: what, Value: value, Unit: u, Limit: limit, Reached: value <= limit})
}

func (s *section) atLeast(what string, value float64, u unit, limit float64) {
	s.Aims = append(s.Aims, aim{What: what, Value: value, Unit: u, Limit: limit, Least: true, Reached: value >= limit})
}

func (s *section) row(what string, figures ...figure) {
	s.Rows = append(s.Rows, row{What: what, Figures: figures})
}

func took(column string, d time.Duration) figure {
	return figure{column, d.Seconds() * 1000, milliseconds}
}

// through is the speed at which size bytes were moved.
func through(column string, size int64, d time.Duration) figure {
	return figure{column, float64(size) / 1e6 / d.Seconds(), speed}
}

func ratio(column string, a, b time.Duration) figure {
	return figure{column, float64(a) / float64(b), times}
}

// text writes a number as precisely as it is worth.
func (u unit) text(v float64) string {
	switch u {
	case bytesUnit, lines:
		return group(int64(v)) + " " + string(u)
	case times:
		return fmt.Sprintf("%.2f", v)
	case percent:
		return fmt.Sprintf("%.1f %%", v)
	case speed:
		return group(int64(v+0.5)) + " MB/s"
	}
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f %s", v, u)
	case v >= 10:
		return fmt.Sprintf("%.1f %s", v, u)
	}
	return fmt.Sprintf("%.2f %s", v, u)
}

// group writes a number with a comma at each thousand.
func group(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
