// Package celfilter reads the conditions of webhooks: expressions of the Common
// Expression Language (https://cel.dev) over
//
//	body   the payload
//	event  the kind of event, as the sender names it; may be empty
//
// such as
//
//	body.action == "opened" && body.issue.labels.exists(l, l.name == "bug")
//
// What a payload does not have is an error, so that nothing starts; has(body.x)
// asks for it.
package celfilter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// maxCost bounds the work of one evaluation, in CEL's units: some milliseconds.
const maxCost = 1_000_000

// Compile reads an expression. It fails when it is not one, does not give true
// or false, or names something else than body and event.
func Compile(text string) (webhook.Condition, error) {
	env, err := cel.NewEnv(cel.Variable("body", cel.DynType), cel.Variable("event", cel.StringType), ext.Strings())
	if err != nil {
		return nil, fmt.Errorf("make a CEL environment: %w", err)
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "<input>:", ""))
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("gives a value of type %s, not true or false", t)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return condition{program}, nil
}

type condition struct{ program cel.Program }

// Match implements webhook.Condition.
func (c condition) Match(event string, payload []byte) (bool, error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	var body any
	if err := d.Decode(&body); err != nil {
		return false, errors.New("the payload is not JSON")
	}
	out, _, err := c.program.Eval(map[string]any{"body": body, "event": event})
	if err != nil {
		return false, err
	}
	ok, isBool := out.Value().(bool)
	if !isBool {
		return false, fmt.Errorf("gives %v, not true or false", out.Type())
	}
	return ok, nil
}
