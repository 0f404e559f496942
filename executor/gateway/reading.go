package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
)

// maxEventBytes bounds one line of a stream that is looked into. The largest
// known is the last event of a Responses stream, which repeats the whole answer.
const maxEventBytes = 16 << 20

// reading is what the gateway learns from a copy of an answer. Feed a stream to
// it with Write, in pieces of any size, or a whole body with readWhole.
type reading struct {
	api     API
	partial []byte // an unfinished line
	skip    bool   // the line is over the limit; ignore its rest

	usage     Usage
	known     bool        // usage is final
	prompt    bool        // at least the prompt's part of usage is known
	gemini    geminiUsage // what usage is made from on the Gemini wire
	model     string      // as the provider names it
	id        string      // the answer's own, where no header has one
	stop      string      // why the model stopped
	done      bool        // the last event of the wire was seen
	trouble   string      // an error inside the stream: its code and message
	malformed bool        // something that had to be JSON was not
}

// Write takes the next bytes of a server-sent event stream. It never fails.
func (r *reading) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		b = rest
		switch {
		case !ended:
			r.keep(line)
		case r.skip:
			r.skip = false
		case len(r.partial) == 0:
			r.line(line)
		default:
			r.keep(line)
			if !r.skip {
				r.line(r.partial)
			}
			r.partial, r.skip = r.partial[:0], false
		}
	}
	return n, nil
}

func (r *reading) keep(part []byte) {
	if r.skip || len(r.partial)+len(part) > maxEventBytes {
		r.partial, r.skip = r.partial[:0], true
		return
	}
	r.partial = append(r.partial, part...)
}

// line looks at one line. The vendors put each event's data on one line, so a
// line is an event.
func (r *reading) line(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		return
	}
	data = bytes.TrimSpace(data)
	if string(data) == "[DONE]" {
		r.done = true
		return
	}
	if r.matters(data) {
		r.event(data)
	}
}

// matters spares decoding the many events that carry only text. It may let one
// through that has nothing to say, never the reverse: inside a JSON string the
// quotes around these words would be escaped.
func (r *reading) matters(data []byte) bool {
	if r.api == GenerateContent {
		return true // each part tells the usage so far
	}
	return hasMember(data, `"usage"`, '{') || hasMember(data, `"finish_reason"`, '"') ||
		bytes.Contains(data, []byte(`"message_stop"`)) || bytes.Contains(data, []byte(`"response.`)) && isTerminal(data) ||
		bytes.Contains(data, []byte(`"error"`)) || !bytes.HasPrefix(data, []byte("{"))
}

func isTerminal(data []byte) bool {
	for _, t := range []string{`"response.completed"`, `"response.incomplete"`, `"response.failed"`} {
		if bytes.Contains(data, []byte(t)) {
			return true
		}
	}
	return false
}

// hasMember reports whether name occurs in data with a value that starts with first.
func hasMember(data []byte, name string, first byte) bool {
	for {
		_, after, found := bytes.Cut(data, []byte(name))
		if !found {
			return false
		}
		data = after
		value := bytes.TrimLeft(after, " \t:")
		if len(value) > 0 && value[0] == first {
			return true
		}
	}
}

func (r *reading) event(data []byte) {
	switch r.api {
	case Messages:
		r.anthropicEvent(data)
	case Responses:
		r.responsesEvent(data)
	case ChatCompletions:
		r.chatDocument(data)
	case GenerateContent:
		r.geminiDocument(data)
	}
}

// over reports whether nothing more can come that matters. On the Gemini wire
// only the end of the stream tells.
func (r *reading) over() bool { return r.done && r.known && r.api != GenerateContent }

