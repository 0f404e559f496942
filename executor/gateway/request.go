package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/oz-platform/cloudagents/executor/catalog"
)

// span is a half-open range of bytes in a body.
type span struct{ start, end int }

// modelRequest is what the gateway reads from a request's body, and where it
// stands there, so that a change touches nothing else.
type modelRequest struct {
	operation
	body      []byte
	fields    map[string]span // values of the top-level members
	close     int             // offset of the closing brace
	maxOutput int64           // as asked; 0 when not
	choices   int64           // completions asked for, at least 1
}

// parseRequest reads the top level of body. Names are compared exactly and may
// not repeat: a second "model" would be routed and priced by one reader and
// served by another.
func parseRequest(op operation, body []byte) (*modelRequest, error) {
	r := &modelRequest{operation: op, body: body, fields: map[string]span{}, choices: 1}
	if err := r.scan(); err != nil {
		return nil, err
	}
	if r.api.Wire() == Gemini {
		return r, r.readGemini()
	}
	if err := r.read("model", &r.model); err != nil {
		return nil, err
	}
	if r.model == "" {
		return nil, errors.New("model: required")
	}
	if r.api == Embeddings {
		return r, nil // never a stream, and nothing is generated
	}
	if err := r.read("stream", &r.stream); err != nil {
		return nil, err
	}
	for _, name := range r.outputLimitFields() {
		if err := r.readCount(name, &r.maxOutput); err != nil {
			return nil, err
		}
	}
	if r.api == ChatCompletions {
		if err := r.readCount("n", &r.choices); err != nil {
			return nil, err
		}
		r.choices = max(1, r.choices)
	}
	return r, nil
}

// outputLimitFields are the names of the output limit, the stronger one last.
func (r *modelRequest) outputLimitFields() []string {
	switch r.api {
	case Messages:
		return []string{"max_tokens"}
	case Responses:
		return []string{"max_output_tokens"}
	case ChatCompletions:
		return []string{"max_tokens", "max_completion_tokens"}
	}
	return nil
}

func (r *modelRequest) scan() error {
	dec := json.NewDecoder(bytes.NewReader(r.body))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return errors.New("body: want a JSON object")
	}
	var raw json.RawMessage
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("body: not JSON: %w", err)
		}
		if err := dec.Decode(&raw); err != nil {
			return fmt.Errorf("body: not JSON: %w", err)
		}
		key := name.(string) // a member's name is a string, or Token fails
		if _, twice := r.fields[key]; twice {
			return fmt.Errorf("%s: given twice", key)
		}
		end := int(dec.InputOffset())
		r.fields[key] = span{end - len(raw), end}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("body: not JSON: %w", err)
	}
	r.close = int(dec.InputOffset()) - 1
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("body: more than one JSON document")
	}
	return nil
}

// read decodes the member name into v; a missing or null one leaves v alone.
func (r *modelRequest) read(name string, v any) error {
	at, ok := r.fields[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(r.body[at.start:at.end], v); err != nil {
		return fmt.Errorf("%s: want %T", name, v)
	}
	return nil
}

// readCount reads a number that only the provider can judge: a fraction or a
// negative one is left for it to refuse.
func (r *modelRequest) readCount(name string, n *int64) error {
	var f float64
	if err := r.read(name, &f); err != nil {
		return fmt.Errorf("%s: want a number", name)
	}
	if f > 0 {
		*n = int64(math.Min(math.Ceil(f), maxCount))
	}
	return nil
}

// edit replaces one span of a body; an empty span inserts.
type edit struct {
	at   span
	text []byte
}

// forModel is the body to send when model answers. It is r.body itself when
// nothing has to change.
func (r *modelRequest) forModel(model string) []byte {
	if r.api.Wire() == Gemini {
		return r.body // the model is in the path
	}
	var edits []edit
	if model != r.model {
		text, _ := json.Marshal(model) // a string always marshals
		edits = append(edits, edit{r.fields["model"], text})
	}
	if at, has := r.fields["stream_options"]; r.api == ChatCompletions && r.stream && !has {
		edits = append(edits, edit{span{r.close, r.close}, []byte(`,"stream_options":{"include_usage":true}`)})
	} else if has && r.api == ChatCompletions && r.stream && string(r.body[at.start:at.end]) == "null" {
		edits = append(edits, edit{at, []byte(`{"include_usage":true}`)})
	}
	return apply(r.body, edits)
}

func apply(body []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return body
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.at.start - b.at.start })
	out := make([]byte, 0, len(body)+64)
	from := 0
	for _, e := range edits {
		out = append(out, body[from:e.at.start]...)
		out = append(out, e.text...)
		from = e.at.end
	}
	return append(out, body[from:]...)
}

// bytesPerToken is a low guess, so that the estimate of tokens is high: English
// has four bytes or more per token, code about three and a half, and JSON's own
// signs come on top.
const bytesPerToken = 3

// defaultMaxOutput stands in when neither the request nor the price table
// limits the output.
const defaultMaxOutput = 32_000

// maxCount bounds counts of tokens from outside, so that sums and prices stay
// far within int64.
const maxCount = 100_000_000

// estimate is the most that a call is expected to use. The prompt is counted
// by its bytes, but never above the model's context window: what does not fit
// is refused by the provider, free of charge (pictures are many bytes and few tokens).
func (r *modelRequest) estimate(price catalog.Price) Usage {
	input := int64(len(r.body)/bytesPerToken) + 1
	if r.api == Embeddings { // the context window is that of each text, not of all
		return Usage{Input: min(input, maxCount)}
	}
	output := r.maxOutput
	if output == 0 {
		output = price.MaxOutput
	}
	if output == 0 {
		output = defaultMaxOutput
	}
	if price.MaxOutput > 0 {
		output = min(output, price.MaxOutput)
	}
	if price.ContextWindow > 0 {
		input = min(input, price.ContextWindow)
		output = min(output, price.ContextWindow)
	}
	return Usage{Input: input, Output: min(output*min(r.choices, maxChoices), maxCount)}
}

// reservation is what has to be left in the budget for the call. Every token of
// the prompt may be written to a cache, at the highest rate the request can cause.
func (r *modelRequest) reservation(price catalog.Price, priced bool) amount {
	est := r.estimate(price)
	a := amount{tokens: est.Total()}
	if !priced {
		return a
	}
	asInput := billOf(price, est)
	est.CacheWrite, est.Input = est.Input, 0
	if bytes.Contains(r.body, []byte(`"1h"`)) {
		est.CacheWrite1h = est.CacheWrite
	}
	a.money = max(asInput.total(), billOf(price, est).total())
	return a
}

// maxChoices is the largest "n" of a chat completion (OpenAI API, chat).
const maxChoices = 128
