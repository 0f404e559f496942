package oz

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/oz/access/workload"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/outbound"
	"github.com/oz-platform/cloudagents/trigger/schedule"
	"github.com/oz-platform/cloudagents/trigger/webhook"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// Platform is the orchestrator. The Client in it acts as the embedding
// program, which may do everything and owns what it makes as Options.Owner.
type Platform struct {
	*Client

	store         task.Store
	opts          Options
	registry      *access.Registry
	environments  *environment.Store
	schedules     *schedule.Store
	scheduler     *schedule.Scheduler
	webhooks      *webhook.Store
	integrations  *integration.Store
	subscriptions *outbound.Store // nil without a store for secrets, or of what is told
	teller        *outbound.Reporter
	pushes        *webpush.Store   // nil without a store for secrets, or of what is told
	issuer        *workload.Issuer // nil without a store for secrets
	pusher        *webpush.Sender
	origins       []trigger.Origin
	triggers      *trigger.Engine // nil when the store keeps nothing that arrives
	fences        fences
	feeds         feeds
	runs          runFeed
	audits        audits
	denials       denials
	ledgers       ledgers
	absences      absences
	outages       outages
	spawns        keyedLocks
	linking       keyedLocks // by run: its links and requests to edit
	linkGuesses   access.Guesses
	rightLinks    rightLinks
	editAsks      access.Guesses // requests to edit, by person
	presences     presences
	terminals     terminals
	replicas      *replicas

	running  atomic.Bool
	draining atomic.Bool
	full     atomic.Bool   // the last look found no worker with room
	poke     chan struct{} // asks the dispatcher to look again

	mu    sync.Mutex
	ready map[string]bool   // workers of Options that take offers
	pool  map[string]Member // those that have joined
}

var (
	_ Service = (*Platform)(nil)
	_ Service = (*Client)(nil)
)

// New returns a Platform on store. It starts nothing: see Run. opts may be nil.
func New(store task.Store, opts *Options) (*Platform, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if _, ok := store.(task.Pruner); !ok && o.Retention > 0 {
		return nil, fmt.Errorf("options: %w", task.Invalid("Retention", "cannot be kept: the store %T removes no logs (task.Pruner)", store))
	}
	p := &Platform{
		store:        store,
		opts:         o,
		environments: environment.NewStore(store, o.Clock),
		feeds:        feeds{store: store},
		runs:         runFeed{store: store, clock: o.Clock, logger: o.Logger},
		linkGuesses:  access.Guesses{Max: maxLinkGuesses, Window: linkGuessWindow},
		editAsks:     access.Guesses{Max: maxEditAsks, Window: time.Hour},
		poke:         make(chan struct{}, 1),
		ready:        map[string]bool{},
		pool:         map[string]Member{},
	}
	p.replicas = newReplicas(p)
	p.presences.told = p.replicas.changed
	p.schedules = schedule.NewStore(store, o.Clock)
	if p.scheduler, err = schedule.New(p.schedules, scheduleHost{p}, &p.opts.Schedules); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if p.triggers, err = p.newTriggers(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if o.Sealed != nil {
		p.issuer = workload.NewIssuer(store, o.Sealed, &workload.Options{Clock: o.Clock})
	}
	p.registry = access.NewRegistry(store, o.Clock, p.registryOptions())
	p.Client = p.As(access.System())
	return p, nil
}

// As gives a Client that acts as c.
func (p *Platform) As(c access.Caller) *Client { return &Client{p: p, caller: c} }

// Registry keeps the people, teams and API keys.
func (p *Platform) Registry() *access.Registry { return p.registry }

// PublicURL is Options.PublicURL.
func (p *Platform) PublicURL() string { return p.opts.PublicURL }

// Authenticate finds the caller behind a bearer token: an API key, or the
// token of an execution. It fails with task.CodeAuthenticationRequired.
//
// The token of an execution that has ended is still known, so that its runner
// learns from task.ErrFenced what happened; it can change and read nothing.
//
// Attempts with what is not valid are written to the audit log, as
// ActionSignIn.
func (p *Platform) Authenticate(ctx context.Context, bearer string) (access.Caller, error) {
	c, err := p.authenticate(ctx, bearer)
	if task.CodeOf(err) == task.CodeAuthenticationRequired {
		p.denied(ctx, p.As(access.Caller{}), deed{action: ActionSignIn, kind: "server", owner: p.opts.Owner}, err)
	}
	return c, err
}

func (p *Platform) authenticate(ctx context.Context, bearer string) (access.Caller, error) {
	id, ok := task.ParseToken(bearer)
	if !ok {
		return p.registry.Authenticate(ctx, bearer)
	}
	run, ok := p.fences.runOf(id, bearer)
	if !ok {
		e, err := p.store.Execution(ctx, id)
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return access.Caller{}, fmt.Errorf("authenticate: %w", err)
		}
		probe := e
		probe.State = task.ExecutionWorking // judge the token alone
		if err != nil || !probe.VerifyToken(bearer) {
			return access.Caller{}, task.Errorf(task.CodeAuthenticationRequired, "this run token is not valid")
		}
		run = e.TaskID
		p.fences.token(id, run, bearer)
	}
	return access.Caller{Execution: id, TaskID: run,
		Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: string(id), DisplayName: "runner"}}, nil
}

// Draining reports that Run was told to stop: nothing new is taken.
func (p *Platform) Draining() bool { return p.draining.Load() }

// AtCapacity reports that no worker had room when the dispatcher last looked,
// so that a new run waits.
func (p *Platform) AtCapacity() bool { return p.full.Load() }

// Healthy reports whether the store answers.
func (p *Platform) Healthy(ctx context.Context) error {
	if _, err := p.store.Record(ctx, "oz.health", "probe"); err != nil && !errors.Is(err, task.ErrNotFound) {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// wake asks the dispatcher to look again.
func (p *Platform) wake() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}
