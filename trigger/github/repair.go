package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// Bounds of the search for what never arrived.
const (
	defaultRepairEvery = 5 * time.Minute
	// firstLook is how far the first search goes back: what happened long before
	// surprises people.
	firstLook = time.Hour
	// maxLook is how far a search goes back: GitHub sends nothing again that is
	// older than three days.
	maxLook = 70 * time.Hour
	// pagesAtOnce, of pageSize deliveries, and againAtOnce bound one search; the
	// next goes on where it stopped.
	pagesAtOnce = 10
	againAtOnce = 100
	// maxAgain is how often one delivery is asked for, over some 20 hours, and
	// maxKnown how many of those that were sent again a search remembers.
	maxAgain = 12
	maxKnown = 2000
	// firstAgain and lastAgain are the least and the most time between a try and
	// the next.
	firstAgain, lastAgain = time.Minute, 4 * time.Hour
	// lateness is how much later than its time a delivery may enter the list.
	lateness = time.Minute
)

// maxHooks bounds the webhooks of repositories and organisations that one
// integration's deliveries are looked for at.
const maxHooks = 20

// repairs is how far an integration's deliveries were looked through: those of
// its app, or of each webhook by its path in the API.
type repairs struct {
	// NextAt is when to look again: who moves it does so.
	NextAt time.Time `json:"next_at"`
	look
	Hooks map[string]*look `json:"hooks,omitempty"`
}

// look is how far the deliveries of one webhook were looked through.
type look struct {
	// Until is the time before which nothing is missing.
	Until time.Time `json:"until,omitzero"`
	// Walk is a search that is under way.
	Walk *walk `json:"walk,omitempty"`
}

// walk goes from the newest delivery back to look.Until.
type walk struct {
	Cursor string `json:"cursor,omitempty"` // of the next page
	// Newest is the time of the newest delivery, and Missing that of the oldest
	// that is missing.
	Newest  time.Time `json:"newest,omitzero"`
	Missing time.Time `json:"missing,omitzero"`
	// Again are the deliveries that were sent again, by GUID. They come before
	// those that they repeat.
	Again map[string]again `json:"again,omitempty"`
}

// again is what became of a delivery that was sent again.
type again struct {
	Tries   int       `json:"tries"`
	Last    time.Time `json:"last"`
	Arrived bool      `json:"arrived,omitempty"`
}

// hookDelivery is how GitHub lists what it has sent.
type hookDelivery struct {
	ID          int64     `json:"id"`
	GUID        string    `json:"guid"`
	DeliveredAt time.Time `json:"delivered_at"`
	Redelivery  bool      `json:"redelivery"`
	StatusCode  int       `json:"status_code"` // 0 when nobody answered
	Event       string    `json:"event"`
}

