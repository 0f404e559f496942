//go:build linux

package outlog

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strconv"
	"testing"

	"gotest.tools/v3/assert"
	"pgregory.net/rapid"
)

// TestOutputPieces writes in arbitrary portions and reads in others, during and after, and compares with what a bounded
// head and tail of the same bytes must be.
func TestOutputPieces(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		assert.NilError(rt, err)
		l := NewLayout(int64(rapid.IntRange(8, 400).Draw(rt, "limit")))
		w, err := NewWriter(dir, l)
		assert.NilError(rt, err)
		var written []byte
		early := NewReader(context.Background(), dir, l, func() bool { return true })
		defer early.Close()
		var seen []byte
		for _, size := range rapid.SliceOf(rapid.IntRange(0, 300)).Draw(rt, "writes") {
			portion := make([]byte, size)
			for i := range portion {
				portion[i] = 'a' + byte((len(written)+i)%7)
			}
			n, err := w.Write(portion)
			assert.NilError(rt, err)
			assert.Equal(rt, n, size)
			written = append(written, portion...)
			if rapid.Bool().Draw(rt, "read now") {
				buf := make([]byte, rapid.IntRange(1, 100).Draw(rt, "buffer"))
				n, err := early.Read(buf)
				assert.Assert(rt, err == nil || err == io.EOF)
				seen = append(seen, buf[:n]...)
			}
		}
		assert.NilError(rt, w.Close())
		rest, err := io.ReadAll(early)
		assert.NilError(rt, err)
		checkPieces(rt, l, append(seen, rest...), written)

		late := NewReader(context.Background(), dir, l, func() bool { return true })
		defer late.Close()
		all, err := io.ReadAll(late)
		assert.NilError(rt, err)
		checkPieces(rt, l, all, written)
		assert.Assert(rt, diskUse(rt, dir) <= l.head+tailPieces*l.tail)
	})
}

var note = regexp.MustCompile(`\n\[(\d+) bytes of output dropped\]\n`)

// checkPieces expects got to be written with parts replaced by notes of their length, none of it in the head, and no
// more than a reader may lose.
func checkPieces(t *rapid.T, l Layout, got, written []byte) {
	position := 0
	for part := range bytes.SplitSeq(note.ReplaceAll(got, []byte("|$1|")), []byte("|")) {
		if n, err := strconv.Atoi(string(part)); err == nil {
			assert.Assert(t, int64(position) >= l.head, "head dropped")
			position += n
			continue
		}
		assert.Assert(t, bytes.HasPrefix(written[position:], part), "at %d", position)
		position += len(part)
	}
	assert.Equal(t, position, len(written))
	kept := int64(len(note.ReplaceAll(got, nil)))
	assert.Assert(t, kept >= min(int64(len(written)), l.head+(tailPieces-1)*l.tail), "%d of %d kept", kept, len(written))
}

func diskUse(t *rapid.T, dir string) int64 {
	entries, err := os.ReadDir(dir)
	assert.NilError(t, err)
	var sum int64
	for _, entry := range entries {
		info, err := entry.Info()
		assert.NilError(t, err)
		sum += info.Size()
	}
	return sum
}
