package secrets

import (
	"bytes"
	"encoding/binary"
)

// control marks the bytes that carry no text: C0 controls without tab and line
// feed, and DEL. Carriage returns are among them, so that CRLF and LF read alike,
// and NUL, so that UTF-16 reads like ASCII.
var control = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = c != '\n' && c != '\t'
	}
	t[0x7f] = true
	return t
}()

const escape = 0x1b

// hasControl reports whether stripping would change b. It tests eight bytes at once
// for one below 0x20 or equal to 0x7f, and looks closer at those eight only.
func hasControl(b []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i : i+8])
		del := x ^ 0x7f*ones
		if ((x-0x20*ones)&^x|(del-ones)&^del)&highs != 0 && anyControl(b[i:i+8]) {
			return true
		}
	}
	return anyControl(b[i:])
}

func anyControl(b []byte) bool {
	for _, c := range b {
		if control[c] {
			return true
		}
	}
	return false
}

// strip builds in dst the text of src without control bytes and without what sequence
// measures from each ESC on, and calls unit with the range of the buffer behind each
// such sequence. It returns the position in src of a sequence that the end of the text
// seems to cut off (-1 if none).
func strip(dst, src *view, sequence measure, unit func(start, end int)) (open int) {
	b := dst.build(src)
	data := src.data
	gapStart, barred := -1, false
	for i := 0; i < len(data); {
		if !control[data[i]] {
			j := i + 1
			for j < len(data) && !control[data[j]] {
				j++
			}
			b.copy(i, j)
			i, gapStart, barred = j, -1, false
			continue
		}
		if gapStart < 0 {
			gapStart = i
		}
		j := i + 1
		if data[i] == escape {
			size, whole := sequence(data[i:])
			if !whole && size <= maxGap {
				return i
			}
			j = i + size
			unit(b.rawStart(i), b.rawEnd(j-1))
		}
		if !barred && j-gapStart > maxGap {
			b.decoded(i, j, barrier)
			barred = true
		}
		i = j
	}
	return -1
}

// measure tells how many bytes of b, which begins with ESC, to skip. If they are cut
// off by the end of b, they are not whole.
type measure func(b []byte) (n int, whole bool)

// escapeOnly leaves the text within escape sequences visible.
func escapeOnly([]byte) (n int, whole bool) { return 1, true }

// sequenceLength returns the length of the escape sequence (ECMA-48) that b, which
// begins with ESC, begins with. One cut off by the end of b is as long as b and not
// whole; a malformed one ends before the byte that cannot belong to it.
func sequenceLength(b []byte) (n int, whole bool) {
	if len(b) < 2 {
		return len(b), false
	}
	i := 1
	switch c := b[1]; c {
	case '[': // CSI: parameters, intermediates, final byte
		i = skip(b, skip(b, 2, 0x30, 0x3f), 0x20, 0x2f)
		if i < len(b) && b[i] >= 0x40 && b[i] <= 0x7e {
			return i + 1, true
		}
	case ']', 'P', 'X', '^', '_':
		return stringLength(b)
	default: // intermediates, final byte
		i = skip(b, 1, 0x20, 0x2f)
		if i < len(b) && b[i] >= 0x30 && b[i] <= 0x7e {
			return i + 1, true
		}
	}
	return i, i < len(b)
}

// skip returns the first position from i on whose byte is not in [low, high].
func skip(b []byte, i int, low, high byte) int {
	for i < len(b) && b[i] >= low && b[i] <= high {
		i++
	}
	return i
}

// stringLength measures an OSC, DCS, SOS, PM or APC string, which ends with BEL or
// ST, or is broken off by CAN, SUB or another escape sequence.
func stringLength(b []byte) (n int, whole bool) {
	k := bytes.IndexAny(b[2:], "\a\x18\x1a\x1b")
	if k < 0 {
		return len(b), false
	}
	end := 2 + k
	switch {
	case b[end] != escape:
		return end + 1, true
	case end+1 == len(b):
		return len(b), false
	case b[end+1] == '\\':
		return end + 2, true
	}
	return end, true
}

// normalise returns text as it reads in a stripped view, without white space
// around it: the shape in which patterns are kept.
func normalise(text string) string { return stripped(text, sequenceLength) }

func stripped(text string, sequence measure) string {
	b := bytes.TrimSpace([]byte(text))
	if hasControl(b) {
		var v view
		strip(&v, &view{data: b}, sequence, func(int, int) {})
		b = bytes.TrimSpace(bytes.ReplaceAll(v.data, []byte{barrier}, nil))
	}
	return string(b)
}
