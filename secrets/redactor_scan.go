package secrets

import (
	"bytes"
	"cmp"
	"slices"
)

const (
	// maxDepth is how many layers of escapes are undone, such as JSON in JSON.
	maxDepth = 2

	// maxIndent is the longest indentation, with its line break, of wrapped base64
	// or hex, in bytes.
	maxIndent = 64
)

// span is a part of the buffer that belongs to the secret called name.
type span struct {
	start, end int
	name       string
}

// unit is a part of the buffer that is read as a whole: an escape, a terminal sequence.
type unit struct{ start, end int }

// scanner looks for secrets in one buffer at a time. It keeps its memory between
// buffers.
type scanner struct {
	*matcher
	eof bool // nothing follows the buffer

	spans []span
	units []unit
	cut   int    // what is before it is decided
	name  string // of the secret that may begin at cut

	levels [maxDepth + 1]level
}

// level is the memory for the views at one depth of decoding.
type level struct{ decoded, stripped, joined view }

// scan finds the secrets in buf. Afterwards spans holds them in order, and cut says
// how much of buf no later text can change.
func (s *scanner) scan(m *matcher, buf []byte, eof bool) {
	s.matcher, s.eof, s.cut, s.name = m, eof, len(buf), ""
	s.spans, s.units = s.spans[:0], s.units[:0]
	if len(m.patterns) == 0 {
		return
	}
	raw := &view{data: buf}
	s.explore(raw, 0, sequenceLength)
	if bytes.IndexByte(buf, escape) >= 0 {
		// A terminal hides what escape sequences hold (titles, links); a log
		// does not, and a truncated sequence must not hide what follows it.
		s.explore(raw, 0, escapeOnly)
	}
	s.align()
	slices.SortFunc(s.spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end), cmp.Compare(a.name, b.name))
	})
}

// hold keeps what begins at from, as it may become the secret called name.
func (s *scanner) hold(from int, name string) {
	if from < s.cut {
		s.cut, s.name = from, name
	}
}

// unit notes a part of the buffer that is read as a whole.
func (s *scanner) unit(start, end int) { s.units = append(s.units, unit{start, end}) }

// giveUp decides what is held back: it is the secret it looks like.
func (s *scanner) giveUp(buf []byte) {
	k := slices.IndexFunc(s.spans, func(p span) bool { return p.start >= s.cut })
	if k >= 0 {
		s.spans = s.spans[:k]
	}
	s.match(s.cut, len(buf), s.name)
	s.cut = len(buf)
}

func (s *scanner) match(start, end int, name string) {
	s.spans = append(s.spans, span{start, end, name})
}

// align moves the cut out of escapes and terminal sequences, which must be read as a
// whole next time too.
func (s *scanner) align() {
	for moved := s.cut; ; moved = s.cut {
		for _, u := range s.units {
			if u.start < s.cut && s.cut < u.end {
				s.cut = u.start
			}
		}
		if moved == s.cut {
			return
		}
	}
}

// explore looks for secrets in v without terminal control, and in all that can be
// decoded from that.
func (s *scanner) explore(v *view, depth int, sequence measure) {
	if hasControl(v.data) {
		stripped := &s.levels[depth].stripped
		if open := strip(stripped, v, sequence, s.unit); open >= 0 && !s.eof {
			s.hold(v.start(open), "")
		}
		v = stripped
	}
	s.index.scan(v, s)
	if joined := &s.levels[depth].joined; join(joined, v, s.eof) {
		s.index.scan(joined, s)
	}
	if depth == maxDepth {
		return
	}
	for _, d := range s.decoders {
		if !d.present(v.data) {
			continue
		}
		decoded := &s.levels[depth+1].decoded
		found, open := d.apply(decoded, v, s.eof, s.unit)
		if open >= 0 {
			s.hold(v.start(open), "")
		}
		if found || open >= 0 {
			s.explore(decoded, depth+1, sequence)
		}
	}
}

// join builds in dst the text of src with the lines joined that wrapped base64, hex or
// a token too long for the terminal may consist of, and reports whether there are any.
func join(dst, src *view, eof bool) bool {
	b, data := dst.build(src), src.data
	done := 0
	for i := indexFrom(data, 0, '\n'); i < len(data); i = indexFrom(data, i+1, '\n') {
		to := i + 1
		for to < len(data) && (data[to] == ' ' || data[to] == '\t') {
			to++
		}
		if to-i > maxIndent || i-done < unwrapped || !isBase64(data[i-1]) {
			continue
		}
		if to == len(data) && eof || to < len(data) && !isBase64(data[to]) {
			continue
		}
		b.copy(done, i)
		dst.joins = append(dst.joins, len(dst.data))
		done = to
	}
	if len(dst.joins) > 0 {
		b.copy(done, len(data))
	}
	return len(dst.joins) > 0
}
