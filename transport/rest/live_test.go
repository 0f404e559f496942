package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// guests is a server whose runs can be seen by a link alone.
func guests() *transporttest.Options {
	p := patient()
	p.GuestLinks = true
	return &transporttest.Options{Platform: p}
}

// withLink is the SDK of somebody with a link, and a key or none.
func withLink(t *testing.T, e *transporttest.Env, key, token string) *client.Client {
	t.Helper()
	c, err := client.New(e.URL, &client.Options{APIKey: key, Link: token})
	assert.NilError(t, err)
	return c
}

// TestRunLinks follows a viewer's and an editor's link through what their
// holders may do, with an account and without one, to their end.
func TestRunLinks(t *testing.T) { onEachStore(t, testRunLinks) }

func testRunLinks(t *testing.T, start starter) {
	e := start(t, guests())
	ctx := t.Context()
	id, _ := begin(t, e)
	other, err := e.Platform.Submit(ctx, oz.Request{Prompt: "another one"})
	assert.NilError(t, err)
	admin := sdk(t, e, transporttest.AdminKey)
	for _, tt := range []struct {
		role   task.ShareRole
		key    string
		rights oz.RunRights
	}{
		{task.RoleViewer, "", oz.RunRights{Role: oz.RunViewer, View: true, Guest: true, Links: true}},
		{task.RoleEditor, "", oz.RunRights{Role: oz.RunEditor, View: true, Steer: true, Guest: true, Links: true}},
		{task.RoleViewer, e.Outsider, oz.RunRights{Role: oz.RunViewer, View: true, AskToEdit: true, Links: true}},
		{task.RoleEditor, e.Outsider, oz.RunRights{Role: oz.RunEditor, View: true, Steer: true, TakeOver: true, Links: true, Terminal: true}},
	} {
		t.Run(fmt.Sprintf("%s/account=%t", tt.role, tt.key != ""), func(t *testing.T) {
			token, url, l, err := admin.CreateRunLink(ctx, id, oz.RunLinkSpec{Role: tt.role, Name: "review", Life: time.Hour})
			assert.NilError(t, err)
			assert.Equal(t, url, e.URL+"/runs/"+string(id)+"#link="+token)
			holder := withLink(t, e, tt.key, token)
			rights, err := holder.Rights(ctx, id)
			assert.NilError(t, err)
			assert.DeepEqual(t, rights, tt.rights)
			_, err = holder.Get(ctx, id)
			assert.NilError(t, err)
			err = holder.FollowUp(ctx, id, oz.Message{Text: "go on"})
			if tt.role == task.RoleEditor {
				assert.NilError(t, err)
			} else {
				assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "%v", err)
			}
			assert.Equal(t, task.CodeOf(holder.Cancel(ctx, id)), task.CodeNotAuthorized)
			_, err = holder.Share(ctx, id, task.Sharing{Visibility: task.VisibilityLink})
			assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
			_, err = holder.RunLinks(ctx, id)
			assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
			_, err = holder.Get(ctx, other.ID)
			assert.ErrorIs(t, err, task.ErrNotFound)
			if tt.key == "" {
				_, err = holder.List(ctx, task.Query{Limit: 10})
				assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
				_, err = holder.Submit(ctx, oz.Request{Prompt: "mine"})
				assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
				_, err = holder.RequestEdit(ctx, id, "")
				assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
			}
			assert.NilError(t, admin.RevokeRunLink(ctx, id, l.UID))
			_, err = holder.Get(ctx, id)
			assert.ErrorIs(t, err, task.ErrNotFound)
			assert.ErrorIs(t, admin.RevokeRunLink(ctx, id, l.UID), task.ErrNotFound)
		})
	}
	links, err := admin.RunLinks(ctx, id)
	assert.NilError(t, err)
	assert.Equal(t, len(links), 0)
}

// TestRunLinksNeedAnAccount holds the default: a link alone lets nobody in.
func TestRunLinksNeedAnAccount(t *testing.T) { onEachStore(t, testRunLinksNeedAnAccount) }

