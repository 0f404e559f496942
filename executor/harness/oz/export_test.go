package ozagent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Bench lets tests call single tools without a model.
type Bench struct{ a *agent }

// OpenBench makes an agent that takes no turn by itself.
func OpenBench(s *harness.Session) (*Bench, error) {
	a, err := newAgent((*Options)(nil).withDefaults(), s)
	if err != nil {
		return nil, err
	}
	return &Bench{a}, a.conv.catchUp(context.Background())
}

// Close ends what the tools started.
func (b *Bench) Close() { b.a.close() }

// Called is what a call gave.
type Called struct {
	State   task.ToolState
	Content string
	Output  map[string]any
}

// Call calls one tool; again says that a restart cut off an earlier try.
func (b *Bench) Call(ctx context.Context, name string, input any, again bool) (Called, error) {
	raw, ok := input.(string)
	if !ok {
		data, err := json.Marshal(input)
		if err != nil {
			return Called{}, err
		}
		raw = string(data)
	}
	k := &call{id: fmt.Sprintf("call-%d", b.a.conv.read+1), name: name, input: objectOf(raw)}
	res, err := b.a.dispatch(ctx, k, again)
	if err != nil {
		if res, err = b.a.explain(k, err); err != nil {
			return Called{}, err
		}
	}
	out := Called{State: res.state, Content: res.content}
	if res.output != nil {
		data, err := json.Marshal(res.output)
		if err != nil {
			return out, err
		}
		if err := json.Unmarshal(data, &out.Output); err != nil {
			return out, err
		}
	}
	return out, nil
}

// SystemPrompt is what the model is told first.
func (b *Bench) SystemPrompt() string { return b.a.systemPrompt() }

// ApplyEdit makes one edit in text.
func ApplyEdit(text, search, replace string, all bool) (out, note string, err error) {
	return applyEdit(text, edit{Search: search, Replace: &replace, All: all})
}

// AlreadyMade reports that an edit is in text.
func AlreadyMade(text, search, replace string) bool {
	return alreadyMade(text, edit{Search: search, Replace: &replace})
}

// UnifiedDiff is the diff of a tool's result.
func UnifiedDiff(path, old, new string) string { return unifiedDiff(path, old, new) }

// BranchURL is the address in the artifact of a branch.
func BranchURL(remote, branch string) string { return harness.BranchURL(remote, branch) }

// ToolSchemas gives each tool's schema by name.
func ToolSchemas(platform []harness.Tool) map[string]map[string]any {
	out := map[string]map[string]any{}
	for name, t := range newToolbox(platform) {
		out[name] = t.schemaObject()
	}
	return out
}

// SpoolThreshold is the output from which a file is written.
const SpoolThreshold = headBytes + tailBytes
