package oz

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/oz-platform/cloudagents/task"
)

// rankMemories orders memories by how much they have to do with a text, the
// newer first among equals, which is the order of list. With only, those that
// have nothing to do with it are left out.
//
// A word counts the more the fewer memories have it, so that words that all
// texts have decide nothing.
func rankMemories(text string, list []task.Memory, only bool) []task.Memory {
	wanted := vocabulary(text)
	bags := make([]map[string]bool, len(list))
	has := map[string]int{}
	for i, m := range list {
		bags[i] = vocabulary(m.Content)
		for w := range bags[i] {
			has[w]++
		}
	}
	type ranked struct {
		m     task.Memory
		score float64
	}
	var out []ranked
	for i, m := range list {
		score := 0.0
		for w := range bags[i] {
			if wanted[w] {
				score += math.Log(1 + float64(len(list))/float64(has[w]))
			}
		}
		if score > 0 || !only {
			out = append(out, ranked{m, score / math.Sqrt(float64(max(1, len(bags[i]))))}) // a long one has many words by chance
		}
	}
	slices.SortStableFunc(out, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
	found := make([]task.Memory, len(out))
	for i, r := range out {
		found[i] = r.m
	}
	return found
}

// vocabulary gives the words of a text, in small letters and without endings of
// English, so that "tests" finds "test".
func vocabulary(text string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		for _, end := range []string{"ing", "ed", "es", "s"} {
			if stem, ok := strings.CutSuffix(w, end); ok && len(stem) > 3 {
				w = stem
				break
			}
		}
		if len(w) > 1 {
			out[w] = true
		}
	}
	return out
}
