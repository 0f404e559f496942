package oz

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/schedule"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Options holds what a Platform can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives what Run has nobody to return to. Default: none.
	Logger *zap.Logger

	// Owner is whose the runs and things are that the embedding program makes
	// without saying. Default: the team access.DefaultTeam.
	Owner task.Scope

	// Keys configures the registry of people and API keys. Default: see
	// access.RegistryOptions.
	Keys *access.RegistryOptions

	// Workers carry out the runs. Default: none, so that runs wait.
	Workers []Worker

	// Models are given to every run. Without providers the model of a request
	// is not checked and runs cannot call a model. Default: none.
	Models executor.Models

	// PrivateEndpoints lets teams' own model endpoints (see ModelEndpoint) be at
	// addresses that are private, loopback or otherwise not on the internet.
	// Default: they are refused when a run dials them.
	PrivateEndpoints bool

	// Sealed keeps the secrets that are managed here; it comes before Secrets.
	// Default: none, so that none can be created.
	Sealed *sealed.Store

	// Secrets are further places that runs get secrets from, the strongest
	// first. Default: none.
	Secrets []secrets.Provider

	// Blobs keeps attachments and artifacts. Default: none, so that both are
	// refused.
	Blobs task.BlobStore

	// Skills finds the skills of repositories. Default: none, so that there
	// are no skills and runs that name one are refused.
	Skills skill.Source
	// Suggested are skills that come with the platform, such as those of package
	// environment/skill/bundled: everybody's list has them, and runs find them by
	// name where none of their repositories has a skill of that name. They must be
	// sound. Default: none.
	Suggested []skill.Skill

	// DefaultConfig gives the settings that neither a request nor its
	// environment gives. Default: the built-in agent, ten minutes idle.
	DefaultConfig task.Config

	// DisabledHarnesses are agents that no new run may use, by their names
	// (catalog.Harnesses); that of DefaultConfig is none of them. Runs that are
	// there go on. Default: none.
	DisabledHarnesses []string

	// Limits are those of runs that set none of their own. A zero field does
	// not limit. Default: none.
	Limits task.Limits

	// Budgets hold for every team or every person without a budget of their own
	// (see Client.PutBudget): of a scope without UID, for all of its type.
	// Default: none.
	Budgets []Budget

	// Schedules says how schedules are carried out. Its Logger defaults to this
	// one. Default: see schedule.Options.
	Schedules schedule.Options

	// NoCodeIndex switches the index of the runs' repositories off, and so the
	// agents' search_codebase.
	NoCodeIndex bool

	// Origins are the places that events come from, besides the clock and
	// webhooks. The store must be a trigger.Store. Default: none.
	Origins []trigger.Origin

	// Integrations makes the origins of services that are integrated, on the
	// platform's store of integrations. Default: none.
	Integrations func(*integration.Store) []trigger.Origin

	// PrivateSubscriptions lets subscriptions, those of browsers as well, name
	// addresses within private networks, and http. Default: refused.
	PrivateSubscriptions bool

	// Conditions reads the conditions of webhooks, which are expressions; package
	// trigger/webhook/celfilter has one. Default: none, so that webhooks have
	// their filters only.
	Conditions func(text string) (webhook.Condition, error)

	// Triggers says how events are carried out, and who is told of all runs. Its
	// Clock and Logger default to these. Default: see trigger.Options.
	Triggers trigger.Options

	// RepositoryBase is put before "owner/name" of repositories without a URL.
	// Default "https://github.com".
	RepositoryBase string

	// GitIdentity is the author of the agents' commits. Default
	// "Oz Agent <oz-agent@localhost>".
	GitIdentity executor.GitIdentity

	// GitCredentials let the agents' git read and push, by host. Default: none.
	GitCredentials []executor.GitCredential

	// PublicURL is where people reach the server's pages; runs are linked
	// below it. Default: none, so that runs have no link.
	PublicURL string

	// IdentityIssuer is the address of the issuer of identity tokens, where
	// others find its keys (see Platform.IdentityKeys), when it is not below
	// PublicURL + "/api/v1". Default: PublicURL + "/api/v1" + IdentityPath.
	IdentityIssuer string

	// NoLinks refuses to share runs with whoever has the link, and to open links
	// that were made before. Default: they may be.
	NoLinks bool

	// GuestLinks lets those who have a link to a run (see Client.CreateRunLink)
	// use it without an account: to see the run, and with an editor's link to
	// send it messages. Default: they must be signed in, too.
	GuestLinks bool

	// Policy may refuse a request for a run after it was checked and before it
	// is stored; Entitlements can judge more than that. A *task.Error is
	// answered as it is; any other error becomes
	// task.CodeContentPolicyViolation with a general message. Default: none.
	Policy func(ctx context.Context, r Request) error

	// Entitlements decide what callers may have beyond what the access table
	// says: credits, features of a plan, content, concurrency. Default: none,
	// so that everything is allowed.
	Entitlements Entitlements

	// MaxConcurrent bounds the executions that are live at once, over all
	// workers. Default 0: what the workers can take.
	MaxConcurrent int

	// MaxWaiting refuses new runs while this many wait for a worker. Default
	// 10,000.
	MaxWaiting int

	// MaxDepth bounds the tree of runs below a run without parent. Default 1,
	// as on the wire: a child has no children.
	MaxDepth int

	// MaxChildren is how many children one run may have in all, and
	// MaxActiveChildren how many of them may be at work or wait for a worker at
	// once. Children that people make by hand do not count as refused, only as
	// had. Defaults 200 and 64.
	MaxChildren, MaxActiveChildren int

	// Lease is how long an execution may be silent before it is given up.
	// Default 30 s.
	Lease time.Duration

	// Heartbeat is how often a runner is asked to renew its lease. Default a
	// third of Lease.
	Heartbeat time.Duration

	// MaxAttempts is how many executions in a row may be lost to faults of the
	// platform before the run ends as ERROR. Default 3.
	MaxAttempts int

	// FirstBackoff is the delay before the second attempt; it doubles with
	// each further one, up to MaxBackoff, give or take a fifth. Defaults 1 s
	// and 1 minute.
	FirstBackoff, MaxBackoff time.Duration

	// RefusalBackoff is how long a run waits after a worker refused it.
	// Default 1 s.
	RefusalBackoff time.Duration

	// MaxRuntime ends an execution that is older as ERROR,
	// infrastructure_timeout. Default 24 h.
	MaxRuntime time.Duration

	// OnViolation is told when the record of a run that has ended breaks a law
	// of the store, which is a fault of this program to be counted and looked
	// at. It must not block. Default: none; violations are logged.
	OnViolation func(laws.Violation)

	// Retention is how long after its last change an ended run keeps its
	// transcript, attachments and artifacts; its record stays. The store must
	// be a task.Pruner. Default 0: for ever.
	Retention time.Duration

	// MaxAttachmentBytes bounds each attachment. Default 10 MiB, which is what
	// the wire's clients send at most.
	MaxAttachmentBytes int64

	// MaxUploadBytes bounds each artifact that a run uploads. Default 100 MiB.
	MaxUploadBytes int64
}

