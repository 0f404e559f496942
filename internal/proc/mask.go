package proc

import (
	"regexp"
	"slices"
	"strings"
)

// LongestBytes is the length of the longest of list, in bytes.
func LongestBytes(list []string) int {
	n := 0
	for _, s := range list {
		n = max(n, len(s))
	}
	return n
}

// stars are what Mask puts in place of secrets, before it hides their lengths.
var stars = regexp.MustCompile(`\*{4,}`)

// Mask replaces secrets in text by "***" and keeps the last keep bytes of it.
// If text is the content of a Tail whose Limit is keep plus LongestBytes(secrets),
// no part of a secret is left, even if the Tail cut one in two.
func Mask(text string, secrets []string, keep int) string {
	longestFirst := slices.Clone(secrets) // one may contain another
	slices.SortFunc(longestFirst, func(a, b string) int { return len(b) - len(a) })
	for _, s := range longestFirst {
		if s != "" {
			// The same length, so that what was cut at the front stays out of sight.
			text = strings.ReplaceAll(text, s, strings.Repeat("*", len(s)))
		}
	}
	if len(text) > keep {
		text = text[len(text)-keep:]
	}
	return strings.ToValidUTF8(stars.ReplaceAllString(text, "***"), "\uFFFD")
}
