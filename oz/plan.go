package oz

import (
	"cmp"
	"context"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// PlanOptions say what a Plan allows. The zero value allows everything.
type PlanOptions struct {
	// Credits are what owners may spend, ever; those that are not named have
	// DefaultCredits. Without both nobody needs credits.
	Credits        map[task.Scope]float64
	DefaultCredits *float64
	// MinCredits is what must be left to start or resume a run. Default 20
	// (Oz platform, USG-4).
	MinCredits float64
	// CreditUSD is what a credit pays for, in dollars of model calls. Default 0.01.
	CreditUSD float64

	// Missing are features that nobody has. TeamOnly are those that only teams
	// have; FeatureIntegration and FeatureWorker are such on the hosted service.
	Missing, TeamOnly []Feature

	// Concurrent is how many runs of an owner may be at work at once; those that
	// are not named have DefaultConcurrent. 0 is no limit.
	Concurrent        map[task.Scope]int
	DefaultConcurrent int

	// Forbidden are patterns that no prompt, message or setup command may match.
	Forbidden []*regexp.Regexp
}

// Plan is a simple Entitlements, made from a configuration.
type Plan struct {
	accounts task.Accounts
	opts     PlanOptions
}

var _ Entitlements = (*Plan)(nil)

// NewPlan returns a Plan; what owners have spent is read from accounts, which
// is the platform's store. It fails with task.CodeInvalidRequest.
func NewPlan(accounts task.Accounts, opts PlanOptions) (*Plan, error) {
	o := opts
	o.MinCredits, o.CreditUSD = cmp.Or(o.MinCredits, 20), cmp.Or(o.CreditUSD, 0.01)
	o.Credits, o.Concurrent = maps.Clone(o.Credits), maps.Clone(o.Concurrent)
	if !(o.MinCredits >= 0) || !(o.CreditUSD > 0) {
		return nil, task.Invalid("CreditUSD", "must be above 0, and MinCredits not below")
	}
	if o.DefaultConcurrent < 0 || slices.ContainsFunc(slices.Collect(maps.Values(o.Concurrent)), func(n int) bool { return n < 0 }) {
		return nil, task.Invalid("Concurrent", "may not be negative; 0 is no limit")
	}
	for _, f := range slices.Concat(o.Missing, o.TeamOnly) {
		if !f.known() {
			return nil, task.Invalid("Missing", "%q is no feature", string(f))
		}
	}
	return &Plan{accounts: accounts, opts: o}, nil
}

func (f Feature) known() bool {
	return slices.Contains([]Feature{FeatureRun, FeaturePrompt, FeatureSetup, FeatureIntegration, FeatureWorker, FeatureSchedule, FeatureWebhook, FeatureAgent, FeatureComputerUse}, f)
}

// Allow implements Entitlements.
func (p *Plan) Allow(ctx context.Context, a Ask) error {
	switch {
	case slices.Contains(p.opts.Missing, a.Feature):
		return task.Errorf(task.CodeFeatureNotAvailable, "this server's plan does not have the feature %q", string(a.Feature))
	case slices.Contains(p.opts.TeamOnly, a.Feature) && a.Owner.Type != task.ScopeTeam:
		return task.Errorf(task.CodeFeatureNotAvailable, "the feature %q is for teams: act for a team, or ask an admin to add you to one", string(a.Feature))
	case a.Feature == FeaturePrompt || a.Feature == FeatureSetup:
		return p.judge(a.Text)
	case a.Feature == FeatureRun:
		return p.checkCredits(ctx, a.Owner)
	}
	return nil
}

// forbidden is what a content policy says: that, and not why.
type forbidden struct{}

func (forbidden) Error() string { return "matches a forbidden pattern" }

func (p *Plan) judge(texts []string) error {
	for _, text := range texts {
		for _, re := range p.opts.Forbidden {
			if re.MatchString(text) {
				return forbidden{}
			}
		}
	}
	return nil
}

// checkCredits wants at least MinCredits to be left.
func (p *Plan) checkCredits(ctx context.Context, owner task.Scope) error {
	credits, named := p.opts.Credits[owner]
	if !named {
		if p.opts.DefaultCredits == nil {
			return nil
		}
		credits = *p.opts.DefaultCredits
	}
	spent, err := p.accounts.Spent(ctx, owner, time.Time{})
	if err != nil {
		return err
	}
	if left := credits - spent.USD/p.opts.CreditUSD; left < p.opts.MinCredits-1e-9 { // the sum's last digits
		return task.Errorf(task.CodeInsufficientCredits, "%.2f credits are left, and a run needs at least %g to start: buy more, or ask an admin", max(left, 0), p.opts.MinCredits)
	}
	return nil
}

// Concurrent implements Entitlements.
func (p *Plan) Concurrent(_ context.Context, owner task.Scope) (int, error) {
	if n, ok := p.opts.Concurrent[owner]; ok {
		return n, nil
	}
	return p.opts.DefaultConcurrent, nil
}
