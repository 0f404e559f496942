package ozagent

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
)

// edit is one search and replace.
type edit struct {
	Path    string  `json:"path"`
	Search  string  `json:"search"`
	Replace *string `json:"replace"`
	All     bool    `json:"all"`
}

// byteOrderMark begins some files; it is kept and never part of a match.
const byteOrderMark = "\ufeff"

// maxPlaces bounds the places that an error names.
const maxPlaces = 8

// applyEdit makes e in text. It looks for the search text as it is, then with
// the file's line endings, then line by line with ever less regard to white
// space. note says how it matched when it was not as it is.
func applyEdit(text string, e edit) (out, note string, err error) {
	mark := ""
	if rest, ok := strings.CutPrefix(text, byteOrderMark); ok {
		mark, text = byteOrderMark, rest
	}
	search, replace := strings.TrimPrefix(e.Search, byteOrderMark), *e.Replace
	for _, crlf := range []bool{false, true} {
		if crlf {
			if !strings.Contains(text, "\r\n") {
				break
			}
			search, replace = toCRLF(search), toCRLF(replace)
		}
		switch n := strings.Count(text, search); {
		case n > 1 && !e.All:
			return "", "", ambiguous(text, search, n)
		case n > 0:
			return mark + strings.ReplaceAll(text, search, replace), "", nil
		}
	}
	out, note, err = applyLoosely(text, e)
	return mark + out, note, err
}

