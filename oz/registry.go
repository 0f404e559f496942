package oz

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// Limits of what is registered.
const (
	// maxRegistered is how many things of one kind an owner may have: they are
	// listed at once.
	maxRegistered = 1000
	// maxRegisteredName and maxDescription are in characters. The second is
	// that of runner profiles (Oz platform, RNR-1).
	maxRegisteredName, maxDescription = 100, 240
	// claimAge is after what time a name that nothing bears is free again: its
	// claimer died between the claim and the thing.
	claimAge = time.Minute
)

// Registered is what all things in the registry have: shared MCP servers,
// saved prompts, rules and runner profiles.
type Registered struct {
	// UID is a UUID.
	UID string `json:"uid"`
	// Name is unique among the owner's things of the kind.
	Name string `json:"name"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Owner is the person or team it belongs to.
	Owner task.Scope `json:"scope"`
	// Creator made it.
	Creator task.Principal `json:"creator"`
	// CreatedAt and UpdatedAt are in UTC, to the microsecond.
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Revision counts the writes, from 1; an update may ask for it.
	Revision int64 `json:"-"`
}

func (r Registered) object() access.Object { return access.Object{Owner: r.Owner, Creator: r.Creator} }

// shelf keeps the things of one kind. T is stored as JSON.
type shelf[T any] struct {
	kind                 string // of the records
	what                 string // as people call one
	create, view, manage access.Action
	head                 func(*T) *Registered
	check                func(T) error // judges the content, not the head
}

// add stores a new thing of the caller's.
func (s shelf[T]) add(ctx context.Context, c *Client, thing T, team *bool) (T, error) {
	var none T
	owner, err := c.owner(ctx, s.create, team)
	if err != nil {
		return none, err
	}
	h := s.head(&thing)
	now := c.p.opts.Clock.Now().UTC().Truncate(time.Microsecond)
	h.UID, h.Owner, h.Creator, h.CreatedAt, h.UpdatedAt, h.Revision = uuid.NewString(), owner, c.caller.Principal, now, now, 0
	if err := s.judge(thing); err != nil {
		return none, err
	}
	list, err := c.p.store.Records(ctx, s.kind, &owner)
	if err != nil {
		return none, fmt.Errorf("count each %s: %w", s.what, err)
	}
	if len(list) >= maxRegistered {
		return none, task.Invalid("name", "there are %d already, the most that one owner may have: delete some", maxRegistered)
	}
	return doing(ctx, c, s.deed(s.create, *h, "create"), func() (T, error) {
		if err := s.claim(ctx, c.p, *h); err != nil {
			return none, err
		}
		stored, err := s.put(ctx, c.p, thing)
		if err != nil {
			s.release(ctx, c.p, *h)
		}
		return stored, err
	})
}

// deed is an act as the audit log has it.
func (s shelf[T]) deed(a access.Action, h Registered, what string) *deed {
	return &deed{action: a, kind: s.what, id: h.UID, owner: h.Owner, details: map[string]string{"act": what, "name": h.Name}}
}

// get reads a thing and checks that the caller may do a to it.
func (s shelf[T]) get(ctx context.Context, c *Client, uid string, a access.Action) (T, error) {
	thing, err := s.read(ctx, c.p, uid)
	if err == nil {
		err = c.allowTo(ctx, a, s.head(&thing).object(), s.what, uid)
	} else {
		err = c.absent(ctx, a, s.what, uid, err)
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		var none T
		return none, task.Errorf(task.CodeNotFound, "%s %q does not exist, or you may not see it", s.what, uid)
	}
	return thing, err
}

// list gives all that the caller may see, by name.
func (s shelf[T]) list(ctx context.Context, c *Client) ([]T, error) {
	if err := c.allow(ctx, s.view, access.Object{}); err != nil {
		return nil, err
	}
	list := []T{}
	for _, owner := range c.owners() {
		records, err := c.p.store.Records(ctx, s.kind, &owner)
		if err != nil {
			return nil, fmt.Errorf("list each %s: %w", s.what, err)
		}
		for _, r := range records {
			thing, err := s.decode(r)
			if err != nil {
				return nil, err
			}
			list = append(list, thing)
		}
	}
	slices.SortFunc(list, func(a, b T) int {
		x, y := s.head(&a), s.head(&b)
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.UID, y.UID))
	})
	return list, nil
}

// owners are those whose things the caller may see.
func (c *Client) owners() []task.Scope {
	if c.caller.System {
		return []task.Scope{c.p.opts.Owner}
	}
	return c.caller.Scopes()
}

// update applies change to a thing if its revision is still the given one; 0
// is any.
func (s shelf[T]) update(ctx context.Context, c *Client, uid string, revision int64, change func(*T)) (T, error) {
	thing, err := s.get(ctx, c, uid, s.manage)
	if err != nil {
		return thing, err
	}
	h := s.head(&thing)
	if revision != 0 && revision != h.Revision {
		return thing, s.changed(uid, nil)
	}
	was := *h
	change(&thing)
	h.UpdatedAt = c.p.opts.Clock.Now().UTC().Truncate(time.Microsecond)
	if err := s.judge(thing); err != nil {
		return thing, err
	}
	return doing(ctx, c, s.deed(s.manage, *h, "update"), func() (T, error) { return s.replace(ctx, c.p, thing, was) })
}

// replace stores a thing that was changed, under its new name.
func (s shelf[T]) replace(ctx context.Context, p *Platform, thing T, was Registered) (T, error) {
	h := s.head(&thing)
	if h.Name != was.Name {
		if err := s.claim(ctx, p, *h); err != nil {
			return thing, err
		}
	}
	stored, err := s.put(ctx, p, thing)
	if h.Name != was.Name {
		if err == nil {
			s.release(ctx, p, was)
		} else {
			s.release(ctx, p, *h)
		}
	}
	if errors.Is(err, task.ErrConflict) {
		return thing, s.changed(h.UID, err)
	}
	return stored, err
}

// remove deletes a thing. Runs keep what they were created with.
func (s shelf[T]) remove(ctx context.Context, c *Client, uid string) error {
	thing, err := s.get(ctx, c, uid, s.manage)
	if err != nil {
		return err
	}
	h := *s.head(&thing)
	return c.audited(ctx, s.deed(s.manage, h, "delete"), func() error {
		err := c.p.store.DeleteRecord(ctx, s.kind, uid)
		if errors.Is(err, task.ErrNotFound) {
			return task.Errorf(task.CodeNotFound, "%s %q does not exist any more", s.what, uid)
		}
		if err == nil {
			s.release(ctx, c.p, h)
		}
		return err
	})
}

func (s shelf[T]) changed(uid string, cause error) error {
	return &task.Error{Code: task.CodeConflict, Field: "revision", Err: cause,
		Message: fmt.Sprintf("%s %s was changed meanwhile: read it again and repeat the change", s.what, uid)}
}

// judge checks head and content.
func (s shelf[T]) judge(thing T) error {
	h := s.head(&thing)
	if strings.TrimSpace(h.Name) != h.Name || h.Name == "" {
		return task.Invalid("name", "must have 1 to %d characters, without space around them", maxRegisteredName)
	}
	if err := checkRunes("name", h.Name, maxRegisteredName); err != nil {
		return err
	}
	if err := checkRunes("description", h.Description, maxDescription); err != nil {
		return err
	}
	return s.check(thing)
}

// checkRunes bounds a text on one line by its characters.
func checkRunes(field, text string, most int) error {
	if n := utf8.RuneCountInString(text); n > most {
		return task.Invalid(field, "has %d characters, at most %d are allowed", n, most)
	}
	return checkLine(field, text, utf8.UTFMax*most)
}

func (s shelf[T]) read(ctx context.Context, p *Platform, uid string) (T, error) {
	var none T
	if uuid.Validate(uid) != nil { // no key that a store might refuse
		return none, task.Errorf(task.CodeNotFound, "%q is no uid", uid)
	}
	r, err := p.store.Record(ctx, s.kind, uid)
	if err != nil {
		return none, fmt.Errorf("get %s %s: %w", s.what, uid, err)
	}
	return s.decode(r)
}

// put writes a thing over the revision that it carries.
func (s shelf[T]) put(ctx context.Context, p *Platform, thing T) (T, error) {
	h := s.head(&thing)
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false) // escaped, a long text would outgrow a record
	if err := enc.Encode(thing); err != nil {
		return thing, fmt.Errorf("encode %s %s: %w", s.what, h.UID, err)
	}
	r := task.Record{Kind: s.kind, Key: h.UID, Owner: h.Owner, Revision: h.Revision, Data: data.Bytes(), UpdatedAt: h.UpdatedAt}
	var err error
	if r.Revision, err = p.store.PutRecord(ctx, r); err != nil {
		return thing, fmt.Errorf("store %s %s: %w", s.what, h.UID, err)
	}
	return s.decode(r) // shares nothing with the caller
}

func (s shelf[T]) decode(r task.Record) (T, error) {
	var thing T
	if err := json.Unmarshal(r.Data, &thing); err != nil {
		return thing, fmt.Errorf("decode %s %s: %w", s.what, r.Key, err)
	}
	s.head(&thing).Revision = r.Revision
	return thing, nil
}

// nameKey is where the claim to a name is kept: of a fixed length, whatever
// the name.
func nameKey(h Registered) string {
	sum := sha256.Sum256([]byte(string(h.Owner.Type) + "\x00" + h.Owner.UID + "\x00" + h.Name))
	return hex.EncodeToString(sum[:])
}

// claim takes a name for a thing, or fails with task.ErrConflict. A claim
// comes before the thing, so of two creations at once one fails.
func (s shelf[T]) claim(ctx context.Context, p *Platform, h Registered) error {
	r := task.Record{Kind: s.kind + ".name", Key: nameKey(h), Owner: h.Owner, Data: []byte(h.UID), UpdatedAt: h.UpdatedAt}
	_, err := p.store.PutRecord(ctx, r)
	if !errors.Is(err, task.ErrConflict) {
		return err
	}
	taken := &task.Error{Code: task.CodeConflict, Field: "name",
		Message: fmt.Sprintf("there is a %s called %q already: choose another name, or change that one", s.what, h.Name)}
	old, err := p.store.Record(ctx, r.Kind, r.Key)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return err
	}
	if err != nil || h.UpdatedAt.Sub(old.UpdatedAt) < claimAge {
		return taken
	}
	holder, err := s.read(ctx, p, string(old.Data))
	if err == nil && s.head(&holder).Name == h.Name {
		return taken
	}
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return err
	}
	r.Revision = old.Revision
	if _, err := p.store.PutRecord(ctx, r); errors.Is(err, task.ErrConflict) {
		return taken
	} else if err != nil {
		return err
	}
	return nil
}

// release gives up a name. What fails here is mended by claimAge.
func (s shelf[T]) release(ctx context.Context, p *Platform, h Registered) {
	ctx = context.WithoutCancel(ctx)
	r, err := p.store.Record(ctx, s.kind+".name", nameKey(h))
	if err == nil && string(r.Data) == h.UID {
		_ = p.store.DeleteRecord(ctx, r.Kind, r.Key)
	}
}
