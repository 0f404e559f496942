package client

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Sharing tells who may see and steer a run.
func (c *Client) Sharing(ctx context.Context, id task.ID) (task.Sharing, error) {
	if err := checkID("run id", string(id)); err != nil {
		return task.Sharing{}, err
	}
	s, err := decode[api.Sharing](c.raw.GetSharing(ctx, string(id)))
	return wire.SharingOf(s), err
}

// Share says who may see and steer a run from now on. A person may be named by
// e-mail address in the place of the UID.
func (c *Client) Share(ctx context.Context, id task.ID, s task.Sharing) (task.Sharing, error) {
	if err := checkID("run id", string(id)); err != nil {
		return task.Sharing{}, err
	}
	answer, err := decode[api.Sharing](c.raw.UpdateSharing(ctx, string(id), wire.Sharing(s)))
	return wire.SharingOf(answer), err
}
