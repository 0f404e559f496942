package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// What was spent is never kept here: the store sums it up from the logs
// (task.Accounts), in the transactions that write them. The ledger of a budget
// holds only what calls under way may still spend. A hold is put there before
// the call, and goes once what the call has used is in the log; so each call
// counts at every moment, in one of the two or for a moment in both. A hold
// whose execution has ended counts no more: nothing can be added to the log by
// then.

// nanoUSD is money in units of 1e-9 USD: comparisons must not depend on the
// last digit of a sum.
type nanoUSD int64

func nanosOf(usd float64) nanoUSD { return nanoUSD(math.Round(usd * 1e9)) }

func (n nanoUSD) usd() float64 { return float64(n) / 1e9 }

// amount is something held or asked for.
type amount struct {
	tokens int64
	money  nanoUSD
}

func (a amount) plus(b amount) amount { return amount{a.tokens + b.tokens, a.money + b.money} }

// hold is what one call may still use.
type hold struct {
	Tokens int64   `json:"t"`
	Money  nanoUSD `json:"m"`
}

// holds is the ledger of a budget, by execution and call ("execution/call").
type holds map[string]hold

func (h holds) total() (a amount) {
	for _, one := range h {
		a = a.plus(amount{one.Tokens, one.Money})
	}
	return a
}

const (
	// kindHolds are the records of ledgers, by scope.
	kindHolds = "oz.budget.holds"
	// maxHolds bounds a ledger; each is some 80 bytes of its record.
	maxHolds = 8192
	// holdWait is when a runner asks again whose call would fit if others
	// used less than they may.
	holdWait = 250 * time.Millisecond
	// maxCallID bounds the names of calls, in bytes.
	maxCallID = 64
)

// limit is a budget as it is kept: by the platform for owners and people, and
// for runs that share theirs.
type limit struct {
	scope  task.Scope
	name   string
	tokens *int64
	money  *nanoUSD
	spent  func(ctx context.Context) (task.Spending, error)
}

// limitOf is a budget that is set for a scope.
func (p *Platform) limitOf(b Budget) limit {
	l := limit{scope: b.Scope, tokens: b.LimitTokens, name: fmt.Sprintf("the budget of %s %q%s", strings.ToLower(string(b.Scope.Type)), b.Scope.UID, b.Period.words())}
	if b.LimitUSD != nil {
		money := nanosOf(*b.LimitUSD)
		l.money = &money
	}
	l.spent = func(ctx context.Context) (task.Spending, error) {
		return p.store.Spent(ctx, b.Scope, b.since(p.opts.Clock.Now()))
	}
	if b.Scope.Type == ScopeRun {
		l.name = fmt.Sprintf("the budget that run %s shares with its children", b.Scope.UID)
		l.spent = func(ctx context.Context) (task.Spending, error) { return p.spentByFamily(ctx, task.ID(b.Scope.UID)) }
	}
	return l
}

// spentByFamily is what a run and its descendants have spent.
func (p *Platform) spentByFamily(ctx context.Context, id task.ID) (task.Spending, error) {
	sums, err := p.store.SumUsage(ctx, task.UsageQuery{Family: id})
	if err != nil || len(sums) == 0 {
		return task.Spending{}, err
	}
	return task.Spending{Tokens: sums[0].Tokens.Total(), USD: sums[0].CostUSD, Unpriced: sums[0].Unpriced}, nil
}

func (p BudgetPeriod) words() string {
	switch p {
	case BudgetDaily:
		return " for today"
	case BudgetMonthly:
		return " for this month"
	}
	return ""
}

// limitOfRun is a run's own budget, of which its descendants' calls are taken
// as well; ok is false when it has none.
func (p *Platform) limitOfRun(ctx context.Context, t task.Task) (l limit, ok bool, err error) {
	own, err := p.runLimits(ctx, t)
	if err != nil || own.MaxTokens == 0 && own.MaxCostUSD == 0 {
		return l, false, err
	}
	b := Budget{Scope: task.Scope{Type: ScopeRun, UID: string(t.ID)}, Period: BudgetTotal}
	if own.MaxTokens > 0 {
		b.LimitTokens = &own.MaxTokens
	}
	if own.MaxCostUSD > 0 {
		b.LimitUSD = &own.MaxCostUSD
	}
	return p.limitOf(b), true, nil
}

