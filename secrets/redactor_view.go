package secrets

import "sort"

// maxGap is how many skipped bytes in a row (terminal control, line wrapping) a
// match may span. Longer runs, such as inline images, end every match in
// progress, so that the redactor never has to hold back more than this for them.
const maxGap = 4096

// barrier stands in a view for a gap that is too long. Normalised patterns hold
// no NUL, so nothing matches across it.
const barrier = 0x00

// view is one way to read a buffer: with terminal control removed, with escapes
// decoded, with wrapped lines joined. segs leads from each byte of data back to
// the bytes of the buffer it was read from.
type view struct {
	data []byte
	segs []segment // in order of off; none means that data is the buffer itself

	// joins are the positions in data before which a line break was removed.
	joins []int
}

// segment describes data[off:] up to the next segment. With end == 0 its bytes
// are copies of the buffer from raw on. Otherwise they are together the decoding
// of the buffer's bytes [raw, end).
type segment struct {
	off, raw, end int
}

// locate returns the segment that holds data[i].
func (v *view) locate(i int) segment {
	if len(v.segs) == 0 {
		return segment{}
	}
	k := sort.Search(len(v.segs), func(k int) bool { return v.segs[k].off > i })
	return v.segs[k-1]
}

// start returns where in the buffer the source of data[i] begins.
func (v *view) start(i int) int {
	s := v.locate(i)
	if s.end != 0 {
		return s.raw
	}
	return s.raw + i - s.off
}

// end returns where in the buffer the source of data[i] ends.
func (v *view) end(i int) int {
	s := v.locate(i)
	if s.end != 0 {
		return s.end
	}
	return s.raw + i - s.off + 1
}

// builder derives one view from another. Its methods take ranges of the source
// in ascending order; what they leave out is skipped.
type builder struct {
	dst *view
	src *view
	seg int // the source segment of the last position asked for
}

func (v *view) build(src *view) builder {
	v.data, v.segs, v.joins = v.data[:0], v.segs[:0], v.joins[:0]
	return builder{dst: v, src: src}
}

// at returns the source segment that holds position i, and where it ends.
func (b *builder) at(i int) (segment, int) {
	if len(b.src.segs) == 0 {
		return segment{}, len(b.src.data)
	}
	for b.seg+1 < len(b.src.segs) && b.src.segs[b.seg+1].off <= i {
		b.seg++
	}
	limit := len(b.src.data)
	if b.seg+1 < len(b.src.segs) {
		limit = b.src.segs[b.seg+1].off
	}
	return b.src.segs[b.seg], limit
}

// copy appends the source's bytes [i, j) as they are.
func (b *builder) copy(i, j int) {
	for i < j {
		s, limit := b.at(i)
		limit = min(limit, j)
		if s.end != 0 {
			b.add(segment{off: len(b.dst.data), raw: s.raw, end: s.end})
		} else {
			b.add(segment{off: len(b.dst.data), raw: s.raw + i - s.off})
		}
		b.dst.data = append(b.dst.data, b.src.data[i:limit]...)
		i = limit
	}
}

// add appends a segment, unless it only continues the last one.
func (b *builder) add(s segment) {
	if n := len(b.dst.segs); n > 0 && s.end == 0 {
		last := b.dst.segs[n-1]
		if last.end == 0 && last.raw+s.off-last.off == s.raw {
			return
		}
	}
	b.dst.segs = append(b.dst.segs, s)
}

// decoded appends text as the meaning of the source's bytes [i, j), and returns
// the range of the buffer that they came from.
func (b *builder) decoded(i, j int, text ...byte) (raw, end int) {
	raw, end = b.rawStart(i), b.rawEnd(j-1)
	if len(text) > 0 {
		b.dst.segs = append(b.dst.segs, segment{off: len(b.dst.data), raw: raw, end: end})
		b.dst.data = append(b.dst.data, text...)
	}
	return raw, end
}

func (b *builder) rawStart(i int) int {
	s, _ := b.at(i)
	if s.end != 0 {
		return s.raw
	}
	return s.raw + i - s.off
}

func (b *builder) rawEnd(i int) int {
	s, _ := b.at(i)
	if s.end != 0 {
		return s.end
	}
	return s.raw + i - s.off + 1
}
