package rest

import (
	"context"
	"encoding/json"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// GetPresence implements GET /oz/runs/{runId}/presence.
func (o operations) GetPresence(ctx context.Context, r api.GetPresenceRequestObject) (api.GetPresenceResponseObject, error) {
	p, err := callOf(ctx).client.Presence(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	return api.GetPresence200JSONResponse(wire.Presence(p)), nil
}

// crowdPause is the least time between two frames that tell who follows a run:
// of many who come at once each is told once.
const crowdPause = 500 * time.Millisecond

// crowd tells a stream's client who else follows the run. A nil crowd has
// nothing to tell.
type crowd struct {
	log   *oz.Follower
	clock task.Clock
	sent  time.Time
	next  <-chan struct{}  // closed when there is something new; nil while that is known
	timer <-chan time.Time // when that is to be sent
}

// newCrowd makes one that is due at once.
func newCrowd(log *oz.Follower, clock task.Clock) *crowd {
	now := make(chan time.Time)
	close(now)
	return &crowd{log: log, clock: clock, timer: now}
}

func (c *crowd) changed() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.next
}

func (c *crowd) due() <-chan time.Time {
	if c == nil {
		return nil
	}
	return c.timer
}

// wait lets a change wait for those that come with it.
func (c *crowd) wait() {
	c.next, c.timer = nil, c.clock.After(max(crowdPause-c.clock.Now().Sub(c.sent), 0))
}

// sendCrowd sends who follows the run, without an id: it is no part of the log.
// What cannot be read is left out until the next change.
func (s *stream) sendCrowd(out *streamWriter) bool {
	c := s.crowd
	p, next, err := c.log.Presence(s.ctx)
	c.sent, c.timer = c.clock.Now(), nil
	if err != nil {
		c.timer = c.clock.After(maxUnseen)
		return s.ctx.Err() == nil
	}
	c.next = next
	data, err := json.Marshal(p)
	if err != nil {
		return false
	}
	return out.send([]byte("event: presence\ndata: "+string(data)+"\n\n")) == nil
}
