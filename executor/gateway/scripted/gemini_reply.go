package scripted

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// geminiAnswer is the turn as a whole answer.
func geminiAnswer(t *turn) any {
	parts := []any{}
	if t.step.Thinking != "" {
		parts = append(parts, object{"text": t.step.Thinking, "thought": true})
	}
	if t.step.Text != "" {
		parts = append(parts, object{"text": t.step.Text})
	}
	return t.geminiDocument(append(parts, t.geminiCalls()...), t.geminiFinish(), t.geminiUsage(t.usage.Output))
}

// geminiCalls are the calls as parts. The first has the signature that the
// thinking models put there and want back.
func (t *turn) geminiCalls() []any {
	var parts []any
	for i, c := range t.calls {
		part := object{"functionCall": object{"id": c.id, "name": c.name, "args": c.object()}}
		if i == 0 {
			part["thoughtSignature"] = base64.StdEncoding.EncodeToString([]byte(t.signature()))
		}
		parts = append(parts, part)
	}
	return parts
}

func (t *turn) geminiDocument(parts []any, finish string, usage object) object {
	candidate := object{"content": object{"role": "model", "parts": parts}, "index": 0}
	if finish != "" {
		candidate["finishReason"] = finish
	}
	return object{"candidates": []any{candidate}, "usageMetadata": usage, "modelVersion": t.request.Model, "responseId": t.id("resp")}
}

// geminiFinish puts the stop reason into the wire's words. Calls have none of their own.
func (t *turn) geminiFinish() string {
	switch t.stopReason() {
	case "max_tokens":
		return "MAX_TOKENS"
	case "refusal":
		return "SAFETY"
	}
	return "STOP"
}

func (t *turn) geminiUsage(output int64) object {
	u := t.usage
	prompt := u.Input + u.CacheRead + u.CacheWrite
	thoughts := min(u.Reasoning, output)
	usage := object{
		"promptTokenCount": prompt, "candidatesTokenCount": output - thoughts, "totalTokenCount": prompt + output,
		"promptTokensDetails": []any{object{"modality": "TEXT", "tokenCount": prompt}},
	}
	if thoughts > 0 {
		usage["thoughtsTokenCount"] = thoughts
	}
	if u.CacheRead > 0 {
		usage["cachedContentTokenCount"] = u.CacheRead
	}
	return usage
}

// geminiEvents is the turn as the parts of a stream. The last has the reason to finish.
func geminiEvents(t *turn) []event {
	e := &events{}
	say := func(part object) {
		e.add("", t.geminiDocument([]any{part}, "", t.geminiUsage(min(1, t.usage.Output))))
	}
	for _, p := range split(t.step.Thinking) {
		say(object{"text": p, "thought": true})
	}
	for _, p := range split(t.step.Text) {
		say(object{"text": p})
	}
	last := t.geminiCalls()
	if len(last) == 0 {
		last = []any{object{"text": ""}} // as the real stream ends
	}
	e.add("", t.geminiDocument(last, t.geminiFinish(), t.geminiUsage(t.usage.Output)))
	return e.list
}

// geminiArray is the stream as the one JSON array that it is without alt=sse.
func geminiArray(t *turn) any {
	var list []json.RawMessage
	for _, e := range geminiEvents(t) {
		list = append(list, e.data)
	}
	return list
}

// geminiError is the error document of Google's APIs.
func geminiError(p *problem, retryAfter time.Duration) any {
	status := p.kind
	if status == "" {
		status = map[int]string{
			http.StatusBadRequest: "INVALID_ARGUMENT", http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED",
			http.StatusNotFound: "NOT_FOUND", http.StatusTooManyRequests: "RESOURCE_EXHAUSTED", http.StatusServiceUnavailable: "UNAVAILABLE",
			http.StatusGatewayTimeout: "DEADLINE_EXCEEDED", http.StatusRequestEntityTooLarge: "INVALID_ARGUMENT",
		}[p.status]
	}
	if status == "" {
		status = "INTERNAL"
	}
	doc := object{"code": p.status, "message": p.message, "status": status}
	if retryAfter > 0 {
		doc["details"] = []any{object{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retryAfter.String()}}
	}
	return object{"error": doc}
}