// readWhole takes an answer that is not a stream.
func (r *reading) readWhole(body []byte) {
	if !json.Valid(body) {
		r.malformed = true
		return
	}
	r.done = true
	switch r.api {
	case Messages:
		var m anthropicMessage
		r.decode(body, &m)
		r.anthropicMessage(m)
		r.known = r.prompt
	case Responses:
		var resp responsesDocument
		r.decode(body, &resp)
		r.response(resp)
	case ChatCompletions, Embeddings: // the usage of both has prompt_tokens
		r.chatDocument(body)
	case GenerateContent:
		r.geminiWhole(body)
	}
}

func (r *reading) decode(data []byte, v any) {
	if err := json.Unmarshal(data, v); err != nil {
		r.malformed = true
	}
}

// count is a number of tokens from outside: never negative, never above maxCount.
type count int64

// UnmarshalJSON takes any JSON number; what is not a number counts nothing.
func (c *count) UnmarshalJSON(data []byte) error {
	var f float64
	if json.Unmarshal(data, &f) != nil || f < 0 {
		f = 0
	}
	*c = count(min(f, maxCount))
	return nil
}

type wireError struct {
	Type    string `json:"type"`
	Code    any    `json:"code"`   // a number on the Gemini wire, which says it better in Status
	Status  string `json:"status"` // the Gemini wire's
	Message string `json:"message"`
}

func (e *wireError) String() string {
	code, _ := e.Code.(string)
	code = cmp.Or(code, e.Type, e.Status)
	return strings.TrimPrefix(code+": "+e.Message, ": ")
}

