package oz

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// spawnTTL is how long the keys of children are known: longer than any run
	// that goes on spawning.
	spawnTTL = 365 * 24 * time.Hour
	// awaitLook is how often a wait looks without having been told.
	awaitLook = time.Second
	// pendingPause is between two tries to cancel a run that is being offered.
	pendingPause = 200 * time.Millisecond
	// maxRelativeMessage bounds Relative.Message, in bytes.
	maxRelativeMessage = 4 << 10
)

// keyedLocks are mutexes by run, so that what counts children and then adds
// one is not done twice at once by this process. The zero value is ready.
type keyedLocks struct {
	mu sync.Mutex
	m  map[task.ID]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	refs int
}

// lock waits for the run's lock and returns what gives it back.
func (k *keyedLocks) lock(id task.ID) (unlock func()) {
	k.mu.Lock()
	if k.m == nil {
		k.m = map[task.ID]*keyedLock{}
	}
	l := k.m[id]
	if l == nil {
		l = &keyedLock{}
		k.m[id] = l
	}
	l.refs++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.refs--; l.refs == 0 {
			delete(k.m, id)
		}
	}
}

// self reads the link's run; it fails with task.ErrFenced once the execution
// has ended.
func (l *link) self(ctx context.Context) (task.Task, error) {
	if _, err := l.execution(ctx); err != nil {
		return task.Task{}, err
	}
	return l.p.store.Get(ctx, l.id)
}

// Spawn implements executor.Desk. The child is made as the parent was: for the
// same owner, by the same person, with the parent's configuration where it has
// none of its own, and its calls count on the parent's budget, too.
func (l *link) Spawn(ctx context.Context, s executor.Spawn) (executor.Relative, error) {
	parent, err := l.self(ctx)
	if err != nil {
		return executor.Relative{}, err
	}
	if err := s.Validate(false); err != nil {
		return executor.Relative{}, err
	}
	s, most, err := l.p.planned(parent, s)
	if err != nil {
		return executor.Relative{}, err
	}
	if err := s.Validate(true); err != nil {
		return executor.Relative{}, err
	}
	defer l.p.spawns.lock(parent.ID)()
	children, err := l.p.children(ctx, parent.ID)
	if err != nil {
		return executor.Relative{}, err
	}
	sum, err := fingerprintOf(s)
	if err != nil {
		return executor.Relative{}, err
	}
	if i := slices.IndexFunc(children, func(t task.Task) bool { return t.ChildKey == s.Key }); i >= 0 {
		if !bytes.Equal(children[i].Fingerprint, sum) {
			return executor.Relative{}, &task.Error{Code: task.CodeConflict, Field: "key",
				Message: fmt.Sprintf("%q is the key of another child, run %s: take a new key, or send that run a message", s.Key, children[i].ID)}
		}
		return relative(children[i], executor.RelationChild), nil
	}
	if err := l.p.admitChild(parent, children, most); err != nil {
		return executor.Relative{}, err
	}
	t, err := l.p.spawn(ctx, parent, s, sum)
	if err != nil {
		return executor.Relative{}, err
	}
	return relative(t, executor.RelationChild), nil
}

// fingerprintOf is a hash of all that a child is asked for.
func fingerprintOf(s executor.Spawn) ([]byte, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode child: %w", err)
	}
	sum := sha256.Sum256(data)
	return sum[:], nil
}

