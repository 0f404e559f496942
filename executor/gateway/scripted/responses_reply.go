package scripted

import "fmt"

// responsesAnswer is the turn as a whole response.
func responsesAnswer(t *turn) any {
	output := []any{}
	for i := range t.outputItems() {
		output = append(output, t.outputItems()[i].done)
	}
	return t.response(t.responseStatus(), output, t.responsesUsage())
}

// responseStatus puts the stop reason into the wire's words.
func (t *turn) responseStatus() string {
	if t.stopReason() == "max_tokens" {
		return "incomplete"
	}
	return "completed"
}

func (t *turn) response(status string, output []any, usage any) object {
	r := object{
		"id": t.id("resp"), "object": "response", "created_at": t.created.Unix(), "status": status, "error": nil,
		"incomplete_details": nil, "instructions": nil, "metadata": object{}, "model": t.request.Model, "output": output,
		"parallel_tool_calls": true, "temperature": 1, "tool_choice": "auto", "tools": []any{}, "top_p": 1, "usage": usage,
	}
	if status == "incomplete" {
		r["incomplete_details"] = object{"reason": "max_output_tokens"}
	}
	return r
}

func (t *turn) responsesUsage() object {
	u := t.usage
	input := u.Input + u.CacheRead + u.CacheWrite
	return object{
		"input_tokens": input, "input_tokens_details": object{"cached_tokens": u.CacheRead, "cache_write_tokens": u.CacheWrite},
		"output_tokens": u.Output, "output_tokens_details": object{"reasoning_tokens": u.Reasoning},
		"total_tokens": input + u.Output,
	}
}

// outputItem is one item of a response: as it begins, the events that fill it,
// and as it ends.
type outputItem struct {
	begun, done object
	fill        func(e *events, index int)
}

func (t *turn) outputItems() []outputItem {
	var items []outputItem
	if t.step.Thinking != "" {
		items = append(items, t.reasoningItem())
	}
	if t.step.Text != "" {
		items = append(items, t.messageItem())
	}
	for i, c := range t.calls {
		items = append(items, t.callItem(i, c))
	}
	return items
}

func (t *turn) reasoningItem() outputItem {
	id, text := t.id("rs"), t.step.Thinking
	part := object{"type": "summary_text", "text": text}
	return outputItem{
		begun: object{"id": id, "type": "reasoning", "summary": []any{}},
		done:  object{"id": id, "type": "reasoning", "summary": []any{part}},
		fill: func(e *events, index int) {
			at := func(more object) object {
				return merged(object{"item_id": id, "output_index": index, "summary_index": 0}, more)
			}
			e.add("response.reasoning_summary_part.added", at(object{"part": object{"type": "summary_text", "text": ""}}))
			for _, p := range split(text) {
				e.add("response.reasoning_summary_text.delta", at(object{"delta": p}))
			}
			e.add("response.reasoning_summary_text.done", at(object{"text": text}))
			e.add("response.reasoning_summary_part.done", at(object{"part": part}))
		},
	}
}

func (t *turn) messageItem() outputItem {
	id, text, kind := t.id("msg"), t.step.Text, "output_text"
	part := func(s string) object {
		return object{"type": kind, "text": s, "annotations": []any{}, "logprobs": []any{}}
	}
	item := func(status string, content []any) object {
		return object{"id": id, "type": "message", "role": "assistant", "status": status, "content": content}
	}
	return outputItem{
		begun: item("in_progress", []any{}),
		done:  item("completed", []any{part(text)}),
		fill: func(e *events, index int) {
			at := func(more object) object {
				return merged(object{"item_id": id, "output_index": index, "content_index": 0}, more)
			}
			e.add("response.content_part.added", at(object{"part": part("")}))
			for _, p := range split(text) {
				e.add("response.output_text.delta", at(object{"delta": p, "logprobs": []any{}}))
			}
			e.add("response.output_text.done", at(object{"text": text, "logprobs": []any{}}))
			e.add("response.content_part.done", at(object{"part": part(text)}))
		},
	}
}

func (t *turn) callItem(i int, c call) outputItem {
	id := fmt.Sprintf("%s_%d", t.id("fc"), i)
	item := func(status, arguments string) object {
		o := object{"id": id, "type": "function_call", "call_id": c.id, "name": c.name, "arguments": arguments, "status": status}
		if c.namespace != "" {
			o["namespace"] = c.namespace
		}
		return o
	}
	return outputItem{
		begun: item("in_progress", ""),
		done:  item("completed", c.input),
		fill: func(e *events, index int) {
			for _, p := range split(c.input) {
				e.add("response.function_call_arguments.delta", object{"item_id": id, "output_index": index, "delta": p})
			}
			e.add("response.function_call_arguments.done", object{"item_id": id, "output_index": index, "name": c.name, "arguments": c.input})
		},
	}
}

// responsesEvents is the turn as the events of a stream.
func responsesEvents(t *turn) []event {
	e := &events{named: true, numbered: true}
	e.add("response.created", object{"response": t.response("in_progress", []any{}, nil)})
	e.add("response.in_progress", object{"response": t.response("in_progress", []any{}, nil)})
	output := []any{}
	for i, item := range t.outputItems() {
		e.add("response.output_item.added", object{"output_index": i, "item": item.begun})
		item.fill(e, i)
		e.add("response.output_item.done", object{"output_index": i, "item": item.done})
		output = append(output, item.done)
	}
	status := t.responseStatus()
	e.add("response."+status, object{"response": t.response(status, output, t.responsesUsage())})
	return e.list
}

func merged(a, b object) object {
	for k, v := range b {
		a[k] = v
	}
	return a
}
