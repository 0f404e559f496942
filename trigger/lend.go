package trigger

import (
	"context"
	"time"
)

// Lender is an Origin whose service keeps repositories: the runs that come from
// it read and push there in the integration's name (Oz platform, GHM-6). Who
// asks has judged whether the run may. Safe for concurrent use.
type Lender interface {
	// GitHost names the host that a source's repositories are at, with the port
	// if its address has one; "" when nothing is lent. It asks nobody outside.
	GitHost(ctx context.Context, source string) (string, error)
	// GitLogin gives what git shows at that host, good for some minutes at
	// least; the zero GitLogin when nothing is lent any more. It fails with
	// task.CodeIntegrationNotConfigured when the service refuses the
	// integration, and with task.CodeResourceUnavailable when it is away.
	GitLogin(ctx context.Context, source string) (GitLogin, error)
}

// GitLogin is what git authenticates with. Its Password is a secret.
type GitLogin struct {
	Username, Password string
	// ExpiresAt is zero for one that does not.
	ExpiresAt time.Time
}
