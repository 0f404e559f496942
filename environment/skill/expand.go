package skill

import (
	"regexp"
	"strconv"
	"strings"
)

// placeholder is what stands for arguments in a skill's text.
var placeholder = regexp.MustCompile(`\$ARGUMENTS(?:\[(\d{1,4})\])?|\$(\d{1,4})\b`)

// Expand puts arguments in the place of their placeholders in a skill's text
// (Oz platform, SKL-8): $ARGUMENTS is all of them, $ARGUMENTS[N] and $N the
// word number N, from 0. A placeholder for a word that is not there stays.
func Expand(body, arguments string) string {
	words := strings.Fields(arguments)
	return placeholder.ReplaceAllStringFunc(body, func(found string) string {
		parts := placeholder.FindStringSubmatch(found)
		number := parts[1] + parts[2] // one of them is empty
		if number == "" {
			return strings.TrimSpace(arguments)
		}
		if n, err := strconv.Atoi(number); err == nil && n < len(words) {
			return words[n]
		}
		return found
	})
}
