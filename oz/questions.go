package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// questionLook is how often open questions are looked at without a hint, and
	// questionIdle how often new ones are looked for while none is open: a run
	// that begins to wait is a hint.
	questionLook = 5 * time.Second
	questionIdle = 30 * time.Second
	// questionOverlap is how far back each look for new questions reaches: the
	// replicas' clocks differ, and a commit may come late.
	questionOverlap = 2 * time.Minute
	// maxWakeText bounds what a run is told of the runs that it waited for.
	maxWakeText = 64 << 10
)

// Answer is what a person says to an open question of a run.
type Answer struct {
	// QuestionID guards against answering another question than the one that
	// was read. Empty is whatever is open.
	QuestionID string
	// Choice is one of the question's, Text says more; one of them is needed.
	Choice, Text string
}

// Answer answers the question that a BLOCKED run waits with, and so takes it
// on. It fails with task.ErrConflict when none is open, or another one than
// Answer.QuestionID, and with task.CodeInvalidRequest for a choice that the
// question does not have. Two people who answer at once: one of them wins, the
// other is told.
func (c *Client) Answer(ctx context.Context, id task.ID, a Answer) error {
	t, err := c.run(ctx, id, access.RunSteer)
	if err != nil {
		return err
	}
	q := t.Open()
	switch {
	case q == nil:
		return task.Errorf(task.CodeConflict, "run %s waits for no answer: it is %s", id, t.State)
	case a.QuestionID != "" && a.QuestionID != q.ID:
		return &task.Error{Code: task.CodeConflict, Field: "question_id", Message: "the run waits for the answer to another question by now: read it again"}
	}
	if err := task.ValidateText("text", a.Text); err != nil {
		return err
	}
	if err := q.Accepts(a.Choice, a.Text); err != nil {
		return err
	}
	if plan, err := planOf(t, q.Subject); err == nil && q.Kind == task.QuestionApproval && q.Subject != "" && a.Choice == task.ChoiceApprove {
		return c.Approve(ctx, id, Approval{PlanUID: plan.UID, Text: a.Text})
	}
	in := task.Input{Text: answerText(q, a), Question: q.ID, Choice: a.Choice, From: c.caller.Principal}
	if err := c.mayResume(ctx, t, in); err != nil {
		return err
	}
	return c.audited(ctx, runDeed(access.RunSteer, t), func() error {
		_, err := c.p.store.Do(ctx, id, task.AddInput{Input: in})
		return err
	})
}

// mayResume judges a message that takes a run on which has ended.
func (c *Client) mayResume(ctx context.Context, t task.Task, in task.Input) error {
	if c.p.Draining() {
		return errDraining()
	}
	if err := c.entitledToSteer(ctx, t, Message{Text: in.Text, Mode: in.Mode}); err != nil {
		return err
	}
	return c.p.checkResume(ctx, t)
}

// answerText is the answer as the agent reads it.
func answerText(q *task.Question, a Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Answer to your question %q:", firstLine(q.Text))
	if a.Choice != "" {
		fmt.Fprintf(&b, " %s", a.Choice)
	}
	if text := strings.TrimSpace(a.Text); text != "" {
		fmt.Fprintf(&b, "\n%s", text)
	}
	return b.String()
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	const most = 200
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}

// openQuestions are the BLOCKED runs whose question has a time limit or waits
// for other runs, as far as this process knows.
type openQuestions struct {
	runs map[task.ID]task.Question
	seen time.Time // runs that changed before are known
}

// answerRuns wakes runs whose question the platform itself answers: that other
// runs have ended, or that the time is up. It reads the runs again and again
// and does what is to be done by now, so that no crash between the end of a run
// and the word of it leaves anybody waiting.
func (p *Platform) answerRuns(ctx context.Context) {
	ended, stop := p.store.Subscribe("")
	defer stop()
	open := openQuestions{runs: map[task.ID]task.Question{}}
	for {
		if err := p.answerOnce(ctx, &open); err != nil && ctx.Err() == nil {
			p.opts.Logger.Error("look at open questions", zap.Error(err))
		}
		look := questionLook
		if len(open.runs) == 0 {
			look = questionIdle
		}
		select {
		case <-ended:
		case <-p.opts.Clock.After(look):
		case <-ctx.Done():
			return
		}
	}
}

