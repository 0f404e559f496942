package skill

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// placeholder is what stands for arguments in a skill's text.
var placeholder = regexp.MustCompile(`\$ARGUMENTS(?:\[(\d{1,4})\])?|\$(\d{1,4})\b`)

// Expand puts arguments in the place of their placeholders in a skill's text
// (Oz platform, SKL-8): $ARGUMENTS is all of them, $ARGUMENTS[N] and $N the
// word number N, from 0. A placeholder for a word that is not there stays. It
// fails when the text would have more than maxBytes: many placeholders make
// much of a long word.
func Expand(body, arguments string, maxBytes int) (string, error) {
	words := strings.Fields(arguments)
	all := strings.TrimSpace(arguments)
	var text strings.Builder
	done := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(body, -1) {
		text.WriteString(body[done:at[0]])
		text.WriteString(argument(body, at, words, all))
		done = at[1]
		if text.Len() > maxBytes {
			break
		}
	}
	if text.Len()+len(body)-done > maxBytes {
		return "", fmt.Errorf("with its arguments the skill has more than %d bytes", maxBytes)
	}
	text.WriteString(body[done:])
	return text.String(), nil
}

// argument is what stands in the place of the placeholder at these indexes of
// body: its own, and those of its numbers.
func argument(body string, at []int, words []string, all string) string {
	number := body[max(at[2], 0):max(at[3], 0)] + body[max(at[4], 0):max(at[5], 0)] // one of them is not there
	if number == "" {
		return all
	}
	if n, err := strconv.Atoi(number); err == nil && n < len(words) {
		return words[n]
	}
	return body[at[0]:at[1]]
}
