package pgstore

import (
	"slices"
	"strings"
	"unicode"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// searchedPromptBytes is how much of a prompt can be searched, so that the
	// index stays in proportion and within what a tsvector may hold (1 MiB).
	searchedPromptBytes = 16 << 10
	// maxWordBytes bounds a word; a tsvector's may have 2,046 bytes.
	maxWordBytes = 256
	// maxSearchWords bounds the words of one search that count.
	maxSearchWords = 16
)

// searchWords are the words of a run that the search finds, each once.
func searchWords(s task.Spec) []string {
	prompt := s.Prompt
	if len(prompt) > searchedPromptBytes {
		prompt = prompt[:searchedPromptBytes]
	}
	found := words(s.Title + " " + s.Config.SkillSpec + " " + prompt)
	slices.Sort(found)
	return slices.Compact(found)
}

// words splits text into runs of letters and digits, in lower case. Letters
// of scripts that write no spaces are words of their own.
func words(text string) []string {
	var out []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			out = append(out, word.String())
			word.Reset()
		}
	}
	for _, r := range strings.ToLower(text) {
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
			end()
			out = append(out, string(r))
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			if word.Len() < maxWordBytes {
				word.WriteRune(r)
			}
		default:
			end()
		}
	}
	end()
	return out
}

// matchAll is the tsquery for runs with all words of a text: a word finds
// those that begin with it, a single letter only itself. ok is false without
// any word.
func matchAll(text string) (query string, ok bool) {
	found := searched(text)
	for i, w := range found {
		found[i] = `'` + w + `'` // words hold no quotes and no backslashes
		if len([]rune(w)) > 1 {
			found[i] += `:*`
		}
	}
	return strings.Join(found, " & "), len(found) > 0
}

// searched are the words of a search that count.
func searched(text string) []string {
	found := words(text)
	return found[:min(len(found), maxSearchWords)]
}
