package permit_test

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/harness/permit"
	"github.com/oz-platform/cloudagents/task"
)

func guard(t testing.TB, p task.Permissions) *permit.Guard {
	t.Helper()
	g, err := permit.New(&p, task.LocationLocal)
	assert.NilError(t, err)
	return g
}

func command(text string) json.RawMessage {
	raw, _ := json.Marshal(map[string]string{"command": text}) // a string
	return raw
}

// TestDeniedCommands: the default deny list holds wherever in a line a command
// stands, and lets the others through.
func TestDeniedCommands(t *testing.T) {
	g := guard(t, task.Permissions{CommandDenylist: task.DefaultCommandDenylist()})
	for _, text := range []string{
		"rm x", "rm", "  rm -rf /tmp/x  ", "/bin/rm x", "../../bin/rm x", "$HOME/bin/rm x", "true && rm x", "false || rm x", "ls; rm x", "ls\nrm x", "ls | rm",
		"(cd a && rm x)", "{ rm x; }", "echo $(rm x)", "echo `rm x`", `echo "a $(rm x)"`, "diff <(rm x) y", "f() { rm x; }; f", "if true; then rm x; fi",
		"while read a; do rm $a; done < list", "for i in 1 2; do rm $i; done", "rm x &", "time rm x", "! rm x", "X=1 rm x", "X=$(rm x)", "export X=$(rm x)",
		`r\m x`, `'rm' x`, `"rm" x`, `r''m x`, "r\\\nm x", "sh -c 'rm x'", `bash -lc "rm x"`, "bash -c 'sh -c \"rm x\"'", "bash <<EOF\nrm x\nEOF", "bash <<< 'rm x'",
		"cat <<EOF\n$(rm x)\nEOF", "sudo rm x", "sudo -u root rm x", "env A=1 rm x", "nohup rm x &", "timeout 5 rm x", "xargs rm < list", "ls | xargs -n1 rm",
		"find . -name '*.go' -exec rm {} +", "command rm x", "exec rm x", "busybox rm x", "sudo bash -c 'rm x'", "trap 'rm x' EXIT", "case a in a) rm x;; esac",
		"eval ls", "eval 'rm x'", "curl https://example.com | tar x", "wget -q x", "ls > $(rm x)", "[[ -n $(rm x) ]]", "coproc rm x", "echo ${X:-$(rm x)}", "$(( $(rm x) ))",
	} {
		v := g.Judge("run_command", command(text))
		assert.Check(t, is.Equal(v.Decision, permit.Prohibit), "%q: %s", text, v.Reason)
	}
	for _, text := range []string{
		"ls", "echo rm x", "echo 'rm x'", "git rm x", "rmdir x", "npm run rm", "grep curl .", "go test ./... 2>&1 | tail -5", "cat <<'EOF' > f\nrm x\nEOF",
		"bash script.sh", "./run.sh", "$HOME/bin/tool x", "[ -f x ] && echo y", "for f in *.go; do gofmt -l $f; done", "echo $X", "make -j4 all", "X=1", "# rm x", "sh --version",
	} {
		v := g.Judge("run_command", command(text))
		assert.Check(t, is.Equal(v.Decision, permit.Allow), "%q: %s", text, v.Reason)
	}
}

// TestUnjudgeableCommands: with a deny list, what only the shell knows is
// refused; without one it is nobody's concern.
func TestUnjudgeableCommands(t *testing.T) {
	denying, open := guard(t, task.Permissions{CommandDenylist: []string{"rm.*"}}), guard(t, task.Permissions{})
	for _, text := range []string{
		"$X y", "${X}m y", "`echo rm` y", "$(echo rm) x", "r? x", "/bin/r[m] x", "{rm,x}", `$'\x72m' x`, "echo cm0geA== | base64 -d | sh", "bash", "sh -c \"$X\"", "bash -s < <(x)",
		"bash -c \"rm $X\"", "if then", "echo 'open", strings.Repeat("sh -c 'sh -c ", 9), "sudo " + strings.Repeat("a ", 300),
	} {
		v := denying.Judge("run_command", command(text))
		assert.Check(t, v.Decision == permit.Refuse || v.Decision == permit.Prohibit, "%q: %v", text, v)
		assert.Check(t, is.Equal(open.Judge("run_command", command(text)).Decision, permit.Allow), "%q", text)
	}
}

// TestAllowList: deny wins over allow, and allow over the level, for every
// command of a line that does nothing beside.
func TestAllowList(t *testing.T) {
	for _, level := range []task.Level{task.LevelAlwaysAsk, task.LevelNever} {
		g := guard(t, task.Permissions{ExecuteCommands: level, CommandAllowlist: []string{`ls(\s.*)?`, `git (status|rm.*)`, "sh -c .*"}, CommandDenylist: []string{"git rm.*"}})
		other := map[task.Level]permit.Decision{task.LevelAlwaysAsk: permit.Ask, task.LevelNever: permit.Prohibit}[level]
		for text, want := range map[string]permit.Decision{
			"ls": permit.Allow, "ls -l && git status": permit.Allow, "ls 2>/dev/null | ls": permit.Allow, "git rm x": permit.Prohibit, "ls; git rm x": permit.Prohibit,
			"ls; make": other, "make": other, "ls $(make)": other, "ls > x": other, "PATH=. ls": other, "export PATH=.; ls": other, "./ls": other, "ls() { make; }; ls": other,
			"sh -c make": other, "lsx": other,
		} {
			v := g.Judge("run_command", command(text))
			assert.Check(t, is.Equal(v.Decision, want), "%s, %q: %s", level, text, v.Reason)
		}
	}
}

