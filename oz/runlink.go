package oz

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Links to runs are records, by the hash of their token. Their owner is the
// run, by which they are listed.
const (
	kindRunLink = "run.link"

	scopeRun task.ScopeType = "Run"

	// RunLinkPrefix begins the token of every link to a run.
	RunLinkPrefix = "ozl_"
)

// Bounds of links to runs.
const (
	MaxRunLinks     = 20 // of one run, that work
	MaxRunLinkName  = 100
	MinRunLinkLife  = 5 * time.Minute
	MaxRunLinkLife  = 90 * 24 * time.Hour
	defaultLinkLife = 7 * 24 * time.Hour

	maxLinkToken    = 100 // bytes that are looked up
	maxLinkGuesses  = 30  // wrong tokens from one address within linkGuessWindow
	linkGuessWindow = 10 * time.Minute
)

// RunLink is a link to a run, by which whoever has its token sees the run.
type RunLink struct {
	UID       string         `json:"uid"`
	Name      string         `json:"name,omitempty"` // for people
	Role      task.ShareRole `json:"role"`
	CreatedAt time.Time      `json:"created_at"`
	ExpiresAt time.Time      `json:"expires_at"`
	CreatedBy task.Principal `json:"created_by"`
}

// RunLinkSpec says what link is wanted.
type RunLinkSpec struct {
	Role task.ShareRole // required
	Name string         // for people, at most MaxRunLinkName bytes
	// Life is how long it works: from MinRunLinkLife to MaxRunLinkLife. Default
	// 7 days.
	Life time.Duration
}

func (s RunLinkSpec) validate() error {
	switch {
	case !s.Role.Known():
		return task.Invalid("role", "%q is neither viewer nor editor", string(s.Role))
	case len(s.Name) > MaxRunLinkName:
		return task.Invalid("name", "has %d bytes, at most %d are allowed", len(s.Name), MaxRunLinkName)
	case !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, func(r rune) bool { return r < ' ' }):
		return task.Invalid("name", "must be one line of text")
	case s.Life != 0 && (s.Life < MinRunLinkLife || s.Life > MaxRunLinkLife):
		return task.Invalid("expires_in_minutes", "must be %d to %d", int(MinRunLinkLife.Minutes()), int(MaxRunLinkLife.Minutes()))
	}
	return nil
}

// storedLink is a RunLink as it is kept.
type storedLink struct {
	RunLink
	TaskID task.ID `json:"run_id"`
}

func runScope(id task.ID) task.Scope { return task.Scope{Type: scopeRun, UID: string(id)} }

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// CreateRunLink makes a link to a run and gives its token, this once. It fails
// with task.CodeFeatureNotAvailable where links are switched off, and with
// task.CodeOperationNotSupported when the run has MaxRunLinks.
func (c *Client) CreateRunLink(ctx context.Context, id task.ID, s RunLinkSpec) (token string, l RunLink, err error) {
	t, err := c.run(ctx, id, access.RunShare)
	if err != nil {
		return "", l, err
	}
	if err := s.validate(); err != nil {
		return "", l, err
	}
	if err := c.p.linksAllowed(ctx, t.Owner); err != nil {
		return "", l, err
	}
	unlock := c.p.linking.lock(id)
	defer unlock()
	if err := c.roomForLink(ctx, id); err != nil {
		return "", l, err
	}
	now := c.p.opts.Clock.Now().UTC().Truncate(time.Second)
	l = RunLink{UID: uuid.NewString(), Name: s.Name, Role: s.Role, CreatedAt: now, ExpiresAt: now.Add(cmp.Or(s.Life, defaultLinkLife)), CreatedBy: c.caller.Principal}
	data, err := json.Marshal(storedLink{l, id})
	if err != nil {
		return "", RunLink{}, fmt.Errorf("encode link: %w", err)
	}
	token = newLinkToken()
	d := runDeed(access.RunShare, t)
	d.details = map[string]string{"act": "create link", "link": l.UID, "role": string(l.Role)}
	err = c.audited(ctx, d, func() error {
		_, err := c.p.store.PutRecord(ctx, task.Record{Kind: kindRunLink, Key: hashToken(token), Owner: runScope(id), Data: data, UpdatedAt: now})
		return err
	})
	if err != nil {
		return "", RunLink{}, err
	}
	return token, l, nil
}

func errNoLinks() error {
	return &task.Error{Code: task.CodeFeatureNotAvailable, Message: "links to runs are switched off on this server; grant it to persons or teams"}
}

