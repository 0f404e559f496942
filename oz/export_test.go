package oz

import "context"

// Notify puts a notification into a person's mailbox.
func (p *Platform) Notify(ctx context.Context, uid, key string, n Notification) error {
	return p.notify(ctx, uid, key, n)
}
