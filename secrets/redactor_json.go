package secrets

import (
	"bytes"
	"encoding/json"

	"github.com/oz-platform/cloudagents/task"
)

// JSON redacts a JSON document so that it stays one: within its strings, keys as well
// as values, and whole numbers that are secrets. What holds no secret keeps its bytes.
//
// It sees what a string means, so it finds one layer of escapes more than Bytes. It
// returns a [task.CodeInvalidRequest] error if doc is not valid JSON.
func (r *Redactor) JSON(doc []byte) ([]byte, error) {
	if !json.Valid(doc) {
		return nil, task.Invalid("json", "the text to redact is not one valid JSON document")
	}
	var out []byte
	done := 0
	for i := 0; i < len(doc); {
		size := literal(doc[i:])
		if size == 0 {
			i++
			continue
		}
		if redacted, changed := r.literal(doc[i : i+size]); changed {
			out = append(append(out, doc[done:i]...), redacted...)
			done = i + size
		}
		i += size
	}
	if done == 0 {
		return doc, nil
	}
	return append(out, doc[done:]...), nil
}

// literal returns the length of the string or number that valid JSON begins with, 0
// for anything else.
func literal(doc []byte) int {
	switch c := doc[0]; {
	case c == '"':
		for i := 1; ; i++ {
			switch doc[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	case c == '-' || c >= '0' && c <= '9':
		i := 1
		for i < len(doc) && bytes.IndexByte([]byte("0123456789.eE+-"), doc[i]) >= 0 {
			i++
		}
		return i
	}
	return 0
}

// literal redacts one string or number. A number that is a secret becomes a string.
func (r *Redactor) literal(text []byte) ([]byte, bool) {
	meaning := string(text)
	if text[0] == '"' && json.Unmarshal(text, &meaning) != nil {
		return text, false
	}
	redacted := r.String(meaning)
	if redacted == meaning {
		// Invalid UTF-8 is lost in the meaning; the bytes still count.
		if within := r.Bytes(text); text[0] == '"' && !bytes.Equal(within, text) && json.Valid(within) {
			return within, true
		}
		return text, false
	}
	quoted, err := json.Marshal(redacted)
	return quoted, err == nil
}