// linksAllowed fails with task.CodeFeatureNotAvailable where the server or the
// team that owns a run wants no links to it.
func (p *Platform) linksAllowed(ctx context.Context, owner task.Scope) error {
	if p.opts.NoLinks {
		return errNoLinks()
	}
	if owner.Type != task.ScopeTeam {
		return nil
	}
	team, err := p.registry.Team(ctx, owner.UID)
	switch {
	case errors.Is(err, task.ErrNotFound): // a team that exists only in the records of a program that embeds the platform
		return nil
	case err != nil:
		return err
	case team.NoLinks:
		return &task.Error{Code: task.CodeFeatureNotAvailable, Message: "links to runs are switched off in this team; grant it to persons or teams, or ask an admin of the team"}
	}
	return nil
}

// linkOpens fails unless a link may open its run as things are now: with
// task.ErrNotFound, or as linksAllowed does.
func (p *Platform) linkOpens(ctx context.Context, l storedLink) error {
	if !p.opts.Clock.Now().Before(l.ExpiresAt) {
		return task.ErrNotFound
	}
	t, err := p.store.Get(ctx, l.TaskID)
	if err != nil {
		return err
	}
	return p.linksAllowed(ctx, t.Owner)
}

// Settings are what the operator has decided for all who use the platform.
type Settings struct {
	Links, GuestLinks bool          // whether links to runs open them, and without an account
	Retention         time.Duration // after which what ended runs leave goes; 0 is never
}

// Settings tells what was decided in Options.
func (p *Platform) Settings() Settings {
	return Settings{Links: !p.opts.NoLinks, GuestLinks: !p.opts.NoLinks && p.opts.GuestLinks, Retention: p.opts.Retention}
}

// closed gives a run as it is shared while the server or its team wants no
// links: whoever is signed in and knows its address does not see it by that.
func (p *Platform) closed(ctx context.Context, t task.Task) (task.Task, error) {
	if t.Sharing.Visibility != task.VisibilityLink {
		return t, nil
	}
	err := p.linksAllowed(ctx, t.Owner)
	if task.CodeOf(err) == task.CodeFeatureNotAvailable {
		t.Sharing.Visibility, t.Sharing.LinkRole = "", "" // the default of its owner
		return t, nil
	}
	return t, err
}

// newLinkToken draws 256 bits.
func newLinkToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return RunLinkPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// roomForLink removes those links of a run that have expired, and fails when
// too many are left.
func (c *Client) roomForLink(ctx context.Context, id task.ID) error {
	all, err := c.p.linksOf(ctx, id)
	if err != nil {
		return err
	}
	now, left := c.p.opts.Clock.Now(), 0
	for key, l := range all {
		if now.Before(l.ExpiresAt) {
			left++
			continue
		}
		if err := c.p.store.DeleteRecord(ctx, kindRunLink, key); err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("remove a link that has expired: %w", err)
		}
	}
	if left >= MaxRunLinks {
		return task.Errorf(task.CodeOperationNotSupported, "the run has %d links, and no more are possible: revoke one first", left)
	}
	return nil
}

// linksOf reads all links of a run, by their key.
func (p *Platform) linksOf(ctx context.Context, id task.ID) (map[string]storedLink, error) {
	scope := runScope(id)
	recs, err := p.store.Records(ctx, kindRunLink, &scope)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	all := make(map[string]storedLink, len(recs))
	for _, rec := range recs {
		var l storedLink
		if err := json.Unmarshal(rec.Data, &l); err != nil {
			return nil, fmt.Errorf("decode link: %w", err)
		}
		all[rec.Key] = l
	}
	return all, nil
}

// RunLinks lists those links to a run that work, the oldest first.
func (c *Client) RunLinks(ctx context.Context, id task.ID) ([]RunLink, error) {
	if _, err := c.run(ctx, id, access.RunShare); err != nil {
		return nil, err
	}
	all, err := c.p.linksOf(ctx, id)
	if err != nil {
		return nil, err
	}
	links := []RunLink{}
	for _, l := range all {
		if c.p.opts.Clock.Now().Before(l.ExpiresAt) {
			links = append(links, l.RunLink)
		}
	}
	slices.SortFunc(links, func(a, b RunLink) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.UID, b.UID))
	})
	return links, nil
}

// RevokeRunLink ends a link to a run: the next request with it fails, and
// streams and terminals that it has opened end within seconds. It fails with
// task.ErrNotFound.
func (c *Client) RevokeRunLink(ctx context.Context, id task.ID, uid string) error {
	t, err := c.run(ctx, id, access.RunShare)
	if err != nil {
		return err
	}
	all, err := c.p.linksOf(ctx, id)
	if err != nil {
		return err
	}
	for key, l := range all {
		if l.UID != uid {
			continue
		}
		d := runDeed(access.RunShare, t)
		d.details = map[string]string{"act": "revoke link", "link": uid}
		return c.audited(ctx, d, func() error { return c.p.store.DeleteRecord(ctx, kindRunLink, key) })
	}
	return task.Errorf(task.CodeNotFound, "the run has no link %q; it may have been revoked already", uid)
}

