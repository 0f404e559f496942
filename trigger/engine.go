package trigger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/task"
)

// Store is what an Engine keeps things in.
type Store interface {
	task.Records
	task.Inbox
	task.Outbox
	// Subscribe is that of task.Store.
	Subscribe(id task.ID) (changed <-chan struct{}, cancel func())
}

// Options holds what an Engine can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives what Run has nobody to return to. Default: none.
	Logger *zap.Logger

	// Listeners hear of all runs. Default: none. Reporters among the origins
	// hear of their own.
	Listeners []Reporter

	// Patience is for how long a delivery is tried that cannot be decided, as
	// when the server is full. Default 24 h.
	Patience time.Duration

	// Persistence is for how long an outgoing message is tried. Default 3 days.
	Persistence time.Duration

	// Grace is how long an arrival is left to the replica that took it, before
	// the others look after it. Default 5 s.
	Grace time.Duration

	// Poll is how soon is looked again for what other replicas left, and for what
	// happened to runs, while there was something; up to 30 times as long while
	// there is nothing. It is a safety net: the store says when there is
	// something new. Default 1 s.
	Poll time.Duration

	// Lease is how long one attempt to send may take. Default 1 minute.
	Lease time.Duration

	// Parallel bounds how many deliveries are decided and how many messages are
	// sent at once. Default 16.
	Parallel int

	// KeepDeliveries and KeepFor say how many deliveries of a source are kept
	// at least, and how long: after that repeats are not known any more.
	// Defaults 50 and 7 days (Oz platform, WHK-8).
	KeepDeliveries int
	KeepFor        time.Duration

	// Progress is how often the origin of a run is told of its task list at
	// most. Default 15 s.
	Progress time.Duration

	// KeepOutgoing is how long is kept what was sent. Default 7 days.
	KeepOutgoing time.Duration

	// OnDelivery is told of every delivery that this Engine decides, OnSent of
	// every attempt to send. They must not block. Default: none.
	OnDelivery func(task.Delivery)
	OnSent     func(task.Outgoing, error)
}

func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	r := *o
	if r.Clock == nil {
		r.Clock = task.SystemClock()
	}
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	if r.OnDelivery == nil {
		r.OnDelivery = func(task.Delivery) {}
	}
	if r.OnSent == nil {
		r.OnSent = func(task.Outgoing, error) {}
	}
	r.Patience = cmp.Or(r.Patience, 24*time.Hour)
	r.Persistence = cmp.Or(r.Persistence, 72*time.Hour)
	r.Grace = cmp.Or(r.Grace, 5*time.Second)
	r.Poll = cmp.Or(r.Poll, time.Second)
	r.Lease = cmp.Or(r.Lease, time.Minute)
	r.Parallel = cmp.Or(r.Parallel, 16)
	r.KeepDeliveries = cmp.Or(r.KeepDeliveries, 50)
	r.KeepFor = cmp.Or(r.KeepFor, 7*24*time.Hour)
	r.Progress = cmp.Or(r.Progress, 15*time.Second)
	r.KeepOutgoing = cmp.Or(r.KeepOutgoing, 7*24*time.Hour)
	for _, d := range []time.Duration{r.Patience, r.Persistence, r.Grace, r.Poll, r.Lease, r.KeepFor, r.KeepOutgoing, r.Progress} {
		if d < 0 || r.Parallel < 0 || r.KeepDeliveries < 0 {
			return r, task.Invalid("Triggers", "bounds and durations may not be negative")
		}
	}
	return r, nil
}

// Engine takes what arrives from Origins, makes runs of it, and tells the
// outside what becomes of them. Any number may share a store, in one process or
// in several. Safe for concurrent use.
//
// Nothing is lost and nothing done twice at a crash between any two steps: an
// arrival is stored before it is answered, the ID of a run follows from the
// arrival, a message to a run has a key, and what is told to the outside is
// stored under a key before it is sent.
type Engine struct {
	store     Store
	host      Host
	opts      Options
	origins   map[string]Origin   // by Info.Name
	paths     map[string]Origin   // by Info.Path
	senders   map[string]Reporter // by kind
	reporters map[string]Reporter // by origin's name
	holder    string              // of leases
	rates     *rates
	inbox     chan task.Delivery // taken here, to be decided at once
	putAside  chan struct{}      // a delivery was put off here
	outbox    chan struct{}      // there may be something to send
	deciding  sync.Map           // task.DeliveryID of those that are being decided here
	sending   atomic.Int64       // how many looks at the outbox and messages are under way here
}

// Compile-time proof that it is a trigger.
var _ Trigger = (*Engine)(nil)

var originName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// backlog is how many arrivals may wait in memory; more wait in the store.
const backlog = 1024

