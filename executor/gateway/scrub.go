package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
)

// minKeyLength is the shortest credential that can be told from ordinary text.
const minKeyLength = 8

// scrubber takes credentials out of what comes back from providers: some echo
// a request's headers in their errors. It knows every provider's key, as it is
// and as JSON and URLs would spell it.
type scrubber struct{ forms []string }

func newScrubber(keys []Key) *scrubber {
	s := &scrubber{}
	for _, k := range keys {
		value := k.Reveal()
		quoted, _ := json.Marshal(value)
		for _, form := range []string{value, strings.Trim(string(quoted), `"`), url.QueryEscape(value)} {
			if !k.IsZero() && !slices.Contains(s.forms, form) {
				s.forms = append(s.forms, form)
			}
		}
	}
	// Of two forms that start at the same place the longer must win.
	slices.SortFunc(s.forms, func(a, b string) int { return len(b) - len(a) })
	return s
}

// text scrubs a complete text.
func (s *scrubber) text(t string) string {
	for _, form := range s.forms {
		t = strings.ReplaceAll(t, form, hidden)
	}
	return t
}

// bytes scrubs a complete body.
func (s *scrubber) bytes(b []byte) []byte {
	for _, form := range s.forms {
		if bytes.Contains(b, []byte(form)) {
			b = bytes.ReplaceAll(b, []byte(form), []byte(hidden))
		}
	}
	return b
}

// writer scrubs a stream in pieces of any size on its way to w. It holds back
// only bytes that may be the beginning of a key; Flush passes them on at the end.
func (s *scrubber) writer(w io.Writer) *scrubWriter { return &scrubWriter{s: s, w: w} }

type scrubWriter struct {
	s    *scrubber
	w    io.Writer
	held []byte
}

// Write passes b on, without credentials and without what has to be held back.
func (sw *scrubWriter) Write(b []byte) (int, error) {
	data := b
	if len(sw.held) > 0 {
		data = append(sw.held, b...)
	}
	data = sw.s.bytes(data)
	keep := sw.s.openEnd(data)
	pass := data[:len(data)-keep]
	held := bytes.Clone(data[len(pass):])
	sw.held = held
	if len(pass) > 0 {
		if _, err := sw.w.Write(pass); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Flush passes on what was held back: the stream has ended, so it is no key.
func (sw *scrubWriter) Flush() error {
	if len(sw.held) == 0 {
		return nil
	}
	_, err := sw.w.Write(sw.held)
	sw.held = nil
	return err
}

// openEnd is the length of the longest end of data that begins a key.
func (s *scrubber) openEnd(data []byte) int {
	longest := 0
	for _, form := range s.forms {
		for n := min(len(form)-1, len(data)); n > longest; n-- {
			if bytes.HasSuffix(data, []byte(form[:n])) {
				longest = n
			}
		}
	}
	return longest
}
