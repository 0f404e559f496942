package pgstore_test

import (
	"cmp"
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task/pgstore"
)

// anyString draws strings of few letters, so that many are alike, with those
// that text has to escape.
func anyString() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "\x00", "\x01", "\x02", "\x03", "\x04", "00", "ff", "\xff", "\xe2\x82", "é", "日", ""}), 0, 12).Draw(t, "parts")
		return strings.Repeat(strings.Join(parts, ""), rapid.SampledFrom([]int{1, 1, 1, 40, 200}).Draw(t, "times"))
	})
}

func TestTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyString().Draw(t, "string")
		got := pgstore.Text(s)
		assert.Assert(t, utf8.ValidString(got) && !strings.Contains(got, "\x00"), "PostgreSQL would refuse %q", got)
		assert.Equal(t, pgstore.Untext(got), s)
	})
}

func TestTextKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyString().Filter(utf8.ValidString).Draw(t, "a"), anyString().Filter(utf8.ValidString).Draw(t, "b")
		assert.Equal(t, cmp.Compare(pgstore.Text(a), pgstore.Text(b)), cmp.Compare(a, b))
	})
}

func TestBoundedTellsStringsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyString().Draw(t, "a"), anyString().Draw(t, "b")
		x, y := pgstore.Bounded(a), pgstore.Bounded(b)
		assert.Equal(t, x == y, a == b)
		assert.Assert(t, utf8.ValidString(x) && len(x) <= pgstore.MaxKeyBytes+66)
	})
}
