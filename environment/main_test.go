package environment_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/git"
)

// victimVar makes the test program prepare a workspace instead, to be killed.
const victimVar = "OZ_TEST_VICTIM"

// victim is what a killed process was to do.
type victim struct {
	Options  environment.Options
	CacheDir string
	// StopAt is the report at which the process says "ready" and stands still
	// until it is killed, as "phase number status". Empty is never.
	StopAt string
	// Refill calls Refill instead of Prepare.
	Refill bool
}

func TestMain(m *testing.M) {
	if job := os.Getenv(victimVar); job != "" {
		if err := runVictim(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func runVictim(job string) error {
	var v victim
	if err := json.Unmarshal([]byte(job), &v); err != nil {
		return err
	}
	ctx := context.Background()
	g, err := git.Open(ctx, nil)
	if err != nil {
		return err
	}
	var cache *environment.Cache
	if v.CacheDir != "" {
		if cache, err = environment.OpenCache(v.CacheDir, nil); err != nil {
			return err
		}
	}
	v.Options.Report = func(s environment.Step) {
		if fmt.Sprintf("%s %d %s", s.Phase, s.Number, s.Status) == v.StopAt {
			fmt.Println("ready")
			select {}
		}
	}
	p := environment.NewPreparer(g, &environment.PreparerOptions{Cache: cache})
	if v.Refill {
		return p.Refill(ctx, v.Options)
	}
	_, err = p.Prepare(ctx, v.Options)
	return err
}
