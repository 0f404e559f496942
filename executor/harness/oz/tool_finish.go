package ozagent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

const (
	maxFinishBytes = 32 << 10 // of each text
	// maxRefusedFinish is how often an unproven success is sent back before the
	// run fails by it.
	maxRefusedFinish = 3
)

type finishInput struct {
	Outcome      string   `json:"outcome"`
	Summary      string   `json:"summary"`
	Changes      string   `json:"changes"`
	Verification []string `json:"verification"`
	NotPushed    string   `json:"not_pushed_because"`
}

func finishTool() tool {
	return define(tool{
		name: toolFinish, category: task.CategoryDocuments, repeatable: true,
		description: "End the work. Success is checked against the record: every command in verification must have been run with run_command, its last run with exit code 0, and changed files need at least one such command. Changes in a repository with a remote are pushed first, or not_pushed_because says why not.",
		schema: `{"type":"object","properties":{
			"outcome":{"type":"string","enum":["success","failure"]},
			"summary":{"type":"string","description":"the result, for the person who gave the task"},
			"changes":{"type":"string","description":"what was changed"},
			"verification":{"type":"array","items":{"type":"string"},"description":"commands that proved it, exactly as they were run"},
			"not_pushed_because":{"type":"string"}},
			"required":["outcome","summary"]}`,
	}, finish)
}

func finish(ctx context.Context, a *agent, _ *toolCall, in finishInput) (result, error) {
	switch {
	case in.Outcome != "success" && in.Outcome != "failure":
		return result{}, badInput("outcome must be success or failure")
	case strings.TrimSpace(in.Summary) == "":
		return result{}, badInput("summary is needed")
	case len(in.Summary) > maxFinishBytes || len(in.Changes) > maxFinishBytes:
		return result{}, badInput("summary and changes have at most %d bytes each", maxFinishBytes)
	}
	message := in.message()
	if in.Outcome == "failure" {
		return resultOK("The run ends without success.", finished{Outcome: "failure", Message: message}), nil
	}
	lacks := a.lacks(ctx, in)
	if len(lacks) == 0 {
		return resultOK("The run ends with success.", finished{Outcome: "success", Message: message}), nil
	}
	if a.conv.refusedFinishes()+1 >= maxRefusedFinish {
		return resultOK("The run ends without success: it stays unproven.", finished{Outcome: "failure", Code: task.CodeInvalidRequest,
			Message: "The agent claims success, which the record does not bear out: " + strings.Join(lacks, " ") + "\n\nIts claim: " + message}), nil
	}
	return result{}, refuse("%s%s", finishRefused, strings.Join(lacks, "\n"))
}

// finishRefused begins the result of a finish that is sent back.
const finishRefused = "Not finished yet:\n"

// refusedFinishes counts the finishes sent back since a person spoke.
func (c *conversation) refusedFinishes() int {
	n := 0
	for i := len(c.items) - 1; i >= 0; i-- {
		t := c.items[i].turn
		if t == nil {
			continue
		}
		for _, k := range t.calls() {
			if k.result == nil || k.name != toolFinish {
				continue
			}
			if !k.failed() {
				return n // what came before belongs to an earlier message
			}
			if strings.HasPrefix(k.result.Content, finishRefused) {
				n++
			}
		}
	}
	return n
}

func (in finishInput) message() string {
	out := strings.TrimSpace(in.Summary)
	if c := strings.TrimSpace(in.Changes); c != "" {
		out += "\n\nChanges: " + c
	}
	if len(in.Verification) > 0 {
		out += "\n\nVerified with: " + strings.Join(in.Verification, "; ")
	}
	if n := strings.TrimSpace(in.NotPushed); n != "" {
		out += "\n\nNot pushed: " + n
	}
	return out
}