// Defaults of Options.
const (
	defaultRepositoryBase = "https://github.com"
	defaultIdleMinutes    = 10 // Oz API, AmbientAgentConfig.idle_timeout_minutes
)

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
	if r.Schedules.Logger == nil {
		r.Schedules.Logger = r.Logger
	}
	if r.Triggers.Logger == nil {
		r.Triggers.Logger = r.Logger
	}
	if r.Triggers.Clock == nil {
		r.Triggers.Clock = r.Clock
	}
	r.Owner = cmp.Or(r.Owner, task.Scope{Type: task.ScopeTeam, UID: access.DefaultTeam})
	r.Workers, r.Secrets = slices.Clone(r.Workers), slices.Clone(r.Secrets)
	r.RepositoryBase = cmp.Or(r.RepositoryBase, defaultRepositoryBase)
	r.GitIdentity = cmp.Or(r.GitIdentity, executor.GitIdentity{Name: "Oz Agent", Email: "oz-agent@localhost"})
	r.MaxWaiting = cmp.Or(r.MaxWaiting, 10_000)
	r.MaxDepth = cmp.Or(r.MaxDepth, 1)
	r.MaxChildren = cmp.Or(r.MaxChildren, 200)
	r.MaxActiveChildren = cmp.Or(r.MaxActiveChildren, 64)
	r.Lease = cmp.Or(r.Lease, 30*time.Second)
	r.Heartbeat = cmp.Or(r.Heartbeat, r.Lease/3)
	r.MaxAttempts = cmp.Or(r.MaxAttempts, 3)
	r.FirstBackoff = cmp.Or(r.FirstBackoff, time.Second)
	r.MaxBackoff = cmp.Or(r.MaxBackoff, max(time.Minute, r.FirstBackoff))
	r.RefusalBackoff = cmp.Or(r.RefusalBackoff, time.Second)
	r.MaxRuntime = cmp.Or(r.MaxRuntime, 24*time.Hour)
	r.MaxAttachmentBytes = cmp.Or(r.MaxAttachmentBytes, 10<<20)
	r.MaxUploadBytes = cmp.Or(r.MaxUploadBytes, 100<<20)
	var err error
	if r.Budgets, err = defaultBudgets(r.Budgets); err != nil {
		return r, err
	}
	return r, r.check()
}

