package codex_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/executor/harness/codex"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
)

// tools are Codex's.
type tools struct{}

func (tools) Command(line string) scripted.ToolCall {
	return scripted.ToolCall{Name: "exec_command", Input: map[string]any{"cmd": line}}
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
	path := harnesstest.Program(t, "codex", codex.Version)
	one := codex.New(&cliagent.Options{Path: path, Version: codex.Version, Poll: 100 * time.Millisecond}) // keeps nothing but what it knows of the program
	return harnesstest.Harness{
		New:   func() harness.Harness { return one },
		Wires: one.Wires(), Tools: tools{}, Foreign: true, RestartStep: 3, ModelID: "gpt-5.5",
	}
}

func TestCodexConformance(t *testing.T) { harnesstest.Run(t, conformance(t)) }

func TestCodexFaults(t *testing.T) { harnesstest.RunForeign(t, conformance(t)) }

func TestCodexRestarts(t *testing.T) { harnesstest.RestartAtEveryWrite(t, conformance(t)) }
