package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxRefusedFinish is how often an unproven success is sent back before the
	// run fails by it.
	maxRefusedFinish = 3
	maxVerification  = 20
	maxFinishBytes   = 32 << 10 // of each text
	// The log of an agent elsewhere may come a moment after its calls.
	logPause, logLooks = 100 * time.Millisecond, 20
)

type finishInput struct {
	Outcome      string   `json:"outcome"`
	Summary      string   `json:"summary"`
	Changes      string   `json:"changes"`
	Verification []string `json:"verification"`
	NotPushed    string   `json:"not_pushed_because"`
}

// finisher ends the work of agents that have no such tool of their own. It
// checks a success against the run's log and repositories.
type finisher struct {
	s *harness.Session

	mu      sync.Mutex
	refused int
}

func finish(s *harness.Session) harness.Tool {
	f := &finisher{s: s}
	return harness.DefineTool(harness.Tool{
		Name: NameFinish, Category: task.CategoryDocuments, Repeatable: true,
		Description: "End the work. Success is checked against the record: every command in verification must have been run and its last run have succeeded, and changed files need at least one. Changes in a repository with a remote are committed and pushed first, or not_pushed_because says why not.",
		Schema: `{"type":"object","properties":{
			"outcome":{"type":"string","enum":["success","failure"]},
			"summary":{"type":"string","description":"the result, for the person who gave the task"},
			"changes":{"type":"string","description":"what was changed"},
			"verification":{"type":"array","items":{"type":"string"},"description":"commands that proved it, exactly as they were run"},
			"not_pushed_because":{"type":"string"}},
			"required":["outcome","summary"]}`,
	}, func(ctx context.Context, _ harness.ToolCall, in finishInput) (harness.ToolAnswer, error) {
		return f.finish(ctx, in)
	})
}

func (in finishInput) check() error {
	switch {
	case in.Outcome != "success" && in.Outcome != "failure":
		return harness.BadInput("outcome must be success or failure")
	case strings.TrimSpace(in.Summary) == "":
		return harness.BadInput("summary is needed")
	case len(in.Summary) > maxFinishBytes || len(in.Changes) > maxFinishBytes || len(in.NotPushed) > maxFinishBytes:
		return harness.BadInput("summary, changes and not_pushed_because have at most %d bytes each", maxFinishBytes)
	case len(in.Verification) > maxVerification:
		return harness.BadInput("verification has %d commands, at most %d are possible", len(in.Verification), maxVerification)
	}
	return nil
}

func (f *finisher) finish(ctx context.Context, in finishInput) (harness.ToolAnswer, error) {
	if err := in.check(); err != nil {
		return harness.ToolAnswer{}, err
	}
	message := clean(f.s, in.message())
	if in.Outcome == "failure" {
		return ends("The run ends without success. End your turn now.", task.StateFailed, task.Status{Message: message}), nil
	}
	lacks, err := f.lacks(ctx, in)
	if err != nil {
		return harness.ToolAnswer{}, err
	}
	if len(lacks) == 0 {
		return ends("The run ends with success. End your turn now.", task.StateSucceeded, task.Status{Message: message}), nil
	}
	f.mu.Lock()
	f.refused++
	n := f.refused
	f.mu.Unlock()
	if n >= maxRefusedFinish {
		return ends("The run ends without success: it stays unproven. End your turn now.", task.StateFailed, task.Status{ErrorCode: task.CodeInvalidRequest,
			Message: "The agent claims success, which the record does not bear out: " + strings.Join(lacks, " ") + "\n\nIts claim: " + message}), nil
	}
	return harness.ToolAnswer{}, harness.Refuse("Not finished yet:\n- %s", strings.Join(lacks, "\n- "))
}

func ends(text string, state task.State, status task.Status) harness.ToolAnswer {
	return harness.ToolAnswer{Text: text, End: &harness.Outcome{State: state, Status: status}}
}

func (in finishInput) message() string {
	out := strings.TrimSpace(in.Summary)
	for _, part := range []struct{ title, text string }{
		{"Changes", in.Changes}, {"Verified with", strings.Join(in.Verification, "; ")}, {"Not pushed", in.NotPushed},
	} {
		if text := strings.TrimSpace(part.text); text != "" {
			out += "\n\n" + part.title + ": " + text
		}
	}
	return out
}

