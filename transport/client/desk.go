package client

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Spawn implements executor.Desk.
func (l *Link) Spawn(ctx context.Context, s executor.Spawn) (executor.Relative, error) {
	return decode[executor.Relative](l.c.raw.SpawnChild(ctx, s))
}

// Family implements executor.Desk.
func (l *Link) Family(ctx context.Context) ([]executor.Relative, error) {
	family, err := decode[api.Family](l.c.raw.ListFamily(ctx))
	return family.Runs, err
}

// CancelChild implements executor.Desk.
func (l *Link) CancelChild(ctx context.Context, id task.ID) error {
	if err := checkID("run id", string(id)); err != nil {
		return err
	}
	return done(l.c.raw.CancelChild(ctx, string(id)))
}

// Await implements executor.Desk.
func (l *Link) Await(ctx context.Context, a executor.Await) (executor.News, error) {
	return decode[executor.News](l.c.raw.AwaitRuns(ctx, a))
}

// SendMail implements executor.Desk.
func (l *Link) SendMail(ctx context.Context, m executor.Mailing) error {
	return done(l.c.raw.SendRunMessage(ctx, m))
}

// ReadMail implements executor.Desk. Mail.To is not on the wire and stays
// empty.
func (l *Link) ReadMail(ctx context.Context, id task.MailID) (task.Mail, error) {
	if err := checkID("message id", string(id)); err != nil {
		return task.Mail{}, err
	}
	m, err := decode[api.AgentMessage](l.c.raw.ReadRunMessage(ctx, string(id)))
	return wire.MailOf(m), err
}
