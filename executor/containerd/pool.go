//go:build linux

package containerd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

const (
	// minReadyPause and maxReadyPause are how long no sandbox of a kind is made ready after one could not be: longer each
	// time.
	minReadyPause = time.Second
	maxReadyPause = time.Minute
	// readyRound is how often somebody looks whether kinds are still asked for and their states still there.
	readyRound = time.Minute
	// readyReserve is the room on the disk below which no sandbox is made ready, in bytes.
	readyReserve = 2 << 30
	// readyPatience bounds the making of one, with the copy of its workspace.
	readyPatience = 5 * time.Minute
)

// pool has the sandboxes that stand ready: containers whose first process waits for its job, each with a workspace that has
// no key yet. Nothing of a run is in them.
//
// Nothing is written down of them. A container that no sandbox's state names is an orphan to the next Open, and a workspace
// without a key is one too; the first process ends when its worker does.
type pool struct {
	wake chan struct{}

	mu    sync.Mutex
	kinds map[string]*kind
}

// kind is what of a Spec is fixed once a container is made, and the sandboxes that are ready for it. It is guarded by
// pool.mu, but for id, plan and warm, which never change.
type kind struct {
	id    string
	plan  plan   // without what belongs to one container: workspace, labels, parent
	warm  string // the ID of the state that sandboxes of it start from; empty for none
	base  string // the name of the newest such state; empty while there is none
	ready []*readyBox
	env   string        // Spec.Environment of whoever last asked for it
	used  time.Time     // when that was
	pause time.Duration // after the last one that could not be made, or was lost; 0 since one could be made
	after time.Time     // none is made before
}

// readyBox is a sandbox without a name.
type readyBox struct {
	box  *box
	base string   // the name of the state it stands on; empty for none
	lock *os.File // of its workspace, which box.plan.dir is
}

