package document

import (
	"fmt"
	"slices"
	"strings"
)

// Nearest gives the known word that word is most likely a slip of, or "" if
// none is near: at most one wrong, missing, extra or swapped letter in three,
// and no more than three. Upper and lower case are alike.
func Nearest(word string, known []string) string {
	best, found := min(len([]rune(word))/3, 3)+1, ""
	for _, k := range slices.Sorted(slices.Values(known)) {
		if n := distance(strings.ToLower(word), strings.ToLower(k), best); n < best {
			best, found = n, k
		}
	}
	return found
}

// Unknown says that there is no word of this kind and names the nearest of the
// known ones, or else a few of them: `unknown verb "pacth", did you mean "patch"?`
func Unknown(kind, word string, known []string) string {
	text := fmt.Sprintf("unknown %s %q", kind, word)
	if n := Nearest(word, known); n != "" {
		return text + fmt.Sprintf(", did you mean %q?", n)
	}
	if len(known) == 0 {
		return text + " (there are none)"
	}
	sorted, more := slices.Sorted(slices.Values(known)), ""
	if len(sorted) > 20 {
		sorted, more = sorted[:20], " …"
	}
	return text + fmt.Sprintf(" (have %q%s)", sorted, more)
}

// distance counts single-letter slips between a and b, a swap of neighbours
// being one. Words that differ by limit or more in length are not compared.
func distance(a, b string, limit int) int {
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d >= limit || -d >= limit {
		return limit
	}
	// rows[i%3][j] is the distance of x[:i] and y[:j].
	var rows [3][]int
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
	}
	for i := 0; i <= len(x); i++ {
		for j := 0; j <= len(y); j++ {
			rows[i%3][j] = cell(x, y, i, j, rows)
		}
	}
	return rows[len(x)%3][len(y)]
}

func cell(x, y []rune, i, j int, rows [3][]int) int {
	if i == 0 || j == 0 {
		return i + j
	}
	above := rows[(i+2)%3]
	slip := 1
	if x[i-1] == y[j-1] {
		slip = 0
	}
	n := min(above[j]+1, rows[i%3][j-1]+1, above[j-1]+slip)
	if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
		n = min(n, rows[(i+1)%3][j-2]+1)
	}
	return n
}