// answered reports that the delivery has arrived, or was refused for what it
// is: to send that again cannot help. A 404 may be a proxy's.
func (d hookDelivery) answered() bool {
	switch c := d.StatusCode; {
	case c >= 200 && c < 300, c == http.StatusBadRequest, c == http.StatusUnauthorized, c == http.StatusForbidden, c == http.StatusConflict,
		c == http.StatusRequestEntityTooLarge, c == http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// Run looks for events that GitHub has sent in vain, as while the server was
// down, and has GitHub send them again, until ctx ends. It returns nil. Any
// number of replicas may do so.
//
// It is for integrations with an app whose webhook is the integration's own, and
// for those with an account's token that name their repositories: it looks at
// the webhooks of "owner/name", and of the organisation of "owner/*", as far as
// the account may see them. Events that arrive so are taken as ever, signature and all: whoever comes
// twice is one.
func (o *Origin) Run(ctx context.Context) error {
	if o.opts.RepairEvery < 0 {
		return nil
	}
	for ctx.Err() == nil {
		if err := o.repairAll(ctx); err != nil && ctx.Err() == nil {
			o.opts.Logger.Warn("look for GitHub's deliveries that never arrived", zap.Error(err))
		}
		select {
		case <-o.opts.Clock.After(o.opts.RepairEvery):
		case <-ctx.Done():
		}
	}
	return nil
}

// repairAll does so for each integration; one that fails does not stop the
// others.
func (o *Origin) repairAll(ctx context.Context) error {
	sources, err := o.store.Sources(ctx, integration.GitHub)
	if err != nil {
		return err
	}
	var errs []error
	for _, source := range sources {
		i, err := o.store.Load(ctx, integration.GitHub, strings.TrimPrefix(source, string(integration.GitHub)+"/"))
		if err == nil && i.Enabled {
			err = o.repairOne(ctx, i)
		}
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			errs = append(errs, fmt.Errorf("integration %s: %w", i.UID, err))
		}
	}
	return errors.Join(errs...)
}

// repairOne looks through an integration's deliveries, if it is time to and no
// other replica does.
func (o *Origin) repairOne(ctx context.Context, i integration.Integration) error {
	s, err := Parse(i.Settings)
	if err != nil || s.AppID == 0 && len(s.hookPlaces()) == 0 {
		return err
	}
	note, err := o.store.Note(ctx, i)
	if err != nil {
		return err
	}
	var r repairs
	if len(note.Data) > 0 {
		if err := json.Unmarshal(note.Data, &r); err != nil {
			r = repairs{} // of another version: begin anew
		}
	}
	now := o.opts.Clock.Now().UTC()
	if now.Before(r.NextAt) {
		return nil
	}
	r.NextAt = now.Add(o.opts.RepairEvery)
	if note, err = o.putRepairs(ctx, i, note, r); err != nil {
		return ignoreConflict(err) // another replica looks
	}
	if s.AppID != 0 {
		err = o.repairApp(ctx, i, s, &r.look)
	} else {
		err = o.repairHooks(ctx, i, s, &r)
	}
	var p *problem
	if errors.As(err, &p) && p.after > 0 {
		r.NextAt = o.opts.Clock.Now().UTC().Add(max(p.after, o.opts.RepairEvery))
	}
	_, putErr := o.putRepairs(ctx, i, note, r)
	return errors.Join(err, ignoreConflict(putErr))
}

func ignoreConflict(err error) error {
	if errors.Is(err, task.ErrConflict) {
		return nil
	}
	return err
}

func (o *Origin) putRepairs(ctx context.Context, i integration.Integration, n integration.Note, r repairs) (integration.Note, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return n, fmt.Errorf("encode how far deliveries were looked through: %w", err)
	}
	n.Data = data
	return o.store.PutNote(ctx, i, n)
}

// repairApp looks through the deliveries of an app.
func (o *Origin) repairApp(ctx context.Context, i integration.Integration, s Settings, r *look) error {
	if r.Until.IsZero() {
		r.Until = o.opts.Clock.Now().UTC().Add(-firstLook)
	}
	token, err := o.appTokenOf(ctx, i, s)
	if err != nil {
		return err
	}
	mine, err := o.hookIsOurs(ctx, i, token)
	if err != nil || !mine {
		r.Walk = nil
		return err
	}
	l := listing{Origin: o, path: "/app/hook", token: token, pages: pagesAtOnce, known: maxKnown}
	return l.repair(ctx, r)
}

// hookPlaces are the paths in the API below which an integration's webhooks may
// be, as far as its settings name them.
func (s Settings) hookPlaces() (places []string) {
	for _, r := range s.Repositories {
		owner, name, _ := strings.Cut(r, "/")
		place := ""
		switch {
		case strings.Contains(owner, "*"):
		case name == "*":
			place = "/orgs/" + url.PathEscape(owner)
		case !strings.Contains(name, "*"):
			place = "/repos/" + url.PathEscape(owner) + "/" + url.PathEscape(name)
		}
		if place != "" && !slices.Contains(places, place) && len(places) < maxHooks {
			places = append(places, place)
		}
	}
	return places
}

