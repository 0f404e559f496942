package oz

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// BudgetPeriod says how often a budget begins anew.
type BudgetPeriod string

// The periods. Days and months are those of UTC.
const (
	BudgetDaily   BudgetPeriod = "day"
	BudgetMonthly BudgetPeriod = "month"
	BudgetTotal   BudgetPeriod = "total" // never begins anew
)

// ScopeRun is the scope of a run's own budget, which its children share. The run
// was made with it (task.Limits); one that is set later takes its place from
// the run's next execution on.
const ScopeRun task.ScopeType = "Run"

// Budget limits what is spent on models: by a team's runs, or by the runs that
// a person owns or asked for, or by one run. It counts what was used in its
// period, whenever the run was made.
type Budget struct {
	// Scope is the team, the person or the run.
	Scope task.Scope `json:"scope"`
	// LimitUSD and LimitTokens are what may be spent in a period; at least one
	// is set. With a limit in money, models without a known price are refused,
	// because nothing would stop them.
	LimitUSD    *float64 `json:"limit_usd,omitempty"`
	LimitTokens *int64   `json:"limit_tokens,omitempty"`
	// Period is how often it begins anew. Default BudgetMonthly.
	Period BudgetPeriod `json:"period"`
}

// BudgetStatus is a budget and how far it is used up in its present period.
type BudgetStatus struct {
	Budget
	// Spent is what calls have used, Reserved what those under way may use.
	Spent, Reserved task.Spending
	// ResetsAt is when the next period begins; zero for BudgetTotal.
	ResetsAt time.Time
}

// Limits of budgets: sums stay exact far below them.
const (
	maxBudgetUSD    = 1_000_000_000
	maxBudgetTokens = 1 << 53
)

// kindBudget are the records of budgets, by scope.
const kindBudget = "oz.budget"

// check judges a budget and fills in its defaults.
func (b Budget) check() (Budget, error) {
	if b.Scope.Type == ScopeRun {
		return b.checkOfRun()
	}
	b.Period = cmp.Or(b.Period, BudgetMonthly)
	switch {
	case b.Scope.UID == "" || b.Scope.Type != task.ScopeUser && b.Scope.Type != task.ScopeTeam:
		return b, task.Invalid("scope", "a budget is a User's, a Team's or a Run's, with the uid")
	case b.Period != BudgetDaily && b.Period != BudgetMonthly && b.Period != BudgetTotal:
		return b, task.Invalid("period", "%q is none of day, month, total", string(b.Period))
	}
	return b, b.checkLimits()
}

// checkOfRun is check for the budget of a run: as in task.Limits, there is no
// limit of nothing.
func (b Budget) checkOfRun() (Budget, error) {
	b.Period = cmp.Or(b.Period, BudgetTotal)
	switch {
	case b.Period != BudgetTotal:
		return b, task.Invalid("period", "a run's budget is for its whole life: leave it out, or say total")
	case b.LimitUSD != nil && *b.LimitUSD == 0:
		return b, task.Invalid("limit_usd", "must be above 0 for a run; cancel the run to stop it")
	case b.LimitTokens != nil && *b.LimitTokens == 0:
		return b, task.Invalid("limit_tokens", "must be above 0 for a run; cancel the run to stop it")
	}
	return b, b.checkLimits()
}

func (b Budget) checkLimits() error {
	switch {
	case b.LimitUSD == nil && b.LimitTokens == nil:
		return task.Invalid("limit_usd", "set limit_usd, limit_tokens or both; delete the budget to lift it")
	case b.LimitUSD != nil && (math.IsNaN(*b.LimitUSD) || *b.LimitUSD < 0 || *b.LimitUSD > maxBudgetUSD):
		return task.Invalid("limit_usd", "must be 0 to %d", maxBudgetUSD)
	case b.LimitTokens != nil && (*b.LimitTokens < 0 || *b.LimitTokens > maxBudgetTokens):
		return task.Invalid("limit_tokens", "must be 0 to %d", int64(maxBudgetTokens))
	}
	return nil
}

// Validate checks a budget of Options.Budgets, whose scope may lack the UID. It
// fails with task.CodeInvalidRequest.
func (b Budget) Validate() error {
	if b.Scope.Type == ScopeRun {
		return task.Invalid("scope", "the limits of all runs are Options.Limits")
	}
	b.Scope.UID = cmp.Or(b.Scope.UID, "every")
	_, err := b.check()
	return err
}

