package codeindex

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"os"
	"slices"
	"strings"
	"unicode"
)

// Limits of a search.
const (
	// MaxQueryBytes bounds a query.
	MaxQueryBytes = 1 << 10
	// MaxHits bounds what one search gives.
	MaxHits       = 50
	maxWords      = 12
	maxCandidates = 120 // files that are read for one search
	maxPerFile    = 3
	around        = 2   // lines shown before and behind a hit
	maxLine       = 300 // bytes shown of a line
)

// Hit is a place that was found.
type Hit struct {
	// Path is relative to the repository, with slashes.
	Path string
	// Line is the line that was found, from 1; Text shows it with those around
	// it, of which First is the number of the first one. Line is 0 when only the
	// path was found.
	Line, First int
	Text        string
	// Score orders hits; higher is better.
	Score float64
}

// query is what is looked for: words in small letters, the rarest first.
type query struct {
	words  [][]byte
	weight []float64
}

// common are words of questions, which say nothing of code.
var common = map[string]bool{"the": true, "and": true, "where": true, "what": true, "which": true, "how": true, "does": true, "that": true,
	"this": true, "with": true, "from": true, "are": true, "into": true, "when": true, "code": true, "file": true, "files": true, "find": true,
	"function": true, "is": true, "in": true, "of": true, "to": true, "a": true, "an": true, "it": true, "for": true, "on": true, "we": true}

// split gives the words of a query; what stands in quotation marks is one.
func split(text string) []string {
	var words []string
	add := func(w string) {
		if w != "" && len(words) < maxWords && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	text = strings.ToLower(text)
	for i, part := range strings.Split(text, `"`) {
		if i%2 == 1 {
			add(strings.TrimSpace(part))
			continue
		}
		for _, w := range strings.FieldsFunc(part, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' }) {
			if !common[w] {
				add(w)
			}
		}
	}
	if len(words) == 0 { // a question of common words alone
		for _, w := range strings.Fields(text) {
			add(strings.Trim(w, `"`))
		}
	}
	return words
}

// newQuery reads a query; candidates gives its words their weights.
func newQuery(text string) query {
	var q query
	for _, w := range split(text) {
		q.words, q.weight = append(q.words, []byte(w)), append(q.weight, 1)
	}
	return q
}

// candidate is a file that may have what is looked for.
type candidate struct {
	path  string
	score float64
}

// candidates chooses the files to read by what the index says, the likeliest
// first, and weighs the words of the query.
func (x *index) candidates(q *query) []string {
	scores := make([]float64, len(x.paths))
	for n, w := range q.words {
		set, count, ok := x.files(string(w))
		if !ok {
			continue
		}
		q.weight[n] = math.Log(1 + float64(len(x.paths)+1)/float64(count+1))
		for i, in := range set {
			if in {
				scores[i] += q.weight[n]
			}
		}
	}
	var list []candidate
	for i, p := range x.paths {
		if s := scores[i] + q.inPath(p); s > 0 {
			list = append(list, candidate{p, s})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.path, b.path))
	})
	var paths []string
	for _, c := range list[:min(len(list), maxCandidates)] {
		paths = append(paths, c.path)
	}
	return paths
}

// inPath is what a path is worth.
func (q query) inPath(path string) float64 {
	path = strings.ToLower(path)
	s := 0.0
	for i, w := range q.words {
		if len(w) > 1 && strings.Contains(path, string(w)) {
			s += q.weight[i] / 2
		}
	}
	return s
}

// read looks into files.
func (q query) read(ctx context.Context, root *os.Root, files []string) ([]Hit, error) {
	var hits []Hit
	var buf []byte
	for i, file := range files {
		if i%16 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		data, err := readText(root, file, buf)
		if err != nil {
			continue // gone meanwhile, or no text
		}
		buf = data[:0]
		hits = append(hits, q.look(file, data)...)
	}
	return hits, nil
}

// best orders hits and keeps the first ones.
func best(hits []Hit, limit int) []Hit {
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	return hits[:min(len(hits), limit)]
}

// place is a line with words of the query.
type place struct {
	line  int // from 0
	score float64
}

