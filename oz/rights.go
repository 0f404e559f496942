package oz

import (
	"context"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// RunRights is what a caller may do to a run, for whoever shows buttons. Every
// method judges anew.
type RunRights struct {
	Role                                            RunRole
	View, Steer, Cancel, Share, TakeOver, AskToEdit bool
	// Guest came by a link, without an account.
	Guest bool
	// Links says that the server allows links.
	Links bool
	// Terminal says that a terminal can be opened now.
	Terminal bool
}

// RunRole is the caller's part in a run.
type RunRole string

// The roles. An owner may share the run.
const (
	RunViewer RunRole = "viewer"
	RunEditor RunRole = "editor"
	RunOwner  RunRole = "owner"
)

// Rights tells what the caller may do to a run.
func (c *Client) Rights(ctx context.Context, id task.ID) (RunRights, error) {
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return RunRights{}, err
	}
	may := func(a access.Action) bool { return access.Allow(c.caller, a, access.OfRun(t)) == nil }
	r := RunRights{Role: c.roleIn(t), View: true, Steer: may(access.RunSteer), Cancel: may(access.RunCancel), Share: may(access.RunShare),
		TakeOver: may(access.RunTakeOver), Guest: c.caller.Guest()}
	if err := c.p.linksAllowed(ctx, t.Owner); err == nil {
		r.Links = true
	} else if task.CodeOf(err) != task.CodeFeatureNotAvailable {
		return RunRights{}, err
	}
	r.AskToEdit = !r.Steer && c.caller.Principal.IsPerson() && may(access.RunRequestEdit)
	r.Terminal = r.TakeOver && terminalPossible(t) == nil
	return r, nil
}

// roleIn is the caller's part in a run that they may see.
func (c *Client) roleIn(t task.Task) RunRole {
	switch o := access.OfRun(t); {
	case access.Allow(c.caller, access.RunShare, o) == nil:
		return RunOwner
	case access.Allow(c.caller, access.RunSteer, o) == nil:
		return RunEditor
	}
	return RunViewer
}
