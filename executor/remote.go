package executor

import "context"

// Remote is a Sandbox whose agent runs where the driver cannot see it. Wait cannot know that end by itself: the
// platform, which hears from the agent, tells it.
type Remote interface {
	Sandbox

	// Reported says that the agent has reported its outcome, or that it is over, to the platform. The sandbox has ended
	// then, and nothing of it needs to be stopped. It is idempotent, and does nothing for a removed sandbox.
	Reported(ctx context.Context) error
}

// Reported tells s that its agent has reported, if s is Remote. For any other it does nothing.
func Reported(ctx context.Context, s Sandbox) error {
	if r, ok := s.(Remote); ok {
		return r.Reported(ctx)
	}
	return nil
}
