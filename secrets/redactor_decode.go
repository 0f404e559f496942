package secrets

import (
	"bytes"
	"html"
	"unicode/utf16"
	"unicode/utf8"
)

// decoder reads one family of escapes. Decoding the text, instead of encoding
// the secrets, covers every encoder's choice of what to escape and how.
type decoder struct {
	// present is a cheap test whether text may hold such escapes.
	present func(text []byte) bool

	// next returns the position of the first byte at or after i that may begin
	// an escape, or len(text).
	next func(text []byte, i int) int

	// decode reads the escape that text begins with. size 0 means that it is
	// none, truncated that more text is needed to tell.
	decode func(text []byte, out []byte) (decoded []byte, size int, truncated bool)
}

// apply builds in dst what d reads in src, and calls unit with the range of the
// buffer behind each escape. It returns whether there was any, and the position in
// src of an escape that the end of the text cuts off (-1 if none); dst ends before
// that one. At the end of all text (eof) such a beginning is literal text.
func (d decoder) apply(dst, src *view, eof bool, unit func(start, end int)) (found bool, open int) {
	b, data := dst.build(src), src.data
	var scratch [64]byte
	done := 0
	for i := d.next(data, 0); i < len(data); {
		text, size, truncated := d.decode(data[i:], scratch[:0])
		if truncated && !eof {
			b.copy(done, i)
			return found, i
		}
		if size == 0 {
			i = d.next(data, i+1)
			continue
		}
		b.copy(done, i)
		unit(b.decoded(i, i+size, text...))
		done, found = i+size, true
		i = d.next(data, done)
	}
	if found {
		b.copy(done, len(data))
	}
	return found, -1
}

// indexFrom is bytes.IndexByte from i on, with len(text) for none.
func indexFrom(text []byte, i int, c byte) int {
	if i >= len(text) {
		return len(text)
	}
	if k := bytes.IndexByte(text[i:], c); k >= 0 {
		return i + k
	}
	return len(text)
}

// percentDecoder reads URL escapes (RFC 3986) in either case, however many
// characters the encoder chose to escape.
func percentDecoder() decoder {
	return decoder{
		present: func(text []byte) bool { return bytes.IndexByte(text, '%') >= 0 },
		next:    func(text []byte, i int) int { return indexFrom(text, i, '%') },
		decode:  decodePercent,
	}
}

func decodePercent(text, out []byte) ([]byte, int, bool) {
	c, ok, truncated := hexDigits(text[1:], 2)
	if !ok {
		return out, 0, truncated
	}
	return append(out, byte(c)), 3, false
}

// formDecoder reads URL escapes and + for a space (HTML forms, query strings).
func formDecoder() decoder {
	return decoder{
		present: func(text []byte) bool { return bytes.IndexByte(text, '+') >= 0 },
		next: func(text []byte, i int) int {
			for i < len(text) && text[i] != '%' && text[i] != '+' {
				i++
			}
			return i
		},
		decode: func(text, out []byte) ([]byte, int, bool) {
			if text[0] == '+' {
				return append(out, ' '), 1, false
			}
			return decodePercent(text, out)
		},
	}
}

// htmlDecoder reads named and numeric character references.
func htmlDecoder() decoder {
	return decoder{
		present: func(text []byte) bool { return bytes.IndexByte(text, '&') >= 0 },
		next:    func(text []byte, i int) int { return indexFrom(text, i, '&') },
		decode:  decodeReference,
	}
}

// maxReference is the length of the longest reference that is decoded, with & and
// semicolon. HTML's longest name has 31 letters.
const maxReference = 34