// repairHooks looks through the deliveries of webhooks of repositories and
// organisations.
func (o *Origin) repairHooks(ctx context.Context, i integration.Integration, s Settings, r *repairs) error {
	t, _, err := o.tokenOf(ctx, i, s)
	if err != nil {
		return err
	}
	hooks, err := o.hooksOf(ctx, i, t.Value, s.hookPlaces())
	if err != nil {
		return err
	}
	kept := map[string]*look{}
	for _, path := range hooks {
		l := r.Hooks[path]
		if l == nil {
			l = &look{Until: o.opts.Clock.Now().UTC().Add(-firstLook)}
		}
		kept[path] = l
	}
	r.Hooks = kept
	var errs []error
	for _, path := range hooks {
		l := listing{Origin: o, path: path, token: t.Value, pages: max(1, pagesAtOnce/len(hooks)), known: max(100, maxKnown/len(hooks))}
		err := l.repair(ctx, kept[path])
		var p *problem
		if errors.As(err, &p) && p.after > 0 { // the others would be refused as well
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// hooksOf are the paths of the webhooks that go to an integration, of those that
// its account may see.
func (o *Origin) hooksOf(ctx context.Context, i integration.Integration, token string, places []string) (paths []string, err error) {
	for _, place := range places {
		var list []struct {
			ID     int64 `json:"id"`
			Config struct {
				URL string `json:"url"`
			} `json:"config"`
		}
		err := o.ask(ctx, http.MethodGet, fmt.Sprintf("%s/hooks?per_page=%d", place, pageSize), token, nil, &list)
		if err != nil && declines(err) {
			o.opts.Logger.Debug("the account may see no webhooks", zap.String("of", place), zap.Error(err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the webhooks of %s: %w", place, err)
		}
		for _, h := range list {
			if goesTo(h.Config.URL, i) && len(paths) < maxHooks {
				paths = append(paths, fmt.Sprintf("%s/hooks/%d", place, h.ID))
			}
		}
	}
	return paths, nil
}

// listing is the list of what was sent to one webhook.
type listing struct {
	*Origin
	path, token string
	pages       int // to look at, at once
	known       int // bounds what is remembered
}

// repair goes on with a search, or begins one. What it has learnt is in r also
// after an error.
func (l listing) repair(ctx context.Context, r *look) error {
	now := l.opts.Clock.Now().UTC()
	floor := r.Until
	if oldest := now.Add(-maxLook); floor.Before(oldest) {
		floor = oldest
	}
	if r.Walk == nil {
		r.Walk = &walk{}
	}
	budget := againAtOnce
	for range l.pages {
		end, err := l.repairPage(ctx, r.Walk, floor, &budget)
		if status(err) == http.StatusUnprocessableEntity || status(err) == http.StatusBadRequest { // the cursor is too old
			r.Walk = nil
		}
		if err != nil {
			return err
		}
		if end {
			r.finish(floor)
			return nil
		}
	}
	return nil
}

// finish notes that nothing is missing before some time.
func (r *look) finish(floor time.Time) {
	r.Until = floor
	if t := r.Walk.Newest.Add(-lateness); t.After(r.Until) {
		r.Until = t
	}
	if m := r.Walk.Missing; !m.IsZero() && m.Before(r.Until) {
		r.Until = m
	}
	r.Walk = nil
}

// appTokenOf signs that we are an integration's app.
func (o *Origin) appTokenOf(ctx context.Context, i integration.Integration, s Settings) (string, error) {
	key, err := o.store.Secret(ctx, i, SecretPrivateKey)
	if err != nil {
		return "", err
	}
	return o.appToken(i, s, key)
}

// hookIsOurs reports that what the app sends is for the integration: else
// another server would get it again.
func (o *Origin) hookIsOurs(ctx context.Context, i integration.Integration, token string) (bool, error) {
	var hook struct {
		URL string `json:"url"`
	}
	err := o.ask(ctx, http.MethodGet, "/app/hook/config", token, nil, &hook)
	if status(err) == http.StatusNotFound { // it has none
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask where the app's webhook goes: %w", err)
	}
	return goesTo(hook.URL, i), nil
}

// goesTo reports that a webhook's address is an integration's.
func goesTo(address string, i integration.Integration) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.TrimRight(u.Path, "/"), i.Path())
}

// repairPage looks through one page. It changes w when all of it is done.
func (l listing) repairPage(ctx context.Context, w *walk, floor time.Time, budget *int) (end bool, err error) {
	path := fmt.Sprintf("%s/deliveries?per_page=%d", l.path, pageSize)
	if w.Cursor != "" {
		path += "&cursor=" + url.QueryEscape(w.Cursor)
	}
	var list []hookDelivery
	header, err := l.exchange(ctx, http.MethodGet, path, l.token, nil, &list)
	if err != nil {
		return false, fmt.Errorf("list what was sent to %s: %w", l.path, err)
	}
	next := *w
	if next.Again = maps.Clone(w.Again); next.Again == nil {
		next.Again = map[string]again{}
	}
	next.Cursor = nextCursor(header)
	end = next.Cursor == ""
	for _, d := range list {
		if d.DeliveredAt.Before(floor) {
			end = true
			break
		}
		if next.Newest.IsZero() {
			next.Newest = d.DeliveredAt
		}
		missing, err := l.repairDelivery(ctx, &next, d, budget)
		if err != nil {
			return false, err
		}
		if missing {
			next.Missing = d.DeliveredAt
		}
	}
	*w = next
	return end, nil
}

// repairDelivery asks for a delivery again that did not arrive, if it is time
// to. It reports whether it is missing yet.
func (l listing) repairDelivery(ctx context.Context, w *walk, d hookDelivery, budget *int) (missing bool, err error) {
	answered := d.answered()
	a, known := w.Again[d.GUID]
	if d.Redelivery {
		if known || len(w.Again) < l.known {
			w.Again[d.GUID] = again{Tries: a.Tries + 1, Last: later(a.Last, d.DeliveredAt), Arrived: a.Arrived || answered}
		}
		return false, nil
	}
	switch {
	case answered || a.Arrived || !slices.Contains(counted, d.Event):
		return false, nil
	case a.Tries >= maxAgain:
		l.opts.Logger.Warn("a delivery of GitHub's never arrived", zap.String("guid", d.GUID), zap.Int("tries", a.Tries))
		return false, nil
	}
	wait := min(firstAgain<<a.Tries, lastAgain)
	if *budget == 0 || l.opts.Clock.Now().Before(later(a.Last, d.DeliveredAt).Add(wait)) {
		return true, nil
	}
	*budget--
	err = l.ask(ctx, http.MethodPost, fmt.Sprintf("%s/deliveries/%d/attempts", l.path, d.ID), l.token, nil, nil)
	switch status(err) {
	case http.StatusNotFound, http.StatusUnprocessableEntity: // GitHub has it no more
		l.opts.Logger.Warn("GitHub does not send a delivery again", zap.String("guid", d.GUID), zap.Error(err))
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("have delivery %s sent again: %w", d.GUID, err)
	}
	l.opts.Logger.Info("had GitHub send a delivery again", zap.String("guid", d.GUID), zap.Int("try", a.Tries+1))
	return true, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

var nextLink = regexp.MustCompile(`<([^<>]*)>\s*;[^,]*\brel="?next"?`)

// nextCursor is that of the next page; "" for none.
func nextCursor(h http.Header) string {
	m := nextLink.FindStringSubmatch(h.Get("Link"))
	if m == nil {
		return ""
	}
	u, err := url.Parse(m[1])
	if err != nil {
		return ""
	}
	if c := u.Query().Get("cursor"); len(c) <= 200 {
		return c
	}
	return ""
}