func testRunLinksNeedAnAccount(t *testing.T, start starter) {
	e := start(t, &transporttest.Options{Platform: patient()})
	id, _ := begin(t, e)
	token, _, _, err := sdk(t, e, transporttest.AdminKey).CreateRunLink(t.Context(), id, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.NilError(t, err)
	_, err = withLink(t, e, "", token).Get(t.Context(), id)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	_, _, err = withLink(t, e, "", "").OpenRunLink(t.Context(), token)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	_, err = withLink(t, e, e.Outsider, token).Get(t.Context(), id)
	assert.NilError(t, err)
}

// TestRunLinksAreBounded tries what a link cannot be, and too many of them.
func TestRunLinksAreBounded(t *testing.T) { onEachStore(t, testRunLinksAreBounded) }

func testRunLinksAreBounded(t *testing.T, start starter) {
	clock := &handClock{Clock: task.SystemClock()}
	e := start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Clock: clock}})
	ctx, admin := t.Context(), sdk(t, e, transporttest.AdminKey)
	run, err := admin.Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	path := "/oz/runs/" + string(run.ID) + "/links"
	for field, body := range map[string]map[string]any{
		"role":               {"role": "owner"},
		"name":               {"role": "viewer", "name": strings.Repeat("n", 101)},
		"expires_in_minutes": {"role": "viewer", "expires_in_minutes": 4},
	} {
		a := e.Call(transporttest.AdminKey, "POST", path, body)
		assert.Equal(t, a.Status, 400, "%s", a.Body)
		assert.Assert(t, strings.Contains(string(a.Body), field), "%s", a.Body)
	}
	for _, minutes := range []int{129_601, -1} {
		assert.Equal(t, e.Call(transporttest.AdminKey, "POST", path, map[string]any{"role": "viewer", "expires_in_minutes": minutes}).Status, 400)
	}
	assert.Equal(t, e.Call(e.Team, "POST", path, map[string]any{"role": "viewer"}).Status, 403)
	assert.Equal(t, e.Call(e.Outsider, "POST", path, map[string]any{"role": "viewer"}).Status, 404)

	token, _, first, err := admin.CreateRunLink(ctx, run.ID, oz.RunLinkSpec{Role: task.RoleViewer, Life: oz.MinRunLinkLife})
	assert.NilError(t, err)
	assert.Equal(t, first.ExpiresAt.Sub(first.CreatedAt), oz.MinRunLinkLife)
	for range oz.MaxRunLinks - 1 {
		_, _, _, err := admin.CreateRunLink(ctx, run.ID, oz.RunLinkSpec{Role: task.RoleViewer})
		assert.NilError(t, err)
	}
	_, _, _, err = admin.CreateRunLink(ctx, run.ID, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	clock.advance(oz.MinRunLinkLife)
	_, err = withLink(t, e, e.Outsider, token).Get(ctx, run.ID)
	assert.ErrorIs(t, err, task.ErrNotFound, "it has expired")
	_, _, _, err = admin.CreateRunLink(ctx, run.ID, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.NilError(t, err, "an expired one makes room")
	recs, err := e.Store.Records(ctx, "run.link", nil)
	assert.NilError(t, err)
	for _, rec := range recs {
		assert.Assert(t, !strings.Contains(string(rec.Data)+rec.Key, strings.TrimPrefix(token, oz.RunLinkPrefix)), "a token is kept in the clear")
	}

	off := start(t, &transporttest.Options{Idle: true, Platform: oz.Options{NoLinks: true}})
	run, err = sdk(t, off, transporttest.AdminKey).Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	_, _, _, err = sdk(t, off, transporttest.AdminKey).CreateRunLink(ctx, run.ID, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
}

// TestGuessedLinks answers guesses as what does not exist, and not for long.
func TestGuessedLinks(t *testing.T) { onEachStore(t, testGuessedLinks) }

func testGuessedLinks(t *testing.T, start starter) {
	clock := &handClock{Clock: task.SystemClock()}
	o := guests()
	o.Idle, o.Platform.Clock = true, clock
	e := start(t, o)
	run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	path := "/agent/runs/" + string(run.ID)
	for i, guess := range []string{"ozl_", "ozl_AAAA", oz.RunLinkPrefix + strings.Repeat("A", 43), oz.RunLinkPrefix + strings.Repeat("A", 500)} {
		assert.Equal(t, e.Call(guess, "GET", path, nil).Status, 404, "%d", i)
		assert.Equal(t, e.Call(e.Member, "GET", path, nil, "X-Oz-Link", guess).Status, 404, "%d", i)
		assert.Equal(t, e.Call("", "POST", "/oz/links/open", map[string]any{"token": guess}).Status, 404, "%d", i)
	}
	admin := sdk(t, e, transporttest.AdminKey)
	right, _, link, err := admin.CreateRunLink(t.Context(), run.ID, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.NilError(t, err)
	assert.Equal(t, e.Call("", "POST", "/oz/links/open", map[string]any{"token": right}).Status, 200)
	for range 30 - 12 {
		assert.Equal(t, e.Call("", "POST", "/oz/links/open", map[string]any{"token": "x"}).Status, 404)
	}
	assert.Equal(t, e.Call(right, "GET", path, nil).Status, 200, "who has a link is not shut out by a neighbour who guesses")
	a := e.Call("ozl_B", "GET", path, nil)
	assert.Equal(t, a.Status, 429)
	assert.Equal(t, a.Code(), task.CodeResourceUnavailable)
	assert.Equal(t, e.Call(e.Member, "GET", path, nil).Status, 200, "whoever brings no link is not concerned")
	assert.NilError(t, admin.RevokeRunLink(t.Context(), run.ID, link.UID))
	assert.Equal(t, e.Call(right, "GET", path, nil).Status, 404)
	assert.Equal(t, e.Call(right, "GET", path, nil).Status, 429, "a link that was revoked is a guess like any other")
	clock.advance(10 * time.Minute)
	assert.Equal(t, e.Call("ozl_B", "GET", path, nil).Status, 404)
}

// TestLinkCookie opens a link as a browser does, and tries the cookie from
// another site, changed, and after the link was revoked.
func TestLinkCookie(t *testing.T) { onEachStore(t, testLinkCookie) }

func testLinkCookie(t *testing.T, start starter) {
	e := start(t, guests())
	ctx, admin := t.Context(), sdk(t, e, transporttest.AdminKey)
	id, _ := begin(t, e)
	token, _, l, err := admin.CreateRunLink(ctx, id, oz.RunLinkSpec{Role: task.RoleEditor})
	assert.NilError(t, err)
	open := e.Call("", "POST", "/oz/links/open", map[string]any{"token": token})
	assert.Equal(t, open.Status, 200, "%s", open.Body)
	var opened map[string]any
	open.JSON(e, &opened)
	assert.Equal(t, opened["run_id"], string(id))
	assert.Equal(t, opened["guest"], true)
	cookie, err := http.ParseSetCookie(open.Header.Get("Set-Cookie"))
	assert.NilError(t, err)
	assert.Assert(t, cookie.HttpOnly && cookie.SameSite == http.SameSiteLaxMode)
	assert.Assert(t, !strings.Contains(open.Header.Get("Set-Cookie"), token), "the cookie shows the token as it is in addresses")
	get := func(headers ...string) int {
		return e.Call("", "GET", "/agent/runs/"+string(id), nil, headers...).Status
	}
	post := func(headers ...string) int {
		return e.Call("", "POST", "/agent/runs/"+string(id)+"/followups", map[string]any{"message": "x"}, headers...).Status
	}
	sent := cookie.Name + "=" + cookie.Value
	assert.Equal(t, get("Cookie", sent), 200)
	assert.Equal(t, post("Cookie", sent, "Sec-Fetch-Site", "same-origin"), 200)
	assert.Equal(t, post("Cookie", sent, "Origin", e.URL), 200)
	assert.Equal(t, post("Cookie", sent), 401, "no page of this server said so")
	assert.Equal(t, post("Cookie", sent, "Sec-Fetch-Site", "cross-site"), 401)
	assert.Equal(t, post("Cookie", sent, "Origin", "https://evil.example"), 401)
	assert.Equal(t, get("Cookie", sent+"x"), 401)
	assert.Equal(t, get("Cookie", cookie.Name+"=eyJ0IjpbIm96bF9BIl19.AAAA"), 401)
	written := 0
	for entry, err := range admin.AuditEntries(ctx, 0) {
		assert.NilError(t, err)
		if strings.Contains(string(entry.Body), "open link") && strings.Contains(string(entry.Body), l.UID) {
			written++
		}
	}
	assert.Equal(t, written, 1, "the audit log says who has opened it")
	live, err := admin.LiveSession(ctx, string(id))
	assert.NilError(t, err)
	executions, err := e.Platform.Executions(ctx, id)
	assert.NilError(t, err)
	assert.Equal(t, live, string(executions[0].ID), "the public redirect leads to the session")
	assert.NilError(t, admin.RevokeRunLink(ctx, id, l.UID))
	for range 40 { // not guesses: the browser was given it
		assert.Equal(t, get("Cookie", sent), 401)
	}
	assert.Equal(t, e.Call("ozl_B", "GET", "/agent/runs/"+string(id), nil).Status, 404)
}

// TestRevokedLinkEndsStreams revokes a link while its holder follows the run.
func TestRevokedLinkEndsStreams(t *testing.T) { onEachStore(t, testRevokedLinkEndsStreams) }

func testRevokedLinkEndsStreams(t *testing.T, start starter) {
	e := start(t, guests())
	admin := sdk(t, e, transporttest.AdminKey)
	id, _ := begin(t, e)
	token, _, l, err := admin.CreateRunLink(t.Context(), id, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.NilError(t, err)
	s := openStream(t, e, id, "Authorization", "Bearer "+token)
	_, _, ok := s.next()
	assert.Assert(t, ok)
	assert.NilError(t, admin.RevokeRunLink(t.Context(), id, l.UID))
	for ok { // the stream has a minute, see openStream; without an end by itself the test's context ends it
		_, _, ok = s.next()
	}
	assert.NilError(t, s.lines.Err(), "the server ended it, not the test's patience")
}

// TestEditRequests asks to edit, is refused, approved and bounded.
func TestEditRequests(t *testing.T) { onEachStore(t, testEditRequests) }

func testEditRequests(t *testing.T, start starter) {
	clock := &handClock{Clock: task.SystemClock()}
	e := start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Clock: clock}})
	ctx, keys := t.Context(), cast(t, e)
	mary, oscar, sol, admin := sdk(t, e, e.Member), sdk(t, e, e.Outsider), sdk(t, e, keys["solo"]), sdk(t, e, transporttest.AdminKey)
	shared := func() task.ID {
		run, err := mary.Submit(ctx, oz.Request{Prompt: "x"})
		assert.NilError(t, err)
		_, err = mary.Share(ctx, run.ID, task.Sharing{Visibility: task.VisibilityLink})
		assert.NilError(t, err)
		return run.ID
	}
	id := shared()
	asked, err := oscar.RequestEdit(ctx, id, "to mend the tests")
	assert.NilError(t, err)
	assert.Equal(t, asked.State, oz.EditOpen)
	again, err := oscar.RequestEdit(ctx, id, "please")
	assert.NilError(t, err)
	assert.DeepEqual(t, again, asked)
	_, err = sol.RequestEdit(ctx, id, "")
	assert.NilError(t, err)
	for who, want := range map[*client.Client]int{mary: 2, admin: 2, oscar: 1, sdk(t, e, keys["teammate"]): 0} {
		list, err := who.EditRequests(ctx, id)
		assert.NilError(t, err)
		assert.Equal(t, len(list), want)
	}
	_, err = oscar.DecideEdit(ctx, id, asked.UID, true)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = mary.DecideEdit(ctx, id, "nothing", true)
	assert.ErrorIs(t, err, task.ErrNotFound)

	refused, err := mary.DecideEdit(ctx, id, asked.UID, false)
	assert.NilError(t, err)
	assert.Equal(t, refused.State, oz.EditRefused)
	assert.Equal(t, refused.DecidedBy.UID, "mary")
	_, err = mary.DecideEdit(ctx, id, asked.UID, true)
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	_, err = oscar.RequestEdit(ctx, id, "")
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	clock.advance(time.Hour)
	asked, err = oscar.RequestEdit(ctx, id, "once more")
	assert.NilError(t, err)
	approved, err := admin.DecideEdit(ctx, id, asked.UID, true)
	assert.NilError(t, err)
	assert.Equal(t, approved.State, oz.EditApproved)
	again, err = admin.DecideEdit(ctx, id, asked.UID, true)
	assert.NilError(t, err, "the answer may have been lost")
	assert.DeepEqual(t, again, approved)
	assert.NilError(t, oscar.FollowUp(ctx, id, oz.Message{Text: "mend the tests"}))
	_, err = oscar.RequestEdit(ctx, id, "")
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported, "they may edit now")

	for key, want := range map[string]int{e.Team: 403, e.Member: 422, keys["worker key"]: 403} {
		assert.Equal(t, e.Call(key, "POST", "/oz/runs/"+string(id)+"/edit-requests", map[string]any{}).Status, want)
	}
	a := e.Call(e.Outsider, "POST", "/oz/runs/"+string(shared())+"/edit-requests", map[string]any{"message": strings.Repeat("m", 501)})
	assert.Equal(t, a.Status, 400)
	a = e.Call(transporttest.AdminKey, "POST", "/oz/runs/"+string(id)+"/edit-requests/"+asked.UID+"/decision", map[string]any{"decision": "maybe"})
	assert.Equal(t, a.Status, 400)
	limited := error(nil)
	for range 21 {
		if _, limited = oscar.RequestEdit(ctx, shared(), ""); limited != nil {
			break
		}
	}
	assert.Equal(t, task.CodeOf(limited), task.CodeResourceUnavailable)
}