func decodeReference(text, out []byte) ([]byte, int, bool) {
	i := 1
	for i < len(text) && i < maxReference && (text[i] == '#' || isAlphanumeric(text[i])) {
		i++
	}
	if i == len(text) && i < maxReference {
		return out, 0, true
	}
	if i == 1 || i == maxReference || text[i] != ';' {
		return out, 0, false
	}
	reference := string(text[:i+1])
	decoded := html.UnescapeString(reference)
	if decoded == reference {
		return out, 0, false
	}
	return append(out, decoded...), i + 1, false
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// backslashDecoder reads the escapes of JSON, of Go and C strings, and of shells
// outside of quotes, in "..." and in $'...'.
func backslashDecoder() decoder {
	return decoder{
		present: func(text []byte) bool { return bytes.IndexByte(text, '\\') >= 0 },
		next:    func(text []byte, i int) int { return indexFrom(text, i, '\\') },
		decode:  decodeBackslash,
	}
}

func decodeBackslash(text, out []byte) ([]byte, int, bool) {
	if len(text) < 2 {
		return out, 0, true
	}
	switch c := text[1]; c {
	case 'n':
		return append(out, '\n'), 2, false
	case 't':
		return append(out, '\t'), 2, false
	case 'r', 'a', 'b', 'f', 'v':
		return append(out, '\r'), 2, false // control bytes; they are stripped
	case 'e', 'E':
		return append(out, escape), 2, false
	case 'x':
		return decodeNumber(text, out, 2)
	case 'u':
		return decodeUnicode(text, out)
	case 'U':
		return decodeNumber(text, out, 8)
	case '0', '1', '2', '3':
		return decodeOctal(text, out)
	default:
		if isAlphanumeric(c) || c >= utf8.RuneSelf || c < ' ' && c != '\t' {
			return out, 0, false
		}
		return append(out, c), 2, false // punctuation and blanks: the character itself
	}
}

// quoteDecoder reads the single quotes within '...' of a shell: '\” and '"'"'.
func quoteDecoder() decoder {
	return decoder{
		present: func(text []byte) bool {
			return bytes.Contains(text, []byte(`'\`)) || bytes.Contains(text, []byte(`'"`))
		},
		next:   func(text []byte, i int) int { return indexFrom(text, i, '\'') },
		decode: decodeQuote,
	}
}

func decodeQuote(text, out []byte) ([]byte, int, bool) {
	for _, form := range []string{`'\''`, `'"'"'`} {
		n := min(len(form), len(text))
		if string(text[:n]) != form[:n] {
			continue
		}
		if n < len(form) {
			return out, 0, true
		}
		return append(out, '\''), n, false
	}
	return out, 0, false
}

// decodeNumber reads \xXX as a byte and \UXXXXXXXX as a character.
func decodeNumber(text, out []byte, digits int) ([]byte, int, bool) {
	c, ok, truncated := hexDigits(text[2:], digits)
	switch {
	case !ok:
		return out, 0, truncated
	case digits == 2:
		return append(out, byte(c)), 4, false
	default:
		return utf8.AppendRune(out, rune(c)), 2 + digits, false
	}
}

func decodeOctal(text, out []byte) ([]byte, int, bool) {
	if len(text) < 4 {
		return out, 0, allOctal(text[1:])
	}
	if !allOctal(text[1:4]) {
		return out, 0, false
	}
	return append(out, (text[1]-'0')<<6|(text[2]-'0')<<3|(text[3]-'0')), 4, false
}

func allOctal(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '7' {
			return false
		}
	}
	return true
}

// decodeUnicode reads \uXXXX with surrogate pairs (JSON) and \u{X...} (JavaScript,
// Rust).
func decodeUnicode(text, out []byte) ([]byte, int, bool) {
	if len(text) > 2 && text[2] == '{' {
		return decodeBraced(text, out)
	}
	c, ok, truncated := hexDigits(text[2:], 4)
	if !ok {
		return out, 0, truncated
	}
	if !utf16.IsSurrogate(rune(c)) {
		return utf8.AppendRune(out, rune(c)), 6, false
	}
	rest := text[6:]
	if n := min(len(rest), 2); string(rest[:n]) != `\u`[:n] {
		return out, 0, false
	} else if n < 2 {
		return out, 0, true
	}
	low, ok, truncated := hexDigits(rest[2:], 4)
	if !ok {
		return out, 0, truncated
	}
	r := utf16.DecodeRune(rune(c), rune(low))
	if r == utf8.RuneError {
		return out, 0, false
	}
	return utf8.AppendRune(out, r), 12, false
}

func decodeBraced(text, out []byte) ([]byte, int, bool) {
	const maxDigits = 6
	var r rune
	i := 3
	for ; i < len(text) && i < 3+maxDigits; i++ {
		d, ok := hexDigit(text[i])
		if !ok {
			break
		}
		r = r<<4 | rune(d)
	}
	if i == len(text) {
		return out, 0, true
	}
	if i == 3 || text[i] != '}' {
		return out, 0, false
	}
	return utf8.AppendRune(out, r), i + 1, false
}

// hexDigits reads n hexadecimal digits at the start of text.
func hexDigits(text []byte, n int) (value uint32, ok, truncated bool) {
	for i := range n {
		if i == len(text) {
			return 0, false, true
		}
		d, ok := hexDigit(text[i])
		if !ok {
			return 0, false, false
		}
		value = value<<4 | uint32(d)
	}
	return value, true, false
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
