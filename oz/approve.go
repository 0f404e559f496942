package oz

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// planPatience is how long a plan waits for its approval.
	planPatience = 7 * 24 * time.Hour
	// maxPlanBytes bounds the Markdown of a plan.
	maxPlanBytes = 256 << 10
	planType     = "text/markdown; charset=utf-8"
)

// newestPlan is the newest version of a run's plan, nil when it has none.
func newestPlan(t task.Task) *task.Artifact {
	for i := len(t.Artifacts) - 1; i >= 0; i-- {
		if t.Artifacts[i].Type == task.ArtifactPlan {
			return &t.Artifacts[i]
		}
	}
	return nil
}

// awaitApproval makes the success of a run that has only planned a wait for a
// person: what a plan is for is done once it is approved (Oz platform, MAO-7).
func (l *link) awaitApproval(ctx context.Context, end *task.End) error {
	if end.State != task.StateSucceeded {
		return nil
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil {
		return err
	}
	plan := newestPlan(t)
	if t.CurrentMode() == task.ModeNormal || plan == nil || plan.UID == t.Approved || plan.UID == t.Rejected || !t.Cancellable() {
		return nil
	}
	end.State = task.StateBlocked
	end.Status.Question = &task.Question{ID: "plan-" + plan.UID, Kind: task.QuestionApproval, Subject: plan.UID,
		Text: fmt.Sprintf("Is the plan %q to be carried out?", plan.Title), Choices: []string{task.ChoiceApprove, task.ChoiceReject},
		ExpiresAt: l.p.opts.Clock.Now().Add(planPatience).UTC().Round(0), OnExpiry: task.ExpiryFail}
	end.Status.Message = cmp.Or(end.Status.Message, end.Status.Question.Text)
	return nil
}

// deliverMail gives a run that is about to succeed the letters that it has not
// read: they become its next messages, so that none is left unheard.
func (l *link) deliverMail(ctx context.Context, state task.State) error {
	box, ok := l.p.store.(task.Mailbox)
	if !ok || state != task.StateSucceeded {
		return nil
	}
	if _, err := l.execution(ctx); err != nil {
		return nil // who asks again is answered by the command itself
	}
	waiting, err := box.Mails(ctx, task.MailQuery{To: l.id, Unread: true, Limit: MaxMails})
	if err != nil {
		return err
	}
	for _, m := range waiting {
		if m.DeliveredAt.IsZero() {
			if err := l.p.wakeBy(ctx, box, m.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// Approval is a person's yes to a plan.
type Approval struct {
	// PlanUID is the version of the plan. Empty is the newest.
	PlanUID string
	// Text says more to the agent; may be empty.
	Text string
}

// Approve approves a run's plan, so that the agent carries it out: itself, or
// by the children that the plan names. It fails with task.CodeNotFound when
// there is no such plan, and with task.ErrConflict when somebody else has
// answered meanwhile. Approving the same version again changes nothing.
func (c *Client) Approve(ctx context.Context, id task.ID, a Approval) error {
	t, err := c.run(ctx, id, access.RunSteer)
	if err != nil {
		return err
	}
	plan, err := planOf(t, a.PlanUID)
	if err != nil || plan.UID == t.Approved {
		return err
	}
	in, err := c.approval(ctx, t, plan, a.Text)
	if err != nil {
		return err
	}
	if err := c.mayResume(ctx, t, in); err != nil {
		return err
	}
	return c.audited(ctx, runDeed(access.RunSteer, t), func() error {
		_, err := c.p.store.Do(ctx, id, task.AddInput{Input: in})
		return err
	})
}

func planOf(t task.Task, uid string) (task.Artifact, error) {
	if uid == "" {
		if plan := newestPlan(t); plan != nil {
			return *plan, nil
		}
		return task.Artifact{}, task.Errorf(task.CodeNotFound, "run %s has handed in no plan", t.ID)
	}
	for _, a := range t.Artifacts {
		if a.UID == uid && a.Type == task.ArtifactPlan {
			return a, nil
		}
	}
	return task.Artifact{}, &task.Error{Code: task.CodeNotFound, Field: "artifact_uid", Message: fmt.Sprintf("run %s has no plan %q", t.ID, uid)}
}

// approval is the message that approves a plan. The agent is given the text of
// one that a person has changed.
func (c *Client) approval(ctx context.Context, t task.Task, plan task.Artifact, text string) (task.Input, error) {
	if err := task.ValidateText("text", text); err != nil {
		return task.Input{}, err
	}
	m, err := planMetadata(plan)
	if err != nil {
		return task.Input{}, err
	}
	in := task.Input{Mode: task.ModeNormal, Approves: plan.UID, From: c.caller.Principal}
	var b strings.Builder
	fmt.Fprintf(&b, "Your plan %q is approved.", plan.Title)
	if m.Orchestration != nil {
		in.Mode = task.ModeOrchestrate
		var keys []string
		for _, child := range m.Orchestration.Children {
			keys = append(keys, child.Key)
		}
		fmt.Fprintf(&b, " Start its children by their keys (%s) and see the work through.", strings.Join(keys, ", "))
	} else {
		b.WriteString(" Carry it out now.")
	}
	if m.EditedBy != "" {
		markdown, err := c.p.planText(ctx, plan)
		if err != nil {
			return task.Input{}, err
		}
		fmt.Fprintf(&b, " A person has changed it; this is the version that holds:\n\n%s", markdown)
	}
	if text = strings.TrimSpace(text); text != "" {
		fmt.Fprintf(&b, "\n\n%s", text)
	}
	in.Text = b.String()
	if q := t.Open(); q != nil && q.Kind == task.QuestionApproval {
		if _, err := planOf(t, q.Subject); err == nil {
			in.Question, in.Choice = q.ID, task.ChoiceApprove
		}
	}
	return in, nil
}

func (p *Platform) planText(ctx context.Context, plan task.Artifact) (string, error) {
	if p.opts.Blobs == nil || plan.Blob == "" {
		return "", nil
	}
	r, err := p.opts.Blobs.OpenBlob(ctx, plan.Blob)
	if err != nil {
		return "", fmt.Errorf("open plan: %w", err)
	}
	defer func() { _ = r.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(r, maxPlanBytes))
	if err != nil {
		return "", fmt.Errorf("read plan: %w", err)
	}
	return strings.ToValidUTF8(string(data), ""), nil
}

// PlanEdit is a version of a plan that a person writes.
type PlanEdit struct {
	// Title is one line. Default: that of the version before.
	Title string
	// Markdown is the whole plan, 1 byte to 256 KiB.
	Markdown string
	// Orchestration are the children, if the run is to start some. nil keeps
	// those of the version before.
	Orchestration *executor.Orchestration
}

// EditPlan adds a version to a run's plan. It does not approve it. It fails
// with task.CodeNotFound when the run has no plan.
func (c *Client) EditPlan(ctx context.Context, id task.ID, edit PlanEdit) (task.Artifact, error) {
	t, err := c.run(ctx, id, access.RunSteer)
	if err != nil {
		return task.Artifact{}, err
	}
	before, err := planOf(t, "")
	if err != nil {
		return task.Artifact{}, err
	}
	m, err := c.edited(before, &edit)
	if err != nil {
		return task.Artifact{}, err
	}
	if c.p.opts.Blobs == nil {
		return task.Artifact{}, notBuilt("markdown", "a store for files", "say what to change in a message")
	}
	a := task.Artifact{UID: uuid.NewString(), Type: task.ArtifactPlan, Title: edit.Title, Path: before.Path, MIMEType: planType,
		DocumentUID: before.Document(), Metadata: m, SizeBytes: int64(len(edit.Markdown))}
	a.Blob = blobKey(id, a.UID)
	if err := a.Validate(); err != nil {
		return task.Artifact{}, err
	}
	err = c.audited(ctx, runDeed(access.RunSteer, t), func() error {
		if _, err := c.p.opts.Blobs.PutBlob(ctx, a.Blob, strings.NewReader(edit.Markdown)); err != nil {
			return fmt.Errorf("store plan: %w", err)
		}
		err := c.p.claimArtifact(ctx, id, a)
		if err == nil {
			_, err = c.p.store.Do(ctx, id, task.AddArtifact{By: c.caller.Principal, Artifact: a})
		}
		if err != nil {
			_ = c.p.opts.Blobs.DeleteBlob(context.WithoutCancel(ctx), a.Blob) // no run came to own it
		}
		return err
	})
	if err != nil {
		return task.Artifact{}, err
	}
	t, err = c.p.store.Get(ctx, id)
	if i := slices.IndexFunc(t.Artifacts, func(v task.Artifact) bool { return v.UID == a.UID }); err == nil && i >= 0 {
		return t.Artifacts[i], nil
	}
	if err == nil {
		err = task.Errorf(task.CodeOperationNotSupported, "the run has as many artifacts as it may have (%d)", task.MaxArtifacts)
	}
	return task.Artifact{}, err
}

// edited judges an edit, fills in what it leaves out and gives the metadata.
func (c *Client) edited(before task.Artifact, edit *PlanEdit) (json.RawMessage, error) {
	if strings.TrimSpace(edit.Markdown) == "" || len(edit.Markdown) > maxPlanBytes {
		return nil, task.Invalid("markdown", "must have 1 to %d bytes", maxPlanBytes)
	}
	if err := task.ValidateText("markdown", edit.Markdown); err != nil {
		return nil, err
	}
	edit.Title = cmp.Or(edit.Title, before.Title)
	if err := checkLine("title", edit.Title, maxTitle); err != nil {
		return nil, err
	}
	m, err := planMetadata(before)
	if err != nil {
		return nil, err
	}
	if edit.Orchestration != nil {
		if err := edit.Orchestration.Validate(); err != nil {
			return nil, err
		}
		m.Orchestration = edit.Orchestration
	}
	m.EditedBy = cmp.Or(c.caller.Principal.DisplayName, c.caller.Principal.UID, "a person")
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return data, nil
}