// planned completes a child by the plan that was approved. A run that
// orchestrates starts what its plan names, and nothing before it is approved.
func (p *Platform) planned(parent task.Task, s executor.Spawn) (_ executor.Spawn, most int, err error) {
	mode := parent.CurrentMode()
	if mode == task.ModePlan {
		return s, 0, task.Errorf(task.CodeNotAuthorized, "this run plans: it starts no children before a person has approved its plan")
	}
	plan, found, err := approvedPlan(parent)
	switch {
	case err != nil:
		return s, 0, err
	case mode != task.ModeOrchestrate && (!found || plan == nil):
		return s, 0, nil // a plan for itself, or none
	case !found:
		return s, 0, task.Errorf(task.CodeNotAuthorized, "this run orchestrates: hand in a plan of the children, and start them once a person has approved it")
	case plan == nil:
		return s, 0, task.Errorf(task.CodeNotAuthorized, "the approved plan names no children")
	}
	c, ok := plan.Child(s.Key)
	if !ok {
		return s, 0, &task.Error{Code: task.CodeNotAuthorized, Field: "key",
			Message: fmt.Sprintf("the approved plan has no child %q: hand in a new version of the plan with it", s.Key)}
	}
	if s.Prompt != "" && s.Prompt != c.Prompt || s.Config != (executor.ChildConfig{}) && s.Config != c.Config {
		return s, 0, task.Errorf(task.CodeNotAuthorized, "child %q is started as the approved plan has it: leave prompt and config out", s.Key)
	}
	c.Title = cmp.Or(s.Title, c.Title)
	c.Config = c.Config.Over(plan.Config)
	return c, plan.Parallelism, nil
}

// approvedPlan is the plan of children that a person has approved; found says
// that there is an approved plan.
func approvedPlan(t task.Task) (plan *executor.Orchestration, found bool, err error) {
	if t.Approved == "" {
		return nil, false, nil
	}
	for _, a := range t.Artifacts {
		if a.UID == t.Approved && a.Type == task.ArtifactPlan {
			m, err := planMetadata(a)
			return m.Orchestration, true, err
		}
	}
	return nil, false, nil
}

func planMetadata(a task.Artifact) (m executor.PlanMetadata, err error) {
	if len(a.Metadata) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(a.Metadata, &m); err != nil {
		return m, task.Invalid("metadata", "of a plan is not valid: %w", err)
	}
	if m.Orchestration != nil {
		return m, m.Orchestration.Validate()
	}
	return m, nil
}

// admitChild bounds the fan-out. What it counts may change meanwhile through
// other replicas, so that for a moment a few more may be at work.
func (p *Platform) admitChild(parent task.Task, children []task.Task, most int) error {
	if len(children) >= p.opts.MaxChildren {
		return task.Errorf(task.CodeOperationNotSupported, "this run has had %d children, which is all that it may have", len(children))
	}
	if most <= 0 || most > p.opts.MaxActiveChildren {
		most = p.opts.MaxActiveChildren
	}
	active := 0
	for _, t := range children {
		if t.State.Active() {
			active++
		}
	}
	if active >= most {
		return &task.Error{Code: task.CodeConflict, RetryAfterMS: 5000, // not 429: the link would wait for ever
			Message: fmt.Sprintf("%d children of run %s are at work, and no more than %d may be at once: wait until one has ended", active, parent.ID, most)}
	}
	return nil
}

// spawn stores the child, once for each key.
func (p *Platform) spawn(ctx context.Context, parent task.Task, s executor.Spawn, sum []byte) (task.Task, error) {
	maker, err := p.maker(ctx, parent)
	if err != nil {
		return task.Task{}, err
	}
	team := parent.Owner.Type == task.ScopeTeam
	r := Request{Prompt: s.Prompt, Title: s.Title, Config: childConfig(parent.Config, s.Config), ParentRunID: parent.ID,
		Metadata: maps.Clone(parent.Metadata), Source: task.SourceOrchestration, asWritten: true, referred: true}
	if maker.System {
		maker.System = false // whose the run is must not depend on Options.Owner
		maker.Teams = []access.Membership{{UID: parent.Owner.UID, Role: access.RoleMember}}
	}
	if team {
		maker.Teams = slices.DeleteFunc(slices.Clone(maker.Teams), func(m access.Membership) bool { return m.UID != parent.Owner.UID })
	}
	r.Team = &team
	as := p.As(maker)
	spec, err := as.draft(ctx, access.RunCreate, r)
	if err != nil {
		return task.Task{}, err
	}
	spec.Owner, spec.Creator, spec.Executor, spec.Requester = parent.Owner, parent.Creator, parent.Executor, parent.Requester
	spec.ChildKey, spec.Fingerprint = s.Key, sum
	return as.create(ctx, r, task.Creation{Spec: spec, From: r.Source, MaxWaiting: p.opts.MaxWaiting, Key: &task.IdempotencyKey{
		Principal: "run:" + string(parent.ID), Key: s.Key, Fingerprint: sum, KeepUntil: p.opts.Clock.Now().Add(spawnTTL)}})
}

