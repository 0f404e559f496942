package proc_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/internal/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// However output is cut into writes, Tail has its end and Head its beginning.
func TestTailAndHead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 20).Draw(t, "limit")
		tail, head := proc.Tail{Limit: limit}, proc.Head{Limit: limit}
		var all []byte
		for _, p := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 50)).Draw(t, "writes") {
			for _, w := range []interface{ Write([]byte) (int, error) }{&tail, &head} {
				n, err := w.Write(p)
				assert.NilError(t, err)
				assert.Equal(t, n, len(p))
			}
			all = append(all, p...)
		}
		assert.Equal(t, tail.String(), string(all[max(0, len(all)-limit):]))
		assert.Equal(t, string(head.Bytes()), string(all[:min(len(all), limit)]))
		assert.Equal(t, head.Dropped, int64(max(0, len(all)-limit)))
	})
}

// A secret that was printed whole is not seen in part, wherever a Tail cut it.
func TestMaskAfterTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets := rapid.SliceOfN(rapid.StringMatching(`[A-D]{4,30}`), 1, 3).Draw(t, "secrets")
		keep := rapid.IntRange(1, 40).Draw(t, "keep")
		tail := proc.Tail{Limit: keep + proc.LongestBytes(secrets)}
		for range rapid.IntRange(0, 20).Draw(t, "words") {
			word := rapid.SampledFrom(append(secrets, "plain", "text")).Draw(t, "word")
			_, _ = tail.Write([]byte(word + " "))
		}
		shown := proc.Mask(tail.String(), secrets, keep)
		assert.Assert(t, len(shown) <= keep)
		assert.Assert(t, !strings.ContainsAny(shown, "ABCD"), "%q", shown)
	})
}

func TestKillMarkedFindsOnlyTheMarked(t *testing.T) {
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs Linux")
	}
	start := func(value string) *exec.Cmd {
		cmd := exec.Command("sleep", "600")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "OZ_TEST_MARK=" + value}
		assert.NilError(t, cmd.Start())
		return cmd
	}
	marked, other := start("one"), start("one-more")
	assert.Equal(t, proc.KillMarked("OZ_TEST_MARK", "one"), 1)
	assert.ErrorContains(t, marked.Wait(), "killed")
	assert.Equal(t, proc.KillMarked("OZ_TEST_MARK", "one"), 0)
	assert.NilError(t, other.Process.Kill()) // it lived
	assert.ErrorContains(t, other.Wait(), "killed")
}