type anthropicUsage struct {
	Input         count `json:"input_tokens"`
	CacheRead     count `json:"cache_read_input_tokens"`
	CacheWrite    count `json:"cache_creation_input_tokens"`
	Output        count `json:"output_tokens"`
	CacheCreation struct {
		For5m count `json:"ephemeral_5m_input_tokens"`
		For1h count `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
	OutputDetails struct {
		Thinking count `json:"thinking_tokens"`
	} `json:"output_tokens_details"`
	ServerTools struct {
		WebSearches count `json:"web_search_requests"`
	} `json:"server_tool_use"`
}

type anthropicMessage struct {
	Model      string          `json:"model"`
	StopReason string          `json:"stop_reason"`
	Usage      *anthropicUsage `json:"usage"`
}

func (r *reading) anthropicEvent(data []byte) {
	var e struct {
		Type    string           `json:"type"`
		Message anthropicMessage `json:"message"`
		Delta   struct {
			StopReason string `json:"stop_reason"`
		} `json:"delta"`
		Usage *anthropicUsage `json:"usage"`
		Error *wireError      `json:"error"`
	}
	r.decode(data, &e)
	switch e.Type {
	case "message_start":
		r.anthropicMessage(e.Message)
	case "message_delta":
		r.stop = e.Delta.StopReason
		if e.Usage != nil {
			r.addAnthropic(e.Usage)
			r.known = r.prompt
		}
	case "message_stop":
		r.done = true
	case "error":
		r.troubled(e.Error)
	}
}

func (r *reading) anthropicMessage(m anthropicMessage) {
	r.model, r.stop = m.Model, m.StopReason
	if m.Usage != nil {
		r.addAnthropic(m.Usage)
		r.prompt = true
	}
}

// addAnthropic takes the larger of what is known and u: the counts are
// cumulative, and later events may leave out what an earlier one told.
func (r *reading) addAnthropic(u *anthropicUsage) {
	to := &r.usage
	to.Input = max(to.Input, int64(u.Input))
	to.CacheRead = max(to.CacheRead, int64(u.CacheRead))
	byAge := int64(u.CacheCreation.For5m) + int64(u.CacheCreation.For1h)
	to.CacheWrite = min(max(to.CacheWrite, int64(u.CacheWrite), byAge), maxCount)
	to.CacheWrite1h = min(max(to.CacheWrite1h, int64(u.CacheCreation.For1h)), to.CacheWrite)
	to.Output = max(to.Output, int64(u.Output))
	to.Reasoning = min(max(to.Reasoning, int64(u.OutputDetails.Thinking)), to.Output)
	to.WebSearches = max(to.WebSearches, int64(u.ServerTools.WebSearches))
}

type responsesDocument struct {
	Model      string `json:"model"`
	Status     string `json:"status"`
	Incomplete struct {
		Reason string `json:"reason"`
	} `json:"incomplete_details"`
	Error *wireError `json:"error"`
	Usage *struct {
		Input   count         `json:"input_tokens"`
		Details promptDetails `json:"input_tokens_details"`
		Output  count         `json:"output_tokens"`
		Out     outputDetails `json:"output_tokens_details"`
	} `json:"usage"`
}

type promptDetails struct {
	Cached  count `json:"cached_tokens"`
	Written count `json:"cache_write_tokens"`
}

type outputDetails struct {
	Reasoning count `json:"reasoning_tokens"`
}

func (r *reading) responsesEvent(data []byte) {
	var e struct {
		Type     string            `json:"type"`
		Response responsesDocument `json:"response"`
		Error    *wireError        `json:"error"`
		Code     any               `json:"code"`
		Message  string            `json:"message"`
	}
	r.decode(data, &e)
	switch e.Type {
	case "response.completed", "response.incomplete", "response.failed":
		r.done = true
		r.response(e.Response)
	case "error":
		r.done = true
		if e.Error == nil {
			e.Error = &wireError{Code: e.Code, Message: e.Message}
		}
		r.troubled(e.Error)
	}
}

func (r *reading) response(d responsesDocument) {
	r.model, r.stop = d.Model, d.Status
	if d.Incomplete.Reason != "" {
		r.stop = d.Incomplete.Reason
	}
	r.troubled(d.Error)
	if u := d.Usage; u != nil {
		r.openAIUsage(u.Input, u.Output, u.Details, u.Out)
	}
}

// chatDocument reads a completion, or a chunk of one: the members that matter are the same.
func (r *reading) chatDocument(data []byte) {
	var d struct {
		Model   string `json:"model"`
		Choices []struct {
			FinishReason string `json:"finish_reason"`
		} `json:"choices"`
		Error *wireError `json:"error"`
		Usage *struct {
			Prompt     count         `json:"prompt_tokens"`
			Details    promptDetails `json:"prompt_tokens_details"`
			Completion count         `json:"completion_tokens"`
			Out        outputDetails `json:"completion_tokens_details"`
		} `json:"usage"`
	}
	r.decode(data, &d)
	if d.Model != "" {
		r.model = d.Model
	}
	for _, c := range d.Choices {
		if c.FinishReason != "" {
			r.stop, r.done = c.FinishReason, true
		}
	}
	r.troubled(d.Error)
	if u := d.Usage; u != nil {
		r.openAIUsage(u.Prompt, u.Completion, u.Details, u.Out)
	}
}

// openAIUsage splits the prompt, which on this wire includes its cached parts.
func (r *reading) openAIUsage(prompt, output count, in promptDetails, out outputDetails) {
	cached := min(in.Cached, prompt)
	written := min(in.Written, prompt-cached)
	r.usage = Usage{
		Input:      int64(prompt - cached - written),
		CacheRead:  int64(cached),
		CacheWrite: int64(written),
		Output:     int64(output),
		Reasoning:  int64(min(out.Reasoning, output)),
	}
	r.known, r.prompt = true, true
}

func (r *reading) troubled(e *wireError) {
	if e != nil {
		r.trouble = e.String()
	}
}

// spent is the usage to book. When the provider did not tell all, the missing
// part is guessed upwards from est and the bytes that came: an event of a
// stream has some hundred bytes around each few tokens.
func (r *reading) spent(est Usage, received int64) (u Usage, estimated bool) {
	if r.known || received == 0 && !r.prompt {
		return r.usage, false
	}
	u = r.usage
	if !r.prompt {
		u.Input = est.Input
	}
	u.Output = max(u.Output, min(est.Output, received/streamBytesPerToken))
	return u, true
}

// streamBytesPerToken is a low guess of what a token takes on a stream.
const streamBytesPerToken = 8
