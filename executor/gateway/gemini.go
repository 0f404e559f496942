package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// geminiVersions are the versions of the Gemini API that clients put into the path.
func geminiVersions() []string { return []string{"v1beta", "v1", "v1alpha"} }

// geminiOperation reads a path such as
// /gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent. Without alt=sse
// a streamed answer is one JSON array, which is passed on as a whole.
func geminiOperation(u *url.URL) (operation, bool) {
	version, resource, ok := geminiPath(u.Path)
	at := strings.LastIndexByte(resource, ':')
	if !ok || at < 0 {
		return operation{}, false
	}
	model, method := resource[:at], resource[at+1:]
	if !modelInPath(model) {
		return operation{}, false
	}
	op := operation{api: GenerateContent, model: model, path: "/" + version + "/models/%s:" + method}
	switch method {
	case "generateContent":
	case "streamGenerateContent":
		op.stream = u.Query().Get("alt") == "sse"
	case "countTokens":
		op.api = GeminiCountTokens
	default:
		return operation{}, false
	}
	return op, true
}

// geminiPath takes the version and what follows "models/" out of a path.
func geminiPath(path string) (version, resource string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/gemini/")
	if !ok {
		return "", "", false
	}
	version, rest, _ = strings.Cut(rest, "/")
	resource, ok = strings.CutPrefix(rest, "models")
	return version, strings.TrimPrefix(resource, "/"), ok && slices.Contains(geminiVersions(), version) &&
		(resource == "" || resource[0] == '/')
}

// modelInPath reports whether a model's id may stand in a path: it must not
// lead elsewhere.
func modelInPath(model string) bool {
	odd := strings.ContainsFunc(model, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("._@/:+-", r)
	})
	return model != "" && !odd && !strings.Contains(model, "..") && !strings.Contains(model, "//") && model[0] != '/'
}

// readGemini reads what a generateContent request says of its size. Google's
// servers take members in camelCase and in snake_case; so does this.
func (r *modelRequest) readGemini() error {
	var named string
	if err := r.read("model", &named); err != nil {
		return err
	}
	if named = strings.TrimPrefix(named, "models/"); named != "" && named != r.model {
		return fmt.Errorf("model: the path asks for %q", r.model)
	}
	r.choices = 1
	for _, name := range []string{"generationConfig", "generation_config"} {
		at, ok := r.fields[name]
		if !ok || string(r.body[at.start:at.end]) == "null" {
			continue
		}
		config := &modelRequest{body: r.body[at.start:at.end], fields: map[string]span{}}
		if err := config.scan(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for field, to := range map[string]*int64{"maxOutputTokens": &r.maxOutput, "max_output_tokens": &r.maxOutput,
			"candidateCount": &r.choices, "candidate_count": &r.choices} {
			n := *to
			if err := config.readCount(field, &n); err != nil {
				return fmt.Errorf("%s.%w", name, err)
			}
			*to = max(*to, n)
		}
	}
	return nil
}

// geminiUsage are the counts of the Gemini API. A stream repeats them, ever larger.
type geminiUsage struct {
	Prompt     count `json:"promptTokenCount"` // cached ones included
	Cached     count `json:"cachedContentTokenCount"`
	ToolUse    count `json:"toolUsePromptTokenCount"` // beside Prompt
	Candidates count `json:"candidatesTokenCount"`
	Thoughts   count `json:"thoughtsTokenCount"` // beside Candidates
	Total      count `json:"totalTokenCount"`
}

// usage puts every token into one place. What Total has beyond the parts was generated.
func (u geminiUsage) usage() Usage {
	prompt := min(u.Prompt+u.ToolUse, maxCount)
	cached := min(u.Cached, prompt)
	output := min(max(u.Candidates+u.Thoughts, u.Total-prompt), maxCount)
	return Usage{Input: int64(prompt - cached), CacheRead: int64(cached),
		Output: int64(output), Reasoning: int64(min(u.Thoughts, output))}
}

func (u *geminiUsage) grow(v geminiUsage) {
	u.Prompt, u.Cached, u.ToolUse = max(u.Prompt, v.Prompt), max(u.Cached, v.Cached), max(u.ToolUse, v.ToolUse)
	u.Candidates, u.Thoughts, u.Total = max(u.Candidates, v.Candidates), max(u.Thoughts, v.Thoughts), max(u.Total, v.Total)
}

// geminiDocument reads an answer, or a part of a streamed one: they are of one
// shape. There is no last event; a reason to finish stands in the last part, and
// some endpoints put one into every part.
func (r *reading) geminiDocument(data []byte) {
	var d struct {
		Candidates []struct {
			FinishReason string `json:"finishReason"`
			Grounding    struct {
				Queries []json.RawMessage `json:"webSearchQueries"`
			} `json:"groundingMetadata"`
		} `json:"candidates"`
		Feedback struct {
			BlockReason string `json:"blockReason"`
		} `json:"promptFeedback"`
		Usage *geminiUsage `json:"usageMetadata"`
		Model string       `json:"modelVersion"`
		ID    string       `json:"responseId"`
		Error *wireError   `json:"error"`
	}
	r.decode(data, &d)
	r.model, r.id = defaulted(d.Model, r.model), defaulted(d.ID, r.id)
	searches := r.usage.WebSearches
	for _, c := range d.Candidates {
		if c.FinishReason != "" {
			r.stop, r.done = c.FinishReason, true
		}
		searches = max(searches, int64(len(c.Grounding.Queries)))
	}
	if d.Feedback.BlockReason != "" {
		r.stop, r.done = d.Feedback.BlockReason, true
	}
	r.troubled(d.Error)
	if d.Usage != nil {
		r.gemini.grow(*d.Usage)
		r.usage, r.prompt, r.known = r.gemini.usage(), true, r.done
	}
	r.usage.WebSearches = searches
}

// geminiWhole reads an answer that is not a stream of events: one document, or
// the array that streamGenerateContent gives without alt=sse.
func (r *reading) geminiWhole(body []byte) {
	parts := []json.RawMessage{body}
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte{'['}) {
		parts = nil
		r.decode(body, &parts)
	}
	for _, part := range parts {
		r.geminiDocument(part)
	}
	r.done = true
	r.known = r.prompt
}

// geminiError is the error document of Google's APIs (AIP-193).
func geminiError(r refusal) any {
	return map[string]any{"error": map[string]any{
		"code": r.status, "message": r.message, "status": geminiStatus(r.status),
		"details": []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": string(r.class), "domain": "oz-model-gateway"}},
	}}
}

// geminiStatus is the name of an error by its HTTP status (google.rpc.Code).
func geminiStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	}
	if status >= 500 {
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}

// retryDelay reads the pause that Google's APIs ask for in an error's details
// (google.rpc.RetryInfo), since they send no Retry-After.
func retryDelay(body []byte) (time.Duration, bool) {
	var doc struct {
		Error struct {
			Details []struct {
				Delay string `json:"retryDelay"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(firstDocument(body), &doc) != nil {
		return 0, false
	}
	for _, d := range doc.Error.Details {
		if delay, err := time.ParseDuration(d.Delay); err == nil && delay >= 0 {
			return delay, true
		}
	}
	return 0, false
}

// firstDocument is the only element of an array: Gemini wraps the error of a
// stream so.
func firstDocument(body []byte) []byte {
	var list []json.RawMessage
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte{'['}) && json.Unmarshal(body, &list) == nil && len(list) > 0 {
		return list[0]
	}
	return body
}
