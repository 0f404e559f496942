package opencode

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// protocolVersion is that of the Agent Client Protocol.
const protocolVersion = 1

// Requests that open a session. Prompts have the numbers above.
const (
	askHello = iota + 1
	askSession
	askEffort
	firstPrompt
)

// maxWaiting bounds the prompts that wait for the session or for their end.
const maxWaiting = 10_000

// dialogue talks with one process: it opens the session, says the prompts and
// reads what the program tells. Encode may be called while Line is.
type dialogue struct {
	dir, model, effort string
	resume             string // the session to go on with, or ""
	servers            []server

	mu      sync.Mutex
	begun   bool
	session string // "" until it is open
	next    int
	queue   []cliagent.Prompt // that came before the session was open
	said    map[int]string    // names of the prompts that the program works on, by request

	reader // of one goroutine's alone
}

var _ cliagent.Dialogue = (*dialogue)(nil)

// message is one of the protocol's, as far as it is read.
type message struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    struct {
		Name string `json:"errorName"`
	} `json:"data"`
}

// request makes the line of a request.
func request(id int, method string, params any) ([]byte, error) {
	return line(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

func line(v any) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b) // ends with a newline
	out.SetEscapeHTML(false)
	err := out.Encode(v)
	return b.Bytes(), err
}

// Encode implements cliagent.Encoder. The first prompt opens the talk; none is
// said before the session is open.
func (d *dialogue) Encode(p cliagent.Prompt) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session != "" {
		return d.prompt(p)
	}
	if len(d.queue) >= maxWaiting {
		return nil, fmt.Errorf("%d messages wait for the session", maxWaiting)
	}
	d.queue = append(d.queue, p)
	if d.begun {
		return nil, nil
	}
	d.begun = true
	return request(askHello, "initialize", map[string]any{"protocolVersion": protocolVersion,
		"clientCapabilities": map[string]any{"fs": map[string]bool{"readTextFile": false, "writeTextFile": false}, "terminal": false},
		"clientInfo":         map[string]string{"name": "oz", "version": "1"}})
}

// prompt makes the request of a prompt. d.mu is held.
func (d *dialogue) prompt(p cliagent.Prompt) ([]byte, error) {
	id := firstPrompt + d.next
	d.next++
	if d.said == nil {
		d.said = map[int]string{}
	}
	d.said[id] = p.ID
	return request(id, "session/prompt", map[string]any{"sessionId": d.session, "prompt": []map[string]string{{"type": "text", "text": p.Text}}})
}

// Line implements cliagent.Parser.
func (d *dialogue) Line(raw []byte) []cliagent.Event {
	var m message
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	switch {
	case m.Method == "session/update":
		return d.update(m.Params)
	case m.Method != "" && m.ID != nil:
		return d.asked(m)
	case m.Method != "":
		return nil
	}
	var id int
	if json.Unmarshal(m.ID, &id) != nil {
		return nil
	}
	return d.answered(id, m)
}

// End implements cliagent.Parser.
func (d *dialogue) End() []cliagent.Event { return d.flush() }

// answered takes the answer to a request of ours.
func (d *dialogue) answered(id int, m message) []cliagent.Event {
	switch {
	case id == askEffort:
		if m.Error != nil {
			return []cliagent.Event{cliagent.Noted{Text: "OpenCode works without the reasoning level " + d.effort + ": " + m.Error.Message}}
		}
		return nil
	case id >= firstPrompt:
		return d.ended(id, m)
	case m.Error != nil:
		return []cliagent.Event{failed(m.Error)}
	case id == askHello:
		return d.hello(m.Result)
	case id == askSession:
		return d.opened(m.Result)
	}
	return nil
}

// hello opens the session, now that the program has said who it is.
func (d *dialogue) hello(result json.RawMessage) []cliagent.Event {
	var r struct {
		Version int `json:"protocolVersion"`
	}
	if json.Unmarshal(result, &r) != nil || r.Version != protocolVersion {
		return []cliagent.Event{cliagent.Finished{Failure: &cliagent.Failure{Message: fmt.Sprintf("it speaks version %d of the Agent Client Protocol, and %d is needed", r.Version, protocolVersion)}}}
	}
	params := map[string]any{"cwd": d.dir, "mcpServers": d.servers}
	method := "session/new"
	if d.resume != "" {
		method, params["sessionId"] = "session/resume", d.resume
	}
	return reply(request(askSession, method, params))
}

