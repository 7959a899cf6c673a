package trust

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

const (
	someNames = 8  // of a list in a message
	clipBytes = 64 // of a stranger's text in a message
)

// nearest orders known by its distance from name, letters of either case being
// alike, so that the likely word comes first.
func nearest(name string, known []string) []string {
	low := strings.ToLower(clip(name))
	distances := map[string]int{}
	for _, k := range known {
		distances[k] = distance(low, strings.ToLower(k))
	}
	sorted := slices.Clone(known)
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(distances[a], distances[b]) })
	return sorted
}

// distance counts the bytes to insert, remove or replace between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// some quotes the first names of a list for a message.
func some(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, name := range names[:min(len(names), someNames)] {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Quote(name))
	}
	if more := len(names) - someNames; more > 0 {
		b.WriteString(" and " + strconv.Itoa(more) + " more")
	}
	return b.String()
}

// clip keeps a stranger's text from filling a message.
func clip(s string) string {
	if len(s) <= clipBytes {
		return s
	}
	return strings.ToValidUTF8(s[:clipBytes], "") + "…"
}
