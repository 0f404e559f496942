package chaos_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/chaos"
	"github.com/oz-platform/cloudagents/internal/pgtest"
)

// program is the server with crash points.
var program string

func TestMain(m *testing.M) { goleak.VerifyTestMain(built{m}) }

// built makes the server before the tests.
type built struct{ tests *testing.M }

// Run implements goleak.TestingM.
func (b built) Run() int {
	dir, err := os.MkdirTemp("", "oz-chaos-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		program, err = chaos.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return b.tests.Run()
}

// seed is another one each time, unless OZ_CHAOS_SEED repeats one.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("OZ_CHAOS_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	assert.NilError(t, err, "OZ_CHAOS_SEED")
	return n
}

// TestChaosShort lets 100 faults strike while people work, and holds every law
// against what is left.
func TestChaosShort(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel() // most of it is waiting
	hold(t, chaos.Config{Seed: seed(t), Faults: 100, Pause: 250 * time.Millisecond, Server: program})
}

// TestChaosShortPostgres is the same for two servers over PostgreSQL, which
// goes away too.
func TestChaosShortPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()  // most of it is waiting
	pgtest.New(t) // or the test is skipped, with the reason
	hold(t, chaos.Config{Seed: seed(t), Faults: 100, Pause: 250 * time.Millisecond, Server: program,
		Store: chaos.Postgres(), Replicas: 2, People: 4})
}

// hold runs c and fails with the report when a law is broken. The directory
// of a broken run stays.
func hold(t *testing.T, c chaos.Config) {
	t.Helper()
	var progress strings.Builder
	c.Progress = &progress
	report, err := chaos.Run(t.Context(), c)
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", c.Seed, err, progress.String())
	}
	var text strings.Builder
	report.Print(&text)
	t.Log(text.String())
	assert.Equal(t, len(report.Violations), 0, "broken laws; the faults:\n%s", progress.String())
	assert.Assert(t, report.Checked[chaos.LawLost] >= 5, "too few runs to say anything")
	for _, law := range []chaos.Law{chaos.LawPush, chaos.LawPrompt, chaos.LawMessage, chaos.LawFollower, chaos.LawLeft} {
		assert.Assert(t, report.Checked[law] > 0, "%s was not checked", law)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		config chaos.Config
		want   string
	}{
		"faults":   {chaos.Config{Faults: -1}, "Faults may not be negative"},
		"replicas": {chaos.Config{Replicas: 2}, "this store serves one server only"},
		"lease":    {chaos.Config{Lease: time.Millisecond}, "Lease: must be at least 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := chaos.Run(t.Context(), tt.config)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
