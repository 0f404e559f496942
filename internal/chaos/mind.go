package chaos

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// act is one step of the agent's work for a message.
type act string

const (
	actWrite  act = "write"
	actPrint  act = "print"
	actSlow   act = "slow"
	actCheck  act = "check"
	actFile   act = "file"
	actCommit act = "commit"
	actPush   act = "push"
	actProbe  act = "probe" // look whether a push has arrived whose outcome is unknown
	actFinish act = "finish"
	actGiveUp act = "give up"
	actWait   act = "wait" // for ever
	actSay    act = "say"
)

// decision is the act that is due, for one message of the story.
type decision struct {
	act     act
	message int
}

// done is what a conversation shows of the work for one message.
type done struct {
	here   map[act]bool // in the workspace as it is now
	ever   map[act]bool
	pushed bool
	// unsure is set while the last push has failed or is unknown.
	unsure bool
}

// read folds a conversation into what is done, by message, in the order in
// which the messages came.
func (s *story) read(r *scripted.Request) (order []int, work map[int]*done) {
	work = map[int]*done{}
	calls := map[string]scripted.Block{}
	committing := 0 // the message whose commit was tried last: that is what a push pushes
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			switch b.Type {
			case "text":
				if m.Role != "user" {
					continue
				}
				for _, found := range markPattern.FindAllStringSubmatch(b.Text, -1) {
					_, k := parseMark(found)
					if work[k] == nil {
						order = append(order, k)
						work[k] = &done{here: map[act]bool{}, ever: map[act]bool{}}
					}
				}
				if strings.Contains(b.Text, "was made anew") {
					for _, d := range work {
						clear(d.here)
					}
				}
			case "tool_use":
				calls[b.ToolID] = b
			case "tool_result":
				call := calls[b.ToolID]
				a, k := s.recognise(call, committing)
				if a == actCommit {
					committing = k
				}
				if d := work[k]; d != nil {
					d.fold(a, b, s.branch(k))
				}
			}
		}
	}
	return order, work
}

// recognise finds out which act a call was.
func (s *story) recognise(call scripted.Block, committing int) (act, int) {
	var in struct{ Path, Command, Message string }
	_ = json.Unmarshal(call.Input, &in) // what we do not know stays empty
	for k := range maxMessages {
		switch label := s.label(k); {
		case call.ToolName == "git_push":
			return actPush, committing
		case call.ToolName == "write_file" && in.Path == s.path(k):
			return actWrite, k
		case call.ToolName == "report_artifact" && in.Path == s.path(k):
			return actFile, k
		case call.ToolName == "git_commit" && in.Message == s.subject(k):
			return actCommit, k
		case call.ToolName == "run_command" && strings.HasSuffix(in.Command, label):
			verb, _, _ := strings.Cut(strings.TrimPrefix(in.Command, ": "), ";")
			return act(verb), k
		}
	}
	return "", 0
}

// fold adds the result of an act.
func (d *done) fold(a act, result scripted.Block, branch string) {
	// OpenAI's wire has no mark for a failed call: its text says so.
	failed := result.IsError || strings.Contains(result.Text, "outcome is unknown")
	good := !failed && (!strings.HasPrefix(result.Text, "exit code") || strings.HasPrefix(result.Text, "exit code 0\n"))
	switch {
	case a == actPush:
		d.pushed, d.unsure = d.pushed || good, !good
	case a == actProbe && good:
		d.unsure = false
		d.pushed = d.pushed || strings.Contains(result.Text, "refs/heads/"+branch)
	case good:
		d.here[a], d.ever[a] = true, true
	}
}

