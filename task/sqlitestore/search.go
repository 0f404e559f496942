package sqlitestore

import (
	"strings"
	"unicode"

	"github.com/oz-platform/cloudagents/task"
)

// searchedPromptBytes is how much of a prompt can be searched: more would make
// the index many times as large as the text.
const searchedPromptBytes = 16 << 10

// searchText is what the search index holds of a run: its words in lower
// case, each between single spaces, so that " wo" finds the begin of a word.
func searchText(s task.Spec) string {
	prompt := s.Prompt
	if len(prompt) > searchedPromptBytes {
		prompt = prompt[:searchedPromptBytes]
	}
	return " " + strings.Join(words(s.Title+" "+s.Config.SkillSpec+" "+prompt), " ") + " "
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
		case r < unicode.MaxASCII && ('a' <= r && r <= 'z' || '0' <= r && r <= '9'):
			word.WriteByte(byte(r))
		case r < unicode.MaxASCII:
			end()
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
			end()
			out = append(out, string(r))
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			word.WriteRune(r)
		default:
			end()
		}
	}
	end()
	return out
}

// maxSearchWords bounds the words of one search that count.
const maxSearchWords = 16

// matchAll is the FTS expression for runs with all words of a text: words of
// three letters and more anywhere, also within a longer word; two letters at
// the begin of a word; a single one as a word. ok is false without any word.
func matchAll(text string) (expr string, ok bool) {
	found := words(text)
	if len(found) > maxSearchWords {
		found = found[:maxSearchWords]
	}
	for i, w := range found {
		switch len([]rune(w)) {
		case 1:
			w = " " + w + " "
		case 2:
			w = " " + w
		}
		found[i] = `"` + w + `"` // words hold no quotes
	}
	return strings.Join(found, " AND "), len(found) > 0
}