// kindID stands for everything that a container is made from. Command, environment and standard input come with the job.
func kindID(warm string, p plan) string {
	data, _ := json.Marshal(struct { // strings and numbers cannot fail
		Warm, Image, Chain, User string
		Network                  executor.NetworkMode
		Mounts                   []executor.Mount
		Limits                   executor.Limits
	}{warm, p.image.name, p.image.chain, p.user, p.network, p.mounts, p.limits})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// warmOf is the ID of the state that a sandbox may start from; empty for none.
func (e *Executor) warmOf(spec executor.Spec, p plan) string {
	if spec.Warm == nil || e.opts.WarmStates == 0 {
		return ""
	}
	return warmID(spec, p)
}

// wantReady notes that sandboxes like this one are asked for.
func (e *Executor) wantReady(spec executor.Spec, p plan) {
	if e.opts.PoolSize == 0 {
		return
	}
	p.dir, p.labels, p.parent = "", nil, ""
	warm := e.warmOf(spec, p)
	id := kindID(warm, p)
	e.pool.mu.Lock()
	k := e.pool.kinds[id]
	if k == nil {
		k = &kind{id: id, plan: p, warm: warm}
		e.pool.kinds[id] = k
	}
	k.env, k.used = spec.Environment, time.Now()
	for _, other := range e.pool.kinds {
		if other.outdated(k) {
			other.used = time.Time{}
		}
	}
	e.pool.mu.Unlock()
	e.wakePool()
}

// outdated reports that the environment of k, or its image's content, has changed into what now is.
func (k *kind) outdated(now *kind) bool {
	if k == now {
		return false
	}
	sameImage := k.plan.image.name == now.plan.image.name
	if sameImage && k.plan.image.chain != now.plan.image.chain {
		return true
	}
	return k.env != "" && k.env == now.env && (!sameImage || k.warm != now.warm)
}

// wakePool has the pool looked after now.
func (e *Executor) wakePool() {
	select {
	case e.pool.wake <- struct{}{}:
	default:
	}
}

// takeReady gives a sandbox that stands ready on the state w, which is nil for the bare image; nil if there is none.
func (e *Executor) takeReady(spec executor.Spec, p plan, w *warm) *readyBox {
	if e.opts.PoolSize == 0 {
		return nil
	}
	base := ""
	if w != nil {
		base = w.name
	}
	id := kindID(e.warmOf(spec, p), p)
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	k := e.pool.kinds[id]
	if k == nil {
		return nil
	}
	i := slices.IndexFunc(k.ready, func(r *readyBox) bool { return r.base == base })
	if i < 0 {
		return nil
	}
	r := k.ready[i]
	k.ready = slices.Delete(k.ready, i, i+1)
	return r
}

// launchReady starts the main command in a sandbox that stood ready. It returns nil and no error where there is none, or
// where it turned out to be unusable and has run nothing: then an ordinary start is to be tried.
func (e *Executor) launchReady(ctx context.Context, spec executor.Spec, p plan, w *warm) (*sandbox, error) {
	if _, err := os.Lstat(p.dir); err == nil {
		return nil, nil // there is a workspace already
	}
	r := e.takeReady(spec, p, w)
	if r == nil {
		return nil, nil
	}
	s, err := e.assign(ctx, spec, p, r)
	if err == nil {
		return s, nil
	}
	ran := r.box.started()
	if left := e.dropReady(ctx, r); left != nil || ran || ctx.Err() != nil {
		return nil, errors.Join(err, left)
	}
	e.opts.Logger.Warn("a ready sandbox cannot be used", zap.String("sandbox", spec.ID), zap.Error(err))
	return nil, nil
}

// assign gives a ready sandbox its name, its workspace's key, and its job. After an error the caller drops it.
func (e *Executor) assign(ctx context.Context, spec executor.Spec, p plan, r *readyBox) (*sandbox, error) {
	err := unix.Renameat2(unix.AT_FDCWD, r.box.plan.dir, unix.AT_FDCWD, p.dir, unix.RENAME_NOREPLACE)
	if err != nil {
		return nil, os.NewSyscallError("renameat2", err)
	}
	_ = r.lock.Close()
	r.box.plan.dir, r.lock = p.dir, nil
	st := newState(spec, p, r.box.name, e.opts.OutputLimit, executor.OriginPool)
	if err := writeFile(filepath.Join(e.sandboxDir(spec.ID), stateFile), st); err != nil {
		return nil, err
	}
	if err := r.box.handOver(ctx, e.job(spec, p)); err != nil {
		return nil, err
	}
	e.goes(func() { e.relabel(r.box.name, p.labels) }) // for people only, so nobody waits for it
	return e.take(spec.ID, st, r.box)
}

// relabel puts the labels of a run on a container that was made before.
func (e *Executor) relabel(name string, labels map[string]string) {
	c, err := e.client.LoadContainer(e.ctx, name)
	if err == nil {
		_, err = c.SetLabels(e.ctx, e.ownLabels(labels))
	}
	if err != nil {
		e.opts.Logger.Debug("label a container", zap.String("container", name), zap.Error(err)) // it has ended, most likely
	}
}

// dropReady removes a sandbox that is in no kind any more. A workspace that has a key stays.
func (e *Executor) dropReady(ctx context.Context, r *readyBox) error {
	_ = r.box.conn.Close() // its first process ends
	err := e.scrap(ctx, r.box.name, r.box.plan.network == executor.NetworkBridge)
	if r.lock == nil {
		return err
	}
	defer r.lock.Close()
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
	defer cancel()
	return errors.Join(err, tree.Remove(cleaning, filepath.Join(e.root, workspacesDir), filepath.Base(r.box.plan.dir)))
}

// keepReady looks after the pool until the Executor is closed, and then removes what is in it.
func (e *Executor) keepReady() {
	timer := time.NewTimer(readyRound)
	defer timer.Stop()
	for {
		for e.ctx.Err() == nil && e.makeReady() {
		}
		timer.Reset(e.pool.rest(time.Now()))
		select {
		case <-e.pool.wake:
		case <-timer.C:
		case <-e.ctx.Done():
			e.dropAll(context.WithoutCancel(e.ctx), e.pool.clear())
			return
		}
	}
}

// rest is how long there is nothing to do.
func (p *pool) rest(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := readyRound
	for _, k := range p.kinds {
		if wait := k.after.Sub(now); wait > 0 {
			rest = min(rest, wait)
		}
	}
	return rest
}

// clear takes everything out.
func (p *pool) clear() []*readyBox {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*readyBox
	for _, k := range p.kinds {
		all = append(all, k.ready...)
	}
	clear(p.kinds)
	return all
}

// dropAll removes sandboxes that are in no kind any more, side by side: Close waits for it, also when containerd hangs.
func (e *Executor) dropAll(ctx context.Context, list []*readyBox) {
	var group sync.WaitGroup
	for _, r := range list {
		group.Go(func() {
			if err := e.dropReady(ctx, r); err != nil { // the sweep does, or the next Open
				e.opts.Logger.Warn("remove a ready sandbox", zap.String("container", r.box.name), zap.Error(err))
			}
		})
	}
	group.Wait()
}

// makeReady removes what is stale, and makes one sandbox where one is missing. It reports whether to call again.
func (e *Executor) makeReady() bool {
	if stale := e.staleReady(); len(stale) > 0 {
		e.dropAll(e.ctx, stale)
		// Their states could not go while they stood on them.
		if err := e.tidyWarm(e.ctx); err != nil && e.ctx.Err() == nil {
			e.opts.Logger.Warn("remove old states", zap.Error(err))
		}
	}
	k := e.nextKind(time.Now())
	if k == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(e.ctx, readyPatience)
	defer cancel()
	r, err := e.bootReady(ctx, k)
	if err == nil && e.admit(k, r) {
		return true
	}
	if err == nil {
		e.dropAll(e.ctx, []*readyBox{r}) // not asked for any more
		return true
	}
	if e.ctx.Err() == nil {
		e.opts.Logger.Warn("make a sandbox ready", zap.Error(err))
	}
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	k.rest()
	return true
}

// rest puts off the next one, longer each time. pool.mu is held.
func (k *kind) rest() {
	k.pause = min(max(2*k.pause, minReadyPause), maxReadyPause)
	k.after = time.Now().Add(k.pause)
}

// staleReady takes out of the pool what nobody is to have: sandboxes of kinds that are not asked for any more, or are too
// many, and those that stand on a state which a newer one has replaced, or which is gone.
func (e *Executor) staleReady() []*readyBox {
	newest := map[string]string{} // states by ID
	list, err := e.warmList()
	if err != nil {
		e.opts.Logger.Warn("look for kept states", zap.Error(err))
	}
	for _, w := range list {
		newest[w.state.ID] = cmp.Or(newest[w.state.ID], w.name)
	}
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	kinds := make([]*kind, 0, len(e.pool.kinds))
	for _, k := range e.pool.kinds {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b *kind) int { return b.used.Compare(a.used) })
	var stale []*readyBox
	for i, k := range kinds {
		if i >= e.opts.PoolKinds || time.Since(k.used) > e.opts.PoolIdle {
			stale = append(stale, k.ready...)
			delete(e.pool.kinds, k.id)
			continue
		}
		if k.warm != "" {
			k.base = newest[k.warm]
		}
		k.ready = slices.DeleteFunc(k.ready, func(r *readyBox) bool {
			if r.base != k.base {
				stale = append(stale, r)
			}
			return r.base != k.base
		})
	}
	return stale
}