// lacks lists what is missing for a success.
func (f *finisher) lacks(ctx context.Context, in finishInput) ([]string, error) {
	out, err := f.unproven(ctx, in.Verification)
	if err != nil {
		return nil, err
	}
	changed, loose := f.changes(ctx)
	if changed && len(in.Verification) == 0 {
		out = append(out, "Files were changed. Run what proves the change (build, tests), and name it in verification.")
	}
	if strings.TrimSpace(in.NotPushed) == "" {
		for _, l := range loose {
			out = append(out, l+". Commit and push it, or say in not_pushed_because why not.")
		}
	}
	return out, nil
}

// unproven compares claims with the commands in the log.
func (f *finisher) unproven(ctx context.Context, claims []string) ([]string, error) {
	var out []string
	for look := 1; ; look++ {
		ran, err := f.commands(ctx)
		if err != nil {
			return nil, err
		}
		out = nil
		unknown := false
		for _, claim := range claims {
			want := oneSpace(claim)
			i := len(ran) - 1
			for i >= 0 && (want == "" || !strings.Contains(ran[i].line, want)) {
				i--
			}
			switch {
			case i < 0:
				unknown = true
				out = append(out, fmt.Sprintf("verification names %.200q, which was not run. Name commands exactly as they were run.", want))
			case !ran[i].ok:
				out = append(out, fmt.Sprintf("verification names %.200q, which failed when it was last run.", want))
			}
		}
		if !unknown || look >= logLooks {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-f.s.Clock.After(logPause):
		}
	}
}

// command is one that the log has, with its end.
type command struct {
	line string
	ok   bool
}

// commands reads the commands that have ended, oldest first. Agents spell their
// calls differently; most have a member command, as a line or as arguments.
func (f *finisher) commands(ctx context.Context) ([]command, error) {
	if err := f.s.Journal.Flush(ctx); err != nil {
		return nil, err
	}
	lines := map[string]string{}
	var out []command
	for e, err := range f.s.Journal.History(ctx, 0) {
		if err != nil {
			return nil, err
		}
		switch p := e.Payload.(type) {
		case *task.ToolCall:
			if p.Category == task.CategoryCommand {
				lines[p.ID] = oneSpace(commandLine(p.Input))
			}
		case *task.ToolResult:
			if line := lines[p.CallID]; line != "" {
				out = append(out, command{line, p.State == task.ToolCompleted && exitZero(p.Output)})
			}
		}
	}
	return out, nil
}

func oneSpace(text string) string { return strings.Join(strings.Fields(text), " ") }

func commandLine(input json.RawMessage) string {
	var line struct {
		Command json.RawMessage `json:"command"`
	}
	if json.Unmarshal(input, &line) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(line.Command, &text) == nil {
		return text
	}
	var args []string
	_ = json.Unmarshal(line.Command, &args) // anything else is no command
	return strings.Join(args, " ")
}

// exitZero reports that a result tells of no failure.
func exitZero(output json.RawMessage) bool {
	var out struct {
		ExitCode *int `json:"exit_code"`
	}
	return json.Unmarshal(output, &out) != nil || out.ExitCode == nil || *out.ExitCode == 0
}

// changes reports whether the repositories have been changed, and lists what in
// those with a remote is not there. What cannot be found out is left out: it is a
// reminder, no proof.
func (f *finisher) changes(ctx context.Context) (changed bool, loose []string) {
	for _, r := range f.s.Repos {
		dirty, err := f.s.Git.Status(ctx, r.Dir)
		if err == nil && len(dirty) > 0 {
			changed = true
			if r.Remote != "" {
				loose = append(loose, fmt.Sprintf("%d files in %s are changed and not committed", len(dirty), r.Name))
			}
		}
		head, err := f.s.Git.Head(ctx, r.Dir)
		if err != nil || head == "" || head == r.Base {
			continue
		}
		changed = true
		if r.Remote != "" && !f.arrived(ctx, r, head) {
			loose = append(loose, fmt.Sprintf("commit %.10s in %s is not pushed", head, r.Name))
		}
	}
	slices.Sort(loose)
	return changed, loose
}

// arrived reports that the remote has a commit on the branch that is checked out.
func (f *finisher) arrived(ctx context.Context, r harness.Repo, head string) bool {
	branch, err := f.s.Git.CurrentBranch(ctx, r.Dir)
	if err != nil || branch == "" {
		return false
	}
	tip, err := f.s.Git.RemoteHead(ctx, r.Remote, branch)
	return err == nil && tip == head
}
