package codeindex

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// leastCosine is from where on a piece has to do with a query at all.
	leastCosine = 0.2
	// maxMeant is how many pieces are looked at for one search.
	maxMeant = 30
	// meantLines are shown of a piece.
	meantLines = 8
	// rankOffset is the constant of reciprocal rank fusion: 60 is what its
	// authors found to be good, and hardly matters.
	rankOffset = 60
	// awayPause is how long an endpoint that failed a query is left alone.
	awayPause = 30 * time.Second
)

var (
	errUnlike  = errors.New("the endpoint for embeddings answered with vectors of another dimension than before")
	errNotYet  = errors.New("no embeddings are there yet")
	errNoShare = errors.New("the run's share for embeddings is used up; later runs go on")
)

// meaning is what is known of the pieces of a repository.
type meaning struct {
	to Embeddings

	mu         sync.RWMutex
	dimensions int
	files      map[string][]piece // without their texts
	total      int                // pieces in files
	known      map[pieceID]vector
	sent       int64 // bytes
	err        error // why Embed ended early
	// away is why the last query got no vector; none is asked for until until.
	away  error
	until time.Time
}

// Embed gets the vectors of what is new in the repository: it sends the pieces
// of tracked files that no earlier call has sent, as far as
// Embeddings.MaxBytes goes, and keeps what it gets. It waits for Prepare. Files
// that are ignored, no text, larger than MaxPieceFileBytes or look like they
// hold a secret are never sent. What was got before an error counts; Find tells
// of the error. Without Options.Embeddings it does nothing.
func (r *Repository) Embed(ctx context.Context) error {
	if r.means == nil {
		return nil
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.err != nil {
		return nil // Prepare has told
	}
	limited, cancel := context.WithTimeoutCause(ctx, r.means.to.MaxTime, errors.New("getting embeddings took too long; later runs go on"))
	defer cancel()
	err := r.embed(limited)
	r.means.ended(err)
	return err
}

func (m *meaning) ended(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (r *Repository) embed(ctx context.Context) error {
	files, err := r.list(ctx)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return fmt.Errorf("open repository: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	stored := loadVectors(r.vectorFile())
	missing, err := r.means.survey(ctx, root, files, stored)
	if err != nil {
		return err
	}
	err = r.sendAll(ctx, missing)
	if stored != nil && errors.Is(err, errUnlike) { // the model of that name is another one now
		r.forget()
		if missing, err = r.means.survey(ctx, root, files, nil); err == nil {
			err = r.sendAll(ctx, missing)
		}
	}
	return cmp.Or(err, r.means.short())
}

// short is why pieces are left without a vector after all went well.
func (m *meaning) short() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.covered() < m.total {
		return errNoShare
	}
	return nil
}

// survey cuts all files and gives the pieces without a vector.
func (m *meaning) survey(ctx context.Context, root *os.Root, files []string, stored *vectors) ([]piece, error) {
	found, known := map[string][]piece{}, map[pieceID]vector{}
	var missing []piece
	var buf []byte
	asked := map[pieceID]bool{}
	room, total := m.room(), 0
	for i, file := range files {
		if i%64 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text, err := readText(root, file, buf)
		if err != nil {
			continue // gone, or no text
		}
		buf = text[:0]
		if m.hidden(file, text) {
			continue
		}
		list := pieces(file, text)
		if total += len(list); total > MaxPieces {
			total -= len(list)
			break
		}
		for n := range list {
			p := list[n]
			list[n].text = "" // far too many to keep
			if one, ok := stored.get(p.id); ok {
				known[p.id] = one
			} else if size := int64(len(p.text)); !asked[p.id] && size <= room {
				asked[p.id] = true
				room -= size
				missing = append(missing, p)
			}
		}
		found[file] = list
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files, m.known, m.total, m.dimensions = found, known, total, 0
	if len(known) > 0 {
		m.dimensions = stored.dimensions
	}
	return missing, nil
}

// get is safe for a nil v.
func (v *vectors) get(id pieceID) (vector, bool) {
	if v == nil {
		return vector{}, false
	}
	one, ok := v.of[id]
	return one, ok
}

// hidden reports whether a file must not be sent.
func (m *meaning) hidden(file string, text []byte) bool {
	return len(text) > MaxPieceFileBytes || looksSecret(file, text) || m.to.Hide != nil && m.to.Hide(text)
}

// room is how many bytes may still be sent.
func (m *meaning) room() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.to.MaxBytes - m.sent
}

// take books bytes before they are sent, or reports that there is no room.
func (m *meaning) take(texts []string) bool {
	size := int64(0)
	for _, t := range texts {
		size += int64(len(t))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sent+size > m.to.MaxBytes {
		return false
	}
	m.sent += size
	return true
}

// sendAll gets the vectors of pieces in batches and keeps them, those that came
// before an error too.
func (r *Repository) sendAll(ctx context.Context, missing []piece) error {
	if len(missing) == 0 {
		return nil
	}
	defer r.keepKnown()
	for batch := range slices.Chunk(missing, maxBatch) {
		texts := make([]string, len(batch))
		for i, p := range batch {
			texts[i] = p.text
		}
		if !r.means.take(texts) {
			return errNoShare
		}
		got, err := r.means.to.ask(ctx, r.means.to.BatchTimeout, texts)
		if err != nil {
			return err
		}
		if err := r.means.learn(batch, got); err != nil {
			return err
		}
	}
	return nil
}

func (m *meaning) learn(batch []piece, got [][]float32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dimensions = cmp.Or(m.dimensions, len(got[0]))
	if len(got[0]) != m.dimensions {
		return errUnlike
	}
	for i, p := range batch {
		m.known[p.id] = newVector(got[i])
	}
	return nil
}

func (r *Repository) keepKnown() {
	r.means.mu.RLock()
	v := &vectors{dimensions: r.means.dimensions, of: maps.Clone(r.means.known)}
	r.means.mu.RUnlock()
	keepVectors(r.vectorFile(), v)
}

// forget removes vectors that do not fit those of the endpoint any more.
func (r *Repository) forget() {
	if file := r.vectorFile(); file != "" {
		_ = os.Remove(file) // else the next run finds out again
	}
}

// Found is what Find gives.
type Found struct {
	Hits []Hit
	// Note says what could not be done by meaning, and why; "" for nothing.
	Note string
}

// Find searches like Search, and by meaning where there are embeddings: the
// places of both are merged by their ranks. Whatever is wrong with the
// embeddings, the places by words are there, and Note says what it was.
func (r *Repository) Find(ctx context.Context, text string, limit int) (Found, error) {
	if r.means == nil {
		hits, err := r.Search(ctx, text, limit)
		return Found{Hits: hits}, err
	}
	type answer struct {
		hits []meant
		err  error
	}
	asked := make(chan answer, 1)
	meaningCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		hits, err := r.mean(meaningCtx, text)
		asked <- answer{hits, err}
	}()
	words, err := r.Search(ctx, text, MaxHits)
	if err != nil {
		cancel()
		<-asked
		return Found{}, err
	}
	got := <-asked
	return Found{Hits: merge(words, got.hits, min(cmp.Or(limit, 10), MaxHits)), Note: r.means.note(got.err)}, nil
}

// note tells what is missing in a search by meaning.
func (m *meaning) note(err error) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch {
	case errors.Is(err, errNotYet) && m.err != nil:
		return fmt.Sprintf("found by words alone: %v", m.err)
	case err != nil:
		return fmt.Sprintf("found by words alone: %v", err)
	case m.total > 0 && m.covered() < m.total && m.err != nil:
		return fmt.Sprintf("by meaning in %d of %d pieces: %v", m.covered(), m.total, m.err)
	case m.total > 0 && m.covered() < m.total:
		return fmt.Sprintf("by meaning in %d of %d pieces so far", m.covered(), m.total)
	}
	return ""
}

// covered counts the pieces of files that have a vector.
func (m *meaning) covered() int {
	n := 0
	for _, list := range m.files {
		for _, p := range list {
			if _, ok := m.known[p.id]; ok {
				n++
			}
		}
	}
	return n
}

// meant is a piece that has to do with a query.
type meant struct {
	Hit
	last int // line
}

// mean finds the pieces that are nearest to a query, the nearest first. Those
// whose text is another now are left out: they are found by words.
func (r *Repository) mean(ctx context.Context, text string) ([]meant, error) {
	m := r.means
	if !m.any() {
		return nil, errNotYet
	}
	if len(strings.TrimSpace(text)) == 0 {
		return nil, nil
	}
	if secretText.MatchString(text) || m.to.Hide != nil && m.to.Hide([]byte(text)) {
		return nil, errors.New("the query looks like it holds a secret")
	}
	query, err := m.query(ctx, text)
	if err != nil {
		return nil, err
	}
	near, err := m.nearest(query)
	if err != nil {
		r.forget() // the next run begins anew
		return nil, err
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	var out []meant
	for _, n := range near {
		if hit, ok := n.now(root); ok {
			out = append(out, hit)
		}
	}
	return out, nil
}

// query gets the vector of a query. After an endpoint has failed it is left
// alone for a while, so that not every search waits for it.
func (m *meaning) query(ctx context.Context, text string) ([]float32, error) {
	m.mu.RLock()
	away, until := m.away, m.until
	m.mu.RUnlock()
	if away != nil && m.to.Clock.Now().Before(until) {
		return nil, away
	}
	got, err := m.to.ask(ctx, m.to.QueryTimeout, []string{text})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	m.away, m.until = err, m.to.Clock.Now().Add(awayPause)
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

func (m *meaning) any() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.known) > 0
}

// neighbour is a piece near to a query.
type neighbour struct {
	path   string
	id     pieceID
	cosine float32
}

func (m *meaning) nearest(query []float32) ([]neighbour, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(query) != m.dimensions {
		return nil, errUnlike
	}
	var list []neighbour
	for path, pieces := range m.files {
		for _, p := range pieces {
			one, ok := m.known[p.id]
			if !ok {
				continue
			}
			if c := one.cosine(query); c >= leastCosine {
				list = append(list, neighbour{path, p.id, c})
			}
		}
	}
	slices.SortFunc(list, func(a, b neighbour) int {
		return cmp.Or(cmp.Compare(b.cosine, a.cosine), strings.Compare(a.path, b.path), slices.Compare(a.id[:], b.id[:]))
	})
	return list[:min(len(list), maxMeant)], nil
}

// now shows a piece as it stands in its file, wherever that is by now.
func (n neighbour) now(root *os.Root) (meant, bool) {
	text, err := readText(root, n.path, nil)
	if err != nil {
		return meant{}, false
	}
	for _, p := range pieces(n.path, text) {
		if p.id != n.id {
			continue
		}
		starts := lineStarts(text)
		first := p.first
		for first < p.last && len(strings.TrimSpace(lines(text, starts, first-1, first-1))) == 0 {
			first++
		}
		last := min(p.last, first+meantLines-1)
		return meant{Hit{Path: n.path, Line: first, First: first, Text: lines(text, starts, first-1, last-1)}, p.last}, true
	}
	return meant{}, false
}

// merge puts two lists in one by reciprocal rank. A place that both have is
// shown as the words have it, for that is the line in question.
func merge(words []Hit, near []meant, limit int) []Hit {
	out := slices.Clone(words)
	for i := range out {
		out[i].Score = 1 / float64(rankOffset+i+1)
	}
	for rank, n := range near {
		worth := 1 / float64(rankOffset+rank+1)
		same := slices.IndexFunc(out, func(h Hit) bool { return h.Path == n.Path && h.Line >= n.First && h.Line <= n.last })
		if same >= 0 {
			out[same].Score += worth
			continue
		}
		n.Score = worth
		out = append(out, n.Hit)
	}
	return best(out, limit)
}
