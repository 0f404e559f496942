package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of what a conversation shows of a tool's input or output. The log
// has all of it.
const (
	maxPublicText  = 4000 // bytes of one text
	maxPublicItems = 200  // of one list or object
	maxPublicDepth = 8    // of values within values
)

func eventBlock(name string, data map[string]any) ContentBlock {
	raw, err := json.Marshal(data)
	if err != nil { // only what a payload holds is in there, and that was JSON
		raw = []byte(`{}`)
	}
	return ContentBlock{Type: BlockEvent, Name: name, Data: publicObject(raw)}
}

// publicObject gives the form of a JSON value that a conversation shows: an
// object, without empty texts, and with long and deep values cut.
func publicObject(raw json.RawMessage) json.RawMessage {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // numbers come back as they were written
	if d.Decode(&v) != nil {
		return json.RawMessage(`{}`)
	}
	object, ok := v.(map[string]any)
	if !ok {
		object = map[string]any{"value": v}
	}
	for k, v := range object {
		if v == "" {
			delete(object, k)
		}
	}
	out, err := json.Marshal(public(object, maxPublicDepth))
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return out
}

func public(v any, depth int) any {
	switch v := v.(type) {
	case string:
		return cut(v, maxPublicText)
	case []any:
		if depth == 0 || len(v) > maxPublicItems {
			return fmt.Sprintf("(%d items)", len(v))
		}
		for i := range v {
			v[i] = public(v[i], depth-1)
		}
	case map[string]any:
		if depth == 0 || len(v) > maxPublicItems {
			return fmt.Sprintf("(%d fields)", len(v))
		}
		for k := range v {
			v[k] = public(v[k], depth-1)
		}
	}
	return v
}

// cut shortens text to about limit bytes at the end of a character, and says so.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes in all)", strings.TrimRight(s[:end], " \n\r\t"), len(s))
}