// childConfig is the parent's configuration with what the child has of its
// own. The parent's own budget is not copied: the child shares it.
func childConfig(parent task.Config, c executor.ChildConfig) task.Config {
	k := parent
	k.SkillSpec, k.Skills, k.SessionSharing = "", nil, nil
	if parent.Limits != nil {
		limits := *parent.Limits
		limits.MaxTokens, limits.MaxCostUSD = 0, 0
		k.Limits = &limits
	}
	if c.Harness != "" && c.Harness != parent.HarnessType() {
		k.Harness, k.ModelID = &task.HarnessConfig{Type: c.Harness}, ""
	}
	if c.ModelID != "" {
		if k.HarnessType() == harnessBuiltIn {
			k.ModelID = c.ModelID
		} else {
			h := *k.Harness
			h.ModelID = c.ModelID
			k.Harness = &h
		}
	}
	k.EnvironmentID = cmp.Or(c.EnvironmentID, k.EnvironmentID)
	k.WorkerHost = cmp.Or(c.WorkerHost, k.WorkerHost)
	return k
}

// children lists a run's own children, the oldest first.
func (p *Platform) children(ctx context.Context, id task.ID) ([]task.Task, error) {
	var out []task.Task
	q := task.Query{AncestorID: id, Sort: task.SortCreatedAt, Asc: true, Limit: task.MaxPageSize}
	for {
		page, err := p.store.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("children of run %s: %w", id, err)
		}
		for _, t := range page.Tasks {
			if t.ParentID == id {
				out = append(out, t)
			}
		}
		if q.After = page.Next; q.After == nil {
			return out, nil
		}
	}
}

// relative is a run as an agent near it sees it.
func relative(t task.Task, relation string) executor.Relative {
	r := executor.Relative{ID: t.ID, Relation: relation, Title: t.Title, State: t.State, Message: t.Status.Message}
	if relation != executor.RelationParent {
		r.Key = t.ChildKey
	}
	if len(r.Message) > maxRelativeMessage {
		r.Message = strings.ToValidUTF8(r.Message[:maxRelativeMessage], "") + "… (cut)"
	}
	for _, a := range t.Artifacts {
		switch {
		case a.Type == task.ArtifactPullRequest:
			r.PullRequests = append(r.PullRequests, a.URL)
		case a.Type == task.ArtifactReference && a.ReferenceType == task.ReferenceBranch:
			r.Branches = append(r.Branches, cmp.Or(a.Branch, a.URL))
		}
	}
	return r
}

// Family implements executor.Desk.
func (l *link) Family(ctx context.Context) ([]executor.Relative, error) {
	own, err := l.self(ctx)
	if err != nil {
		return nil, err
	}
	out := []executor.Relative{}
	if own.ParentID != "" {
		parent, err := l.p.store.Get(ctx, own.ParentID)
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return nil, err
		}
		if err == nil && near(own, parent) {
			out = append(out, relative(parent, executor.RelationParent))
		}
	}
	for _, kind := range []struct {
		of       task.ID
		relation string
	}{{own.ParentID, executor.RelationSibling}, {own.ID, executor.RelationChild}} {
		if kind.of == "" {
			continue
		}
		runs, err := l.p.children(ctx, kind.of)
		if err != nil {
			return nil, err
		}
		for _, t := range runs {
			if t.ID != own.ID && near(own, t) {
				out = append(out, relative(t, kind.relation))
			}
		}
	}
	return out, nil
}

// relationTo says what t is to a run.
func relationTo(own, t task.Task) string {
	switch {
	case t.ID == own.ParentID:
		return executor.RelationParent
	case t.ParentID == own.ID:
		return executor.RelationChild
	}
	return executor.RelationSibling
}

