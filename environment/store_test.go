package environment_test

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// manualClock stands still until it is set.
type manualClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *manualClock) After(time.Duration) <-chan time.Time { return nil }

var (
	ann  = task.Principal{Type: task.PrincipalUser, UID: "ann"}
	bob  = task.Principal{Type: task.PrincipalUser, UID: "bob"}
	team = task.Scope{Type: task.ScopeTeam, UID: "t1"}
	mine = task.Scope{Type: task.ScopeUser, UID: "ann"}
)

func newStore(t *testing.T) (*environment.Store, *manualClock) {
	t.Helper()
	db, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, db.Close()) })
	clock := &manualClock{now: time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.FixedZone("x", 3600))}
	return environment.NewStore(db, clock), clock
}

func TestStore(t *testing.T) {
	s, clock := newStore(t)
	ctx := t.Context()
	cfg := full()
	env, err := s.Create(ctx, team, ann, cfg)
	assert.NilError(t, err)
	assert.Assert(t, environment.IsUID(env.UID), env.UID)
	assert.Equal(t, env.Revision, int64(1))
	assert.Equal(t, env.CreatedAt, time.Date(2026, 11, 22, 9, 0, 0, 123456000, time.UTC))

	cfg.Repos[0].Name = "changed by the caller" // which has its own copy
	got, err := s.Get(ctx, env.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, env)
	assert.DeepEqual(t, got.Config, full())

	clock.add(time.Minute)
	small := environment.Config{Name: "small"}
	upd, err := s.Update(ctx, env.UID, env.Revision, bob, small)
	assert.NilError(t, err)
	assert.DeepEqual(t, upd.Config, small)
	assert.Equal(t, upd.Creator, ann)
	assert.Equal(t, upd.LastEditor, bob)
	assert.Equal(t, upd.UpdatedAt.Sub(upd.CreatedAt), time.Minute)

	_, err = s.Update(ctx, env.UID, env.Revision, ann, small)
	assert.ErrorIs(t, err, task.ErrConflict)
	_, err = s.Update(ctx, env.UID, upd.Revision, ann, environment.Config{})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = s.Create(ctx, task.Scope{}, ann, small)
	assert.ErrorIs(t, err, task.ErrInvalid)

	clock.add(time.Minute)
	own, err := s.Create(ctx, mine, ann, small)
	assert.NilError(t, err)
	list, err := s.List(ctx, team, mine, team)
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []environment.Environment{own, upd})
	list, err = s.List(ctx, mine)
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []environment.Environment{own})
	list, err = s.List(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []environment.Environment{})

	assert.NilError(t, s.Delete(ctx, own.UID))
	for _, uid := range []string{own.UID, strings.Repeat("x", 22), "", "../../etc"} {
		_, err = s.Get(ctx, uid)
		assert.ErrorIs(t, err, task.ErrNotFound)
		assert.ErrorIs(t, s.Delete(ctx, uid), task.ErrNotFound)
		_, err = s.Update(ctx, uid, 1, ann, small)
		assert.ErrorIs(t, err, task.ErrNotFound)
	}
}

// Of writers that start from the same revision, one wins.
func TestStoreUpdateOneWinner(t *testing.T) {
	s, _ := newStore(t)
	env, err := s.Create(t.Context(), team, ann, environment.Config{Name: "x"})
	assert.NilError(t, err)
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = s.Update(t.Context(), env.UID, env.Revision, bob, environment.Config{Name: "y"})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		assert.ErrorIs(t, err, task.ErrConflict)
	}
	assert.Equal(t, won, 1)
}

// The largest environment that is allowed fits in a record.
func TestStoreLargest(t *testing.T) {
	s, _ := newStore(t)
	c := full()
	c.Repos, c.SetupCommands = nil, nil
	for i := range environment.MaxRepos {
		name := strings.Repeat("r", environment.MaxRepoNameBytes-2) + string([]byte{'a' + byte(i/26), 'a' + byte(i%26)})
		c.Repos = append(c.Repos, environment.Repo{Owner: strings.Repeat("o", 244), Name: name, Ref: strings.Repeat(`"`, 244),
			URL: "https://example.com/" + strings.Repeat("&", 2028)})
	}
	for range environment.MaxSetupBytes / environment.MaxCommandBytes {
		c.SetupCommands = append(c.SetupCommands, strings.Repeat(`<"`, environment.MaxCommandBytes/2))
	}
	env, err := s.Create(t.Context(), team, ann, c)
	assert.NilError(t, err)
	assert.DeepEqual(t, env.Config, c)
}
