package secrets

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"
	"strings"
)

const (
	// keyBytes is how much of a pattern's beginning is looked up at once. No
	// pattern is shorter.
	keyBytes = 8

	// stride is how many positions of a text are tested at once, by the gram of
	// keyBytes-stride+1 bytes at one of them: of stride neighbouring starts of a
	// key, each has that gram at another offset.
	stride   = 4
	gramMask = 1<<(8*(keyBytes-stride+1)) - 1

	// filterPerGram makes one gram in 16 pass the filter by chance.
	filterPerGram = 16
	minFilterLog  = 12 // 4 KiB
	maxFilterLog  = 24 // 16 MiB

	// unwrapped is how many characters of a pattern must stand together before the
	// first line break. Without it, every line that ends with a letter would have
	// to be held back.
	unwrapped = 4
)

// index finds patterns in a view: a filter over hashed grams rejects nearly every
// position, and what passes is compared. Patterns are sorted, so those with the same
// key lie together.
type index struct {
	patterns []pattern
	buckets  map[uint64]bucket

	// filter has, for the hash of a gram, a bit for each offset at which some key
	// holds it.
	filter []uint8
	shift  uint
}

// bucket is the range of the patterns that begin with one key.
type bucket struct{ from, to int32 }

// matcher is what a set of secrets compiles to. It is immutable.
type matcher struct {
	*index
	decoders []decoder
}

func newMatcher(all []pattern) *matcher {
	m := &matcher{index: newIndex(clipped(all)), decoders: []decoder{backslashDecoder(), quoteDecoder(), percentDecoder(), htmlDecoder()}}
	if slices.ContainsFunc(all, func(p pattern) bool { return strings.Contains(p.text, " ") && !p.encoded }) {
		m.decoders = append(m.decoders, formDecoder())
	}
	return m
}

// clipped adds the patterns by which an encoded secret is recognised that begins in the
// last characters of a wrapped line, too few of them to be held back.
func clipped(all []pattern) []pattern {
	all = slices.Clone(all)
	for _, p := range all {
		for range unwrapped - 1 {
			if p.text = p.text[1:]; p.encoded && len(p.text) >= keyBytes {
				all = append(all, p)
			}
		}
	}
	return all
}

// newIndex takes patterns over.
func newIndex(patterns []pattern) *index {
	x := &index{patterns: patterns}
	slices.SortFunc(x.patterns, func(a, b pattern) int {
		return cmp.Or(strings.Compare(a.text, b.text), strings.Compare(a.name, b.name))
	})
	x.patterns = slices.CompactFunc(x.patterns, func(a, b pattern) bool { return a.text == b.text })
	log := uint(minFilterLog)
	for log < maxFilterLog && 1<<log < filterPerGram*stride*len(x.patterns) {
		log++
	}
	x.filter, x.shift = make([]uint8, 1<<log), 64-log
	x.buckets = make(map[uint64]bucket, len(x.patterns))
	for i, p := range x.patterns {
		key := binary.LittleEndian.Uint64([]byte(p.text[:keyBytes]))
		b, ok := x.buckets[key]
		if !ok {
			b.from = int32(i)
			for offset := range stride {
				x.filter[hash(key>>(8*offset)&gramMask)>>x.shift] |= 1 << offset
			}
		}
		b.to = int32(i + 1)
		x.buckets[key] = b
	}
	return x
}

// hash spreads keys by multiplication with 2^64 divided by the golden ratio.
func hash(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 }

// scan reports to s every match in v, and the first position from which a match may
// still be completed by text to come.
func (x *index) scan(v *view, s *scanner) {
	data, filter, shift := v.data, x.filter, x.shift
	for i := 0; i+keyBytes <= len(data); i += stride {
		gram := binary.LittleEndian.Uint64(data[i:i+keyBytes]) & gramMask
		if offsets := filter[hash(gram)>>shift]; offsets != 0 {
			x.around(v, i, offsets, s)
		}
	}
	// The last grams begin too close to the end to be read above.
	tail := max(0, len(data)-keyBytes+1)
	for start := max(0, (tail+stride-1)/stride*stride-stride+1); start < tail; start++ {
		x.lookup(v, start, s)
	}
	if s.eof {
		return
	}
	for i := tail; i < len(data); i++ {
		if name, ok := x.begins(data[i:]); ok && x.together(v, i) {
			s.hold(v.start(i), name)
			return
		}
	}
}

// around looks at the starts from which a key may have the gram at i.
func (x *index) around(v *view, i int, offsets uint8, s *scanner) {
	for ; offsets != 0; offsets &= offsets - 1 {
		if start := i - bits.TrailingZeros8(offsets); start >= 0 {
			x.lookup(v, start, s)
		}
	}
}

// lookup compares the patterns that have their key at start.
func (x *index) lookup(v *view, start int, s *scanner) {
	key := binary.LittleEndian.Uint64(v.data[start : start+keyBytes])
	if b, ok := x.buckets[key]; ok {
		x.compare(v, start, x.patterns[b.from:b.to], s)
	}
}

// begins returns the name of a pattern that begins with text, which is shorter than a key.
func (x *index) begins(text []byte) (string, bool) {
	k, _ := slices.BinarySearchFunc(x.patterns, text, func(p pattern, text []byte) int {
		return cmp.Compare(p.text[:len(text)], string(text))
	})
	if k == len(x.patterns) || x.patterns[k].text[:len(text)] != string(text) {
		return "", false
	}
	return x.patterns[k].name, true
}

// together reports whether no line break was removed within the first characters at
// v.data[i].
func (x *index) together(v *view, i int) bool {
	k := sort.SearchInts(v.joins, i+1)
	return k == len(v.joins) || v.joins[k]-i >= unwrapped
}

// compare reports the longest pattern of a bucket that stands at v.data[i], and
// whether another one may yet turn out to.
func (x *index) compare(v *view, i int, bucket []pattern, s *scanner) {
	if !x.together(v, i) {
		return
	}
	best, length := -1, 0
	for k := range bucket {
		n, open := bucket[k].at(v.data[i:], s.eof)
		if open {
			s.hold(v.start(i), bucket[k].name)
		}
		if n > length {
			best, length = k, n
		}
	}
	if best >= 0 {
		s.match(v.start(i), v.end(i+length-1), bucket[best].name)
	}
}

// at returns how much of text, from its start, p redacts: 0 if p is not there. open
// says that this depends on text to come. At the end (eof) half a secret is enough:
// what cut the text off there must not save it.
func (p *pattern) at(text []byte, eof bool) (n int, open bool) {
	n = commonPrefix(text, p.text)
	if n < len(p.text) {
		if n < len(text) {
			return 0, false
		}
		if eof && n >= MinValueBytes && 2*n >= len(p.text) {
			return n, false
		}
		return 0, !eof
	}
	if !p.partial {
		return n, false
	}
	if n < len(text) && isBase64(text[n]) {
		n++
	}
	for k := 0; k < 2 && n < len(text) && text[n] == '='; k++ {
		n++
	}
	return n, n == len(text) && !eof
}

func commonPrefix(a []byte, b string) int {
	n := min(len(a), len(b))
	if string(a[:n]) == b[:n] {
		return n
	}
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func isBase64(c byte) bool {
	return isAlphanumeric(c) || c == '+' || c == '/' || c == '-' || c == '_'
}