// TestPresence follows a run in several places and sees who comes and goes.
func TestPresence(t *testing.T) { onEachStore(t, testPresence) }

func testPresence(t *testing.T, start starter) {
	e := start(t, guests())
	admin, mary := sdk(t, e, transporttest.AdminKey), sdk(t, e, e.Member)
	id, _ := begin(t, e)
	token, _, _, err := admin.CreateRunLink(t.Context(), id, oz.RunLinkSpec{Role: task.RoleViewer, Name: "review"})
	assert.NilError(t, err)

	crowds := make(chan oz.Presence, 100)
	follow(t, admin, id, func(p oz.Presence) { crowds <- p })
	until := func(want ...string) {
		t.Helper()
		var got []string
		for p := range crowds {
			got = nil
			for _, x := range p.Participants {
				got = append(got, fmt.Sprintf("%s %s %s %d", x.Type, x.DisplayName, x.Role, x.Streams))
			}
			if slices.Equal(got, want) {
				break
			}
		}
	}
	me := "user Administrator editor 1"
	if who, err := admin.Whoami(t.Context()); err == nil {
		me = "user " + who.Principal.DisplayName + " editor 1"
	}
	until(me)
	first := follow(t, mary, id, nil)
	until(me, "user Mary editor 1")
	second := follow(t, mary, id, nil)
	until(me, "user Mary editor 2")
	guest := follow(t, withLink(t, e, "", token), id, nil)
	until(me, "user Mary editor 2", "guest Guest (review) viewer 1")
	p, err := mary.Presence(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, len(p.Participants), 3)
	assert.Assert(t, p.EditRequests == nil, "mary may not decide them")
	second()
	until(me, "user Mary editor 1", "guest Guest (review) viewer 1")
	first()
	guest()
	until(me)

	_, err = admin.Share(t.Context(), id, task.Sharing{Visibility: task.VisibilityLink})
	assert.NilError(t, err)
	_, err = sdk(t, e, e.Outsider).RequestEdit(t.Context(), id, "")
	assert.NilError(t, err)
	for p := range crowds {
		if *p.EditRequests == 1 {
			break
		}
	}
	assert.Equal(t, e.Call(e.Outsider, "GET", "/oz/runs/"+string(task.NewID())+"/presence", nil).Status, 404)
}