// look finds the best places in one file.
func (q query) look(path string, text []byte) []Hit {
	low := bytes.ToLower(text) // of another length where letters have no small form of their own: then lines still agree
	had := make([]bool, len(q.words))
	byLine := map[int]float64{}
	starts := lineStarts(low)
	for i, w := range q.words {
		for at, n := 0, 0; n < 200; n++ { // a word on every line says nothing
			j := bytes.Index(low[at:], w)
			if j < 0 {
				break
			}
			at += j
			line, _ := slices.BinarySearch(starts, at+1)
			line--
			end := len(low)
			if line+1 < len(starts) {
				end = starts[line+1]
			}
			byLine[line] += q.weight[i] * q.worth(low, starts[line], at, len(w), end)
			had[i] = true
			at = end
			if at >= len(low) {
				break
			}
		}
	}
	cover := q.inPath(path)
	for i, ok := range had {
		if ok {
			cover += q.weight[i]
		}
	}
	if len(byLine) == 0 {
		if cover == 0 {
			return nil
		}
		return []Hit{{Path: path, Score: cover / 2}}
	}
	return shown(path, text, byLine, cover)
}

// worth is what a word at a place counts: the whole word more than a part, a
// definition most.
func (q query) worth(low []byte, start, at, size, end int) float64 {
	s := 0.5
	if (at == 0 || !wordByte(low[at-1])) && (at+size == len(low) || !wordByte(low[at+size])) {
		s = 1
	}
	if defines(low[start:at], low[at+size:end]) {
		s *= 3
	}
	return s
}

func wordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b >= 0x80
}

// definers are the words before a name that is defined, in the languages that
// people use.
var definers = map[string]bool{"func": true, "type": true, "class": true, "def": true, "interface": true, "struct": true, "enum": true, "trait": true,
	"fn": true, "const": true, "var": true, "let": true, "function": true, "module": true, "impl": true, "record": true, "object": true, "fun": true,
	"val": true, "package": true, "namespace": true, "macro_rules!": true, "#define": true, "protocol": true, "union": true, "typedef": true}

// defines reports whether a line defines the name that stands between two parts
// of it: a definer is the last word before it, but for a receiver in brackets,
// and it is not only a part of a longer name.
func defines(before, after []byte) bool {
	if len(after) > 0 && wordByte(after[0]) {
		return false
	}
	before = bytes.TrimRight(before, " \t*&")
	if n := len(before); n > 0 && before[n-1] == ')' { // func (r *T) name
		if i := bytes.LastIndexByte(before, '('); i > 0 {
			before = bytes.TrimRight(before[:i], " \t")
		}
	}
	i := len(before)
	for i > 0 && before[i-1] != ' ' && before[i-1] != '\t' && before[i-1] != '(' {
		i--
	}
	return definers[string(before[i:])]
}

func lineStarts(text []byte) []int {
	starts := []int{0}
	for at := 0; ; {
		j := bytes.IndexByte(text[at:], '\n')
		if j < 0 || at+j+1 >= len(text) {
			return starts
		}
		at += j + 1
		starts = append(starts, at)
	}
}

// shown makes hits of the best lines of a file, no two of which overlap.
func shown(path string, text []byte, byLine map[int]float64, cover float64) []Hit {
	var places []place
	for line, s := range byLine {
		places = append(places, place{line, s})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.line, b.line)) })
	starts := lineStarts(text)
	var hits []Hit
	for _, p := range places {
		near := func(h Hit) bool { return p.line+1 >= h.Line-2*around && p.line+1 <= h.Line+2*around }
		if len(hits) == maxPerFile || slices.ContainsFunc(hits, near) || p.line >= len(starts) {
			continue
		}
		first, last := max(0, p.line-around), min(len(starts)-1, p.line+around)
		hits = append(hits, Hit{Path: path, Line: p.line + 1, First: first + 1, Text: lines(text, starts, first, last), Score: cover + p.score})
	}
	return hits
}

// lines shows some lines, cut where they are long.
func lines(text []byte, starts []int, first, last int) string {
	var out strings.Builder
	for i := first; i <= last; i++ {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		line := bytes.TrimRight(text[starts[i]:end], "\r\n")
		if len(line) > maxLine {
			line = append(append([]byte{}, line[:maxLine]...), " ..."...)
		}
		out.WriteString(strings.ToValidUTF8(string(line), "\ufffd"))
		out.WriteByte('\n')
	}
	return out.String()
}
