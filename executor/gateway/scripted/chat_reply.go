package scripted

// chatAnswer is the turn as a whole completion.
func chatAnswer(t *turn) any {
	message := object{"role": "assistant", "content": nil, "refusal": nil, "annotations": []any{}}
	if t.step.Text != "" || len(t.calls) == 0 {
		message["content"] = t.step.Text
	}
	calls := []any{}
	for _, c := range t.calls {
		calls = append(calls, object{"id": c.id, "type": "function", "function": object{"name": c.name, "arguments": c.input}})
	}
	if len(calls) > 0 {
		message["tool_calls"] = calls
	}
	return object{
		"id": t.id("chatcmpl"), "object": "chat.completion", "created": t.created.Unix(), "model": t.request.Model,
		"choices": []any{object{"index": 0, "message": message, "logprobs": nil, "finish_reason": t.finishReason()}},
		"usage":   t.chatUsage(), "service_tier": "default", "system_fingerprint": "fp_scripted",
	}
}

// finishReason puts the stop reason into the wire's words.
func (t *turn) finishReason() string {
	switch t.stopReason() {
	case "tool_use":
		return "tool_calls"
	case "max_tokens":
		return "length"
	case "refusal":
		return "content_filter"
	}
	return "stop"
}

func (t *turn) chatUsage() object {
	u := t.usage
	prompt := u.Input + u.CacheRead + u.CacheWrite
	return object{
		"prompt_tokens": prompt, "prompt_tokens_details": object{"cached_tokens": u.CacheRead, "cache_write_tokens": u.CacheWrite, "audio_tokens": 0},
		"completion_tokens": u.Output, "completion_tokens_details": object{"reasoning_tokens": u.Reasoning},
		"total_tokens": prompt + u.Output,
	}
}

// chatEvents is the turn as the chunks of a stream.
func chatEvents(t *turn) []event {
	e := &events{}
	withUsage := wantsUsage(t.request)
	chunk := func(choices []any, usage any) {
		c := object{
			"id": t.id("chatcmpl"), "object": "chat.completion.chunk", "created": t.created.Unix(), "model": t.request.Model,
			"service_tier": "default", "system_fingerprint": "fp_scripted", "choices": choices,
		}
		if withUsage {
			c["usage"] = usage
		}
		e.add("", c)
	}
	delta := func(d object, finish any) {
		chunk([]any{object{"index": 0, "delta": d, "logprobs": nil, "finish_reason": finish}}, nil)
	}
	delta(object{"role": "assistant", "content": "", "refusal": nil}, nil)
	for _, p := range split(t.step.Text) {
		delta(object{"content": p}, nil)
	}
	for i, c := range t.calls {
		delta(object{"tool_calls": []any{object{"index": i, "id": c.id, "type": "function", "function": object{"name": c.name, "arguments": ""}}}}, nil)
		for _, p := range split(c.input) {
			delta(object{"tool_calls": []any{object{"index": i, "function": object{"arguments": p}}}}, nil)
		}
	}
	delta(object{}, t.finishReason())
	if withUsage {
		chunk([]any{}, t.chatUsage())
	}
	e.list = append(e.list, event{data: []byte("[DONE]")})
	return e.list
}
