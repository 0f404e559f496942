package harnesstest

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// Staged makes a script that plays the first step whose tool calls have not
// all been made with success. An agent that was told that a call's outcome is
// unknown makes it again, as a real model would, and nothing is done twice
// that was done. The last step should have no calls: it ends the run.
func Staged(steps ...scripted.Step) scripted.Script {
	out := make([]scripted.Step, len(steps))
	for i, s := range steps {
		s.Match = func(r *scripted.Request) bool { return stage(r, steps) == i }
		out[i] = s
	}
	return scripted.Script{Steps: out}
}

func stage(r *scripted.Request, steps []scripted.Step) int {
	made := succeeded(r)
	for i, s := range steps {
		for _, c := range s.ToolCalls {
			if !contains(made, c) {
				return i
			}
		}
		if len(s.ToolCalls) == 0 {
			return i
		}
	}
	return len(steps) - 1
}

// stopped is what agents say of a call that was cut off.
var stopped = regexp.MustCompile(`outcome is unknown|(?i:\b(aborted|interrupted|cancelled|canceled)\b)`)

// lastWord is what a command prints when all of it went well.
var lastWord = regexp.MustCompile(`(?:&&|\\u0026\\u0026) echo (\w+)"`)

// saysItsWord reports whether a command's result has its last word, if it has one:
// one that was killed may not be called failed.
func saysItsWord(call scripted.Block, result string) bool {
	m := lastWord.FindSubmatch(call.Input)
	return m == nil || strings.Contains(result, string(m[1]))
}

// succeeded lists the calls of the conversation whose results tell no failure.
func succeeded(r *scripted.Request) []scripted.Block {
	calls := map[string]scripted.Block{}
	var out []scripted.Block
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			switch {
			case b.Type == "tool_use":
				calls[b.ToolID] = b
			case b.Type == "tool_result" && !b.IsError && !stopped.MatchString(b.Text) && saysItsWord(calls[b.ToolID], b.Text):
				out = append(out, calls[b.ToolID])
			}
		}
	}
	return out
}

func contains(made []scripted.Block, c scripted.ToolCall) bool {
	text, err := json.Marshal(c.Input)
	if err != nil {
		return false
	}
	for _, b := range made {
		var is, want any
		if b.ToolName == c.Name && json.Unmarshal(b.Input, &is) == nil && json.Unmarshal(text, &want) == nil && reflect.DeepEqual(is, want) {
			return true
		}
	}
	return false
}