// New returns an Engine. It starts nothing: see Run. opts may be nil.
func New(store Store, host Host, origins []Origin, opts *Options) (*Engine, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{store: store, host: host, opts: o, holder: uuid.NewString(), rates: newRates(),
		origins: map[string]Origin{}, paths: map[string]Origin{}, senders: map[string]Reporter{}, reporters: map[string]Reporter{},
		inbox: make(chan task.Delivery, backlog), putAside: make(chan struct{}, 1), outbox: make(chan struct{}, 1)}
	for _, origin := range origins {
		if err := e.addOrigin(origin); err != nil {
			return nil, err
		}
	}
	for _, r := range o.Listeners {
		if err := e.addSender(r); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Engine) addOrigin(origin Origin) error {
	info := origin.Info()
	path := cmp.Or(info.Path, info.Name)
	switch {
	case !originName.MatchString(info.Name) || !originName.MatchString(path):
		return task.Invalid("Origins", "%q at path %q: names and paths have 1 to 32 of a to z, 0 to 9 and -", info.Name, path)
	case e.origins[info.Name] != nil || e.paths[path] != nil:
		return task.Invalid("Origins", "there are two of %q, or two at its path", info.Name)
	case info.MaxBody < 0 || info.MaxBody > task.MaxDeliveryBody:
		return task.Invalid("Origins", "%q: MaxBody must be 0 to %d", info.Name, task.MaxDeliveryBody)
	}
	e.origins[info.Name], e.paths[path] = origin, origin
	r, ok := origin.(Reporter)
	if !ok {
		return nil
	}
	if len(e.reporters) == 0 {
		if err := e.addSender(progress{e}); err != nil {
			return err
		}
	}
	e.reporters[info.Name] = r
	return e.addSender(r)
}

func (e *Engine) addSender(r Reporter) error {
	for _, kind := range r.Kinds() {
		if e.senders[kind] != nil {
			return task.Invalid("Listeners", "two reporters send %q", kind)
		}
		e.senders[kind] = r
	}
	return nil
}

// origin finds whose a source is.
func (e *Engine) origin(source string) (Origin, bool) {
	name, _, _ := strings.Cut(source, "/")
	o, ok := e.origins[name]
	return o, ok
}

// Run decides what arrived, hears what happens to runs and sends what is to be
// told, until ctx ends. Origins that are Triggers, too, run beside: such work as
// looking for what never arrived. It returns nil.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { e.decideArrivals(ctx); return nil })
	group.Go(func() error { e.decideLeftovers(ctx); return nil })
	group.Go(func() error { e.listen(ctx); return nil })
	group.Go(func() error { e.deliver(ctx); return nil })
	group.Go(func() error { e.trim(ctx); return nil })
	for name, o := range e.origins {
		if t, ok := o.(Trigger); ok {
			group.Go(func() error {
				e.report(ctx, "do the work of an origin", t.Run(ctx), zap.String("origin", name)) // the others go on without it
				return nil
			})
		}
	}
	return group.Wait()
}

// idle loops look less often, up to so many times Options.Poll: the store wakes
// them.
const idle = 30

// pace is how long a loop waits between two looks: longer and longer while it
// finds nothing.
type pace struct{ least, most, now time.Duration }

func (e *Engine) pace() *pace { return &pace{least: e.opts.Poll, most: idle * e.opts.Poll} }

func (p *pace) after(found bool) time.Duration {
	if p.now = min(2*p.now, p.most); found || p.now == 0 {
		p.now = p.least
	}
	return p.now
}

// wait lets some time pass. It reports false when ctx has ended.
func (e *Engine) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-e.opts.Clock.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Quiet reports that nothing waits to be decided, to be heard or to be sent
// now. What was put off, or waits for another attempt, does not count; neither
// does what other replicas are sending. For tests.
func (e *Engine) Quiet(ctx context.Context) (bool, error) {
	now := e.now()
	list, err := e.store.Undecided(ctx, now, 1)
	if err != nil || len(list) > 0 {
		return false, err
	}
	if len(e.senders) == 0 && len(e.opts.Listeners) == 0 {
		return true, nil
	}
	signals, _, err := e.unheard(ctx, 1)
	if err != nil || len(signals) > 0 || e.sending.Load() > 0 {
		return false, err
	}
	next, err := e.store.NextOutgoing(ctx)
	return next.IsZero() || next.After(now), err
}

// report logs what nobody can be told.
func (e *Engine) report(ctx context.Context, what string, err error, fields ...zap.Field) {
	if err != nil && ctx.Err() == nil {
		e.opts.Logger.Error(what, append(fields, zap.Error(err))...)
	}
}

func (e *Engine) now() time.Time { return e.opts.Clock.Now().UTC().Truncate(time.Microsecond) }

// RunID names the run that a delivery makes: a UUID of version 7 whose time is
// the event's first arrival, and whose rest follows from the event.
func RunID(d task.Delivery, name string) task.ID {
	var id uuid.UUID
	sum := sha256.Sum256([]byte(d.Source + "\x00" + d.Key + "\x00" + name))
	copy(id[:], sum[:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(d.ReceivedAt.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return task.ID(id.String())
}

// final reports that trying again cannot help.
func final(err error) bool {
	code := task.CodeOf(err)
	return code != "" && code != task.CodeInternal && code != task.CodeConflict && !code.Retryable()
}

func errUnknownSource(source string) error {
	return fmt.Errorf("nothing here knows the source %q any more", source)
}