// lacks lists what is missing for a success.
func (a *agent) lacks(ctx context.Context, in finishInput) []string {
	if a.conv.mode == task.ModePlan {
		return nil
	}
	var out []string
	for _, claim := range in.Verification {
		if problem := a.conv.checkClaim(claim); problem != "" {
			out = append(out, "- "+problem)
		}
	}
	if a.conv.edited >= 0 && !a.conv.succeededSince(a.conv.edited) {
		out = append(out, "- Files were changed and no command has succeeded since. Run what proves the change (build, tests), and name it in verification.")
	}
	if a.conv.pushLost != "" {
		out = append(out, "- The last push did not arrive. Push again, or finish with outcome failure.")
	}
	if strings.TrimSpace(in.NotPushed) == "" {
		for _, p := range a.adrift(ctx) {
			out = append(out, fmt.Sprintf("- Commit %.10s on branch %s was being pushed when the run was interrupted, and has not arrived. "+
				"Push the branch, with the work done anew if it is lost, or say in not_pushed_because why not.", p.Commit, p.Branch))
		}
	}
	if strings.TrimSpace(in.NotPushed) == "" && a.conv.refusedFinishes() == 0 {
		for _, l := range a.loose(ctx) {
			out = append(out, "- "+l+". Commit and push it, or say in not_pushed_because why not.")
		}
	}
	return out
}

// checkClaim compares a claim with the commands in the log.
func (c *conversation) checkClaim(claim string) string {
	want := strings.Join(strings.Fields(claim), " ")
	for i := len(c.executed) - 1; i >= 0; i-- {
		if strings.Join(strings.Fields(c.executed[i].command), " ") != want {
			continue
		}
		if code := c.executed[i].exitCode; code != 0 {
			return fmt.Sprintf("verification names %q, which ended with exit code %d when it was last run.", bounded(want, 200), code)
		}
		return ""
	}
	return fmt.Sprintf("verification names %q, which was not run. Name commands exactly as they were run.", bounded(want, 200))
}

// succeededSince reports a command with exit code 0 after the first n.
func (c *conversation) succeededSince(n int) bool {
	for _, e := range c.executed[min(n, len(c.executed)):] {
		if e.exitCode == 0 {
			return true
		}
	}
	return false
}

// adrift lists the commits whose push was cut off, and which the remote does
// not have.
func (a *agent) adrift(ctx context.Context) []pushRecord {
	var out []pushRecord
	for _, p := range a.conv.adrift {
		i := slices.IndexFunc(a.s.Repos, func(r harness.Repo) bool { return r.Name == p.Repo && r.Remote != "" })
		if i < 0 {
			continue
		}
		if tip, err := a.s.Git.RemoteHead(ctx, a.s.Repos[i].Remote, p.Branch); err != nil || tip != p.Commit {
			out = append(out, p)
		}
	}
	return out
}

// loose lists what is in the repositories with a remote and has not been
// pushed. What cannot be found out is left out: it is a reminder, no proof.
func (a *agent) loose(ctx context.Context) []string {
	var out []string
	for _, r := range a.s.Repos {
		if r.Remote == "" {
			continue
		}
		if changes, err := a.s.Git.Status(ctx, r.Dir); err == nil && len(changes) > 0 {
			out = append(out, fmt.Sprintf("%d files in %s are changed and not committed", len(changes), r.Name))
		}
		if head, err := a.s.Git.Head(ctx, r.Dir); err == nil && head != "" && head != r.Base && !a.arrived(ctx, r, head) {
			out = append(out, fmt.Sprintf("commit %.10s in %s is not pushed", head, r.Name))
		}
	}
	return out
}

// arrived reports that the remote has a commit, pushed by us or by a command.
func (a *agent) arrived(ctx context.Context, r harness.Repo, head string) bool {
	if a.conv.pushed[head] {
		return true
	}
	branch, err := a.s.Git.CurrentBranch(ctx, r.Dir)
	if err != nil || branch == "" {
		return false
	}
	tip, err := a.s.Git.RemoteHead(ctx, r.Remote, branch)
	return err == nil && tip == head
}
