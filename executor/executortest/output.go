package executortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
)

var outputCases = map[string]func(*testing.T, Harness){
	"OutputInOrder":         outputInOrder,
	"OutputTenThousand":     outputTenThousand,
	"OutputFollows":         outputFollows,
	"OutputToTheEnd":        outputToTheEnd,
	"OutputClose":           outputClose,
	"OutputContext":         outputContext,
	"OutputBounded":         outputBounded,
	"OutputBoundedFollowed": outputBoundedFollowed,
}

func outputInOrder(t *testing.T, h Harness) {
	got := run(t, h.Open(t), script("x", `echo 1; echo 2 >&2; printf '\000\377\n'; echo 3; printf 4 >&2`))
	assert.Equal(t, got, "1\n2\n\x00\xff\n3\n4")
}

func outputTenThousand(t *testing.T, h Harness) {
	var want strings.Builder
	for i := 1; i <= 10_000; i++ {
		fmt.Fprintln(&want, i)
	}
	s := start(t, h.Open(t), script("x", "seq 10000"))
	assert.Assert(t, output(t, s) == want.String(), "while it runs")
	wait(t, s)
	assert.Assert(t, output(t, s) == want.String(), "after it has ended")
}

// outputFollows: a reader sees a line before the next one is written, and two readers do not share.
func outputFollows(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", trapping))
	a, b := follow(t, s), follow(t, s)
	for _, out := range []lines{a, b} {
		assert.Equal(t, out.next(), "ready")
	}
	assert.NilError(t, s.Signal(newContext(t), syscall.SIGUSR1))
	for _, out := range []lines{a, b, follow(t, s)} {
		if line := out.next(); line != "ready" {
			assert.Equal(t, line, "USR1")
		}
	}
}

// outputToTheEnd: what was written right before the end is not lost, also that of the children.
func outputToTheEnd(t *testing.T, h Harness) {
	e := h.Open(t)
	for i := range 20 {
		got := run(t, e, script("x"+strconv.Itoa(i), `sh -c 'printf a; printf b'; printf c; exec printf d`))
		assert.Equal(t, got, "abcd")
	}
}

func outputClose(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", "sleep 1000"))
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	result := make(chan error, 1)
	go func() {
		_, err := r.Read(make([]byte, 10))
		result <- err
	}()
	assert.NilError(t, r.Close())
	assert.Assert(t, <-result != nil)
	assert.Check(t, cmp.Nil(r.Close()), "a second time")
	_, err = r.Read(make([]byte, 10))
	assert.Assert(t, err != nil && !errors.Is(err, io.EOF), "%v", err)
}

func outputContext(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", "sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Output(ctx)
	assert.NilError(t, err)
	defer r.Close()
	result := make(chan error, 1)
	go func() {
		_, err := r.Read(make([]byte, 10))
		result <- err
	}()
	cancel()
	assert.ErrorIs(t, <-result, context.Canceled)
}

var droppedNote = regexp.MustCompile(`\n\[(\d+) bytes of output dropped\]\n`)

// flood writes eight times the limit between two lines.
func flood(h Harness) (spec executor.Spec, written int64) {
	total := 8 * h.OutputLimit
	spec = script("x", `echo first; head -c "$1" /dev/zero | tr '\0' x; echo; echo last`, strconv.FormatInt(total, 10))
	return spec, total + int64(len("first\n\nlast\n"))
}

func outputBounded(t *testing.T, h Harness) {
	spec, written := flood(h)
	s := start(t, h.Open(t), spec)
	assert.Equal(t, wait(t, s), executor.Exit{}, "too much output hurts nobody")
	checkFlood(t, h, output(t, s), written)
}

func checkFlood(t *testing.T, h Harness, out string, written int64) {
	t.Helper()
	assert.Check(t, strings.HasPrefix(out, "first\nxxx"))
	assert.Check(t, strings.HasSuffix(out, "xxx\nlast\n"))
	notes := droppedNote.FindAllStringSubmatch(out, -1)
	assert.Equal(t, len(notes), 1, "notes")
	dropped, err := strconv.ParseInt(notes[0][1], 10, 64)
	assert.NilError(t, err)
	kept := int64(len(out) - len(notes[0][0]))
	assert.Equal(t, kept+dropped, written, "bytes that are accounted for")
	assert.Check(t, kept <= h.OutputLimit, "%d kept", kept)
	assert.Check(t, kept >= h.OutputLimit/2, "%d kept", kept)
}

// outputBoundedFollowed: a reader who was there all the time loses no more than one who comes late, and the account is
// right wherever the writer overtakes it.
func outputBoundedFollowed(t *testing.T, h Harness) {
	spec, written := flood(h)
	s := start(t, h.Open(t), spec)
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	var seen, dropped int64
	var out strings.Builder
	_, err = io.Copy(&out, r)
	assert.NilError(t, err)
	seen = int64(out.Len())
	for _, note := range droppedNote.FindAllStringSubmatch(out.String(), -1) {
		n, err := strconv.ParseInt(note[1], 10, 64)
		assert.NilError(t, err)
		dropped += n
		seen -= int64(len(note[0]))
	}
	assert.Equal(t, seen+dropped, written)
	assert.Check(t, seen >= h.OutputLimit/2)
	assert.Check(t, strings.HasSuffix(out.String(), "xxx\nlast\n"))
	_, err = r.Read(make([]byte, 1))
	assert.Check(t, errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed))
}