// decide gives the act that is due.
func (s *story) decide(r *scripted.Request) decision {
	order, work := s.read(r)
	switch {
	case len(order) == 0:
		return decision{actSay, 0}
	case s.kind == kindAnswer:
		return decision{actSay, 0}
	case s.kind == kindCancel:
		return decision{actWait, 0}
	case s.kind == kindFail:
		return decision{actGiveUp, 0}
	}
	for _, k := range order {
		if a := s.next(work[k]); a != "" {
			return decision{a, k}
		}
	}
	return decision{actFinish, order[len(order)-1]}
}

// next gives the act that is due for one message; empty when none is.
func (s *story) next(d *done) act {
	switch {
	case d.pushed:
		return ""
	case d.unsure:
		return actProbe
	case !d.here[actWrite]:
		return actWrite
	case s.prints && !d.ever[actPrint]:
		return actPrint
	case s.slow && !d.ever[actSlow]:
		return actSlow
	case !d.here[actCheck]:
		return actCheck
	case s.file && !d.ever[actFile]:
		return actFile
	case !d.here[actCommit]:
		return actCommit
	}
	return actPush
}

// command is a shell command that recognise knows again.
func (s *story) command(a act, k int, text string) scripted.ToolCall {
	return call("run_command", map[string]any{"command": fmt.Sprintf(": %s; %s # %s", a, text, s.label(k)), "timeout_seconds": 600})
}

func call(name string, input map[string]any) scripted.ToolCall {
	return scripted.ToolCall{Name: name, Input: input}
}

// say is the model's answer for a decision.
func (s *story) say(d decision) scripted.Step {
	k := d.message
	step := scripted.Step{Text: fmt.Sprintf("Now: %s for %s.", d.act, s.label(k))}
	var c scripted.ToolCall
	switch d.act {
	case actWrite:
		c = call("write_file", map[string]any{"path": s.path(k), "content": s.content(k)})
	case actPrint:
		c = s.command(d.act, k, "seq 1 3000")
	case actSlow:
		c = s.command(d.act, k, "for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 0.25; done")
	case actCheck:
		c = s.command(d.act, k, "grep -q 'The work for' "+s.path(k))
	case actFile:
		c = call("report_artifact", map[string]any{"type": "file", "path": s.path(k), "title": s.label(k)})
	case actCommit:
		c = call("git_commit", map[string]any{"message": s.subject(k), "branch": s.branch(k)})
	case actPush:
		c = call("git_push", map[string]any{})
	case actProbe:
		c = s.command(d.act, k, "git ls-remote origin refs/heads/"+s.branch(k))
	case actWait:
		c = s.command(d.act, k, "echo started; sleep 500")
	case actFinish:
		c = call("finish", map[string]any{"outcome": "success", "summary": "The work is done."})
	case actGiveUp:
		c = call("finish", map[string]any{"outcome": "failure", "summary": "This cannot be done."})
	default:
		step.Text = "Nothing is to be done: the answer is 42."
		return step
	}
	step.ToolCalls = []scripted.ToolCall{c}
	return step
}

// script makes the model of the story's run: it is asked for the decision, and
// plays the step of that decision.
func (s *story) script(note func(*scripted.Request)) scripted.Script {
	last := &lastDecision{}
	// The first condition never holds: it looks at each request, once.
	steps := []scripted.Step{{Match: func(r *scripted.Request) bool { note(r); return false }}}
	for _, a := range []act{actWrite, actPrint, actSlow, actCheck, actFile, actCommit, actPush, actProbe, actWait, actFinish, actGiveUp, actSay} {
		for k := range maxMessages {
			d := decision{a, k}
			step := s.say(d)
			step.Match = func(r *scripted.Request) bool { return last.of(s, r) == d }
			steps = append(steps, step)
		}
	}
	return scripted.Script{Steps: steps}
}

// lastDecision keeps the decision on one request, which all steps ask for.
type lastDecision struct {
	mu       sync.Mutex
	request  *scripted.Request
	decision decision
}

func (l *lastDecision) of(s *story, r *scripted.Request) decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.request != r {
		l.request, l.decision = r, s.decide(r)
	}
	return l.decision
}