func (o Options) check() error {
	if err := o.checkHarnesses(); err != nil {
		return err
	}
	switch {
	case o.Owner.UID == "" || (o.Owner.Type != task.ScopeUser && o.Owner.Type != task.ScopeTeam):
		return task.Invalid("Owner", "must name a User or a Team by its uid")
	case o.MaxConcurrent < 0 || o.MaxWaiting < 0 || o.MaxDepth < 0 || o.MaxAttempts < 0 || o.MaxChildren < 0 || o.MaxActiveChildren < 0:
		return task.Invalid("MaxConcurrent", "and the other bounds may not be negative")
	case o.Lease <= 0 || o.Heartbeat <= 0 || o.Heartbeat >= o.Lease:
		return task.Invalid("Heartbeat", "must be positive and shorter than Lease, else every execution is lost")
	case o.FirstBackoff < 0 || o.MaxBackoff < o.FirstBackoff || o.RefusalBackoff < 0 || o.MaxRuntime <= 0:
		return task.Invalid("MaxBackoff", "durations may not be negative, nor MaxBackoff below FirstBackoff")
	}
	if o.MaxAttachmentBytes < 0 || o.MaxUploadBytes < 0 {
		return task.Invalid("MaxUploadBytes", "and MaxAttachmentBytes may not be negative")
	}
	if o.Retention < 0 {
		return task.Invalid("Retention", "may not be negative; 0 keeps everything")
	}
	ids := map[string]bool{}
	for _, w := range o.Workers {
		id := w.Info().ID
		if err := checkWorkerID(id); err != nil {
			return err
		}
		if ids[id] {
			return task.Invalid("Workers", "two workers are called %q", id)
		}
		ids[id] = true
	}
	return o.checkCredentials()
}

// checkCredentials refuses what a run's redactor would refuse, before there
// is a run.
func (o Options) checkCredentials() error {
	if err := o.Models.Validate("Models"); err != nil {
		return err
	}
	for _, p := range o.Models.Providers {
		if err := checkCredential("Models", "API key of model provider "+p.Name, p.APIKey); err != nil {
			return err
		}
	}
	for _, c := range o.GitCredentials {
		if err := checkCredential("GitCredentials", "git password for "+c.Host, c.Password); err != nil {
			return err
		}
	}
	return nil
}

func checkCredential(field, what string, value executor.Sensitive) error {
	if value == "" {
		return nil
	}
	if err := secrets.CheckValue(value.Reveal()); err != nil {
		return task.Invalid(field, "the %s cannot be kept out of transcripts (%w); leave it out if the host wants none", what, err)
	}
	return nil
}
