package codeindex

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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

// queries are of the usual kinds: names, words, word by word, and nothing.
var queries = []string{"aRequest17", "where is the session token stored", "retry queue config", "func", "bHandler3 cCache9", "p4711", `"does"`, "nothing_like_it_at_all"}

// warm is a committed repository of 10,000 files with its index.
func warm(b *testing.B, opts *Options) (*Repository, *os.Root, []string) {
	b.Helper()
	root, list, _ := tree(b, 10_000)
	gittest.Git(b, root.Name(), "init", "-q")
	commit(b, root.Name())
	g, err := git.Open(b.Context(), nil)
	assert.NilError(b, err)
	b.Cleanup(func() { assert.Check(b, g.Close()) })
	r := Open(g, root.Name(), opts)
	assert.NilError(b, r.Prepare(b.Context()))
	return r, root, list
}

// measure runs search for one query after the other and reports the times of
// single calls.
func measure(search func(text string) error) func(b *testing.B) {
	return func(b *testing.B) {
		var times []time.Duration
		for i := 0; b.Loop(); i++ {
			began := time.Now()
			assert.NilError(b, search(queries[i%len(queries)]))
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		ms := func(part int) float64 { return float64(times[len(times)*part/100].Microseconds()) / 1000 }
		b.ReportMetric(ms(50), "p50-ms")
		b.ReportMetric(ms(95), "p95-ms")
	}
}

// BenchmarkSearch: of 10,000 files, p95 at most 50 ms: the whole call, which
// asks git what has changed, with nothing changed and with 100 changed files;
// and the index alone.
func BenchmarkSearch(b *testing.B) {
	r, root, list := warm(b, nil)
	whole := func(text string) error {
		_, err := r.Search(b.Context(), text, 10)
		return err
	}
	b.Run("index", measure(func(text string) error {
		q := newQuery(text)
		_, err := q.read(b.Context(), root, r.x.candidates(&q))
		return err
	}))
	b.Run("whole", measure(whole))
	for i := range 100 {
		assert.NilError(b, os.WriteFile(filepath.Join(root.Name(), list[i*7]), []byte(source(i*7)+"\n// changed\n"), 0o600))
	}
	b.Run("changed", measure(whole))
}

// BenchmarkFind: the whole call with as many embedded pieces as there may be,
// and an endpoint on this machine for the query's vector.
func BenchmarkFind(b *testing.B) {
	const dimensions = 1536
	rnd := rand.New(rand.NewPCG(3, 4))
	vectorOf := func() []float64 {
		v := make([]float64, dimensions)
		for i := range v {
			v[i] = rnd.NormFloat64()
		}
		return v
	}
	answer, err := json.Marshal(map[string]any{"data": []any{map[string]any{"index": 0, "embedding": vectorOf()}}})
	assert.NilError(b, err)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }))
	defer endpoint.Close()
	r, root, list := warm(b, &Options{Embeddings: &Embeddings{URL: endpoint.URL, Model: "m", MaxBytes: 1 << 40}})
	missing, err := r.means.survey(b.Context(), root, list, nil)
	assert.NilError(b, err)
	r.means.dimensions = dimensions
	for _, p := range missing {
		unit, err := unitOf(vectorOf())
		assert.NilError(b, err)
		r.means.known[p.id] = newVector(unit)
	}
	b.Run("whole", measure(func(text string) error {
		found, err := r.Find(b.Context(), text, 10)
		if err == nil && found.Note != "" {
			return errors.New(found.Note)
		}
		return err
	}))
	b.Logf("%d pieces", len(missing))
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
