package ozagent

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness"
)

// wireOpenAI names the wire in harness.Model and in opaque.
const wireOpenAI = "openai"

// openAIModel speaks OpenAI Responses, and Chat Completions to endpoints that
// do not have Responses.
type openAIModel struct {
	responses   responses.ResponseService
	completions openai.ChatCompletionService
	// chat is set once the endpoint said that it has no Responses; plain once
	// the model said that it has no encrypted reasoning.
	chat, plain atomic.Bool
}

// newOpenAI makes the two services that are used, and no openai.Client: that
// one takes headers and addresses from the environment, where the agent's
// repository may have a say, and brings all of OpenAI's API into the binary.
func newOpenAI(m harness.Model) *openAIModel {
	opts := []option.RequestOption{
		option.WithBaseURL(m.BaseURL + "/openai/v1"),
		option.WithAPIKey(m.Token.Reveal()),
		option.WithMaxRetries(0), // the gateway retries
	}
	return &openAIModel{responses: responses.NewResponseService(opts...), completions: openai.NewChatCompletionService(opts...)}
}

func (o *openAIModel) turn(ctx context.Context, req request, on func(delta) error) (ending, error) {
	if o.chat.Load() {
		return o.chatTurn(ctx, req, on)
	}
	end, err := o.responsesTurn(ctx, req, on)
	var failed *modelError
	if !errors.As(err, &failed) {
		return end, err
	}
	var api *openai.Error
	switch {
	case errors.As(err, &api) && api.StatusCode == http.StatusBadRequest && !o.plain.Load() &&
		strings.Contains(strings.ToLower(api.RawJSON()), "encrypted"):
		o.plain.Store(true)
		return o.turn(ctx, req, on)
	case errors.As(err, &api) && (api.StatusCode == http.StatusNotFound || api.StatusCode == http.StatusMethodNotAllowed):
		end, chatErr := o.chatTurn(ctx, req, on)
		if chatErr == nil {
			o.chat.Store(true)
			return end, nil
		}
		if errors.As(chatErr, &api) && api.StatusCode == http.StatusNotFound {
			return end, err // it is the model that is missing
		}
		return end, chatErr
	}
	return end, err
}

func (o *openAIModel) options(req request) []option.RequestOption {
	if req.category == "" {
		return nil
	}
	return []option.RequestOption{option.WithHeader(categoryHeader, req.category)}
}

func (o *openAIModel) responsesTurn(ctx context.Context, req request, on func(delta) error) (ending, error) {
	stream := o.responses.NewStreaming(ctx, o.params(req), o.options(req)...)
	defer func() { _ = stream.Close() }() // the answer has been read, or is given up
	r := responsesReader{on: on}
	for stream.Next() {
		if err := r.event(stream.Current()); err != nil {
			return ending{}, err
		}
	}
	if err := stream.Err(); err != nil {
		return ending{}, openAIFailure(ctx, err)
	}
	if !r.stopped {
		return ending{}, cutShort()
	}
	return r.end, nil
}

func openAIFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var api *openai.Error
	if errors.As(err, &api) {
		if api.StatusCode < 400 { // an error event inside a stream
			return &modelError{class: gateway.ClassStreamCut, message: "the model's answer broke off: " + api.Message, err: err}
		}
		e := httpFailure(api.Response, api.StatusCode, api.RawJSON(), err)
		if api.Message != "" {
			e.message = api.Message
		}
		return e
	}
	return streamFailure(ctx, err)
}

// responsesReader turns the events of one answer into deltas.
type responsesReader struct {
	on      func(delta) error
	calls   int
	end     ending
	stopped bool
}

func (r *responsesReader) event(e responses.ResponseStreamEventUnion) error {
	switch e.Type {
	case "response.output_text.delta", "response.refusal.delta":
		if e.Type == "response.refusal.delta" {
			r.end.stop = stopRefusal
		}
		return r.on(delta{kind: deltaText, text: e.Delta})
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		return r.on(delta{kind: deltaReasoning, text: e.Delta})
	case "response.output_item.done":
		return r.item(e.Item)
	case "response.completed", "response.incomplete":
		r.finish(e.Response)
	case "response.failed":
		return &modelError{class: gateway.ClassStreamCut, message: "the model failed: " + e.Response.Error.Message}
	case "error":
		return &modelError{class: gateway.ClassStreamCut, message: "the model's answer broke off: " + e.Message}
	}
	return nil
}