// follow follows a run until stop is called or the test ends.
func follow(t *testing.T, c *client.Client, id task.ID, onPresence func(oz.Presence)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, err := range c.WatchWith(ctx, id, 0, onPresence) {
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("follow: %v", err)
			}
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// TestPresenceIsBounded has more followers than a frame names, and a client
// that asks for no presence and gets none.
func TestPresenceIsBounded(t *testing.T) { onEachStore(t, testPresenceIsBounded) }

func testPresenceIsBounded(t *testing.T, start starter) {
	e := start(t, &transporttest.Options{Platform: patient()})
	id, _ := begin(t, e)
	for i := range oz.MaxParticipants + 3 {
		c := e.Platform.As(access.Caller{Key: "k", Teams: []access.Membership{{UID: access.DefaultTeam, Role: access.RoleMember}},
			Principal: task.Principal{Type: task.PrincipalUser, UID: fmt.Sprint("user-", i)}})
		f, err := c.Follow(t.Context(), id, 0)
		assert.NilError(t, err)
		defer f.Close()
	}
	p, err := sdk(t, e, e.Member).Presence(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, len(p.Participants), oz.MaxParticipants)
	assert.Equal(t, p.More, 3)
	assert.Equal(t, p.Participants[0].UID, "user-0")
	data, err := json.Marshal(p)
	assert.NilError(t, err)
	assert.Assert(t, len(data) < 32<<10, "%d bytes", len(data))

	s := openStream(t, e, id)
	for range 3 { // every frame is an event: next reads them as such
		_, name, ok := s.next()
		assert.Assert(t, ok)
		assert.Assert(t, name != "presence")
	}
}

// TestTeamRefusesLinks switches links to a team's runs off: what was shared by
// link closes, also for streams that are open, and opens when they are allowed
// again. Another team's runs are not concerned.
func TestTeamRefusesLinks(t *testing.T) { onEachStore(t, testTeamRefusesLinks) }

func testTeamRefusesLinks(t *testing.T, start starter) {
	e := start(t, guests())
	ctx, admin := t.Context(), sdk(t, e, transporttest.AdminKey)
	id, _ := begin(t, e)
	token, _, _, err := admin.CreateRunLink(ctx, id, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.NilError(t, err)
	_, err = admin.Share(ctx, id, task.Sharing{Visibility: task.VisibilityLink})
	assert.NilError(t, err)
	guest, outsider := withLink(t, e, "", token), sdk(t, e, e.Outsider)
	_, err = guest.Get(ctx, id)
	assert.NilError(t, err)
	_, err = outsider.Get(ctx, id)
	assert.NilError(t, err)
	follow := make(chan error, 1)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	go func() {
		for _, err := range guest.Watch(ctx, id, 0) {
			if err != nil {
				follow <- err
				return
			}
		}
		follow <- nil
	}()

	_, err = sdk(t, e, e.Member).SetTeamLinks(ctx, access.DefaultTeam, true)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = outsider.SetTeamLinks(ctx, access.DefaultTeam, true)
	assert.ErrorIs(t, err, task.ErrNotFound)
	a := e.Call(transporttest.AdminKey, "PUT", "/oz/teams/"+access.DefaultTeam, map[string]any{})
	assert.Equal(t, a.Status, 400, "%s", a.Body)
	team, err := admin.SetTeamLinks(ctx, access.DefaultTeam, true)
	assert.NilError(t, err)
	assert.Assert(t, team.NoLinks)
	renamed, err := admin.RenameTeam(ctx, access.DefaultTeam, "Renamed")
	assert.NilError(t, err)
	assert.Assert(t, renamed.NoLinks, "a new name changes nothing else")

	assert.Equal(t, task.CodeOf(<-follow), task.CodeFeatureNotAvailable, "the stream of the link ends")
	for range 40 { // no guesses, of which so many are too many
		a := e.Call("", "POST", "/oz/links/open", map[string]any{"token": token})
		assert.Equal(t, a.Status, 403, "%s", a.Body)
		assert.Equal(t, a.Code(), task.CodeFeatureNotAvailable)
	}
	_, err = guest.Get(ctx, id)
	assert.Assert(t, err != nil)
	_, err = outsider.Get(ctx, id)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = sdk(t, e, e.Member).Get(ctx, id)
	assert.NilError(t, err, "the team goes on seeing it")
	_, _, _, err = admin.CreateRunLink(ctx, id, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
	_, err = admin.Share(ctx, id, task.Sharing{Visibility: task.VisibilityLink})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
	assert.ErrorContains(t, err, "visibility")
	rights, err := admin.Rights(ctx, id)
	assert.NilError(t, err)
	assert.Assert(t, !rights.Links)
	other, err := outsider.Submit(ctx, oz.Request{Prompt: "of another team"})
	assert.NilError(t, err)
	_, _, _, err = outsider.CreateRunLink(ctx, other.ID, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.NilError(t, err)

	_, err = admin.SetTeamLinks(ctx, access.DefaultTeam, false)
	assert.NilError(t, err)
	_, err = guest.Get(ctx, id)
	assert.NilError(t, err)
	_, err = outsider.Get(ctx, id)
	assert.NilError(t, err)
}