func (p *Platform) answerOnce(ctx context.Context, open *openQuestions) error {
	if err := p.findQuestions(ctx, open); err != nil {
		return err
	}
	var errs []error
	for id, q := range open.runs {
		if !p.due(ctx, q) {
			continue
		}
		settled, err := p.settleQuestion(ctx, id, q.ID)
		if settled {
			delete(open.runs, id)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// findQuestions adds the runs that have become BLOCKED since the last look.
func (p *Platform) findQuestions(ctx context.Context, open *openQuestions) error {
	begun := p.opts.Clock.Now()
	q := task.Query{States: []task.State{task.StateBlocked}, Sort: task.SortUpdatedAt, Limit: task.MaxPageSize}
	if !open.seen.IsZero() {
		q.UpdatedAfter = open.seen.Add(-questionOverlap)
	}
	for {
		page, err := p.store.List(ctx, q)
		if err != nil {
			return fmt.Errorf("list blocked runs: %w", err)
		}
		for _, t := range page.Tasks {
			if question := t.Open(); question != nil && t.Cancellable() && (!question.ExpiresAt.IsZero() || question.Kind == task.QuestionRuns) {
				open.runs[t.ID] = *question
			}
		}
		if q.After = page.Next; q.After == nil {
			open.seen = begun
			return nil
		}
	}
}

// due reports that there may be something to do about a question.
func (p *Platform) due(ctx context.Context, q task.Question) bool {
	if !q.ExpiresAt.IsZero() && !p.opts.Clock.Now().Before(q.ExpiresAt) {
		return true
	}
	if q.Kind != task.QuestionRuns {
		return false
	}
	_, done, err := p.waitedFor(ctx, q)
	return err == nil && done
}

// waitedFor reads the runs that a question waits for. One that does not exist
// any more has ended.
func (p *Platform) waitedFor(ctx context.Context, q task.Question) (runs []task.Task, done bool, err error) {
	ended := 0
	for _, id := range q.Runs {
		t, err := p.store.Get(ctx, id)
		if errors.Is(err, task.ErrNotFound) {
			ended++
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if t.State.Ended() {
			ended++
		}
		runs = append(runs, t)
	}
	return runs, ended == len(q.Runs) || !q.All && ended > 0, nil
}

// settleQuestion answers a question that is due, unless somebody was faster.
// settled says that it needs no further look.
func (p *Platform) settleQuestion(ctx context.Context, id task.ID, question string) (settled bool, err error) {
	t, err := p.store.Get(ctx, id)
	if err != nil {
		return errors.Is(err, task.ErrNotFound), unlessMissing(err)
	}
	q := t.Open()
	if q == nil || q.ID != question {
		return true, nil
	}
	var command task.Command
	if q.Kind == task.QuestionRuns {
		runs, done, err := p.waitedFor(ctx, *q)
		if err != nil {
			return false, err
		}
		command = task.AddInput{Input: task.Input{Text: wakeText(runs, done, q.All), Question: q.ID,
			From: task.Principal{Type: task.PrincipalServiceAccount, UID: "platform", DisplayName: "platform"}}}
	} else {
		command = task.Expire{Question: q.ID, Note: expiryNote(q)}
	}
	_, err = p.store.Do(ctx, id, command)
	switch {
	case errors.Is(err, task.ErrConflict), task.CodeOf(err) == task.CodeOperationNotSupported:
		return true, nil
	case err == nil:
		p.audits.add(id)
	}
	return err == nil, err
}

func expiryNote(q *task.Question) string {
	note := fmt.Sprintf("Nobody has answered the question %q in time.", firstLine(q.Text))
	if q.Kind == task.QuestionApproval {
		note = fmt.Sprintf("Nobody has approved %q in time: it was not done.", firstLine(q.Text))
	}
	if q.OnExpiry == task.ExpiryContinue {
		note += " Go on without an answer if you can, and say in the result what you have assumed."
	}
	return note
}

// wakeText tells a run of the runs that it waited for.
func wakeText(runs []task.Task, done, all bool) string {
	var b strings.Builder
	switch {
	case !done:
		b.WriteString("The time for which you wanted to wait is up:\n")
	case all:
		b.WriteString("The runs that you waited for have ended:\n")
	default:
		b.WriteString("One of the runs that you waited for has ended:\n")
	}
	for _, t := range runs {
		r := relative(t, "")
		fmt.Fprintf(&b, "\n- run %s (%s), %s", t.ID, firstLine(t.Title), t.State)
		if t.ChildKey != "" {
			fmt.Fprintf(&b, ", key %s", t.ChildKey)
		}
		if t.State.Ended() && r.Message != "" {
			fmt.Fprintf(&b, ": %s", r.Message)
		}
		for _, branch := range r.Branches {
			fmt.Fprintf(&b, "\n  branch %s", branch)
		}
		for _, url := range r.PullRequests {
			fmt.Fprintf(&b, "\n  pull request %s", url)
		}
		if b.Len() > maxWakeText {
			b.WriteString("\n- and others, see list_runs")
			break
		}
	}
	return b.String()
}

// checkQuestion bounds how long a question may stay open.
func (p *Platform) checkQuestion(q *task.Question) error {
	if q == nil {
		return nil
	}
	if err := q.Validate(); err != nil {
		return err
	}
	if most := p.opts.Clock.Now().Add(task.MaxQuestionTime); q.ExpiresAt.IsZero() || q.ExpiresAt.After(most) {
		return task.Invalid("question.expires_at", "must be set, and within %d days", int(task.MaxQuestionTime.Hours()/24))
	}
	return nil
}

// cleanQuestion redacts all that a question says.
func cleanQuestion(r *secrets.Redactor, q *task.Question) (*task.Question, error) {
	if q == nil {
		return nil, nil
	}
	data, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode question: %w", err)
	}
	if data, err = r.JSON(data); err != nil {
		return nil, err
	}
	var clean task.Question
	if err := json.Unmarshal(data, &clean); err != nil {
		return nil, fmt.Errorf("decode question: %w", err)
	}
	return &clean, nil
}
