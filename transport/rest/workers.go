package rest

import (
	"context"
	"net/http"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// ConnectWorker implements GET /selfhosted/worker/ws.
func (o operations) ConnectWorker(ctx context.Context, r api.ConnectWorkerRequestObject) (api.ConnectWorkerResponseObject, error) {
	c := callOf(ctx)
	if o.opts.Workers == nil {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server takes no workers of other hosts")
	}
	owner, err := o.workerOwner(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	return workerLink{o.Handler, c.request, worker.Peer{Owner: owner, WorkerID: r.Params.WorkerId, Check: func(ctx context.Context) error {
		now, err := o.authenticate(c.request)
		if err == nil {
			_, err = o.workerOwner(ctx, now)
		}
		return err
	}}}, nil
}

// workerOwner is the team whose worker the caller's key connects.
func (o operations) workerOwner(ctx context.Context, c access.Caller) (task.Scope, error) {
	owner := task.Scope{Type: task.ScopeTeam, UID: access.DefaultTeam}
	if len(c.Teams) > 0 {
		owner.UID = c.Teams[0].UID
	}
	return owner, o.platform.As(c).Allow(ctx, access.WorkerConnect, access.Object{Owner: owner})
}

// workerLink is a connection that may be made.
type workerLink struct {
	h    *Handler
	r    *http.Request
	peer worker.Peer
}

// VisitConnectWorkerResponse implements api.ConnectWorkerResponseObject. It
// lasts as long as the connection.
func (l workerLink) VisitConnectWorkerResponse(w http.ResponseWriter) error {
	return l.h.opts.Workers.Serve(w, l.r, l.peer)
}