// opened says all that waits, now that the session is there.
func (d *dialogue) opened(result json.RawMessage) []cliagent.Event {
	var r struct {
		ID      string   `json:"sessionId"`
		Options []option `json:"configOptions"`
	}
	if err := json.Unmarshal(result, &r); err != nil || cmp.Or(r.ID, d.resume) == "" {
		return []cliagent.Event{cliagent.Finished{Failure: &cliagent.Failure{Message: "it opened no session"}}}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session = cmp.Or(r.ID, d.resume)
	out := []cliagent.Event{cliagent.Began{NativeID: d.session}}
	out = append(out, d.think(r.Options)...)
	for _, p := range d.queue {
		out = append(out, reply(d.prompt(p))...)
	}
	d.queue = nil
	return out
}

// option is a setting of the session's that can be chosen.
type option struct {
	ID      string `json:"id"`
	Options []struct {
		Value string `json:"value"`
	} `json:"options"`
}

// think asks for the run's reasoning level.
func (d *dialogue) think(options []option) []cliagent.Event {
	if d.effort == "" {
		return nil
	}
	var known []string
	for _, o := range options {
		for _, v := range o.Options {
			if o.ID == "effort" {
				known = append(known, v.Value)
			}
		}
	}
	if !slices.Contains(known, d.effort) {
		return []cliagent.Event{cliagent.Noted{Text: fmt.Sprintf("OpenCode has no reasoning level %q for this model (it has: %s).", d.effort, cmp.Or(strings.Join(known, ", "), "none"))}}
	}
	return reply(request(askEffort, "session/set_config_option", map[string]string{"sessionId": d.session, "configId": "effort", "value": d.effort}))
}

func reply(data []byte, err error) []cliagent.Event {
	if err != nil { // what was made here always marshals
		return nil
	}
	return []cliagent.Event{cliagent.Reply{Data: data}}
}

// asked answers what the program asks of us: nobody is there to allow more than
// the settings do, and it has its own files and commands.
func (d *dialogue) asked(m message) []cliagent.Event {
	if m.Method != "session/request_permission" {
		return reply(line(map[string]any{"jsonrpc": "2.0", "id": m.ID, "error": map[string]any{"code": -32601, "message": "method not found"}}))
	}
	var p struct {
		Options []struct {
			ID   string `json:"optionId"`
			Kind string `json:"kind"`
		} `json:"options"`
		Call struct {
			Title string `json:"title"`
		} `json:"toolCall"`
	}
	_ = json.Unmarshal(m.Params, &p) // what cannot be read is refused
	outcome := map[string]string{"outcome": "cancelled"}
	for _, o := range p.Options {
		if o.Kind == "reject_once" {
			outcome = map[string]string{"outcome": "selected", "optionId": o.ID}
		}
	}
	out := append(d.flush(), cliagent.Noted{Text: "OpenCode asked for leave (" + p.Call.Title + ") and was refused: nobody is asked in this run."})
	return append(out, reply(line(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": map[string]any{"outcome": outcome}}))...)
}

// ended takes the end of the work on a prompt.
func (d *dialogue) ended(id int, m message) []cliagent.Event {
	d.mu.Lock()
	name, ok := d.said[id]
	delete(d.said, id)
	d.mu.Unlock()
	if !ok {
		return nil
	}
	out := append(d.flush(), cliagent.Taken{PromptID: name})
	if m.Error != nil {
		return append(out, failed(m.Error))
	}
	var r struct {
		Reason string `json:"stopReason"`
	}
	_ = json.Unmarshal(m.Result, &r) // without a reason it did not end well
	switch r.Reason {
	case "end_turn":
		return append(out, cliagent.Finished{Text: d.last})
	case "cancelled":
		return append(out, cliagent.Finished{Interrupted: true})
	case "max_tokens":
		return append(out, cliagent.Finished{Failure: &cliagent.Failure{Message: "the model's answer was cut off at its longest"}})
	case "refusal":
		return append(out, cliagent.Finished{Failure: &cliagent.Failure{Message: "the model refused to answer"}})
	}
	return append(out, cliagent.Finished{Failure: &cliagent.Failure{Message: fmt.Sprintf("it gave no good reason to stop (%s)", cmp.Or(r.Reason, "none"))}})
}

// failed is the end that an error makes. Its text is the program's; the status
// of the model's answer is in the gateway's.
func failed(e *rpcError) cliagent.Finished {
	text := strings.TrimPrefix(e.Message, "Internal error: ")
	if e.Data.Name != "" && e.Data.Name != "APIError" {
		text = e.Data.Name + ": " + text
	}
	return cliagent.Finished{Failure: &cliagent.Failure{Message: cmp.Or(text, "it gave no reason")}, Interrupted: e.Data.Name == "MessageAbortedError"}
}
