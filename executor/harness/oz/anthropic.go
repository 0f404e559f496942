package ozagent

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness"
)

// wireAnthropic names the wire in harness.Model and in opaque.
const wireAnthropic = "anthropic"

// anthropicModel speaks Anthropic Messages.
type anthropicModel struct{ client anthropic.Client }

func newAnthropic(m harness.Model) *anthropicModel {
	return &anthropicModel{client: anthropic.NewClient(
		option.WithoutEnvironmentDefaults(), // the runner's own environment decides nothing
		option.WithBaseURL(m.BaseURL+"/anthropic"),
		option.WithAPIKey(m.Token.Reveal()),
		option.WithMaxRetries(0), // the gateway retries
	)}
}

func (a *anthropicModel) turn(ctx context.Context, req request, on func(delta) error) (ending, error) {
	var opts []option.RequestOption
	if req.category != "" {
		opts = append(opts, option.WithHeader(categoryHeader, req.category))
	}
	stream := a.client.Messages.NewStreaming(ctx, anthropicParams(req), opts...)
	defer func() { _ = stream.Close() }() // the answer has been read, or is given up
	r := anthropicReader{on: on}
	for stream.Next() {
		if err := r.event(stream.Current()); err != nil {
			return ending{}, err
		}
	}
	if err := stream.Err(); err != nil {
		return ending{}, anthropicFailure(ctx, err)
	}
	if !r.stopped {
		return ending{}, cutShort()
	}
	return r.end, nil
}

func anthropicFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var api *anthropic.Error
	if errors.As(err, &api) {
		if api.StatusCode < 400 { // an error event inside a stream
			return &modelError{class: gateway.ClassStreamCut, message: "the model's answer broke off: " + wireMessage(api.RawJSON()), err: err}
		}
		return httpFailure(api.Response, api.StatusCode, api.RawJSON(), err)
	}
	return streamFailure(ctx, err)
}

// anthropicReader turns the events of one answer into deltas.
type anthropicReader struct {
	on      func(delta) error
	kind    string // of the block under way
	call    wireCall
	input   strings.Builder
	opaque  *opaque
	end     ending
	stopped bool
}

func (r *anthropicReader) event(e anthropic.MessageStreamEventUnion) error {
	switch e.Type {
	case "message_start":
		r.end.model, r.end.requestID = string(e.Message.Model), e.Message.ID
	case "content_block_start":
		return r.start(e.ContentBlock)
	case "content_block_delta":
		return r.delta(e.Delta)
	case "content_block_stop":
		return r.stop()
	case "message_delta":
		if e.Delta.StopReason != "" {
			r.end.stop = anthropicStop(e.Delta.StopReason)
		}
	case "message_stop":
		r.stopped = true
	}
	return nil
}

func (r *anthropicReader) start(b anthropic.ContentBlockStartEventContentBlockUnion) error {
	r.kind, r.opaque = b.Type, nil
	switch b.Type {
	case "tool_use":
		r.call = wireCall{id: b.ID, name: b.Name}
		r.input.Reset()
	case "redacted_thinking":
		r.opaque = &opaque{Wire: wireAnthropic, Redacted: b.Data}
	case "thinking":
		return r.piece(deltaReasoning, b.Thinking)
	case "text":
		return r.piece(deltaText, b.Text)
	}
	return nil
}

func (r *anthropicReader) delta(d anthropic.MessageStreamEventUnionDelta) error {
	switch d.Type {
	case "text_delta":
		return r.piece(deltaText, d.Text)
	case "thinking_delta":
		return r.piece(deltaReasoning, d.Thinking)
	case "signature_delta":
		if r.opaque == nil {
			r.opaque = &opaque{Wire: wireAnthropic}
		}
		r.opaque.Signature += d.Signature
	case "input_json_delta":
		r.input.WriteString(d.PartialJSON)
	}
	return nil
}

func (r *anthropicReader) piece(kind deltaKind, text string) error {
	if text == "" {
		return nil
	}
	return r.on(delta{kind: kind, text: text})
}

