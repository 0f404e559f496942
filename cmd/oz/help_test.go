package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// everyCommand lists the tree, groups included, in its order.
func everyCommand(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			all = append(all, everyCommand(sub)...)
		}
	}
	return all
}

func tree() *cobra.Command { return (&app{env: func(string) string { return "" }}).root() }

// TestHelp holds the help of every command, one file for each group. Run with
// -update after a change that is meant.
func TestHelp(t *testing.T) {
	d := &desk{t: t, dir: t.TempDir(), server: &servertest.Server{URL: "http://127.0.0.1:1"}}
	golden.Assert(t, d.ok("--help"), "help/oz.golden")
	for _, group := range tree().Commands() {
		if group.Name() == "help" || group.Name() == "completion" {
			continue
		}
		var out strings.Builder
		for _, cmd := range everyCommand(group) {
			args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
			text := d.ok(args...)
			assert.Assert(t, !strings.Contains(text, servertest.APIKey), "%v shows the key", args)
			out.WriteString("=== " + strings.Join(args, " ") + "\n" + text)
		}
		golden.Assert(t, out.String(), "help/"+group.Name()+".golden")
	}
}

// TestEveryCommandIsDocumented: a summary, an example for whatever does
// something, and help for every flag.
func TestEveryCommandIsDocumented(t *testing.T) {
	for _, cmd := range everyCommand(tree())[1:] {
		assert.Check(t, cmd.Short != "", cmd.CommandPath())
		if !cmd.HasSubCommands() {
			assert.Check(t, strings.Contains(cmd.Example, "oz "), "%s has no example", cmd.CommandPath())
		}
	}
}

// adder plays an agent's `mcp add NAME -- COMMAND`: it runs the command.
const adder = "#!/bin/sh\nwhile [ $# -gt 0 ] && [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"\n"

// TestExamplesParse lets a shell read every example of the help and of the
// README; what reaches oz must be a command line that it takes.
func TestExamplesParse(t *testing.T) {
	dir := t.TempDir()
	record := filepath.Join(dir, "record")
	shims := filepath.Join(dir, "bin")
	assert.NilError(t, os.MkdirAll(shims, 0o755))
	for name, script := range map[string]string{
		"oz":     "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\0' \"$a\"; done >>" + record + "\nprintf '\\n\\0' >>" + record + "\n",
		"pass":   "#!/bin/sh\necho secret\n",
		"claude": adder, "codex": adder, "gemini": adder,
	} {
		assert.NilError(t, os.WriteFile(filepath.Join(shims, name), []byte(script), 0o755))
	}
	for _, file := range []string{"key", "audit-head", "sentry.secret", "slack.secret", "slack.token"} {
		assert.NilError(t, os.WriteFile(filepath.Join(dir, file), []byte("1:00"), 0o600))
	}
	readme, err := os.ReadFile("../../README.md")
	assert.NilError(t, err)
	texts := []string{commandsOf(string(readme))}
	for _, cmd := range everyCommand(tree()) {
		texts = append(texts, cmd.Example)
	}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			_ = os.Remove(record)
			sh := exec.CommandContext(t.Context(), "bash", "-c", line)
			sh.Dir, sh.Env = dir, append(os.Environ(), "PATH="+shims+":"+os.Getenv("PATH"), "HOME="+dir)
			out, err := sh.CombinedOutput()
			assert.NilError(t, err, "%s: %s", line, out)
			raw, err := os.ReadFile(record)
			assert.NilError(t, err, line)
			for call := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\n\x00"), "\n\x00") {
				parses(t, line, strings.Split(strings.TrimSuffix(call, "\x00"), "\x00"))
			}
		}
	}
}

// commandsOf gives the lines of a document that begin with the program's name.
func commandsOf(document string) string {
	var lines strings.Builder
	for line := range strings.Lines(document) {
		if strings.HasPrefix(line, "oz ") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// parses finds the command of args and lets it judge flags and arguments.
func parses(t *testing.T, line string, args []string) {
	t.Helper()
	root := tree()
	cmd, rest, err := root.Find(joined(args))
	assert.NilError(t, err, line)
	assert.NilError(t, cmd.ParseFlags(rest), line)
	assert.NilError(t, cmd.ValidateArgs(cmd.Flags().Args()), line)
	assert.NilError(t, checkGroups(cmd), line)
}