// defaultBudgets checks Options.Budgets and fills in their defaults.
func defaultBudgets(list []Budget) ([]Budget, error) {
	out := slices.Clone(list)
	for i := range out {
		if err := out[i].Validate(); err != nil {
			return nil, task.Invalid(fmt.Sprintf("Budgets[%d]", i), "%w", err)
		}
		out[i].Period = cmp.Or(out[i].Period, BudgetMonthly)
	}
	return out, nil
}

// since is when the period that now is in began; zero for BudgetTotal.
func (b Budget) since(now time.Time) time.Time {
	year, month, day := now.UTC().Date()
	switch b.Period {
	case BudgetDaily:
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	case BudgetMonthly:
		return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}

// resetsAt is when the period that now is in ends.
func (b Budget) resetsAt(now time.Time) time.Time {
	switch b.Period {
	case BudgetDaily:
		return b.since(now).AddDate(0, 0, 1)
	case BudgetMonthly:
		return b.since(now).AddDate(0, 1, 0)
	}
	return time.Time{}
}

// budget finds the budget of a scope: its own, or the default for all such.
func (p *Platform) budget(ctx context.Context, s task.Scope) (b Budget, found bool, err error) {
	if b, found, err = p.ownBudget(ctx, s); err != nil || found {
		return b, found, err
	}
	for _, d := range p.opts.Budgets {
		if d.Scope.Type == s.Type && (d.Scope.UID == "" || d.Scope.UID == s.UID) {
			b, found = d, true
			b.Scope = s
			if d.Scope.UID != "" {
				break
			}
		}
	}
	return b, found, nil
}

// ownBudget finds the budget that was set for a scope.
func (p *Platform) ownBudget(ctx context.Context, s task.Scope) (b Budget, found bool, err error) {
	now := p.opts.Clock.Now()
	none, writes := p.absences.has(s, now)
	if none {
		return b, false, nil
	}
	r, err := p.store.Record(ctx, kindBudget, s.String())
	if errors.Is(err, task.ErrNotFound) {
		p.absences.note(s, now, writes)
		return b, false, nil
	}
	if err != nil {
		return b, false, fmt.Errorf("read the budget of %s: %w", s, err)
	}
	if err := json.Unmarshal(r.Data, &b); err != nil {
		return b, false, fmt.Errorf("decode the budget of %s: %w", s, err)
	}
	return b, true, nil
}

// Budgets lists those that concern the caller: their own, those of their teams
// and, for who leads a team, those of its members that have one. Those of runs
// are not in it.
func (c *Client) Budgets(ctx context.Context) ([]BudgetStatus, error) {
	if err := c.allow(ctx, access.BudgetView, access.Object{}); err != nil {
		return nil, err
	}
	scopes, err := c.budgetScopes(ctx)
	if err != nil {
		return nil, err
	}
	out := []BudgetStatus{}
	for _, s := range scopes {
		b, found, err := c.p.budget(ctx, s)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		status, err := c.p.budgetStatus(ctx, b)
		if err != nil {
			return nil, err
		}
		out = append(out, status)
	}
	return out, nil
}

// budgetScopes are the owners whose budgets the caller may see, sorted.
func (c *Client) budgetScopes(ctx context.Context) ([]task.Scope, error) {
	var scopes []task.Scope
	if !c.caller.System {
		scopes = c.caller.Scopes()
	}
	records, err := c.p.store.Records(ctx, kindBudget, nil)
	if err != nil {
		return nil, fmt.Errorf("list budgets: %w", err)
	}
	for _, r := range records {
		if r.Owner.Type == ScopeRun || slices.Contains(scopes, r.Owner) {
			continue
		}
		err := c.mayManageBudget(ctx, r.Owner)
		if code := task.CodeOf(err); err != nil && code != task.CodeNotFound && code != task.CodeNotAuthorized {
			return nil, err
		}
		if err == nil {
			scopes = append(scopes, r.Owner)
		}
	}
	slices.SortFunc(scopes, func(a, b task.Scope) int { return cmp.Compare(a.String(), b.String()) })
	return slices.Compact(scopes), nil
}

// PutBudget sets or replaces a budget. Who leads a team sets the team's and
// those of its members, who may cancel a run sets the run's. Calls under way go
// on. A run at work that had no budget beyond its own until now keeps to the
// first one from its next heartbeat on; so does one that gets its first child
// to the budget that both share. Other replicas keep to the first budget of a
// scope within a second, and to changes of it at once.
func (c *Client) PutBudget(ctx context.Context, b Budget) (BudgetStatus, error) {
	if err := c.mayManageBudget(ctx, b.Scope); err != nil {
		c.refused(ctx, *budgetDeed(b.Scope, "put"), err)
		return BudgetStatus{}, err
	}
	b, err := b.check()
	if err != nil {
		return BudgetStatus{}, err
	}
	data, err := json.Marshal(b)
	if err != nil {
		return BudgetStatus{}, fmt.Errorf("encode budget: %w", err)
	}
	if err := c.audited(ctx, budgetDeed(b.Scope, "put"), func() error { return c.p.putBudget(ctx, b.Scope, data) }); err != nil {
		return BudgetStatus{}, fmt.Errorf("set the budget of %s: %w", b.Scope, err)
	}
	return c.p.budgetStatus(ctx, b)
}

// putBudget writes over whatever is there: a budget is set whole, and the last
// one wins.
func (p *Platform) putBudget(ctx context.Context, s task.Scope, data []byte) error {
	defer p.absences.written(s) // even after an error: it may have been written
	for {
		old, err := p.store.Record(ctx, kindBudget, s.String())
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return err
		}
		_, err = p.store.PutRecord(ctx, task.Record{Kind: kindBudget, Key: s.String(), Owner: s, Revision: old.Revision, Data: data, UpdatedAt: p.opts.Clock.Now()})
		if !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
}

// DeleteBudget lifts a budget; the default for all such owners, if there is
// one, holds again. It fails with task.ErrNotFound when there is none.
func (c *Client) DeleteBudget(ctx context.Context, s task.Scope) error {
	if err := c.mayManageBudget(ctx, s); err != nil {
		c.refused(ctx, *budgetDeed(s, "delete"), err)
		return err
	}
	return c.audited(ctx, budgetDeed(s, "delete"), func() error {
		err := c.p.store.DeleteRecord(ctx, kindBudget, s.String())
		if errors.Is(err, task.ErrNotFound) {
			return task.Errorf(task.CodeNotFound, "%s %q has no budget of its own", s.Type, s.UID)
		}
		return err
	})
}

func budgetDeed(s task.Scope, what string) *deed {
	return &deed{action: access.BudgetManage, kind: "budget", id: s.String(), owner: s, details: act(what)}
}

// mayManageBudget asks the access table: about the team, about the teams of the
// person, or about the run, whose budget is for those who may cancel it.
func (c *Client) mayManageBudget(ctx context.Context, s task.Scope) error {
	if s.Type == task.ScopeTeam {
		if _, err := c.p.registry.Team(ctx, s.UID); err != nil {
			return c.noBudgetScope(s, err)
		}
		return access.Allow(c.caller, access.BudgetManage, access.Object{Owner: s})
	}
	switch s.Type {
	case task.ScopeUser:
	case ScopeRun:
		_, err := c.run(ctx, task.ID(s.UID), access.RunCancel)
		return err
	default:
		return task.Invalid("scope", "%q is none of User, Team, Run", string(s.Type))
	}
	u, err := c.p.registry.User(ctx, s.UID)
	if err != nil {
		return c.noBudgetScope(s, err)
	}
	refusal := access.Allow(c.caller, access.BudgetManage, access.Object{Owner: s})
	for _, m := range u.Teams {
		if access.Allow(c.caller, access.BudgetManage, access.Object{Owner: task.Scope{Type: task.ScopeTeam, UID: m.UID}}) == nil {
			return nil
		}
	}
	return refusal
}

// noBudgetScope answers for an owner that does not exist as for a hidden one.
func (c *Client) noBudgetScope(s task.Scope, err error) error {
	if !errors.Is(err, task.ErrNotFound) {
		return err
	}
	if err := access.Allow(c.caller, access.BudgetManage, access.Object{Owner: task.Scope{Type: task.ScopeTeam, UID: "none"}}); err != nil && !c.caller.System {
		return err
	}
	return task.Errorf(task.CodeNotFound, "there is no %s %q", s.Type, s.UID)
}

// budgetStatus says how far a budget is used up.
func (p *Platform) budgetStatus(ctx context.Context, b Budget) (BudgetStatus, error) {
	now := p.opts.Clock.Now()
	out := BudgetStatus{Budget: b, ResetsAt: b.resetsAt(now)}
	l := p.limitOf(b)
	held, err := p.heldBy(ctx, l)
	if err != nil {
		return out, err
	}
	if out.Spent, err = l.spent(ctx); err != nil {
		return out, err
	}
	out.Reserved = task.Spending{Tokens: held.tokens, USD: held.money.usd()}
	return out, nil
}
