package oz

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// callerWorker is the worker of runs that their creators carry out.
const callerWorker = "caller"

// StartLocal stores a run that the caller carries out itself, claimed at once,
// and gives the handshake for its runner, but for ServerURL. The platform
// tracks such a run: it cannot cancel it, and does not try again when the
// runner is lost. It fails as Submit does.
func (c *Client) StartLocal(ctx context.Context, r Request) (task.Task, executor.Handshake, error) {
	if r.IdempotencyKey != "" {
		return task.Task{}, executor.Handshake{}, task.Invalid("Idempotency-Key",
			"is not for runs that the caller carries out: their token is given once")
	}
	spec, err := c.draft(ctx, access.RunExecute, r)
	if err != nil {
		return task.Task{}, executor.Handshake{}, err
	}
	if r.Source == "" {
		r.Source = task.SourceLocal
	}
	id := task.NewExecutionID()
	token, hash := task.NewToken(id)
	lease := c.p.opts.Clock.Now().Add(c.p.opts.Lease)
	d := &deed{action: access.RunExecute, kind: "run", owner: spec.Owner, details: act("start local")}
	t, err := doing(ctx, c, d, func() (task.Task, error) {
		t, err := c.create(ctx, r, task.Creation{Spec: spec, Where: task.LocationLocal, From: r.Source, Commands: []task.Command{
			task.Offer{Execution: id, Worker: callerWorker, TokenHash: hash, LeaseUntil: lease},
			task.Accept{Execution: id, LeaseUntil: lease},
		}})
		d.id = string(t.ID)
		return t, err
	})
	crashpoint.Hit(crashpoint.OfferRecorded)
	if err != nil {
		return task.Task{}, executor.Handshake{}, err
	}
	return t, executor.Handshake{TaskID: t.ID, ExecutionID: id, Token: executor.Sensitive(token)}, nil
}
