package client_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/client"
)

func frames(t *testing.T, r io.Reader) ([]client.Frame, error) {
	t.Helper()
	var out []client.Frame
	err := client.ReadFrames(r, func(f client.Frame) { out = append(out, f) })
	return out, err
}

// TestFrames is the standard's parsing, by example.
func TestFrames(t *testing.T) {
	type F = client.Frame
	for _, tt := range []struct {
		name, stream string
		want         []F
	}{
		{"plain", "id: 1\nevent: notice\ndata: {}\n\n", []F{{"1", "notice", "{}"}}},
		{"no space", "id:1\nevent:notice\ndata:{}\n\n", []F{{"1", "notice", "{}"}}},
		{"one space only is dropped", "data:  x\n\n", []F{{"", "", " x"}}},
		{"CRLF", "id: 1\r\ndata: a\r\n\r\n", []F{{"1", "", "a"}}},
		{"several lines", "data: a\ndata\ndata: b\n\n", []F{{"", "", "a\n\nb"}}},
		{"empty data", "data:\n\n", []F{{"", "", ""}}},
		{"comments", ": open\n\n:\n\ndata: a\n: inside\n\n", []F{{"", "", "a"}}},
		{"unknown fields", "retry: 10\nx: y\nx\ndata: a\n\n", []F{{"", "", "a"}}},
		{"only an id", "id: 1\n\n", nil},
		{"a name is enough", "event: end\n\n", []F{{"", "end", ""}}},
		{"colons in the value", "data: a: b: c\n\n", []F{{"", "", "a: b: c"}}},
		{"id with NUL", "id: 1\nid: 2\x00\ndata: a\n\n", []F{{"1", "", "a"}}},
		{"byte order mark", "\uFEFFdata: a\n\n", []F{{"", "", "a"}}},
		{"cut in the middle", "data: a\n\ndata: b\n", []F{{"", "", "a"}}},
		{"cut in a line", "data: a\n\ndata: b", []F{{"", "", "a"}}},
		{"nothing", "", nil},
		{"blank lines", "\n\n\r\n\n", nil},
		{"two", "data: a\n\nid: 2\ndata: b\n\n", []F{{"", "", "a"}, {"2", "", "b"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.stream), iotest.OneByteReader(strings.NewReader(tt.stream))} {
				got, err := frames(t, r)
				assert.ErrorIs(t, err, io.EOF)
				assert.DeepEqual(t, got, tt.want)
			}
		})
	}
}

// endless gives a stream that never ends, made of one text.
type endless struct{ text string }

// Read implements io.Reader.
func (e endless) Read(p []byte) (int, error) {
	return copy(p, strings.Repeat(e.text, 1+len(p)/len(e.text))), nil
}

// TestFramesAreBounded reads events that never end.
func TestFramesAreBounded(t *testing.T) {
	for _, text := range []string{"x", "data: x\n", ":x\n", "id: 1\n"} {
		_, err := frames(t, io.MultiReader(strings.NewReader("data: "), endless{text}))
		assert.Assert(t, err != nil && !errors.Is(err, io.EOF), "%q", text)
		assert.ErrorContains(t, err, "16777216")
	}
	whole := "data: " + strings.Repeat("x", client.MaxFrame-len("data: ")) + "\n\n"
	got, err := frames(t, strings.NewReader(whole+"data: y\n\n"))
	assert.ErrorIs(t, err, io.EOF)
	assert.Equal(t, len(got), 2)
	assert.Equal(t, got[1].Data, "y")
	_, err = frames(t, iotest.TimeoutReader(strings.NewReader("data: a\n\n")))
	assert.ErrorIs(t, err, iotest.ErrTimeout)
}

// FuzzFrames asks that how a stream is cut into reads changes nothing, and that
// what is written by the rules is read back.
func FuzzFrames(f *testing.F) {
	for _, seed := range []string{
		"id: 1\nevent: notice\ndata: {}\n\n", "data\n\n", ":\n\n", "\r\n\r\n", "\uFEFFdata: a\n\n", "data: a\r\ndata: b\n\nevent: end\n\n", "id: \x00\ndata:\n\n", "data: a\rdata: b\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := frames(t, bytes.NewReader(stream))
		assert.ErrorIs(t, err, io.EOF)
		cut, err := frames(t, iotest.OneByteReader(bytes.NewReader(stream)))
		assert.ErrorIs(t, err, io.EOF)
		assert.DeepEqual(t, cut, whole)
		var again strings.Builder
		for _, frame := range whole {
			assert.Assert(t, !strings.ContainsAny(frame.ID, "\x00\n") && !strings.Contains(frame.Event, "\n"))
			if frame.ID != "" {
				again.WriteString("id: " + frame.ID + "\n")
			}
			if frame.Event != "" {
				again.WriteString("event: " + frame.Event + "\n")
			}
			for line := range strings.SplitSeq(frame.Data, "\n") {
				again.WriteString("data: " + line + "\n")
			}
			again.WriteString("\n")
		}
		back, err := frames(t, strings.NewReader(again.String()))
		assert.ErrorIs(t, err, io.EOF)
		assert.DeepEqual(t, back, whole)
	})
}
