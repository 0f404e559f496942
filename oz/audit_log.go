package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// AuditOutcome says how far an act came.
type AuditOutcome string

// The outcomes.
const (
	AuditBegun  AuditOutcome = "begun"  // about to be done
	AuditDone   AuditOutcome = "done"   // it was
	AuditFailed AuditOutcome = "failed" // it was allowed, and not done
	AuditDenied AuditOutcome = "denied" // it was not allowed
)

// ActionSignIn is the attempt to use a key or token that is not valid, or to
// sign in with an identity provider as somebody whom nobody lets in. Only
// refusals of it are written down.
const ActionSignIn access.Action = "account.sign_in"

// AuditRecord is the body of an entry of the audit log. It never holds a
// secret's value or a key.
type AuditRecord struct {
	Time   time.Time     `json:"time"`
	Actor  AuditActor    `json:"actor"`
	Action access.Action `json:"action"`
	Object AuditObject   `json:"object,omitzero"`
	// Outcome and, unless it was done, why.
	Outcome AuditOutcome `json:"outcome"`
	Code    task.Code    `json:"code,omitempty"`
	// Of is the number of the AuditBegun that this is the outcome of.
	Of int64 `json:"of,omitempty"`
	// RequestID and Remote are where it came from, if it came over a network.
	RequestID string `json:"request_id,omitempty"`
	Remote    string `json:"remote,omitempty"`
	// Details are a few names, such as the fields that were changed.
	Details map[string]string `json:"details,omitempty"`
	// LeftOut counts the refused attempts before this one that were not
	// written down.
	LeftOut int `json:"left_out,omitempty"`
}

// AuditActor is who acted. Of an unknown caller all is empty.
type AuditActor struct {
	Type string `json:"type,omitempty"`
	UID  string `json:"uid,omitempty"`
	Key  string `json:"key,omitempty"` // uid of the API key
	Run  string `json:"run,omitempty"` // of a run token
}

// AuditObject is what was acted on.
type AuditObject struct {
	Type  string `json:"type,omitempty"` // such as "secret"
	ID    string `json:"id,omitempty"`   // empty before it is made
	Owner string `json:"owner,omitempty"`
}

// deed is an act that is to be written down.
type deed struct {
	action  access.Action
	kind    string // of the object
	id      string // may become known when it is done
	owner   task.Scope
	details map[string]string
}

func (c *Client) record(ctx context.Context, d deed, outcome AuditOutcome) AuditRecord {
	origin := access.OriginOf(ctx)
	r := AuditRecord{Time: c.p.opts.Clock.Now().UTC().Truncate(time.Microsecond), Action: d.action, Outcome: outcome,
		Object: AuditObject{Type: d.kind, ID: d.id}, RequestID: clip(origin.RequestID), Remote: clip(origin.Remote),
		Actor: AuditActor{Type: string(c.caller.Principal.Type), UID: c.caller.Principal.UID, Key: c.caller.Key, Run: string(c.caller.TaskID)}}
	if !d.owner.IsZero() {
		r.Object.Owner = d.owner.String()
	}
	r.Object.ID, r.Object.Owner = clip(r.Object.ID), clip(r.Object.Owner)
	r.Details = maps.Clone(d.details)
	for k, v := range r.Details {
		r.Details[k] = clip(v)
	}
	return r
}

// maxAuditText bounds what callers choose, in bytes.
const maxAuditText = 256

func clip(s string) string { return s[:min(len(s), maxAuditText)] }

// write appends a record and gives its number. Without a journal it does
// nothing.
func (p *Platform) write(ctx context.Context, r AuditRecord) (int64, error) {
	j, ok := p.store.(task.Journal)
	if !ok {
		return 0, nil
	}
	body, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode for the audit log: %w", err)
	}
	entries, err := j.AppendJournal(ctx, body)
	if err != nil {
		return 0, err
	}
	return entries[0].Seq, nil
}

// outcomeTimeout bounds the writing of an outcome, which does not end with its
// caller.
const outcomeTimeout = 10 * time.Second

// audited does what the caller has been allowed to do, with an entry before
// and one behind. do may set the deed's id.
func (c *Client) audited(ctx context.Context, d *deed, do func() error) error {
	of, err := c.p.write(ctx, c.record(ctx, *d, AuditBegun))
	if err != nil {
		return unwritten(ctx, err)
	}
	failed := do()
	r := c.record(ctx, *d, AuditDone)
	if failed != nil {
		r.Outcome, r.Code = AuditFailed, task.CodeOf(failed)
	}
	r.Of = of
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	if _, err := c.p.write(ctx, r); err != nil { // it is done, and the log says that it was begun
		c.p.opts.Logger.Error("write an outcome to the audit log", zap.Int64("of", of), zap.Error(err))
	}
	return failed
}

