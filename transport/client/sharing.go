package client

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/oz"
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

// Rights tells what the caller may do to a run.
func (c *Client) Rights(ctx context.Context, id task.ID) (oz.RunRights, error) {
	if err := checkID("run id", string(id)); err != nil {
		return oz.RunRights{}, err
	}
	r, err := decode[api.RunRights](c.raw.GetRunRights(ctx, string(id)))
	return wire.RunRightsOf(r), err
}

// CreateRunLink makes a link to a run and gives the address of its page, with
// the token, this once. Options.Link is what a holder puts the token in.
func (c *Client) CreateRunLink(ctx context.Context, id task.ID, s oz.RunLinkSpec) (token, url string, l oz.RunLink, err error) {
	if err := checkID("run id", string(id)); err != nil {
		return "", "", oz.RunLink{}, err
	}
	if s.Life%time.Minute != 0 {
		return "", "", oz.RunLink{}, task.Invalid("Life", "must be whole minutes")
	}
	answer, err := decode[api.CreatedRunLink](c.raw.CreateRunLink(ctx, string(id),
		api.CreateRunLinkRequest{Role: string(s.Role), Name: s.Name, ExpiresInMinutes: int(s.Life / time.Minute)}))
	return answer.Token, answer.Url, wire.RunLinkOf(answer.Link), err
}

// RunLinks lists those links to a run that work, the oldest first.
func (c *Client) RunLinks(ctx context.Context, id task.ID) ([]oz.RunLink, error) {
	if err := checkID("run id", string(id)); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListRunLinksResponse](c.raw.ListRunLinks(ctx, string(id)))
	if err != nil {
		return nil, err
	}
	links := []oz.RunLink{}
	for _, l := range answer.Links {
		links = append(links, wire.RunLinkOf(l))
	}
	return links, nil
}

// RevokeRunLink ends a link to a run.
func (c *Client) RevokeRunLink(ctx context.Context, id task.ID, uid string) error {
	if err := checkID("run id", string(id)); err != nil {
		return err
	}
	if err := checkID("link uid", uid); err != nil {
		return err
	}
	return done(c.raw.RevokeRunLink(ctx, string(id), uid))
}

// OpenRunLink tells which run a link opens, and as what.
func (c *Client) OpenRunLink(ctx context.Context, token string) (task.ID, task.ShareRole, error) {
	l, err := decode[api.OpenedRunLink](c.raw.OpenRunLink(ctx, api.OpenRunLinkRequest{Token: token}))
	return task.ID(l.RunId), task.ShareRole(l.Role), err
}

// RequestEdit asks those who may share a run to let the caller edit it.
func (c *Client) RequestEdit(ctx context.Context, id task.ID, message string) (oz.EditRequest, error) {
	if err := checkID("run id", string(id)); err != nil {
		return oz.EditRequest{}, err
	}
	r, err := decode[api.EditRequest](c.raw.CreateEditRequest(ctx, string(id), api.CreateEditRequest{Message: message}))
	return wire.EditRequestOf(r), err
}

// EditRequests lists the requests to edit a run, the oldest first: all of them
// for those who may decide, and for others their own.
func (c *Client) EditRequests(ctx context.Context, id task.ID) ([]oz.EditRequest, error) {
	if err := checkID("run id", string(id)); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListEditRequestsResponse](c.raw.ListEditRequests(ctx, string(id)))
	if err != nil {
		return nil, err
	}
	list := []oz.EditRequest{}
	for _, r := range answer.Requests {
		list = append(list, wire.EditRequestOf(r))
	}
	return list, nil
}

// DecideEdit approves or refuses a request to edit a run.
func (c *Client) DecideEdit(ctx context.Context, id task.ID, uid string, approve bool) (oz.EditRequest, error) {
	if err := checkID("run id", string(id)); err != nil {
		return oz.EditRequest{}, err
	}
	if err := checkID("request uid", uid); err != nil {
		return oz.EditRequest{}, err
	}
	decision := "refuse"
	if approve {
		decision = "approve"
	}
	r, err := decode[api.EditRequest](c.raw.DecideEditRequest(ctx, string(id), uid, api.DecideEditRequest{Decision: decision}))
	return wire.EditRequestOf(r), err
}

// Presence tells who follows a run now.
func (c *Client) Presence(ctx context.Context, id task.ID) (oz.Presence, error) {
	if err := checkID("run id", string(id)); err != nil {
		return oz.Presence{}, err
	}
	p, err := decode[api.Presence](c.raw.GetPresence(ctx, string(id)))
	return wire.PresenceOf(p), err
}
