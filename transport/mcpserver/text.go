package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of a part of a text, in bytes.
const (
	defaultPart, maxPart = 32 << 10, 96 << 10
	maxOffset            = 1 << 30
)

// eventOf gives an event as clients see it, and its size in bytes.
func eventOf(e task.Event) (eventItem, int, error) {
	raw, err := json.Marshal(e.Payload)
	if err != nil {
		return eventItem{}, 0, fmt.Errorf("encode event %d: %w", e.Seq, err)
	}
	i := eventItem{Seq: e.Seq, Time: stamp(e.Time), Type: string(e.Payload.Type()), Data: json.RawMessage(raw)}
	if len(raw) > maxEventBytes {
		i.Data = cut(string(raw), maxEventBytes)
		raw = raw[:maxEventBytes]
	}
	return i, len(raw) + 64, nil
}

type transcriptInput struct {
	RunID  string `json:"run_id"`
	Offset int64  `json:"offset,omitempty" jsonschema:"where to begin, in bytes; next_offset of the part before"`
	Limit  int    `json:"limit,omitempty" jsonschema:"bytes of this part, 1 to 98304, default 32768"`
}

type artifactInput struct {
	UID    string `json:"artifact_uid"`
	Offset int64  `json:"offset,omitempty" jsonschema:"where to begin, in bytes; next_offset of the part before"`
	Limit  int    `json:"limit,omitempty" jsonschema:"bytes of this part, 1 to 98304, default 32768"`
}

type textOutput struct {
	Text       string `json:"text"`
	NextOffset int64  `json:"next_offset,omitempty" jsonschema:"there is more from here on"`
}

func (s *server) transcript(ctx context.Context, in transcriptInput) (textOutput, error) {
	return part(in.Offset, in.Limit, func(w io.Writer) error { return s.of(ctx).Transcript(ctx, task.ID(in.RunID), w, "markdown") })
}

func (s *server) artifact(ctx context.Context, in artifactInput) (textOutput, error) {
	out, err := part(in.Offset, in.Limit, func(w io.Writer) error { return s.of(ctx).Download(ctx, in.UID, w) })
	if err == nil && (!utf8.ValidString(out.Text) || strings.ContainsRune(out.Text, 0)) {
		return textOutput{}, task.Invalid("artifact_uid", "artifact %q is no text; download it with `oz artifact download` or from the web page of its run", in.UID)
	}
	return out, err
}

// part gives a part of what write writes, and stops it behind the part.
func part(offset int64, limit int, write func(io.Writer) error) (textOutput, error) {
	limit, err := within("limit", limit, defaultPart, maxPart)
	if err != nil {
		return textOutput{}, err
	}
	if offset < 0 || offset > maxOffset {
		return textOutput{}, task.Invalid("offset", "must be 0 to %d", maxOffset)
	}
	w := &window{skip: offset, room: limit}
	if err := write(w); err != nil && !w.full {
		return textOutput{}, err
	}
	text := w.text
	if !w.full {
		return textOutput{Text: string(text)}, nil
	}
	for i := 0; i < utf8.UTFMax-1 && len(text) > 1; i++ { // no half character at the end
		if r, size := utf8.DecodeLastRune(text); r != utf8.RuneError || size > 1 {
			break
		}
		text = text[:len(text)-1]
	}
	return textOutput{Text: string(text), NextOffset: offset + int64(len(text))}, nil
}

// window keeps a part of what is written to it, and fails behind it.
type window struct {
	skip int64
	room int
	text []byte
	full bool // there is more
}

var errFull = errors.New("the part is full")

// Write implements io.Writer.
func (w *window) Write(b []byte) (int, error) {
	n := len(b)
	if skip := min(w.skip, int64(len(b))); skip > 0 {
		w.skip -= skip
		b = b[skip:]
	}
	take := min(w.room, len(b))
	w.text = append(w.text, b[:take]...)
	if w.room -= take; take < len(b) {
		w.full = true
		return n - (len(b) - take), errFull
	}
	return n, nil
}
