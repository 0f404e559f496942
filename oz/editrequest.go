package oz

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// kindEditRequest are the records of requests to edit a run: one per run and
// person, by run/person. Their owner is the run.
const kindEditRequest = "run.edit_request"

// Bounds of requests to edit.
const (
	MaxEditMessage = 500 // bytes
	maxEditOpen    = 100 // of one run at once
	maxEditAsks    = 20  // of one person within an hour
	editRefused    = time.Hour
)

// EditRequestState says how far a request to edit is.
type EditRequestState string

// A request is open until somebody decides it.
const (
	EditOpen     EditRequestState = "open"
	EditApproved EditRequestState = "approved"
	EditRefused  EditRequestState = "refused"
)

// EditRequest is a person who asks to edit a run that they may see.
type EditRequest struct {
	UID       string           `json:"uid"`
	User      task.Principal   `json:"user"`
	Message   string           `json:"message,omitempty"` // for who decides
	State     EditRequestState `json:"state"`
	CreatedAt time.Time        `json:"created_at"`
	DecidedAt time.Time        `json:"decided_at,omitzero"`
	DecidedBy task.Principal   `json:"decided_by,omitzero"`
}

func editKey(id task.ID, user string) string { return string(id) + "/" + user }

// RequestEdit asks those who may share a run to let the caller edit it. Asking
// again gives the open request. It fails with task.CodeOperationNotSupported for
// whoever may edit already or was refused within the hour, and with
// task.CodeResourceUnavailable for whoever asks too often.
func (c *Client) RequestEdit(ctx context.Context, id task.ID, message string) (EditRequest, error) {
	t, err := c.run(ctx, id, access.RunRequestEdit)
	if err != nil {
		return EditRequest{}, err
	}
	switch {
	case !c.caller.Principal.IsPerson():
		return EditRequest{}, task.Errorf(task.CodeNotAuthorized, "only a person may ask to edit a run; grant it to the team of the key instead")
	case access.Allow(c.caller, access.RunSteer, access.OfRun(t)) == nil:
		return EditRequest{}, task.Errorf(task.CodeOperationNotSupported, "you may edit this run already")
	case len(message) > MaxEditMessage:
		return EditRequest{}, task.Invalid("message", "has %d bytes, at most %d are allowed", len(message), MaxEditMessage)
	case !utf8.ValidString(message) || strings.ContainsRune(message, 0):
		return EditRequest{}, task.Invalid("message", "must be valid UTF-8 without NUL")
	}
	unlock := c.p.linking.lock(id)
	defer unlock()
	all, err := c.p.editRequests(ctx, id)
	if err != nil {
		return EditRequest{}, err
	}
	old, revision, err := c.mayAsk(all)
	if err != nil || old.State == EditOpen {
		return old, err
	}
	now := c.p.opts.Clock.Now().UTC().Truncate(time.Second)
	r := EditRequest{UID: uuid.NewString(), User: c.caller.Principal, Message: message, State: EditOpen, CreatedAt: now}
	d := runDeed(access.RunRequestEdit, t)
	d.details = map[string]string{"request": r.UID}
	if err = c.audited(ctx, d, func() error { return c.p.putEditRequest(ctx, id, r, revision) }); err != nil {
		return EditRequest{}, err
	}
	c.p.editAsks.Miss(c.caller.Principal.UID, c.p.opts.Clock.Now())
	c.p.replicas.editAsked(ctx, id)
	c.p.notifyEdit(ctx, t, r)
	return r, nil
}

// storedEdit is a request with the revision of its record.
type storedEdit struct {
	EditRequest
	revision int64
}

// mayAsk finds what the caller asked before, and judges whether they may ask
// (again).
func (c *Client) mayAsk(all []storedEdit) (old EditRequest, revision int64, err error) {
	now, open := c.p.opts.Clock.Now(), 0
	for _, r := range all {
		if r.State == EditOpen {
			open++
		}
		if r.User.UID == c.caller.Principal.UID {
			old, revision = r.EditRequest, r.revision
		}
	}
	switch {
	case old.State == EditOpen:
	case old.State == EditRefused && now.Sub(old.DecidedAt) < editRefused:
		return EditRequest{}, 0, task.Errorf(task.CodeOperationNotSupported, "your request was refused; you may ask again an hour later")
	case open >= maxEditOpen:
		return EditRequest{}, 0, task.Errorf(task.CodeOperationNotSupported, "%d persons ask to edit this run already; its owner has to decide on them first", open)
	case !c.p.editAsks.Allow(c.caller.Principal.UID, now):
		return EditRequest{}, 0, task.Errorf(task.CodeResourceUnavailable, "you have asked to edit too many runs within the hour; wait a while")
	}
	return old, revision, nil
}

