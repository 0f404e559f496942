package sqlitestore

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// searchedPromptBytes is how much of a prompt can be searched: more would make
// the index many times as large as the text.
const searchedPromptBytes = 16 << 10

// searchText is what the search index holds of a run: its words in lower
// case, once each and between single spaces, so that " wo" finds the begin of
// a word.
func searchText(s task.Spec) string {
	prompt := s.Prompt
	if len(prompt) > searchedPromptBytes {
		prompt = prompt[:searchedPromptBytes]
	}
	return " " + strings.Join(words(s.Title+" "+s.Config.SkillSpec+" "+prompt), " ") + " "
}

// words splits text into runs of letters and digits, in lower case, and gives
// each once. Letters of scripts that write no spaces are words of their own.
func words(text string) []string {
	var out []string
	seen := map[string]struct{}{}
	add := func(w []byte) {
		if _, ok := seen[string(w)]; !ok && len(w) > 0 {
			out = append(out, string(w))
			seen[out[len(out)-1]] = struct{}{}
		}
	}
	var word []byte
	end := func() {
		add(word)
		word = word[:0]
	}
	for _, r := range strings.ToLower(text) {
		switch {
		case r < unicode.MaxASCII && ('a' <= r && r <= 'z' || '0' <= r && r <= '9'):
			word = append(word, byte(r))
		case r < unicode.MaxASCII:
			end()
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
			end()
			add([]byte(string(r)))
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			word = utf8.AppendRune(word, r)
		default:
			end()
		}
	}
	end()
	return out
}

// maxSearchWords bounds the words of one search that count.
const maxSearchWords = 16

// patternsOf gives what a run's searchText must contain to be found by a text:
// words of three letters and more anywhere, also within a longer word; two
// letters at the begin of a word; a single one as a word. None for a text
// without any word.
func patternsOf(text string) []string {
	found := words(text)
	if len(found) > maxSearchWords {
		found = found[:maxSearchWords]
	}
	for i, w := range found {
		switch utf8.RuneCountInString(w) {
		case 1:
			found[i] = " " + w + " "
		case 2:
			found[i] = " " + w
		}
	}
	return found
}

// matchAll is the expression of the search index for all of the patterns,
// which hold no quotes.
func matchAll(patterns []string) string { return `"` + strings.Join(patterns, `" AND "`) + `"` }

// The first effort of a search, see search, and how it grows.
const (
	firstEffort  = 256
	effortFactor = 4
)

// search reads a page of the runs with certain words. It can look all of them
// up in the search index and sort them, which is quick when there are few; or
// walk through the runs in their order and look at each until the page is full,
// which is quick when there are many. Which it is turns out on the way: both
// are tried in turns, with growing effort, so that a page takes at most a small
// multiple of the better way.
func (s *Store) search(ctx context.Context, q task.Query, patterns []string) (task.Page, error) {
	for effort := firstEffort; ; effort *= effortFactor {
		found, all, err := s.lookUp(ctx, patterns, effort)
		if err != nil {
			return task.Page{}, err
		}
		if all {
			return s.page(ctx, q, found, nil)
		}
		walk := &walk{patterns: patterns, left: effort}
		page, err := s.page(ctx, q, nil, walk)
		if err != nil || !walk.isTired() {
			return page, err
		}
	}
}

// lookUp gives the runs with the patterns, but at most limit of those that the
// search index holds; all is true when there are no more.
func (s *Store) lookUp(ctx context.Context, patterns []string, limit int) (found []int64, all bool, err error) {
	found = s.w.indexer.find(patterns) // first: what leaves it meanwhile is in the index
	indexed, err := collect(ctx, &s.fixed, scanNumber, selectFound, matchAll(patterns), limit+1)
	return append(append([]int64{}, found...), indexed...), len(indexed) <= limit, err // never nil
}

const selectFound = `SELECT rowid FROM run_text WHERE run_text MATCH ? LIMIT +?`

func scanNumber(row scanner) (n int64, err error) {
	err = row.Scan(&n)
	return n, err
}

// walk looks at runs one by one for their words.
type walk struct {
	patterns []string
	left     int  // how many runs it may still look at
	tired    bool // it has stopped before the end
}

// finds looks at a run's spec for the words, unless the walk is or becomes
// tired. Without a walk every run is found.
func (w *walk) finds(spec []byte) (bool, error) {
	switch {
	case w == nil:
		return true, nil
	case w.left == 0:
		w.tired = true
		return false, nil
	}
	w.left--
	var s struct {
		Title, Prompt string
		Config        struct {
			SkillSpec string `json:"skill_spec"`
		}
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return false, err
	}
	text := searchText(task.Spec{Title: s.Title, Prompt: s.Prompt, Config: task.Config{SkillSpec: s.Config.SkillSpec}})
	return containsAll(text, w.patterns), nil
}

func (w *walk) isTired() bool { return w != nil && w.tired }

// numberList is the argument of json_each for some runs.
func numberList(numbers []int64) string {
	out := []byte{'['}
	for i, n := range numbers {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, n, 10)
	}
	return string(append(out, ']'))
}
