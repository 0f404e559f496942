package opencode_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/opencode"
)

// tools are OpenCode's.
type tools struct{}

func (tools) Command(line string) scripted.ToolCall {
	return scripted.ToolCall{Name: "bash", Input: map[string]any{"command": line, "description": "It does it."}}
}

func (t tools) Edit(path, search, replace string) scripted.ToolCall {
	return t.Command("sed -i " + quoted("s/"+escaped(search)+"/"+escaped(replace)+"/") + " " + quoted(filepath.FromSlash(path)))
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func escaped(s string) string {
	return strings.NewReplacer("/", `\/`, "[", `\[`, "]", `\]`, "&", `\&`, ".", `\.`).Replace(s)
}

func (t tools) Deliver(message string) []scripted.ToolCall {
	return []scripted.ToolCall{t.Command("git checkout -q -B oz/work && { git diff --quiet HEAD || git commit -q -a -m " + quoted(message) + "; } && git push -q origin HEAD && echo pushed")}
}

func (tools) Finish(string, ...string) []scripted.ToolCall { return nil }

func conformance(t *testing.T) harnesstest.Harness {
	path := harnesstest.Program(t, "opencode", opencode.Version)
	one := opencode.New(&cliagent.Options{Path: path, Version: opencode.Version, Poll: 100 * time.Millisecond}) // keeps nothing but what it knows of the program
	return harnesstest.Harness{
		New:   func() harness.Harness { return one },
		Wires: one.Wires(), Tools: tools{}, Foreign: true, RestartStep: 6,
	}
}

func TestOpenCodeConformance(t *testing.T) { harnesstest.Run(t, conformance(t)) }

func TestOpenCodeFaults(t *testing.T) { harnesstest.RunForeign(t, conformance(t)) }

func TestOpenCodeRestarts(t *testing.T) { harnesstest.RestartAtEveryWrite(t, conformance(t)) }