// kin reads a run that is near the link's own.
func (l *link) kin(ctx context.Context, own task.Task, id task.ID) (task.Task, error) {
	t, err := l.p.store.Get(ctx, id)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return task.Task{}, err
	}
	if err != nil || !near(own, t) {
		return task.Task{}, noRun(id)
	}
	return t, nil
}

// CancelChild implements executor.Desk.
func (l *link) CancelChild(ctx context.Context, id task.ID) error {
	own, err := l.self(ctx)
	if err != nil {
		return err
	}
	t, err := l.kin(ctx, own, id)
	if err != nil {
		return err
	}
	switch {
	case t.ParentID != own.ID:
		return task.Errorf(task.CodeNotAuthorized, "run %s is no child of this run", id)
	case t.State.Ended():
		return nil
	}
	return l.p.cancelChild(ctx, own, id)
}

// cancelChild waits while the child is being handed to a worker.
func (p *Platform) cancelChild(ctx context.Context, own task.Task, id task.ID) error {
	for {
		_, err := p.store.Do(ctx, id, task.Cancel{By: own.Executor, Reason: "cancelled by its parent, run " + string(own.ID)})
		switch {
		case errors.Is(err, task.ErrInvalid): // it has ended meanwhile
			return nil
		case !errors.Is(err, task.ErrConflict):
			return err
		}
		select {
		case <-p.opts.Clock.After(pendingPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Await implements executor.Desk.
func (l *link) Await(ctx context.Context, a executor.Await) (executor.News, error) {
	if a.WaitMS < 0 || a.WaitMS > executor.MaxAwaitMS {
		return executor.News{}, task.Invalid("wait_ms", "must be 0 to %d", executor.MaxAwaitMS)
	}
	if len(a.Runs) > task.MaxQuestionRuns {
		return executor.News{}, task.Invalid("runs", "at most %d may be named", task.MaxQuestionRuns)
	}
	// Subscribed before the first look, so that no change falls in between: the
	// end of any run frees an execution, and a message is about this run.
	ended, stop := l.p.store.Subscribe("")
	defer stop()
	written, unsubscribe := l.p.store.Subscribe(l.id)
	defer unsubscribe()
	over := l.p.opts.Clock.After(time.Duration(a.WaitMS) * time.Millisecond)
	for {
		news, err := l.look(ctx, a)
		if err != nil || news.Done || len(news.Unread) > 0 || a.WaitMS == 0 {
			return news, err
		}
		select {
		case <-ended:
		case <-written:
		case <-l.p.opts.Clock.After(awaitLook):
		case <-over:
			return l.look(ctx, a)
		case <-ctx.Done():
			return news, context.Cause(ctx)
		}
	}
}

// look is Await without waiting.
func (l *link) look(ctx context.Context, a executor.Await) (executor.News, error) {
	news := executor.News{Runs: []executor.Relative{}, Unread: []executor.Mail{}}
	own, err := l.self(ctx)
	if err != nil {
		return news, err
	}
	ended := 0
	for _, id := range a.Runs {
		t, err := l.kin(ctx, own, id)
		if err != nil {
			return news, err
		}
		if t.State.Ended() {
			ended++
		}
		news.Runs = append(news.Runs, relative(t, relationTo(own, t)))
	}
	if box, ok := l.p.store.(task.Mailbox); ok {
		mails, err := box.Mails(ctx, task.MailQuery{To: l.id, Unread: true, Limit: MaxMails})
		if err != nil {
			return news, err
		}
		for _, m := range mails {
			if m.DeliveredAt.IsZero() { // else it came as the run's input
				news.Unread = append(news.Unread, executor.Mail{ID: m.ID, From: m.From, Subject: m.Subject})
			}
		}
	}
	news.Done = len(a.Runs) > 0 && (ended == len(a.Runs) || !a.All && ended > 0) || len(a.Runs) == 0 && len(news.Unread) > 0
	return news, nil
}

// ReadMail implements executor.Desk.
func (l *link) ReadMail(ctx context.Context, id task.MailID) (task.Mail, error) {
	own, err := l.self(ctx)
	if err != nil {
		return task.Mail{}, err
	}
	return l.p.As(access.Caller{Execution: l.exec, TaskID: own.ID}).ReadMail(ctx, id)
}
