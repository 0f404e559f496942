package environment_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// The repository of the benchmark: 10,000 files, 200 MiB, of words, so that
// git packs it about as well as source code that does not repeat itself.
const (
	benchFiles     = 10_000
	benchFileBytes = 200 << 20 / benchFiles
)

// largeRepo makes the bare remote.
func largeRepo(b *testing.B) *gittest.Repo {
	b.Helper()
	r := gittest.New(b, "large", nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 4000)
	for i := range words {
		words[i] = fmt.Sprintf("word%x", rnd.Uint32N(1<<16))
	}
	for i := range benchFiles {
		var text bytes.Buffer
		for text.Len() < benchFileBytes {
			text.WriteString(words[rnd.IntN(len(words))])
			text.WriteByte(" \n"[rnd.IntN(8)/7])
		}
		text.Truncate(benchFileBytes)
		path := filepath.Join(r.Work, fmt.Sprintf("d%02d/f%04d.txt", i%100, i))
		assert.NilError(b, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(b, os.WriteFile(path, text.Bytes(), 0o644))
	}
	r.Commit(b, "main", nil)
	assert.NilError(b, os.RemoveAll(r.Work))
	return r
}

// median of the durations; they are sorted.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkSecondClone compares a run's workspace, from a repository that an
// earlier run has left in the cache, with a plain "git clone" from the local
// bare remote, turn by turn. The plain clone is given its best case: a local
// path, where git links the objects instead of copying them.
//
// "spare" is the usual second run, after Refill has laid out a checkout beside
// the first run's work; the refill is reported, and is in neither time.
// "mirror" is a run that finds no spare, because others took them.
func BenchmarkSecondClone(b *testing.B) {
	ctx := b.Context()
	r := largeRepo(b)
	cache, err := environment.OpenCache(b.TempDir(), nil)
	assert.NilError(b, err)
	p := newPreparer(b, &environment.PreparerOptions{Cache: cache})
	options := func(dir string) environment.Options {
		return environment.Options{Dir: dir, Owner: team, Config: config(nil, r)}
	}
	scratch := b.TempDir()
	refill := func(b *testing.B) time.Duration {
		start := time.Now()
		assert.NilError(b, p.Refill(ctx, options(filepath.Join(scratch, "none"))))
		return time.Since(start)
	}
	refill(b)
	for _, from := range []environment.Origin{environment.FromSpare, environment.FromMirror} {
		b.Run(string(from), func(b *testing.B) {
			var ours, plain, refills []time.Duration
			if from == environment.FromMirror { // take the spare away
				assert.NilError(b, prepareAndRemove(b, p, options(filepath.Join(scratch, "first"))))
			}
			for b.Loop() {
				if from == environment.FromSpare {
					refills = append(refills, refill(b))
				}
				dir := filepath.Join(scratch, "ours")
				start := time.Now()
				ws, err := p.Prepare(ctx, options(dir))
				ours = append(ours, time.Since(start))
				assert.NilError(b, err)
				assert.Equal(b, ws.Checkouts[0].From, from)
				files, err := filepath.Glob(filepath.Join(ws.WorkingDir, "d*", "f*.txt"))
				assert.NilError(b, err)
				assert.Equal(b, len(files), benchFiles)
				assert.NilError(b, os.RemoveAll(dir))

				dir = filepath.Join(scratch, "plain")
				start = time.Now()
				gittest.Git(b, scratch, "clone", "--quiet", r.Bare, dir)
				plain = append(plain, time.Since(start))
				assert.NilError(b, os.RemoveAll(dir))
			}
			o, c := median(ours), median(plain)
			b.ReportMetric(0, "ns/op") // a turn holds both, and the clean-up
			b.ReportMetric(float64(o.Microseconds())/1000, "ours-ms")
			b.ReportMetric(float64(c.Microseconds())/1000, "plain-ms")
			b.ReportMetric(float64(c)/float64(o), "times-sooner")
			if len(refills) > 0 {
				b.ReportMetric(float64(median(refills).Milliseconds()), "refill-ms")
			}
		})
	}
}

func prepareAndRemove(b *testing.B, p *environment.Preparer, o environment.Options) error {
	b.Helper()
	_, err := p.Prepare(b.Context(), o)
	assert.NilError(b, err)
	return os.RemoveAll(o.Dir)
}