func (p *Platform) putEditRequest(ctx context.Context, id task.ID, r EditRequest, revision int64) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode request to edit: %w", err)
	}
	_, err = p.store.PutRecord(ctx, task.Record{Kind: kindEditRequest, Key: editKey(id, r.User.UID), Owner: runScope(id), Revision: revision,
		Data: data, UpdatedAt: p.opts.Clock.Now()})
	return err
}

// editRequests reads all requests of a run, the oldest first.
func (p *Platform) editRequests(ctx context.Context, id task.ID) ([]storedEdit, error) {
	scope := runScope(id)
	recs, err := p.store.Records(ctx, kindEditRequest, &scope)
	if err != nil {
		return nil, fmt.Errorf("list requests to edit: %w", err)
	}
	all := make([]storedEdit, 0, len(recs))
	for _, rec := range recs {
		r := storedEdit{revision: rec.Revision}
		if err := json.Unmarshal(rec.Data, &r.EditRequest); err != nil {
			return nil, fmt.Errorf("decode request to edit: %w", err)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b storedEdit) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.UID, b.UID))
	})
	return all, nil
}

// EditRequests lists the requests to edit a run, the oldest first: all of them
// for those who may decide, and for others their own.
func (c *Client) EditRequests(ctx context.Context, id task.ID) ([]EditRequest, error) {
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return nil, err
	}
	all, err := c.p.editRequests(ctx, id)
	if err != nil {
		return nil, err
	}
	decides := access.Allow(c.caller, access.RunShare, access.OfRun(t)) == nil
	list := []EditRequest{}
	for _, r := range all {
		if decides || r.User.Type == c.caller.Principal.Type && r.User.UID == c.caller.Principal.UID {
			list = append(list, r.EditRequest)
		}
	}
	return list, nil
}

// DecideEdit approves or refuses a request to edit a run; an approval grants
// the run to the person as an editor. The first decision stays: another one
// fails with task.CodeOperationNotSupported.
func (c *Client) DecideEdit(ctx context.Context, id task.ID, uid string, approve bool) (EditRequest, error) {
	t, err := c.run(ctx, id, access.RunShare)
	if err != nil {
		return EditRequest{}, err
	}
	unlock := c.p.linking.lock(id)
	defer unlock()
	all, err := c.p.editRequests(ctx, id)
	if err != nil {
		return EditRequest{}, err
	}
	i := slices.IndexFunc(all, func(r storedEdit) bool { return r.UID == uid })
	if i < 0 {
		return EditRequest{}, task.Errorf(task.CodeNotFound, "the run has no request %q", uid)
	}
	r, want := all[i], EditRefused
	if approve {
		want = EditApproved
	}
	switch r.State {
	case want: // a repeat after a lost answer
		return r.EditRequest, nil
	case EditOpen:
	default:
		return EditRequest{}, task.Errorf(task.CodeOperationNotSupported, "the request was decided already: it is %s", string(r.State))
	}
	r.State, r.DecidedAt, r.DecidedBy = want, c.p.opts.Clock.Now().UTC().Truncate(time.Second), c.caller.Principal
	d := runDeed(access.RunShare, t)
	d.details = map[string]string{"act": string(want) + " request to edit", "request": uid, "user": r.User.UID}
	err = c.audited(ctx, d, func() error {
		if approve { // first: a crash in between leaves the request open, and an approval of it changes nothing more
			editor := task.Grant{To: task.Scope{Type: task.ScopeUser, UID: r.User.UID}, Role: task.RoleEditor}
			if _, err := c.p.store.Do(ctx, id, task.ShareWith{By: c.caller.Principal, Grant: editor}); err != nil {
				return err
			}
		}
		return c.p.putEditRequest(ctx, id, r.EditRequest, r.revision)
	})
	if errors.Is(err, task.ErrConflict) {
		return EditRequest{}, task.Errorf(task.CodeConflict, "somebody else decides on this request just now; look again")
	}
	if err != nil {
		return EditRequest{}, err
	}
	c.p.replicas.editAsked(ctx, id)
	return r.EditRequest, nil
}
