package scripted

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// object is a JSON object.
type object = map[string]any

// turn is a step about to be said in answer to a request.
type turn struct {
	request *Request
	step    *Step
	calls   []call
	usage   Usage
	created time.Time
	hash    string // of the request's body, for ids
}

// call is a tool call with its input as text.
type call struct{ id, name, namespace, input string }

// object is the input as JSON; what is no JSON object is an empty one, since
// the whole answer has no place for it.
func (c call) object() json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(c.input), &m) != nil || m == nil {
		return json.RawMessage("{}")
	}
	return json.RawMessage(c.input)
}

func newTurn(r *Request, step *Step, now time.Time) *turn {
	sum := sha256.Sum256(r.Body)
	t := &turn{request: r, step: step, created: now, hash: hex.EncodeToString(sum[:6])}
	size := len(step.Thinking) + len(step.Text)
	for i, c := range step.ToolCalls {
		input := c.RawInput
		if input == "" && c.Input == nil {
			input = "{}"
		} else if input == "" {
			text, _ := json.Marshal(c.Input) // checked with the script
			input = string(text)
		}
		id := c.ID
		if id == "" {
			id = t.callID(i)
		}
		size += len(c.Name) + len(input)
		t.calls = append(t.calls, call{id, c.Name, c.Namespace, input})
	}
	if step.Usage != nil {
		t.usage = *step.Usage
	} else {
		t.usage = Usage{Input: guessTokens(len(r.Body)), Output: guessTokens(size), Reasoning: int64(len(step.Thinking) / 4)}
	}
	return t
}

// guessTokens is a rough count for texts whose numbers nobody scripted.
func guessTokens(bytes int) int64 { return int64(bytes/4) + 1 }

// id makes a name for something of this turn: the same request gets the same.
func (t *turn) id(prefix string) string {
	return fmt.Sprintf("%s_t%d_%s", prefix, t.request.Turn, t.hash)
}

func (t *turn) callID(i int) string {
	prefix := "call"
	if t.request.API.anthropic() {
		prefix = "toolu"
	}
	return fmt.Sprintf("%s_t%d_%d_%s", prefix, t.request.Turn, i, t.hash)
}

// turnOfCall reads the turn back from an id of callID.
func turnOfCall(id string) (turn int, ok bool) {
	n, _ := fmt.Sscanf(id, "call_t%d_", &turn)
	return turn, n == 1
}

func (t *turn) signature() string { return "scripted-" + t.hash }

func (t *turn) stopReason() string {
	switch {
	case t.step.StopReason != "":
		return t.step.StopReason
	case len(t.calls) > 0:
		return "tool_use"
	}
	return "end_turn"
}

// event is one server-sent event.
type event struct {
	name string // empty: the wire does not name its events
	data []byte
}

// events collects a stream.
type events struct {
	named    bool // the data repeats the name as "type"
	numbered bool // and counts in "sequence_number"
	list     []event
}

func (e *events) add(name string, data object) {
	if e.named {
		data["type"] = name
	}
	if e.numbered {
		data["sequence_number"] = len(e.list)
	}
	text, _ := json.Marshal(data) // made of strings, numbers and checked JSON
	e.list = append(e.list, event{name, text})
}

// pieceBytes is about how much text one event carries.
const pieceBytes = 16

// split cuts a text into pieces between runes.
func split(text string) []string {
	var out []string
	for len(text) > pieceBytes {
		at := pieceBytes
		for at > 1 && !utf8.RuneStart(text[at]) {
			at--
		}
		out, text = append(out, text[:at]), text[at:]
	}
	if text != "" {
		out = append(out, text)
	}
	return out
}
