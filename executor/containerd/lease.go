//go:build linux

package containerd

import (
	"context"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"go.uber.org/zap"
)

// leaseLife is how long containerd keeps what a killed process was fetching: the default of its client.
const leaseLife = 24 * time.Hour

// leased fetches or unpacks under a lease of its own. What a failed fetch has left is gone when leased returns: with
// containerd's own lease it would go some time later, and on a full disk nothing can be done until then.
func (i *images) leased(ctx context.Context, fetch func(context.Context) error) error {
	service := i.client.LeasesService()
	lease, err := service.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseLife))
	if err != nil {
		return err
	}
	failed := fetch(leases.WithLease(ctx, lease.ID))
	var how []leases.DeleteOpt
	if failed != nil {
		how = append(how, leases.SynchronousDelete)
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
	defer cancel()
	if err := service.Delete(settle, lease, how...); err != nil && !errdefs.IsNotFound(err) {
		i.opts.Logger.Warn("remove what a fetch of an image has left; containerd removes it within a day", zap.Error(err))
	}
	return failed
}
