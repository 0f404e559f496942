package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// What the agent is told of an outward act that was not done.
const (
	consentAsked   = "A person must approve this first, because nobody vouches for what started this run. It was not done, and the run waits for the answer. End your turn now; once it is approved, make the same call again."
	consentRefused = "A person has refused this. It was not done. Do not try it in another way; say so at the end."
	consentMissing = "Nobody has approved this in time. It was not done. Go on without it, and say so at the end."
)

// Outward is an act of an agent that others see.
type Outward struct {
	// Key names exactly this act within the run, content included.
	Key string
	// Text tells a person what is to be done, in one sentence and a half; Markdown.
	Text string
	// Detail is the same for programs, encoded as a JSON object.
	Detail any
}

// Consent says whether an outward act may be done now. It may in a run that
// somebody vouches for. In any other a person must approve exactly this act:
// until there is an answer the result is how the agent's work ends for now, with
// the question, and the agent makes the call again after it. A no, also of
// somebody who did not answer in time, is a *ToolError, and stays.
func (s *Session) Consent(ctx context.Context, o Outward) (*ToolAnswer, error) {
	if !s.Task.Untrusted {
		return nil, nil
	}
	sum := sha256.Sum256([]byte(string(s.Task.ID) + "\x00" + o.Key))
	id := "outward-" + hex.EncodeToString(sum[:16])
	answer, err := s.answerTo(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case answer == nil:
		return s.askConsent(ctx, id, o)
	case answer.Choice == task.ChoiceApprove:
		return nil, nil
	case answer.Choice == task.ChoiceReject:
		return nil, Deny(consentRefused)
	}
	return nil, Deny(consentMissing)
}

// answerTo finds what was said to a question; nil for nothing.
func (s *Session) answerTo(ctx context.Context, question string) (*task.Input, error) {
	inputs, err := s.Journal.Inputs(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	for _, e := range inputs {
		if in, ok := e.Payload.(*task.Input); ok && in.Question == question {
			return in, nil
		}
	}
	return nil, nil
}

// firstLine is a status message's worth of a question.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func (s *Session) askConsent(ctx context.Context, id string, o Outward) (*ToolAnswer, error) {
	detail, err := json.Marshal(o.Detail)
	if err != nil {
		return nil, fmt.Errorf("encode what is to be approved: %w", err)
	}
	// When nobody answers, the agent says what it could not do, rather than that
	// all that it did is lost.
	q := s.Desk.Prepare(task.Question{ID: id, Kind: task.QuestionApproval, Subject: executor.OutwardSubject + id, Text: s.Redactor.String(o.Text),
		Detail: detail, OnExpiry: task.ExpiryContinue})
	if err := q.Validate(); err != nil {
		return nil, Refuse("%v", err)
	}
	if err := s.Desk.Ask(ctx, q); err != nil {
		return nil, Refuse("%v", err)
	}
	return &ToolAnswer{Text: consentAsked, End: &Outcome{State: task.StateBlocked, Status: task.Status{Message: firstLine(q.Text), Question: &q}}}, nil
}

// OutwardPush is the push of a branch at a commit.
func OutwardPush(repo Repo, branch, commit string) Outward {
	return Outward{Key: "push:" + repo.Name + ":" + branch + ":" + commit,
		Text: fmt.Sprintf("May the agent push the branch `%s` at commit %.12s to %s?\n\nWho set this run off is not on the team, so that it waits for you. Look at its changes first.",
			branch, commit, repo.Remote),
		Detail: map[string]string{"action": "git_push", "repository": repo.Name, "remote": repo.Remote, "branch": branch, "commit": commit}}
}

// MaxShownBody bounds the description of a pull request that a person has to
// approve, in bytes: it is shown whole.
const MaxShownBody = 4 << 10

func listed(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

// OutwardPull is a pull request, as it is said to the platform. Its body has at
// most MaxShownBody.
func OutwardPull(repo Repo, r executor.PullRequest) Outward {
	kind, text := "a pull request", "> "+strings.ReplaceAll(strings.TrimSpace(r.Body), "\n", "\n> ")
	if r.Draft {
		kind = "a draft of a pull request"
	}
	said, more := []string{repo.Name, r.Branch, r.Base, r.Title, r.Body, kind}, ""
	if len(r.Reviewers) > 0 {
		said, more = append(said, "reviewers"), more+" It would ask "+listed(r.Reviewers)+" for a review."
		said = append(said, r.Reviewers...)
	}
	if len(r.Labels) > 0 {
		said, more = append(said, "labels"), more+" It would have the labels "+listed(r.Labels)+"."
		said = append(said, r.Labels...)
	}
	return Outward{Key: fmt.Sprintf("pull_request:%q", said),
		Text: fmt.Sprintf("May the agent open %s of the branch `%s` to `%s` at %s?\n\nWho set this run off is not on the team, so that it waits for you.%s It would say:\n\n> **%s**\n>\n%s",
			kind, r.Branch, r.Base, repo.Remote, more, r.Title, text),
		Detail: map[string]string{"action": "open_pull_request", "repository": repo.Name, "remote": repo.Remote, "branch": r.Branch, "base": r.Base, "title": r.Title}}
}