// runLimits are the limits of a run, with the budget that was set for it since
// it was made.
func (p *Platform) runLimits(ctx context.Context, t task.Task) (task.Limits, error) {
	l := p.limits(t)
	b, found, err := p.budget(ctx, task.Scope{Type: ScopeRun, UID: string(t.ID)})
	if err != nil || !found {
		return l, err
	}
	l.MaxTokens, l.MaxCostUSD = 0, 0
	if b.LimitTokens != nil {
		l.MaxTokens = *b.LimitTokens
	}
	if b.LimitUSD != nil {
		l.MaxCostUSD = *b.LimitUSD
	}
	return l, nil
}

// payers are the owners and people whose budgets a run is paid from.
func payers(owner task.Scope, creator task.Principal) []task.Scope {
	scopes := []task.Scope{owner}
	if person := (task.Scope{Type: task.ScopeUser, UID: creator.UID}); creator.IsPerson() && person != owner {
		scopes = append(scopes, person)
	}
	return scopes
}

// limitsOn gives the budgets beyond its own that a run is kept to: those of its
// payers, of its ancestors, and its own once it has children to share it with.
func (p *Platform) limitsOn(ctx context.Context, t task.Task) ([]limit, error) {
	var out []limit
	for _, s := range payers(t.Owner, t.Creator) {
		b, found, err := p.budget(ctx, s)
		if err != nil {
			return nil, err
		}
		if found {
			out = append(out, p.limitOf(b))
		}
	}
	if t.ID != "" {
		own, err := p.sharedLimit(ctx, t)
		if err != nil {
			return nil, err
		}
		out = append(out, own...)
	}
	above, err := p.limitsAbove(ctx, t)
	return append(out, above...), err
}

// sharedLimit is the run's own budget, if it has one and children to share it
// with: these have made the ledger.
func (p *Platform) sharedLimit(ctx context.Context, t task.Task) ([]limit, error) {
	l, ok, err := p.limitOfRun(ctx, t)
	if err != nil || !ok {
		return nil, err
	}
	switch _, _, err := p.holds(ctx, l.scope); {
	case errors.Is(err, task.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []limit{l}, nil
}

// limitsAbove gives the budgets of a run's ancestors.
func (p *Platform) limitsAbove(ctx context.Context, t task.Task) ([]limit, error) {
	var out []limit
	for t.ParentID != "" {
		parent, err := p.store.Get(ctx, t.ParentID)
		if err != nil {
			return nil, fmt.Errorf("parent of run %s: %w", t.ID, err)
		}
		l, ok, err := p.limitOfRun(ctx, parent)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, l)
		}
		t = parent
	}
	return out, nil
}

// admit refuses a new run that a budget has nothing left for.
func (p *Platform) admit(ctx context.Context, spec task.Spec) error {
	limits, err := p.limitsOn(ctx, task.Task{Spec: spec})
	if err != nil {
		return err
	}
	if err := p.checkBudgets(ctx, limits); err != nil {
		return err
	}
	return p.shareBudgets(ctx, limits)
}

// checkResume refuses to resume a run that a budget has nothing left for.
func (p *Platform) checkResume(ctx context.Context, t task.Task) error {
	limits, err := p.limitsOn(ctx, t)
	if err != nil {
		return err
	}
	return p.checkBudgets(ctx, limits)
}

// shareBudgets makes the ancestors of a new run keep their budgets here, where
// the run's calls are counted as well.
func (p *Platform) shareBudgets(ctx context.Context, limits []limit) error {
	for _, l := range limits {
		if l.scope.Type != ScopeRun {
			continue
		}
		_, err := p.store.PutRecord(ctx, task.Record{Kind: kindHolds, Key: l.scope.String(), Owner: l.scope, Data: []byte("{}"), UpdatedAt: p.opts.Clock.Now()})
		if err != nil && !errors.Is(err, task.ErrConflict) { // it is shared already
			return fmt.Errorf("share the budget of run %s: %w", l.scope.UID, err)
		}
	}
	return nil
}

// checkBudgets refuses new work that some budget has nothing left for.
func (p *Platform) checkBudgets(ctx context.Context, limits []limit) error {
	for _, l := range limits {
		spent, err := l.spent(ctx)
		if err != nil {
			return err
		}
		if l.exhausted(spent) {
			return task.Errorf(task.CodeBudgetExceeded, "%s is used up; raise it, or wait until it begins anew", l.name)
		}
	}
	return nil
}

func (l limit) exhausted(spent task.Spending) bool {
	return l.tokens != nil && spent.Tokens >= *l.tokens || l.money != nil && nanosOf(spent.USD) >= *l.money
}