// doing is audited for what gives a value.
func doing[T any](ctx context.Context, c *Client, d *deed, do func() (T, error)) (out T, err error) {
	err = c.audited(ctx, d, func() (err error) {
		out, err = do()
		return err
	})
	return out, err
}

// act names what is done to an object where the action alone does not tell.
func act(what string) map[string]string { return map[string]string{"act": what} }

// runDeed is an act on a run.
func runDeed(a access.Action, t task.Task) *deed {
	return &deed{action: a, kind: "run", id: string(t.ID), owner: t.Owner}
}

// noted writes down that the caller is about to be given something.
func (c *Client) noted(ctx context.Context, d deed) error {
	if c.caller.System {
		return nil // the program itself, or whoever holds a link that is in the log
	}
	_, err := c.p.write(ctx, c.record(ctx, d, AuditDone))
	return unwritten(ctx, err)
}

// unwritten refuses what cannot be written down.
func unwritten(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &task.Error{Code: task.CodeInternal, Err: err, Message: "the audit log cannot be written, so that this was not done; try again later"}
}

// auditor writes down changes of the registry of people and keys.
type auditor struct{ p *Platform }

// Audited implements access.Auditor.
func (a auditor) Audited(ctx context.Context, act access.Act, do func() error) error {
	d := deedOf(act)
	return a.p.As(act.By).audited(ctx, &d, do)
}

// Refused implements access.Auditor.
func (a auditor) Refused(ctx context.Context, act access.Act, why error) {
	d := deedOf(act)
	if d.action == ActionSignIn { // it concerns whoever runs the server
		d.owner = a.p.opts.Owner
	}
	a.p.denied(ctx, a.p.As(act.By), d, why)
}

func deedOf(a access.Act) deed {
	return deed{action: a.Action, kind: a.Kind, id: a.ID, owner: a.Owner, details: a.Details}
}

// registryOptions are Options.Keys with the platform as auditor, unless there
// is one.
func (p *Platform) registryOptions() *access.RegistryOptions {
	o := access.RegistryOptions{}
	if p.opts.Keys != nil {
		o = *p.opts.Keys
	}
	if o.Auditor == nil {
		o.Auditor = auditor{p}
	}
	return &o
}

// Allow judges whether the caller may do a at all, for a transport that turns
// away early whom the platform would turn away later. A refusal is written down.
func (c *Client) Allow(ctx context.Context, a access.Action, o access.Object) error {
	return c.allow(ctx, a, o)
}

// allow judges what concerns no single thing, or a run, by the access table, and
// writes refusals down.
func (c *Client) allow(ctx context.Context, a access.Action, o access.Object) error {
	kind := ""
	if o.TaskID != "" {
		kind = "run"
	}
	return c.allowTo(ctx, a, o, kind, string(o.TaskID))
}

// allowTo is allow for a thing of another kind.
func (c *Client) allowTo(ctx context.Context, a access.Action, o access.Object, kind, id string) error {
	err := access.Allow(c.caller, a, o)
	if err != nil {
		c.refused(ctx, deed{action: a, kind: kind, id: id, owner: o.Owner}, err)
	}
	return err
}

// absent writes down that the caller asked for something that is not there. It
// must look from outside like a refusal for what is hidden: whoever sees the
// log grow could tell them apart.
func (c *Client) absent(ctx context.Context, a access.Action, kind, id string, err error) error {
	if errors.Is(err, task.ErrNotFound) {
		c.refused(ctx, deed{action: a, kind: kind, id: id}, err)
	}
	return err
}

// refused writes down that a deed was not allowed, and why.
func (c *Client) refused(ctx context.Context, d deed, why error) {
	code := task.CodeOf(why)
	if c.caller.Principal.UID != "" && (code == task.CodeNotAuthorized || code == task.CodeNotFound) {
		c.p.denied(ctx, c, d, why)
	}
}

// denied writes a refusal down, if there were not too many of late. That it
// cannot be written changes nothing: it stays a refusal.
func (p *Platform) denied(ctx context.Context, c *Client, d deed, why error) {
	who := c.caller.Key + "\x00" + c.caller.Principal.UID
	if c.caller.Principal.UID == "" {
		who = access.OriginOf(ctx).Remote
	}
	left, ok := p.denials.admit(p.opts.Clock.Now(), who+"\x00"+string(d.action))
	if !ok {
		return
	}
	r := c.record(ctx, d, AuditDenied)
	r.Code, r.LeftOut = task.CodeOf(why), left
	if _, err := p.write(ctx, r); err != nil && ctx.Err() == nil {
		p.opts.Logger.Error("write a refusal to the audit log", zap.Error(err))
	}
}
