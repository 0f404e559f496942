package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
	"github.com/oz-platform/cloudagents/transport/client"
)

// outageLease is the lease of the servers whose store goes away for longer.
const outageLease = 3 * time.Second

// outage is how long a store is away: OZ_OUTAGE, such as 5m for the long form,
// or else two leases.
func outage(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("OZ_OUTAGE")
	if text == "" {
		return 2 * outageLease
	}
	d, err := time.ParseDuration(text)
	assert.NilError(t, err, "OZ_OUTAGE")
	return d
}

// atWork is a run whose agent counts in a file until it is told to finish.
type atWork struct {
	dir string
	id  task.ID
}

// counting is a model whose agent counts for as long as dir lacks the file
// next, does so again after a turn, and then finishes.
func counting(dir string) []string {
	count := func(name, until string) string {
		return fmt.Sprintf("echo %s started; until test -e %s; do echo >> %s; sleep 0.05; done", name, filepath.Join(dir, until), filepath.Join(dir, name))
	}
	return []string{count("first", "next"), count("second", "over")}
}

// counted is how far the agent has counted.
func (w atWork) counted(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(w.dir, name))
	if os.IsNotExist(err) {
		return 0
	}
	assert.NilError(t, err)
	return info.Size()
}

func (w atWork) tell(t *testing.T, name string) {
	t.Helper()
	assert.NilError(t, os.WriteFile(filepath.Join(w.dir, name), nil, 0o600))
}

// begin submits the run and waits until its agent counts.
func (w *atWork) begin(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	run, err := c.Submit(ctx, oz.Request{Prompt: "Count."})
	assert.NilError(t, err)
	w.id = run.ID
	output(ctx, t, c, run.ID, "first started")
}

// finish lets the agent end, and checks that its run was neither lost nor done
// twice.
func (w *atWork) finish(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	w.tell(t, "next")
	w.tell(t, "over")
	run, events := ended(ctx, t, c, w.id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s", run.Status.Message)
	assert.Equal(t, run.Executions, 1, "the lease has outlived the outage")
	executions, err := c.Executions(ctx, w.id)
	assert.NilError(t, err)
	run.LastSeq = int64(len(events)) // not on the wire
	broken := laws.Check(laws.Record{Task: run, Executions: executions, Events: events})
	assert.Equal(t, len(broken), 0, "%v", broken)
}

// refusal submits until the server refuses, and checks that it says why, and
// that it is worth to try again.
func refusal(ctx context.Context, t *testing.T, s *servertest.Server, why string) {
	t.Helper()
	hasty, err := client.New(s.URL, &client.Options{APIKey: servertest.APIKey, MaxRetries: -1})
	assert.NilError(t, err)
	_, err = hasty.Submit(ctx, oz.Request{Prompt: "More work."})
	var refused *task.Error
	assert.Assert(t, errors.As(err, &refused), "%v", err)
	assert.Equal(t, refused.Code, task.CodeResourceUnavailable)
	assert.Assert(t, refused.Code.Retryable())
	assert.Assert(t, strings.Contains(refused.Message, why), "says what is wrong: %s", refused.Message)
}

func health(ctx context.Context, t *testing.T, s *servertest.Server) int {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/healthz", nil)
	assert.NilError(t, err)
	resp, err := http.DefaultClient.Do(req)
	assert.NilError(t, err)
	assert.NilError(t, resp.Body.Close())
	return resp.StatusCode
}

// recovered submits a run until the server takes it, and waits for its end.
func recovered(ctx context.Context, t *testing.T, s *servertest.Server) {
	t.Helper()
	run, err := s.Client().Submit(ctx, oz.Request{Prompt: "And now?"})
	assert.NilError(t, err)
	got, _ := ended(ctx, t, s.Client(), run.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s", got.Status.Message)
}

// TestDatabaseAway stops PostgreSQL for longer than a lease while an agent
// works. New work is refused with the reason; what the agent does goes on, up
// to a next turn, which needs the record of the last one; and when the database
// is back, so is everything, by itself.
func TestDatabaseAway(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel() // most of it is waiting
	db := pgtest.New(t)
	w := &atWork{dir: t.TempDir()}
	s := newServer(t, shell(counting(w.dir)...), fmt.Sprintf("store: %q\nlease: %s\n", db.Address("postgres"), outageLease))
	d := outage(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience+d)
	defer cancel()
	s.Start()
	defer func() { assert.Check(t, s.Stop()) }()
	w.begin(ctx, t, s.Client())
	process := pid(t, s)

	assert.NilError(t, db.Stop())
	gone := time.Now()
	refusal(ctx, t, s, "the database cannot be reached")
	assert.Equal(t, health(ctx, t, s), http.StatusServiceUnavailable)
	before := w.counted(t, "first")
	await(ctx, t, "the outage is over", func() bool { return time.Since(gone) > d })
	assert.Assert(t, w.counted(t, "first") > before+10, "the agent has stopped")
	refusal(ctx, t, s, "the database cannot be reached")

	assert.NilError(t, db.Start(ctx))
	await(ctx, t, "the server is healthy", func() bool { return health(ctx, t, s) == http.StatusOK })
	w.finish(ctx, t, s.Client())
	recovered(ctx, t, s)
	assert.Equal(t, pid(t, s), process, "the server was started again")
}

// immutableFlag is FS_IMMUTABLE_FL of linux/fs.h.
const immutableFlag = 0x10

// setImmutable lets nobody write into a file, those included who have it open
// (ioctl_iflags(2)), or lets them again.
func setImmutable(path string, immutable bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	flags &^= immutableFlag
	if immutable {
		flags |= immutableFlag
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

// freezeDatabase makes the server's database read-only under its hands, until
// thaw is called.
func freezeDatabase(t *testing.T, s *servertest.Server) (thaw func()) {
	t.Helper()
	var files []string
	for _, name := range []string{"oz.db", "oz.db-wal"} {
		files = append(files, filepath.Join(s.Dir, "data", name))
	}
	thaw = sync.OnceFunc(func() {
		for _, f := range files {
			assert.Check(t, setImmutable(f, false))
		}
	})
	t.Cleanup(thaw) // or the test's directory could not be removed
	for _, f := range files {
		if err := setImmutable(f, true); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
			t.Skipf("this system does not let us make files immutable: %v", err)
		} else {
			assert.NilError(t, err)
		}
	}
	return thaw
}

// TestDatabaseTurnsReadOnly lets nobody write into the SQLite database for
// longer than a lease while an agent works, as when a disk fails: the same as
// when PostgreSQL is away, and reads go on.
func TestDatabaseTurnsReadOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel() // most of it is waiting
	w := &atWork{dir: t.TempDir()}
	s := newServer(t, shell(counting(w.dir)...), fmt.Sprintf("lease: %s\n", outageLease))
	d := outage(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience+d)
	defer cancel()
	s.Start()
	defer func() { assert.Check(t, s.Stop()) }()
	w.begin(ctx, t, s.Client())
	process := pid(t, s)

	thaw := freezeDatabase(t, s)
	gone := time.Now()
	refusal(ctx, t, s, "the disk reports an error; check it")
	_, err := s.Client().Get(ctx, w.id)
	assert.NilError(t, err, "reads go on")
	before := w.counted(t, "first")
	await(ctx, t, "the outage is over", func() bool { return time.Since(gone) > d })
	assert.Assert(t, w.counted(t, "first") > before+10, "the agent has stopped")
	refusal(ctx, t, s, "the disk reports an error; check it")

	thaw()
	w.finish(ctx, t, s.Client())
	recovered(ctx, t, s)
	assert.Equal(t, pid(t, s), process, "the server was started again")
}