func toCRLF(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

// ambiguous names the lines where search occurs.
func ambiguous(text, search string, n int) error {
	var places []string
	for from := 0; len(places) < maxPlaces; {
		i := strings.Index(text[from:], search)
		if i < 0 {
			break
		}
		places = append(places, fmt.Sprint(1+strings.Count(text[:from+i], "\n")))
		from += i + len(search)
	}
	return refuse("the search text occurs %d times, at lines %s; add lines around it until it is unique, or set all",
		n, strings.Join(places, ", "))
}

// looseness is one way to compare lines.
type looseness struct {
	name string
	key  func(string) string
}

// loosenesses are tried in order.
var loosenesses = [...]looseness{
	{"white space at line ends", func(l string) string { return strings.TrimRightFunc(l, unicode.IsSpace) }},
	{"indentation", strings.TrimSpace},
	{"white space and quote characters", plainKey},
}

// plainKey reduces a line to what a model is likely to get right.
func plainKey(l string) string {
	l = strings.Map(func(r rune) rune {
		switch r {
		case '\u2018', '\u2019', '\u201b':
			return '\''
		case '\u201c', '\u201d':
			return '"'
		case '\u2013', '\u2014', '\u2212':
			return '-'
		case '\u00a0':
			return ' '
		}
		return r
	}, l)
	return strings.Join(strings.Fields(l), " ")
}

// applyLoosely replaces whole lines.
func applyLoosely(text string, e edit) (out, note string, err error) {
	lines := splitLines(text)
	search := trimBlank(splitLines(e.Search))
	if len(search) == 0 {
		return "", "", refuse("the search text has only white space and does not occur as it is")
	}
	for _, loose := range loosenesses {
		at := matches(lines, search, loose.key)
		switch {
		case len(at) == 1:
			window := lines[at[0] : at[0]+len(search)]
			fresh := reindented(window, search, splitLines(*e.Replace))
			out := strings.Join(lines[:at[0]], "") + strings.Join(fresh, "") + strings.Join(lines[at[0]+len(search):], "")
			return out, fmt.Sprintf("matched at line %d without regard to %s", at[0]+1, loose.name), nil
		case len(at) > 1:
			return "", "", refuse("the search text does not occur as it is, and %d times without regard to %s, at lines %s; copy it exactly from the file, with more lines around it",
				len(at), loose.name, lineList(at))
		}
	}
	return "", "", refuse("the search text does not occur.%s", nearest(lines, search))
}

func lineList(at []int) string {
	var out []string
	for _, i := range at[:min(len(at), maxPlaces)] {
		out = append(out, fmt.Sprint(i+1))
	}
	return strings.Join(out, ", ")
}

// trimBlank leaves out blank lines at both ends.
func trimBlank(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// matches lists where search occurs in lines; places do not overlap.
func matches(lines, search []string, key func(string) string) []int {
	want := make([]string, len(search))
	for i, l := range search {
		want[i] = key(l)
	}
	have := make([]string, len(lines))
	for i, l := range lines {
		have[i] = key(l)
	}
	var at []int
	for i := 0; i+len(want) <= len(have); i++ {
		if equalLines(have[i:i+len(want)], want) {
			at = append(at, i)
			i += len(want) - 1
		}
	}
	return at
}

func equalLines(a, b []string) bool {
	for i := range b {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// reindented gives the replacement the indentation and line endings of the
// lines it takes the place of.
func reindented(window, search, replace []string) []string {
	shift := indentMap(window, search)
	ending := lineEnding(window)
	out := make([]string, 0, len(replace))
	for _, l := range trimBlank(replace) {
		body := strings.TrimRight(l, "\r\n")
		indent, rest := cutIndent(body)
		if rest == "" {
			out = append(out, ending)
			continue
		}
		out = append(out, shift.apply(indent)+rest+ending)
	}
	if n := len(out); n > 0 && !strings.HasSuffix(window[len(window)-1], "\n") {
		out[n-1] = strings.TrimRight(out[n-1], "\r\n")
	}
	return out
}

func lineEnding(window []string) string {
	if strings.HasSuffix(window[0], "\r\n") {
		return "\r\n"
	}
	return "\n"
}

func cutIndent(l string) (indent, rest string) {
	rest = strings.TrimLeft(l, " \t")
	return l[:len(l)-len(rest)], rest
}

// indents leads from the indentation in a search text to that in the file.
type indents struct {
	known map[string]string
	keys  []string // of known, longest first
	unit  int      // spaces that stand for one tab; 0 when the file's indentation is not in tabs
}

func indentMap(window, search []string) indents {
	m := indents{known: map[string]string{}}
	tabs := 0
	for i, l := range search {
		from, rest := cutIndent(strings.TrimRight(l, "\r\n"))
		to, _ := cutIndent(window[i])
		if rest == "" {
			continue
		}
		if _, ok := m.known[from]; !ok {
			m.known[from] = to
			m.keys = append(m.keys, from)
		}
		if n := strings.Count(to, "\t"); n == len(to) && n > 0 && strings.Trim(from, " ") == "" {
			tabs = n
			if len(from) > 0 && len(from)%n == 0 {
				m.unit = len(from) / n
			}
		}
	}
	if m.unit == 0 && tabs > 0 {
		m.unit = 4 // what models write for a tab
	}
	sort.Slice(m.keys, func(i, j int) bool { return len(m.keys[i]) > len(m.keys[j]) })
	return m
}

func (m indents) apply(indent string) string {
	for _, k := range m.keys {
		if rest, ok := strings.CutPrefix(indent, k); ok {
			return m.known[k] + m.tabbed(rest)
		}
	}
	return m.tabbed(indent)
}

// tabbed turns spaces into tabs where the file has tabs.
func (m indents) tabbed(indent string) string {
	if m.unit == 0 || strings.Trim(indent, " ") != "" {
		return indent
	}
	return strings.Repeat("\t", len(indent)/m.unit) + strings.Repeat(" ", len(indent)%m.unit)
}

// nearest shows the lines that are most like the search text.
func nearest(lines, search []string) string {
	want := map[string]bool{}
	for _, l := range search {
		if k := plainKey(l); len(k) > 2 {
			want[k] = true
		}
	}
	score := make([]int, len(lines))
	for i, l := range lines {
		score[i] = likeness(plainKey(l), want)
	}
	best, bestScore, sum := -1, 0, 0
	for i := range lines {
		sum += score[i]
		if i >= len(search) {
			sum -= score[i-len(search)]
		}
		if sum > bestScore {
			best, bestScore = max(0, i-len(search)+1), sum
		}
	}
	if best < 0 {
		return " Nothing in the file is like it; read the file again."
	}
	var out strings.Builder
	out.WriteString(" The lines most like it:")
	for i := max(0, best-1); i < min(len(lines), best+min(len(search), 12)+1); i++ {
		fmt.Fprintf(&out, "\n%6d\t%s", i+1, bounded(strings.TrimRight(lines[i], "\r\n"), 300))
	}
	return out.String()
}

// likeness scores a line: 4 for one of the wanted, less for one that shares words.
func likeness(line string, want map[string]bool) int {
	if want[line] {
		return 4
	}
	if len(line) < 4 {
		return 0
	}
	for w := range want {
		if strings.Contains(line, w) || strings.Contains(w, line) || sharedWords(line, w) {
			return 1
		}
	}
	return 0
}

// sharedWords reports that more than half of the words of a are in b.
func sharedWords(a, b string) bool {
	words := strings.FieldsFunc(a, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	n := 0
	for _, w := range words {
		if strings.Contains(b, w) {
			n++
		}
	}
	return len(words) > 1 && 2*n > len(words)
}

// alreadyMade reports that e was made before: its replacement is there, and
// its search text only within it.
func alreadyMade(text string, e edit) bool {
	search, replace := e.Search, *e.Replace
	if strings.Contains(text, "\r\n") {
		search, replace = toCRLF(search), toCRLF(replace)
	}
	if replace == "" {
		return !strings.Contains(text, search)
	}
	return strings.Contains(text, replace) && !strings.Contains(strings.ReplaceAll(text, replace, "\x00"), search)
}
