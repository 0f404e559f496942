package trigger

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/task"
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

// OwnerLender is a Lender with sources that also lend to runs of their owner
// that did not come from them. Safe for concurrent use.
type OwnerLender interface {
	Lender
	// Loans lists what is lent to all runs of an owner, in no order. Like
	// GitHost it asks nobody outside.
	Loans(ctx context.Context, owner task.Scope) ([]Loan, error)
}

// Loan is what a source lends to all runs of its owner.
type Loan struct {
	Source, Host string
	// Since is when the source was made: of several the oldest lends.
	Since time.Time
	// Covers reports whether it is for the repository at a path of the host.
	Covers func(path string) bool
}