// TestToolPermissions: names and levels of tools.
func TestToolPermissions(t *testing.T) {
	g := guard(t, task.Permissions{ApplyDiffs: task.LevelNever, ReadFiles: task.LevelAlwaysAsk, CreatePlans: task.LevelAlwaysAllow, InteractWithCommands: task.LevelAgentDecides,
		CallMCPTools: task.LevelNever, ToolAllowlist: []string{"mcp__docs__.*", "grep"}, ToolDenylist: []string{"mcp__docs__delete", "spawn_run"}, CommandDenylist: []string{"rm .*"}})
	for tool, want := range map[string]permit.Decision{
		"edit_files": permit.Prohibit, "write_file": permit.Prohibit, "read_files": permit.Ask, "grep": permit.Allow, "write_plan": permit.Allow, "spawn_run": permit.Prohibit,
		"mcp__docs__search": permit.Allow, "mcp__docs__delete": permit.Prohibit, "mcp__docs__delete_all": permit.Allow, "mcp__other__x": permit.Prohibit, "list_runs": permit.Allow,
		"finish": permit.Allow, "run_command": permit.Allow,
	} {
		assert.Check(t, is.Equal(g.Judge(tool, json.RawMessage(`{}`)).Decision, want), tool)
	}
	assert.Equal(t, g.Judge("write_to_command", json.RawMessage(`{"input":"ls\nrm x\n"}`)).Decision, permit.Prohibit)
	assert.Equal(t, g.Judge("write_to_command", json.RawMessage(`{"input":"y\n$X\n'\n"}`)).Decision, permit.Allow)
	all := guard(t, task.Permissions{ToolDenylist: []string{".*"}})
	assert.Equal(t, all.Judge("finish", nil).Decision, permit.Allow)
	assert.Equal(t, all.Judge("list_runs", nil).Decision, permit.Prohibit)
	assert.Equal(t, (*permit.Guard)(nil).Judge("run_command", command("rm x")).Decision, permit.Allow)
}

func TestPermissionsAreJudged(t *testing.T) {
	for _, tt := range []struct {
		p     task.Permissions
		field string
	}{
		{task.Permissions{ReadFiles: "sometimes"}, "config.permissions.read_files"},
		{task.Permissions{CommandDenylist: []string{"ok", "("}}, "config.permissions.command_denylist[1]"},
		{task.Permissions{CommandAllowlist: []string{""}}, "config.permissions.command_allowlist[0]"},
		{task.Permissions{ToolAllowlist: []string{"a)|(?:b"}}, "config.permissions.tool_allowlist[0]"},
		{task.Permissions{ToolDenylist: make([]string, 201)}, "config.permissions.tool_denylist"},
		{task.Permissions{ToolDenylist: []string{strings.Repeat("x", 1001)}}, "config.permissions.tool_denylist[0]"},
		{task.Permissions{OnProhibited: "shrug"}, "config.permissions.on_prohibited"},
	} {
		_, err := permit.New(&tt.p, "")
		var e *task.Error
		assert.ErrorType(t, err, e)
		assert.Equal(t, err.(*task.Error).Field, tt.field)
	}
}

// FuzzJudge: no line is too strange, and a denied command stays denied when
// something is put behind it that bash can read.
func FuzzJudge(f *testing.F) {
	g := guard(f, task.Permissions{CommandDenylist: task.DefaultCommandDenylist(), CommandAllowlist: []string{"ls"}, ExecuteCommands: task.LevelAlwaysAsk})
	for _, seed := range []string{"ls", "a && b | (c)", "bash <<E\nx\nE", "find . -exec x {} +", "$'\\x41'", "{a,b}", "`a`", "sudo -u x sh -c 'a'", "\x00", "eval \"$x\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g.Judge("run_command", command(text))
		if v := g.Judge("run_command", command("rm x\n"+text)); v.Decision != permit.Prohibit && v.Decision != permit.Refuse {
			t.Fatalf("%q is %v", text, v)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	g := guard(b, task.Permissions{CommandDenylist: task.DefaultCommandDenylist()})
	in := command(`cd app && go build ./... && (go test ./... 2>&1 | tail -20) || echo "failed: $(git status --short)"`)
	for b.Loop() {
		g.Judge("run_command", in)
	}
}

// TestOutward: in a run that nobody vouches for, a person approves what MCP
// servers do, whatever the profile allows; what it prohibits stays so, and what
// stays inside needs nobody.
func TestOutward(t *testing.T) {
	judge := func(p *task.Permissions, tool string) permit.Decision {
		t.Helper()
		g, err := permit.New(p, "")
		assert.NilError(t, err)
		return permit.Outward(g).Judge(tool, []byte(`{"command":"ls"}`)).Decision
	}
	allow := &task.Permissions{CallMCPTools: task.LevelAlwaysAllow, ToolAllowlist: []string{"mcp__.*"}}
	assert.Equal(t, judge(nil, "mcp__tracker__comment"), permit.Ask)
	assert.Equal(t, judge(allow, "mcp__tracker__comment"), permit.Ask)
	assert.Equal(t, judge(&task.Permissions{CallMCPTools: task.LevelNever}, "mcp__tracker__comment"), permit.Prohibit)
	assert.Equal(t, judge(&task.Permissions{ToolDenylist: []string{"mcp__.*"}}, "mcp__tracker__comment"), permit.Prohibit)
	for _, tool := range []string{"run_command", "edit_files", "git_push", "finish", "ask_user"} {
		assert.Equal(t, judge(nil, tool), permit.Allow, tool)
	}
	g, err := permit.New(allow, "")
	assert.NilError(t, err)
	permit.Outward(g)
	assert.Equal(t, g.Judge("mcp__tracker__comment", nil).Decision, permit.Allow, "the guard itself is as it was")
}
