package scripted

// anthropicAnswer is the turn as a whole message.
func anthropicAnswer(t *turn) any {
	content := []any{}
	if t.step.Thinking != "" {
		content = append(content, object{"type": "thinking", "thinking": t.step.Thinking, "signature": t.signature()})
	}
	if t.step.Text != "" {
		content = append(content, object{"type": "text", "text": t.step.Text})
	}
	for _, c := range t.calls {
		content = append(content, object{"type": "tool_use", "id": c.id, "name": c.name, "input": c.object()})
	}
	return t.anthropicMessage(content, t.stopReason(), t.usage.Output)
}

func (t *turn) anthropicMessage(content []any, stop any, output int64) object {
	return object{
		"id": t.id("msg"), "type": "message", "role": "assistant", "model": t.request.Model, "content": content,
		"stop_reason": stop, "stop_sequence": nil, "usage": t.anthropicUsage(output),
	}
}

func (t *turn) anthropicUsage(output int64) object {
	u := t.usage
	return object{
		"input_tokens": u.Input, "cache_creation_input_tokens": u.CacheWrite, "cache_read_input_tokens": u.CacheRead,
		"cache_creation": object{"ephemeral_5m_input_tokens": u.CacheWrite, "ephemeral_1h_input_tokens": 0},
		"output_tokens":  output, "service_tier": "standard",
	}
}

// anthropicEvents is the turn as the events of a stream.
func anthropicEvents(t *turn) []event {
	e := &events{named: true}
	e.add("message_start", object{"message": t.anthropicMessage([]any{}, nil, min(1, t.usage.Output))})
	index := 0
	block := func(start object, deltas []object) {
		e.add("content_block_start", object{"index": index, "content_block": start})
		if index == 0 {
			e.add("ping", object{})
		}
		for _, d := range deltas {
			e.add("content_block_delta", object{"index": index, "delta": d})
		}
		e.add("content_block_stop", object{"index": index})
		index++
	}
	if text := t.step.Thinking; text != "" {
		deltas := append(pieces("thinking_delta", "thinking", text), object{"type": "signature_delta", "signature": t.signature()})
		block(object{"type": "thinking", "thinking": "", "signature": ""}, deltas)
	}
	if text := t.step.Text; text != "" {
		block(object{"type": "text", "text": ""}, pieces("text_delta", "text", text))
	}
	for _, c := range t.calls {
		// The real stream opens with an empty piece.
		deltas := append([]object{{"type": "input_json_delta", "partial_json": ""}}, pieces("input_json_delta", "partial_json", c.input)...)
		block(object{"type": "tool_use", "id": c.id, "name": c.name, "input": object{}}, deltas)
	}
	e.add("message_delta", object{
		"delta": object{"stop_reason": t.stopReason(), "stop_sequence": nil},
		"usage": t.anthropicUsage(t.usage.Output),
	})
	e.add("message_stop", object{})
	return e.list
}

func pieces(kind, field, text string) []object {
	var out []object
	for _, p := range split(text) {
		out = append(out, object{"type": kind, field: p})
	}
	return out
}
