package secrets

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	// blockBytes is the length in which long texts are looked for, piece by
	// piece: it bounds what a writer holds back for one match.
	blockBytes = 1024

	// maxNesting bounds the JSON documents within JSON strings within ... that
	// are taken apart.
	maxNesting = 8
)

// pattern is one text to look for in the views of a buffer.
type pattern struct {
	text string
	name string // of the secret
	// encoded patterns (base64, hex) may be wrapped over lines.
	encoded bool
	// partial base64 ends within a character, which also belongs to the secret.
	partial bool
}

// patterns returns everything to look for so that value cannot pass. Escaped
// forms are not among it: the views decode those.
func patterns(name, value string) []pattern {
	c := collector{name: name, seen: map[string]bool{}}
	c.part(value, maxNesting)
	return c.found
}

// collector gathers the patterns of one secret.
type collector struct {
	name  string
	seen  map[string]bool
	found []pattern
}

// part adds text and the parts of it that are secret by themselves: its lines, the
// strings in it when it is JSON, the password in it when it is a URL.
func (c *collector) part(text string, depth int) {
	whole := normalise(text)
	if depth == 0 || c.seen[whole] || weakness(whole) != "" || isArmor(whole) {
		return
	}
	c.seen[whole] = true
	for _, block := range blocks(whole) {
		c.texts(block)
		c.base64(block)
		c.hex(block)
	}
	c.exact(strings.TrimSpace(text), whole)
	if lines := strings.Split(whole, "\n"); len(lines) > 1 {
		for _, line := range lines {
			c.part(line, depth-1)
		}
	}
	c.document(text, depth)
	if u, err := url.Parse(whole); err == nil && u.User != nil {
		password, _ := u.User.Password()
		c.part(password, depth-1)
	}
}

// document adds the strings of a JSON value; keys are names, not secrets.
func (c *collector) document(text string, depth int) {
	if !strings.ContainsAny(text[:1], "{[\" \t\r\n") {
		return
	}
	var v any
	if json.Unmarshal([]byte(text), &v) == nil {
		c.element(v, depth)
	}
}

func (c *collector) element(v any, depth int) {
	switch v := v.(type) {
	case string:
		c.part(v, depth-1)
	case []any:
		for _, e := range v {
			c.element(e, depth)
		}
	case map[string]any:
		for _, e := range v {
			c.element(e, depth)
		}
	}
}

// isArmor recognises the public first and last line of a PEM block.
func isArmor(line string) bool {
	return strings.HasPrefix(line, "-----") && strings.HasSuffix(line, "-----") && !strings.Contains(line, "\n")
}

// blocks cuts text into pieces of blockBytes. The last one overlaps its neighbour
// rather than being short.
func blocks(text string) []string {
	var all []string
	for len(text) > 2*blockBytes {
		all = append(all, text[:blockBytes])
		text = text[blockBytes:]
	}
	if len(text) > blockBytes {
		all = append(all, text[:blockBytes])
		text = text[len(text)-blockBytes:]
	}
	return append(all, text)
}

func (c *collector) add(p pattern) {
	p.name = c.name
	c.found = append(c.found, p)
}

// exact adds what the control bytes in a text make different from its normalised
// form: encodings keep them, and so does text that contains escape sequences.
func (c *collector) exact(text, normalised string) {
	if text == normalised {
		return
	}
	for _, block := range blocks(text) {
		c.base64(block)
		c.hex(block)
	}
	if strings.IndexByte(text, escape) >= 0 {
		for _, block := range blocks(stripped(text, escapeOnly)) {
			c.texts(block)
		}
	}
}

// texts adds the ways of writing block in which no decoder recognises it.
func (c *collector) texts(block string) {
	c.add(pattern{text: block})
	for _, quote := range []string{`'`, `"`} { // SQL, YAML, CSV
		if strings.Contains(block, quote) {
			c.add(pattern{text: strings.ReplaceAll(block, quote, quote+quote)})
		}
	}
	if !utf8.ValidString(block) { // what JSON encoders make of it
		if r := string([]rune(block)); strings.Count(r, "\ufffd") <= len(block)-MinValueBytes {
			c.add(pattern{text: r})
		}
	}
}

// base64 adds the characters that block alone decides, for each way it can lie in
// the three-byte groups of a longer text.
func (c *collector) base64(block string) {
	for before := range 3 {
		bits := 8 * (before + len(block))
		first, last := (8*before+5)/6, bits/6
		padded := append(make([]byte, before, before+len(block)), block...)
		std := base64.RawStdEncoding.EncodeToString(padded)[first:last]
		partial := bits%6 != 0
		c.add(pattern{text: std, encoded: true, partial: partial})
		if web := strings.NewReplacer("+", "-", "/", "_").Replace(std); web != std {
			c.add(pattern{text: web, encoded: true, partial: partial})
		}
	}
}

// hex adds hexadecimal in both cases, plain and with a colon or a space between bytes.
func (c *collector) hex(block string) {
	lower := hex.EncodeToString([]byte(block))
	for _, digits := range []string{lower, strings.ToUpper(lower)} {
		c.add(pattern{text: digits, encoded: true})
		for _, separator := range []byte{':', ' '} {
			c.add(pattern{text: separated(digits, separator)})
		}
	}
}

// separated puts a separator between the pairs of digits.
func separated(digits string, separator byte) string {
	b := make([]byte, 0, len(digits)*3/2)
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			b = append(b, separator)
		}
		b = append(b, digits[i:i+2]...)
	}
	return string(b)
}