func (r *anthropicReader) stop() error {
	defer func() { r.kind = "" }()
	switch r.kind {
	case "tool_use":
		r.call.input = r.input.String()
		return r.on(delta{kind: deltaCall, call: r.call})
	case "redacted_thinking", "thinking":
		if err := r.on(delta{kind: deltaReasoning}); err != nil { // a block may be all opaque
			return err
		}
		return r.on(delta{kind: deltaEnd, opaque: r.opaque})
	case "text":
		return r.on(delta{kind: deltaEnd})
	}
	return nil
}

func anthropicStop(s anthropic.StopReason) stopReason {
	switch s {
	case anthropic.StopReasonEndTurn, anthropic.StopReasonStopSequence:
		return stopDone
	}
	return stopReason(s)
}

// thinkingTokens is how many tokens a model may think for each effort. Twice
// as much must fit into the output.
var thinkingTokens = map[string]int64{"low": 2048, "medium": 8192, "high": 16384}

func anthropicParams(req request) anthropic.MessageNewParams {
	p := anthropic.MessageNewParams{
		Model:     req.model,
		MaxTokens: req.maxOutput,
		System:    []anthropic.TextBlockParam{{Text: req.system, CacheControl: anthropic.NewCacheControlEphemeralParam()}},
		Messages:  anthropicMessages(req.items),
	}
	for _, t := range req.tools {
		schema := t.schemaObject()
		required, _ := schema["required"].([]any)
		p.Tools = append(p.Tools, anthropic.ToolUnionParam{OfTool: &anthropic.ToolParam{
			Name:        t.name,
			Description: anthropic.String(t.description),
			InputSchema: anthropic.ToolInputSchemaParam{Properties: schema["properties"], Required: texts(required)},
		}})
	}
	if budget := thinkingTokens[req.effort]; budget > 0 && 2*budget <= req.maxOutput {
		p.Thinking = anthropic.ThinkingConfigParamOfEnabled(budget)
	}
	return p
}

func texts(list []any) []string {
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// anthropicMessages builds the conversation. Neighbours of one role become one
// message, and the newest block marks the end of what is worth caching.
func anthropicMessages(items []item) []anthropic.MessageParam {
	var out []anthropic.MessageParam
	add := func(role anthropic.MessageParamRole, blocks ...anthropic.ContentBlockParamUnion) {
		if len(blocks) == 0 {
			return
		}
		if n := len(out); n > 0 && out[n-1].Role == role {
			out[n-1].Content = append(out[n-1].Content, blocks...)
			return
		}
		out = append(out, anthropic.MessageParam{Role: role, Content: blocks})
	}
	for _, it := range items {
		if it.turn == nil {
			add(anthropic.MessageParamRoleUser, anthropic.NewTextBlock(it.text))
			continue
		}
		add(anthropic.MessageParamRoleAssistant, anthropicAnswer(it.turn)...)
		var results []anthropic.ContentBlockParamUnion
		for _, c := range it.turn.calls() {
			results = append(results, anthropic.NewToolResultBlock(c.id, c.resultText(), c.failed()))
		}
		add(anthropic.MessageParamRoleUser, results...)
	}
	if n := len(out); n > 0 {
		last := out[n-1].Content
		if mark := last[len(last)-1].GetCacheControl(); mark != nil {
			*mark = anthropic.NewCacheControlEphemeralParam()
		}
	}
	return out
}

func anthropicAnswer(t *turn) []anthropic.ContentBlockParamUnion {
	var out []anthropic.ContentBlockParamUnion
	for _, b := range t.blocks {
		switch b.kind {
		case blockText:
			out = append(out, anthropic.NewTextBlock(b.text))
		case blockReasoning:
			switch o := b.opaque; {
			case o == nil || o.Wire != wireAnthropic:
			case o.Redacted != "":
				out = append(out, anthropic.NewRedactedThinkingBlock(o.Redacted))
			case o.Signature != "":
				out = append(out, anthropic.NewThinkingBlock(o.Signature, b.text))
			}
		case blockCall:
			out = append(out, anthropic.NewToolUseBlock(b.call.id, json.RawMessage(b.call.input), b.call.name))
		}
	}
	return out
}
