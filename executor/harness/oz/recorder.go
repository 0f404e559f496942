package ozagent

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// maxAnswerBytes bounds one answer of a model; the longest output of a model
// is some 128,000 tokens of four bytes.
const maxAnswerBytes = 2 << 20

// maxPartBytes bounds the input of one call and what a provider wants back of
// its reasoning, both as JSON, which can be six times as long as the text: one
// event must hold it (task.MaxEventBytes) with what is around it.
const maxPartBytes = task.MaxEventBytes - 64<<10

// recorder writes the answer of one turn to the log while it streams in.
type recorder struct {
	ctx   context.Context
	a     *agent
	key   string // makes ids of this try unlike those of another
	count int
	bytes int

	kind deltaKind
	id   string
	out  *pieces // of the block under way; nil between blocks
	raw  strings.Builder
	red  strings.Builder
}

func newRecorder(ctx context.Context, a *agent) *recorder {
	return &recorder{ctx: ctx, a: a, key: uuid.NewString()[:8]}
}

// take is the on of model.turn.
func (r *recorder) take(d delta) error {
	r.bytes += len(d.text) + len(d.call.input)
	if r.bytes > maxAnswerBytes {
		return &modelError{class: gateway.ClassInvalidResponse, message: fmt.Sprintf("the model's answer has more than %d bytes", maxAnswerBytes)}
	}
	switch d.kind {
	case deltaEnd:
		return r.endBlock(d.opaque)
	case deltaCall:
		if err := r.endBlock(nil); err != nil {
			return err
		}
		return r.call(d.call)
	}
	if r.out == nil || r.kind != d.kind {
		if err := r.endBlock(nil); err != nil {
			return err
		}
		r.begin(d.kind)
	}
	r.raw.WriteString(d.text)
	return r.out.write(d.text)
}

func (r *recorder) begin(kind deltaKind) {
	r.count++
	r.kind, r.id = kind, fmt.Sprintf("m%d-%s-%d", r.a.conv.turns+1, r.key, r.count)
	r.raw.Reset()
	r.red.Reset()
	id := r.id
	r.out = newPieces(r.a.s, func(text string) error {
		r.red.WriteString(text)
		if kind == deltaReasoning {
			return r.a.s.Journal.Post(r.ctx, &task.Reasoning{ID: id, Text: text, More: true})
		}
		return r.a.s.Journal.Post(r.ctx, &task.Message{ID: id, Text: text, More: true})
	})
}

// endBlock closes the block under way with a last piece.
func (r *recorder) endBlock(o *opaque) error {
	if r.out == nil {
		return nil
	}
	out := r.out
	r.out = nil
	rest, err := out.end()
	if err != nil {
		return err
	}
	r.red.WriteString(rest)
	if r.kind == deltaText {
		return r.a.s.Journal.Post(r.ctx, &task.Message{ID: r.id, Text: rest})
	}
	p := &task.Reasoning{ID: r.id, Text: rest}
	// A provider takes a block back only as it gave it.
	if o != nil && r.raw.String() == r.red.String() {
		if p.Opaque, err = json.Marshal(o); err != nil {
			return fmt.Errorf("encode reasoning: %w", err)
		}
		if len(p.Opaque) > maxPartBytes {
			p.Opaque = nil // the turn goes on without it
		}
	}
	return r.a.s.Journal.Post(r.ctx, p)
}

// abandon stops the block under way without a last piece.
func (r *recorder) abandon() {
	if r.out != nil {
		r.out.drop()
		r.out = nil
	}
}

// unusableName are the characters that no wire takes back in a tool's name.
var unusableName = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// usableID is what both wires take as the id of a call.
var usableID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// invalidInput holds, in the place of a tool's input, what was no JSON object;
// overlongInput holds the size of an input that no event can hold.
const (
	invalidInput  = "invalid_json"
	overlongInput = "overlong_bytes"
)

func (r *recorder) call(w wireCall) error {
	r.count++
	id := w.id
	if !usableID.MatchString(id) || r.a.conv.calls[id] != nil {
		id = fmt.Sprintf("call_%s_%d", r.key, r.count)
	}
	name := unusableName.ReplaceAllString(w.name, "_")
	if len(name) > 64 || name == "" {
		name = "unnamed"
	}
	return r.a.s.Journal.Post(r.ctx, &task.ToolCall{
		ID: id, Name: name, Category: r.a.tools.category(name), Input: r.input(w.input),
	})
}

// input is a call's input as the log and the conversation have it.
func (r *recorder) input(text string) json.RawMessage {
	whole := redactJSON(r.a.s, objectOf(text))
	if size, err := json.Marshal(whole); err != nil || len(size) > maxPartBytes {
		return json.RawMessage(fmt.Sprintf(`{%q:%d}`, overlongInput, len(text)))
	}
	return whole
}

// objectOf gives input as a JSON object, whatever the model made.
func objectOf(input string) json.RawMessage {
	if strings.TrimSpace(input) == "" {
		return json.RawMessage("{}")
	}
	var object map[string]json.RawMessage
	if utf8.ValidString(input) && json.Unmarshal([]byte(input), &object) == nil && object != nil {
		return json.RawMessage(input)
	}
	raw, _ := json.Marshal(map[string]string{invalidInput: strings.ToValidUTF8(input, "\ufffd")}) // strings always marshal
	return raw
}

// redactJSON redacts a JSON document of ours; one that cannot be is withheld.
func redactJSON(s *harness.Session, doc json.RawMessage) json.RawMessage {
	out, err := s.Redactor.JSON(doc)
	if err != nil {
		return json.RawMessage("{}")
	}
	return out
}