// nextKind chooses where a sandbox is missing most; nil for nowhere. While a kind's state is being made, none is.
func (e *Executor) nextKind(now time.Time) *kind {
	e.mu.Lock()
	under := make(map[string]bool, len(e.preparing.under))
	for id := range e.preparing.under {
		under[id] = true
	}
	e.mu.Unlock()
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	var next *kind
	for _, k := range e.pool.kinds {
		if len(k.ready) >= e.opts.PoolSize || now.Before(k.after) || under[k.warm] && k.base == "" {
			continue
		}
		if next == nil || len(k.ready) < len(next.ready) || len(k.ready) == len(next.ready) && k.used.After(next.used) {
			next = k
		}
	}
	return next
}

// bootReady makes a sandbox. After an error nothing of it is left.
func (e *Executor) bootReady(ctx context.Context, k *kind) (*readyBox, error) {
	var w *warm
	if k.warm != "" {
		var err error
		if w, err = e.takeWarm(ctx, k.warm); err != nil {
			return nil, err
		}
	}
	defer w.release()
	if err := e.roomFor(w); err != nil {
		return nil, err
	}
	dir, lock, err := e.newWorkspace(ctx, w)
	if err != nil {
		return nil, err
	}
	p := k.plan
	p.dir, p.labels = dir, map[string]string{"pool": "ready"}
	r := &readyBox{lock: lock}
	if w != nil {
		r.base, p.parent = w.name, warmPrefix+w.name
	}
	if r.box, err = e.boot(ctx, newBoxName(), p); err != nil {
		return nil, errors.Join(err, e.dropWorkspace(ctx, dir, lock))
	}
	return r, nil
}

// roomFor fails where the disk has no room for a sandbox that nobody has asked for yet.
func (e *Executor) roomFor(w *warm) error {
	need := int64(readyReserve)
	if w != nil {
		need += w.state.Bytes
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(e.root, &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < need {
		return fmt.Errorf("the disk of %s has %d bytes free, and at least %d are to be", e.root, free, need)
	}
	return nil
}

// admit puts a sandbox into the pool, and has it watched: one whose first process ends is replaced. It returns false when
// it is not wanted any more.
func (e *Executor) admit(k *kind, r *readyBox) bool {
	ends, exited := r.box.exited, make(chan ctd.ExitStatus, 1)
	r.box.exited = exited
	e.pool.mu.Lock()
	if e.pool.kinds[k.id] != k || len(k.ready) >= e.opts.PoolSize {
		e.pool.mu.Unlock()
		return false
	}
	k.ready, k.pause = append(k.ready, r), 0
	e.pool.mu.Unlock()
	e.opts.Logger.Info("a sandbox stands ready", zap.String("container", r.box.name), zap.String("state", r.base))
	e.goes(func() {
		select {
		case status := <-ends:
			exited <- status // whoever has it by now waits there
			e.lostReady(k, r, status)
		case <-e.ctx.Done():
		}
	})
	return true
}

// lostReady removes a sandbox whose first process has ended, unless somebody has taken it.
func (e *Executor) lostReady(k *kind, r *readyBox, status ctd.ExitStatus) {
	e.pool.mu.Lock()
	i := slices.Index(k.ready, r)
	if i >= 0 {
		k.ready = slices.Delete(k.ready, i, i+1)
		k.rest() // the next one may end as fast
	}
	e.pool.mu.Unlock()
	if i < 0 {
		return
	}
	e.opts.Logger.Warn("a ready sandbox has ended", zap.String("container", r.box.name), zap.Uint32("status", status.ExitCode()), zap.Error(status.Error()))
	e.dropAll(e.ctx, []*readyBox{r})
	e.wakePool()
}