func (r *responsesReader) item(it responses.ResponseOutputItemUnion) error {
	switch it.Type {
	case "function_call":
		r.calls++
		call := it.AsFunctionCall()
		return r.on(delta{kind: deltaCall, call: wireCall{id: call.CallID, name: call.Name, input: call.Arguments}})
	case "reasoning":
		if err := r.on(delta{kind: deltaReasoning}); err != nil { // a block may be all opaque
			return err
		}
		var o *opaque
		if it.EncryptedContent != "" {
			o = &opaque{Wire: wireOpenAI, ID: it.ID, Encrypted: it.EncryptedContent}
		}
		return r.on(delta{kind: deltaEnd, opaque: o})
	case "message":
		return r.on(delta{kind: deltaEnd})
	}
	return nil
}

func (r *responsesReader) finish(res responses.Response) {
	r.stopped = true
	r.end.model, r.end.requestID = string(res.Model), res.ID
	switch {
	case r.end.stop == stopRefusal || res.IncompleteDetails.Reason == "content_filter":
		r.end.stop = stopRefusal
	case res.IncompleteDetails.Reason == "max_output_tokens":
		r.end.stop = stopLength
	case r.calls > 0:
		r.end.stop = stopTools
	default:
		r.end.stop = stopDone
	}
}

func (o *openAIModel) params(req request) responses.ResponseNewParams {
	p := responses.ResponseNewParams{
		Model:           req.model,
		Instructions:    openai.String(req.system),
		MaxOutputTokens: openai.Int(req.maxOutput),
		Store:           openai.Bool(false), // the conversation is ours, in the log
		Input:           responses.ResponseNewParamsInputUnion{OfInputItemList: responsesInput(req.items)},
	}
	if !o.plain.Load() {
		p.Include = []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent}
	}
	if req.effort != "" {
		p.Reasoning = shared.ReasoningParam{Effort: shared.ReasoningEffort(req.effort), Summary: shared.ReasoningSummaryAuto}
	}
	for _, t := range req.tools {
		p.Tools = append(p.Tools, responses.ToolUnionParam{OfFunction: &responses.FunctionToolParam{
			Name: t.name, Description: openai.String(t.description), Parameters: t.schemaObject(), Strict: openai.Bool(false),
		}})
	}
	return p
}

func responsesInput(items []item) responses.ResponseInputParam {
	var out responses.ResponseInputParam
	for _, it := range items {
		if it.turn == nil {
			out = append(out, responses.ResponseInputItemParamOfMessage(it.text, responses.EasyInputMessageRoleUser))
			continue
		}
		for _, b := range it.turn.blocks {
			switch b.kind {
			case blockText:
				out = append(out, responses.ResponseInputItemParamOfMessage(b.text, responses.EasyInputMessageRoleAssistant))
			case blockReasoning:
				if b.opaque != nil && b.opaque.Wire == wireOpenAI {
					out = append(out, responsesReasoning(b))
				}
			case blockCall:
				out = append(out, responses.ResponseInputItemParamOfFunctionCall(string(b.call.input), b.call.id, b.call.name))
			}
		}
		for _, c := range it.turn.calls() {
			result := responses.ResponseInputItemParamOfFunctionCallOutput(c.resultText())
			result.OfFunctionCallOutput.CallID = param.NewOpt(c.id)
			out = append(out, result)
		}
	}
	return out
}

func responsesReasoning(b block) responses.ResponseInputItemUnionParam {
	summary := []responses.ResponseReasoningItemSummaryParam{}
	if b.text != "" {
		summary = append(summary, responses.ResponseReasoningItemSummaryParam{Text: b.text})
	}
	it := responses.ResponseInputItemParamOfReasoning(b.opaque.ID, summary)
	it.OfReasoning.EncryptedContent = param.NewOpt(b.opaque.Encrypted)
	return it
}