// refuse says why used and want do not fit together; nil when they do.
func (l limit) refuse(used, want amount) error {
	const advice = "raise it, or wait until it begins anew"
	if l.tokens != nil && used.tokens+want.tokens > *l.tokens {
		return task.Errorf(task.CodeBudgetExceeded, "the call may use up to %d tokens and %d of %d are left in %s; %s",
			want.tokens, max(0, *l.tokens-used.tokens), *l.tokens, l.name, advice)
	}
	if l.money != nil && used.money+want.money > *l.money {
		return task.Errorf(task.CodeBudgetExceeded, "the call may cost up to $%.4f and $%.4f of $%.2f are left in %s; %s",
			want.money.usd(), max(0, *l.money-used.money).usd(), l.money.usd(), l.name, advice)
	}
	return nil
}

// ledgers lets the calls of one process use a budget's ledger one after the
// other, so that only processes have to try again for each other.
type ledgers [64]sync.Mutex

func (l *ledgers) of(s task.Scope) *sync.Mutex {
	return &l[crc32.ChecksumIEEE([]byte(s.String()))%uint32(len(l))]
}

// holds reads a ledger. It fails with task.ErrNotFound before the first hold.
func (p *Platform) holds(ctx context.Context, s task.Scope) (holds, task.Record, error) {
	r, err := p.store.Record(ctx, kindHolds, s.String())
	if err != nil {
		return holds{}, task.Record{Kind: kindHolds, Key: s.String(), Owner: s}, err
	}
	h := holds{}
	if err := json.Unmarshal(r.Data, &h); err != nil {
		return nil, r, fmt.Errorf("decode the holds on the budget of %s: %w", s, err)
	}
	return h, r, nil
}

// change rewrites a ledger until nobody else has written meanwhile. f may be
// called several times; it says whether there is something to write.
func (p *Platform) change(ctx context.Context, s task.Scope, f func(h holds) (bool, error)) error {
	mu := p.ledgers.of(s)
	mu.Lock()
	defer mu.Unlock()
	for {
		h, r, err := p.holds(ctx, s)
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return err
		}
		write, err := f(h)
		if err != nil || !write {
			return err
		}
		if r.Data, err = json.Marshal(h); err != nil {
			return fmt.Errorf("encode holds: %w", err)
		}
		r.UpdatedAt = p.opts.Clock.Now()
		if _, err = p.store.PutRecord(ctx, r); !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
}

// take holds want for a call. wait says that it would fit if the calls under
// way used less than they may.
func (p *Platform) take(ctx context.Context, l limit, name string, want amount) (wait bool, err error) {
	err = p.change(ctx, l.scope, func(h holds) (bool, error) {
		wait = false
		if h[name] == (hold{want.tokens, want.money}) {
			return false, nil // asked again after a lost answer
		}
		delete(h, name)
		fits, err := p.fits(ctx, l, h, want)
		if err != nil || fits {
			h[name] = hold{want.tokens, want.money}
			return err == nil, err
		}
		dropped, err := p.dropDead(ctx, h)
		if err != nil || !dropped {
			wait = true
			return false, err
		}
		if fits, err = p.fits(ctx, l, h, want); err != nil || !fits {
			wait = true
			return err == nil, err
		}
		h[name] = hold{want.tokens, want.money}
		return true, nil
	})
	return wait, err
}

// fits reports whether a ledger has room for want; it fails when even an empty
// one has not. What was spent is read after the ledger: what is settled from
// then on is still held in h, or the ledger has changed before it is written.
func (p *Platform) fits(ctx context.Context, l limit, h holds, want amount) (bool, error) {
	spent, err := l.spent(ctx)
	if err != nil {
		return false, err
	}
	used := amount{spent.Tokens, nanosOf(spent.USD)}
	if err := l.refuse(used, want); err != nil {
		return false, err
	}
	return len(h) < maxHolds && l.refuse(used.plus(h.total()), want) == nil, nil
}

// dropDead forgets the holds of executions that have ended.
func (p *Platform) dropDead(ctx context.Context, h holds) (dropped bool, err error) {
	alive := map[string]bool{}
	for name := range h {
		id, _, _ := strings.Cut(name, "/")
		if _, known := alive[id]; !known {
			e, err := p.store.Execution(ctx, task.ExecutionID(id))
			if err != nil && !errors.Is(err, task.ErrNotFound) {
				return dropped, err
			}
			alive[id] = err == nil && e.Live()
		}
		if !alive[id] {
			delete(h, name)
			dropped = true
		}
	}
	return dropped, nil
}

// heldBy sums up what live executions hold of a budget.
func (p *Platform) heldBy(ctx context.Context, l limit) (amount, error) {
	h, _, err := p.holds(ctx, l.scope)
	if errors.Is(err, task.ErrNotFound) {
		return amount{}, nil
	}
	if err == nil {
		_, err = p.dropDead(ctx, h)
	}
	return h.total(), err
}