// OpenRunLink finds what a link opens, and until when. What is wrong, revoked
// or expired is task.CodeNotFound, and too much of that from one address (see
// access.WithOrigin) task.CodeResourceUnavailable.
func (p *Platform) OpenRunLink(ctx context.Context, token string) (access.Link, time.Time, error) {
	if p.opts.NoLinks {
		return access.Link{}, time.Time{}, errNoLinks()
	}
	now, from := p.opts.Clock.Now(), access.OriginOf(ctx).Remote
	if !p.linkGuesses.Allow(from, now) && !p.rightLinks.has(token) {
		return access.Link{}, time.Time{}, task.Errorf(task.CodeResourceUnavailable, "too many wrong links came from your address; try again in ten minutes")
	}
	l, err := p.readLink(ctx, token)
	if err == nil {
		err = p.linkOpens(ctx, l)
	}
	if err == nil {
		p.rightLinks.add(token)
		return access.Link{UID: l.UID, Name: l.Name, TaskID: l.TaskID, Role: l.Role}, l.ExpiresAt, nil
	}
	if !errors.Is(err, task.ErrNotFound) { // also a link that was right while there are to be none
		return access.Link{}, time.Time{}, err
	}
	p.rightLinks.drop(token) // now it is as good as a guess
	p.linkGuesses.Miss(from, now)
	return access.Link{}, time.Time{}, task.Errorf(task.CodeNotFound, "this link opens nothing: it is wrong, has expired, or was revoked; ask for a new one")
}

// maxRightLinks bounds what is remembered of links that were right.
const maxRightLinks = 10_000

// rightLinks remembers links that have opened something: who guesses from
// behind the same proxy must not shut those out who have one.
type rightLinks struct {
	mu sync.Mutex
	m  map[string]bool // by hash
}

func (r *rightLinks) add(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil || len(r.m) >= maxRightLinks {
		r.m = map[string]bool{}
	}
	r.m[hashToken(token)] = true
}

// drop forgets a link that opens nothing any more.
func (r *rightLinks) drop(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, hashToken(token))
}

func (r *rightLinks) has(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(token) <= maxLinkToken && r.m[hashToken(token)]
}

// LinkOpened writes down that the caller has opened a run by a link.
func (c *Client) LinkOpened(ctx context.Context, l access.Link) error {
	t, err := c.p.store.Get(ctx, l.TaskID)
	if err != nil {
		return err
	}
	d := runDeed(access.RunView, t)
	d.details = map[string]string{"act": "open link", "link": l.UID}
	return c.noted(ctx, *d)
}

// KnownRunLink is OpenRunLink for a token that is known to have been right: ok
// is false when it opens nothing any more, which is no guess.
func (p *Platform) KnownRunLink(ctx context.Context, token string) (l access.Link, ok bool, err error) {
	stored, err := p.readLink(ctx, token)
	switch {
	case errors.Is(err, task.ErrNotFound):
		return access.Link{}, false, nil
	case err != nil:
		return access.Link{}, false, err
	}
	switch err := p.linkOpens(ctx, stored); {
	case errors.Is(err, task.ErrNotFound), task.CodeOf(err) == task.CodeFeatureNotAvailable:
		return access.Link{}, false, nil
	case err != nil:
		return access.Link{}, false, err
	}
	return access.Link{UID: stored.UID, Name: stored.Name, TaskID: stored.TaskID, Role: stored.Role}, true, nil
}

func (p *Platform) readLink(ctx context.Context, token string) (storedLink, error) {
	var l storedLink
	if !strings.HasPrefix(token, RunLinkPrefix) || len(token) > maxLinkToken {
		return l, task.ErrNotFound
	}
	rec, err := p.store.Record(ctx, kindRunLink, hashToken(token))
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(rec.Data, &l); err != nil {
		return l, fmt.Errorf("decode link: %w", err)
	}
	return l, nil
}

// GuestOf is the caller of a link without an account. It fails with
// task.CodeAuthenticationRequired where Options.GuestLinks is not set.
func (p *Platform) GuestOf(l access.Link) (access.Caller, error) {
	if !p.opts.GuestLinks {
		return access.Caller{}, task.Errorf(task.CodeAuthenticationRequired, "sign in, then open the link again: this server lets nobody in without an account")
	}
	return access.Guest(l), nil
}
