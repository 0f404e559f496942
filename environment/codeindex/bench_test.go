package codeindex

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// source is made-up code of some size, the same for the same number.
func source(n int) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	word := func() string { return fmt.Sprintf("%c%s%d", 'a'+r.IntN(26), parts[r.IntN(len(parts))], r.IntN(400)) }
	var out strings.Builder
	fmt.Fprintf(&out, "package p%d\n", n)
	for out.Len() < 8_000 {
		fmt.Fprintf(&out, "\n// %s does %s with %s.\nfunc %s%d(%s int) error {\n\tif %s := %s(%s); %s != nil {\n\t\treturn %s\n\t}\n\treturn nil\n}\n",
			word(), word(), word(), word(), n, word(), word(), word(), word(), word(), word())
	}
	return out.String()
}

var parts = []string{"Request", "Handler", "token", "Cache", "index", "Writer", "session", "Render", "queue", "Config", "parse", "Store", "retry", "Header"}

func tree(b *testing.B, files int) (*os.Root, []string, int64) {
	b.Helper()
	dir := b.TempDir()
	var list []string
	size := int64(0)
	for i := range files {
		name := fmt.Sprintf("dir%d/file%d.go", i%100, i)
		text := source(i)
		size += int64(len(text))
		assert.NilError(b, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		assert.NilError(b, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		list = append(list, name)
	}
	root, err := os.OpenRoot(dir)
	assert.NilError(b, err)
	b.Cleanup(func() { assert.Check(b, root.Close()) })
	return root, list, size
}

// BenchmarkBuild: at least 20 MiB a second on one core.
func BenchmarkBuild(b *testing.B) {
	root, list, size := tree(b, 2000)
	b.SetBytes(size)
	for b.Loop() {
		_, err := build(b.Context(), root, "", list)
		assert.NilError(b, err)
	}
}

// BenchmarkSearch: of 10,000 files, p95 at most 50 ms, by the index alone and
// with asking git what has changed.
func BenchmarkSearch(b *testing.B) {
	root, _, _ := tree(b, 10_000)
	gittest.Git(b, root.Name(), "init", "-q")
	commit(b, root.Name())
	g, err := git.Open(b.Context(), nil)
	assert.NilError(b, err)
	defer func() { assert.Check(b, g.Close()) }()
	r := Open(g, root.Name(), nil)
	assert.NilError(b, r.Prepare(b.Context()))
	data, err := r.x.encode()
	assert.NilError(b, err)
	queries := []string{"aRequest17", "where is the session token stored", "retry queue config", "func", "bHandler3 cCache9", "p4711", `"does"`, "nothing_like_it_at_all"}
	measure := func(search func(text string) error) func(b *testing.B) {
		return func(b *testing.B) {
			var times []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				assert.NilError(b, search(queries[i%len(queries)]))
				times = append(times, time.Since(began))
			}
			slices.Sort(times)
			b.ReportMetric(float64(len(data))/float64(r.x.head.Bytes), "index/text")
			b.ReportMetric(float64(times[len(times)*95/100].Microseconds())/1000, "p95-ms")
		}
	}
	b.Run("index", measure(func(text string) error {
		q := newQuery(text)
		_, err := q.read(b.Context(), root, r.x.candidates(&q))
		return err
	}))
	b.Run("git", measure(func(text string) error {
		_, err := r.Search(b.Context(), text, 10)
		return err
	}))
}

// BenchmarkNearest ranks as many pieces as a repository may have, with vectors
// of a usual size.
func BenchmarkNearest(b *testing.B) {
	const dimensions = 1536
	r := rand.New(rand.NewPCG(1, 2))
	unit := func() []float32 {
		v := make([]float64, dimensions)
		for i := range v {
			v[i] = r.NormFloat64()
		}
		out, err := unitOf(v)
		assert.NilError(b, err)
		return out
	}
	m := &meaning{dimensions: dimensions, files: map[string][]piece{}, known: map[pieceID]vector{}}
	for i := range MaxPieces {
		id := pieceID{byte(i), byte(i >> 8)}
		m.files[fmt.Sprintf("f%d.go", i/10)] = append(m.files[fmt.Sprintf("f%d.go", i/10)], piece{id: id})
		m.known[id] = newVector(unit())
	}
	query := unit()
	for b.Loop() {
		_, err := m.nearest(query)
		assert.NilError(b, err)
	}
}
