package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
)

// fault is one way to break something. It reports false when there was nothing
// to break.
type fault struct {
	name   string
	weight int
	strike func(ctx context.Context) bool
}

// faults breaks things at random.
type faults struct {
	rig    *rig
	rnd    *rand.Rand
	struck map[string]int
	thaws  sync.WaitGroup // processes that are frozen now

	unhit []crashpoint.Name // crash points that were not asked for yet
	marks map[string]crashpoint.Name
}

func newFaults(r *rig) *faults {
	f := &faults{rig: r, rnd: rand.New(rand.NewPCG(r.config.Seed, 0)), struck: map[string]int{}, marks: map[string]crashpoint.Name{}}
	return f
}

// kinds lists the faults.
func (f *faults) kinds() []fault {
	all := []fault{
		{"kill server", 12, f.killServer},
		{"restart server", 2, f.restartServer},
		{"freeze server", 4, f.freezeServer},
		{"kill supervisor", 6, f.onSandbox(func(s sandbox) bool { return kill(s.supervisor) })},
		{"kill runner", 8, f.onSandbox(func(s sandbox) bool { return f.killOne(children(s.supervisor)) })},
		{"kill tool", 4, f.onSandbox(f.killTool)},
		{"freeze runner", 5, f.onSandbox(func(s sandbox) bool { return f.freezeOne(children(s.supervisor)) })},
		{"freeze supervisor", 2, f.onSandbox(func(s sandbox) bool { return f.freezeOne([]int{s.supervisor}) })},
		{"cut connections", 20, f.cutConnections},
		{"model refuses", 8, f.modelRefuses},
		{"model breaks off", 8, f.modelBreaksOff},
	}
	outages := f.rig.config.Store.Outages()
	for _, name := range slices.Sorted(maps.Keys(outages)) {
		all = append(all, fault{"store: " + name, 4, func(ctx context.Context) bool {
			if err := outages[name](ctx); err != nil {
				f.tell("store: %s: %v", name, err)
				return false
			}
			return true
		}})
	}
	return all
}

// strike breaks n things, one after the other, each after a pause.
func (f *faults) strike(ctx context.Context, n int) error {
	kinds := f.kinds()
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for done := 0; done < n; {
		// Between nothing and twice the mean.
		pause := time.Duration(f.rnd.Int64N(2*int64(f.rig.config.Pause) + 1))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		k := f.pick(kinds, total)
		if !k.strike(ctx) {
			continue
		}
		done++
		f.struck[k.name]++
		f.tell("%4d %s", done, k.name)
	}
	return nil
}

func (f *faults) pick(kinds []fault, total int) fault {
	n := f.rnd.IntN(total)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			return k
		}
	}
	return kinds[0]
}

func (f *faults) tell(format string, args ...any) {
	fmt.Fprintf(f.rig.config.Progress, "%8.2fs  %s\n", time.Since(f.rig.began).Seconds(), fmt.Sprintf(format, args...))
}

// heal ends what lasts.
func (f *faults) heal() {
	f.rig.model.heal()
	f.rig.proxy.heal()
	for _, s := range f.rig.servers {
		s.arm()
	}
	f.thaws.Wait()
}

func (f *faults) server() *server { return f.rig.servers[f.rnd.IntN(len(f.rig.servers))] }

// killServer kills a server and lets its next life, or a runner that it then
// starts, die at a crash point: each point before any comes again.
func (f *faults) killServer(context.Context) bool {
	s := f.server()
	if len(f.unhit) == 0 {
		f.unhit = slices.Concat(crashpoint.Platform(), crashpoint.Runner()) // its load has no triggers
	}
	i := f.rnd.IntN(len(f.unhit))
	point := f.unhit[i]
	f.unhit = slices.Delete(f.unhit, i, i+1)
	mark := filepath.Join(f.rig.dir, fmt.Sprintf("died-%d", len(f.marks)))
	f.marks[mark] = point
	// Often within the first few hits: most points are hit once per run.
	s.arm(fmt.Sprintf("OZ_CRASH_AT=%s@%d", point, 1+f.rnd.IntN(3)), "OZ_CRASH_MARK="+mark)
	return s.signal(syscall.SIGKILL)
}

// countCrashPoints adds the deaths at crash points to the faults that struck.
func (f *faults) countCrashPoints() {
	for mark, point := range f.marks {
		if _, err := os.Stat(mark); err == nil {
			f.struck["at "+string(point)]++
		}
	}
}

func (f *faults) restartServer(context.Context) bool { return f.server().signal(syscall.SIGTERM) }

func (f *faults) freezeServer(context.Context) bool { return f.server().freeze(f.frost(), &f.thaws) }

// frost is how long something is frozen: mostly a moment, sometimes longer
// than a lease.
func (f *faults) frost() time.Duration {
	if f.rnd.IntN(3) == 0 {
		return f.rig.config.Lease + time.Duration(f.rnd.Int64N(int64(f.rig.config.Lease)))
	}
	return time.Duration(f.rnd.IntN(1500)) * time.Millisecond
}

// onSandbox strikes a random sandbox.
func (f *faults) onSandbox(strike func(sandbox) bool) func(context.Context) bool {
	return func(context.Context) bool {
		all := f.rig.sandboxes()
		return len(all) > 0 && strike(all[f.rnd.IntN(len(all))])
	}
}

func kill(pid int) bool { return syscall.Kill(pid, syscall.SIGKILL) == nil }

func (f *faults) killOne(pids []int) bool {
	return len(pids) > 0 && kill(pids[f.rnd.IntN(len(pids))])
}

// killTool kills a process that the agent has started.
func (f *faults) killTool(s sandbox) bool {
	var tools []int
	for _, runner := range children(s.supervisor) {
		tools = append(tools, children(runner)...)
	}
	return f.killOne(tools)
}

func (f *faults) freezeOne(pids []int) bool {
	return len(pids) > 0 && freeze(pids[f.rnd.IntN(len(pids))], f.frost(), &f.thaws)
}

func (f *faults) cutConnections(context.Context) bool {
	return f.rig.proxy.cut(f.rnd, 1+f.rnd.IntN(6), 1+f.rnd.IntN(8<<10)) > 0
}

func (f *faults) modelRefuses(context.Context) bool {
	status := []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable, 529}[f.rnd.IntN(4)]
	f.rig.model.fail(modelFault{status: status}, 1+f.rnd.IntN(3))
	return true
}

func (f *faults) modelBreaksOff(context.Context) bool {
	f.rig.model.fail(modelFault{cut: f.rnd.IntN(1500)}, 1)
	return true
}
