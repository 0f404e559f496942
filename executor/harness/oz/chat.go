package ozagent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/shared"
)

// chatTurn is a turn over Chat Completions, what most compatible endpoints have.
func (o *openAIModel) chatTurn(ctx context.Context, req request, on func(delta) error) (ending, error) {
	stream := o.completions.NewStreaming(ctx, chatParams(req), o.options(req)...)
	defer func() { _ = stream.Close() }() // the answer has been read, or is given up
	r := chatReader{on: on, calls: map[int64]*wireCall{}}
	for stream.Next() {
		if err := r.chunk(stream.Current()); err != nil {
			return ending{}, err
		}
	}
	if err := stream.Err(); err != nil {
		return ending{}, openAIFailure(ctx, err)
	}
	if r.end.stop == "" {
		return ending{}, cutShort()
	}
	return r.end, r.finish()
}

// chatReader turns the chunks of one answer into deltas. Calls come in pieces
// and are complete only at the end.
type chatReader struct {
	on    func(delta) error
	text  bool
	calls map[int64]*wireCall
	end   ending
}

func (r *chatReader) chunk(c openai.ChatCompletionChunk) error {
	r.end.model, r.end.requestID = cmp.Or(c.Model, r.end.model), cmp.Or(c.ID, r.end.requestID)
	for _, choice := range c.Choices {
		if choice.FinishReason != "" {
			r.end.stop = chatStop(choice.FinishReason)
		}
		if text := choice.Delta.Content + choice.Delta.Refusal; text != "" {
			r.text = true
			if err := r.on(delta{kind: deltaText, text: text}); err != nil {
				return err
			}
		}
		for _, piece := range choice.Delta.ToolCalls {
			call := r.calls[piece.Index]
			if call == nil {
				call = &wireCall{}
				r.calls[piece.Index] = call
			}
			call.id = cmp.Or(call.id, piece.ID)
			call.name += piece.Function.Name
			call.input += piece.Function.Arguments
		}
	}
	return nil
}

func (r *chatReader) finish() error {
	if r.text {
		if err := r.on(delta{kind: deltaEnd}); err != nil {
			return err
		}
	}
	for _, index := range slices.Sorted(maps.Keys(r.calls)) {
		if err := r.on(delta{kind: deltaCall, call: *r.calls[index]}); err != nil {
			return err
		}
	}
	return nil
}

func chatStop(reason string) stopReason {
	switch reason {
	case "length":
		return stopLength
	case "content_filter":
		return stopRefusal
	case "tool_calls", "function_call":
		return stopTools
	}
	return stopDone
}

func chatParams(req request) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:               req.model,
		Messages:            []openai.ChatCompletionMessageParamUnion{openai.SystemMessage(req.system)},
		MaxCompletionTokens: openai.Int(req.maxOutput),
		StreamOptions:       openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
	}
	if req.effort != "" {
		p.ReasoningEffort = shared.ReasoningEffort(req.effort)
	}
	for _, t := range req.tools {
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: t.name, Description: openai.String(t.description), Parameters: t.schemaObject(),
		}))
	}
	for _, it := range req.items {
		if it.turn == nil {
			p.Messages = append(p.Messages, openai.UserMessage(it.text))
			continue
		}
		p.Messages = append(p.Messages, chatAnswer(it.turn))
		for _, c := range it.turn.calls() {
			p.Messages = append(p.Messages, openai.ToolMessage(c.resultText(), c.id))
		}
	}
	return p
}

func chatAnswer(t *turn) openai.ChatCompletionMessageParamUnion {
	m := &openai.ChatCompletionAssistantMessageParam{}
	var text []string
	for _, b := range t.blocks {
		switch b.kind {
		case blockText:
			text = append(text, b.text)
		case blockCall:
			m.ToolCalls = append(m.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
				OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
					ID: b.call.id,
					Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{
						Name: b.call.name, Arguments: string(b.call.input),
					},
				},
			})
		}
	}
	if len(text) > 0 {
		m.Content.OfString = param.NewOpt(strings.Join(text, "\n"))
	}
	return openai.ChatCompletionMessageParamUnion{OfAssistant: m}
}
