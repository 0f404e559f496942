package forge

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Syntax is how logins look at a forge.
type Syntax struct {
	// Inner are the characters that a login may have within it, beside letters
	// and digits; Last of them may not end it.
	Inner, Last string
	// Max bounds a login, in bytes.
	Max int
}

// Mentioned lists the logins that a text mentions, in lower case and the order
// in which they stand there. What stands in code fences and spans, in quotes,
// in comments of HTML and in e-mail addresses does not count (Oz platform,
// AUT-3).
func (s Syntax) Mentioned(text string) []string {
	text = withoutCode(text)
	var list []string
	seen := map[string]bool{}
	for i := 0; i < len(text); i++ {
		if text[i] != '@' {
			continue
		}
		login := s.loginAt(text[i+1:])
		if login == "" || !mayPrecede(text[:i]) || !s.mayFollow(text[i+1+len(login):]) {
			continue
		}
		if login = strings.ToLower(login); !seen[login] {
			seen[login] = true
			list = append(list, login)
		}
	}
	return list
}

// loginAt is the login that a text begins with.
func (s Syntax) loginAt(text string) string {
	n := 0
	for n < len(text) && (isAlnum(text[n]) || n > 0 && strings.IndexByte(s.Inner, text[n]) >= 0) {
		n++
	}
	for n > 0 && strings.IndexByte(s.Last, text[n-1]) >= 0 {
		n--
	}
	if n > s.Max {
		return ""
	}
	return text[:n]
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// mayPrecede reports that an @ after this begins a mention: after a letter or
// what may stand in an address, it does not.
func mayPrecede(before string) bool {
	r, size := utf8.DecodeLastRuneInString(before)
	return size == 0 || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._%+-/@=&#", r)
}

// mayFollow reports that a login ends here: a slash makes it a team, a second @
// an address elsewhere.
func (s Syntax) mayFollow(after string) bool {
	after = strings.TrimLeft(after, s.Last)
	r, size := utf8.DecodeRuneInString(after)
	return size == 0 || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_/@", r)
}

var hidden = regexp.MustCompile(`(?is)<!--.*?(?:-->|$)|<pre\b[^>]*>.*?(?:</pre\s*>|$)|<code\b[^>]*>.*?(?:</code\s*>|$)`)

// withoutCode blanks what is code, quoted or hidden.
func withoutCode(text string) string {
	var kept strings.Builder
	fence := ""
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		switch mark := fenceOf(line); {
		case fence != "":
			if mark != "" && mark[0] == fence[0] && len(mark) >= len(fence) && closes(line) {
				fence = ""
			}
			line = ""
		case mark != "":
			fence, line = mark, ""
		case strings.HasPrefix(strings.TrimLeft(line, " "), ">"):
			line = ""
		}
		kept.WriteString(line)
		kept.WriteByte('\n')
	}
	return withoutSpans(hidden.ReplaceAllString(kept.String(), " "))
}

// fenceOf is the run of ` or ~ that a line of a fence begins with; "" for other
// lines. Fences may stand in lists, so that any indentation counts.
func fenceOf(line string) string {
	s := strings.TrimLeft(line, " \t")
	for _, bullet := range []string{"- ", "* ", "+ "} {
		s = strings.TrimLeft(strings.TrimPrefix(s, bullet), " ")
	}
	n := 0
	for n < len(s) && (s[n] == '`' || s[n] == '~') && s[n] == s[0] {
		n++
	}
	if n < 3 || s[0] == '`' && strings.Contains(s[n:], "`") {
		return ""
	}
	return s[:n]
}

// closes reports that nothing but the fence stands in the line.
func closes(line string) bool { return strings.Trim(line, " \t`~") == "" }

// withoutSpans blanks code spans: between two runs of as many backticks, in one
// paragraph.
func withoutSpans(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = spansOf(p)
	}
	return strings.Join(paragraphs, "\n\n")
}

func spansOf(p string) string {
	runs := ticks(p)
	var kept strings.Builder
	from := 0
	next := map[int][]int{} // places of runs by length, ascending
	for i, r := range runs {
		next[r[1]-r[0]] = append(next[r[1]-r[0]], i)
	}
	for i := 0; i < len(runs); i++ {
		r := runs[i]
		if r[0] > 0 && p[r[0]-1] == '\\' && r[1]-r[0] == 1 {
			continue
		}
		same := next[r[1]-r[0]]
		for len(same) > 0 && same[0] <= i {
			same = same[1:]
		}
		next[r[1]-r[0]] = same
		if len(same) == 0 {
			continue
		}
		kept.WriteString(p[from:r[0]])
		kept.WriteByte(' ')
		i = same[0]
		from = runs[i][1]
	}
	kept.WriteString(p[from:])
	return kept.String()
}

// ticks finds the runs of backticks.
func ticks(p string) (runs [][2]int) {
	for i := 0; i < len(p); i++ {
		if p[i] != '`' {
			continue
		}
		start := i
		for i < len(p) && p[i] == '`' {
			i++
		}
		runs = append(runs, [2]int{start, i})
	}
	return runs
}