// giveBack frees what calls hold of a run's budgets.
func (p *Platform) giveBack(ctx context.Context, limits []limit, exec task.ExecutionID, calls []string) error {
	var errs []error
	for _, l := range limits {
		errs = append(errs, p.change(ctx, l.scope, func(h holds) (changed bool, _ error) {
			for _, call := range calls {
				name := string(exec) + "/" + call
				if _, ok := h[name]; ok {
					delete(h, name)
					changed = true
				}
			}
			return changed, nil
		}))
	}
	return errors.Join(errs...)
}

// Reserve implements executor.Link.
func (l *link) Reserve(ctx context.Context, r executor.Reservation) (executor.Reserved, error) {
	e, err := l.execution(ctx)
	if err != nil {
		return executor.Reserved{}, err
	}
	if err := checkReservation(r); err != nil {
		return executor.Reserved{}, err
	}
	t, err := l.payer(ctx)
	if err != nil {
		return executor.Reserved{}, err
	}
	limits, err := l.p.limitsOn(ctx, t)
	if err != nil {
		return executor.Reserved{}, err
	}
	want := amount{tokens: r.Tokens}
	if r.CostUSD != nil {
		want.money = nanosOf(*r.CostUSD)
	}
	for i, limit := range limits {
		wait := false
		if limit.money != nil && r.CostUSD == nil {
			err = task.Errorf(task.CodeBudgetExceeded, "%s is in money, and the model has no known price; add one to the price table, or use another model", limit.name)
		} else {
			wait, err = l.p.take(ctx, limit, string(e.ID)+"/"+r.Call, want)
		}
		if err != nil || wait {
			// What a budget before this one has granted is given back; failing
			// that, it goes with the execution.
			return executor.Reserved{WaitMS: holdWait.Milliseconds()}, errors.Join(err, l.p.giveBack(context.WithoutCancel(ctx), limits[:i], e.ID, []string{r.Call}))
		}
	}
	return executor.Reserved{Budgets: len(limits)}, nil
}

func checkReservation(r executor.Reservation) error {
	switch {
	case r.Call == "" || len(r.Call) > maxCallID || strings.ContainsAny(r.Call, "/\x00"):
		return task.Invalid("call_id", "must have 1 to %d bytes, without a slash", maxCallID)
	case r.Tokens < 0 || r.Tokens > maxBudgetTokens:
		return task.Invalid("tokens", "must be 0 to %d", int64(maxBudgetTokens))
	case r.CostUSD != nil && !(*r.CostUSD >= 0 && *r.CostUSD <= maxBudgetUSD):
		return task.Invalid("cost_usd", "must be 0 to %d", maxBudgetUSD)
	}
	return nil
}

// settle gives back what the calls hold whose use is in the log now. Failing
// that, it is given back with the end of the execution: the events are stored,
// and their runner must not send them again.
func (l *link) settle(ctx context.Context, events []task.Event) {
	var calls []string
	for _, e := range events {
		if r, ok := e.Payload.(*task.UsageReport); ok && r.CallID != "" {
			calls = append(calls, r.CallID)
		}
	}
	if len(calls) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	t, err := l.payer(ctx)
	var limits []limit
	if err == nil {
		limits, err = l.p.limitsOn(ctx, t)
	}
	if err == nil {
		err = l.p.giveBack(ctx, limits, l.exec, calls)
	}
	if err != nil {
		l.p.opts.Logger.Warn("give back what a call reserved", zap.String("task_id", string(l.id)), zap.String("execution_id", string(l.exec)), zap.Error(err))
	}
}

// payer is the run, as far as its budgets depend on it: without the prompt and
// whatever else may be large, since every heartbeat asks.
func (l *link) payer(ctx context.Context) (task.Task, error) {
	if t := l.p.fences.payer(l.exec); t != nil {
		return *t, nil
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil {
		return task.Task{}, err
	}
	lean := task.Task{ID: t.ID, Spec: task.Spec{Owner: t.Owner, Creator: t.Creator, ParentID: t.ParentID, Config: task.Config{Limits: t.Config.Limits}}}
	l.p.fences.setPayer(l.exec, &lean)
	return lean, nil
}

// reserves reports whether the run's calls must be reserved here.
func (l *link) reserves(ctx context.Context) (bool, error) {
	t, err := l.payer(ctx)
	if err != nil {
		return false, err
	}
	limits, err := l.p.limitsOn(ctx, t)
	return len(limits) > 0, err
}
