package github

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// Names of the secrets of an integration.
const (
	SecretSigning    = "signing_secret" // GitHub signs deliveries with it
	SecretToken      = "token"          // of the bot's account
	SecretPrivateKey = "private_key"    // of the app, in PEM
)

// Settings are an integration's own, as JSON in integration.Spec.Settings.
type Settings struct {
	// Handle is what people write after an @ to speak to the bot, best the
	// login of its account or the name of its app. Required.
	Handle string `json:"handle"`
	// AppID and InstallationID are those of a GitHub app, both or neither;
	// without them the integration uses a token.
	AppID          int64 `json:"app_id,omitempty"`
	InstallationID int64 `json:"installation_id,omitempty"`
	// Repositories narrows where events count, and LendToAllRuns, as "owner/name" with * for any
	// part of a name. Empty: everywhere that events come from. Those without a *,
	// and all of an owner ("owner/*"), are also asked for what never arrived.
	Repositories []string `json:"repositories,omitempty"`
	// IgnoreMentions leaves mentions to Automations.
	IgnoreMentions bool `json:"ignore_mentions,omitempty"`
	// CheckRuns also gives the commit of a pull request or check that a run is
	// about a check run, which tells how the run goes. It needs an app with the
	// permission "Checks: read and write"; without it the run is unaffected.
	CheckRuns bool `json:"check_runs,omitempty"`
	// NoGitAccess keeps the integration's token from the git of its runs, which
	// then reach what the server's own credentials reach, and open no pull
	// requests. Without it they clone and push what the app is installed on, or
	// the account may: the app needs the permissions "Contents: read and write"
	// and "Pull requests: read and write".
	NoGitAccess bool `json:"no_git_access,omitempty"`
	// LendToAllRuns lends the token to every run of the integration's owner, too,
	// such as those that people, schedules and other triggers start: they clone
	// and push with it, and open pull requests, in Repositories, or where those
	// are none in all that it reaches. Whoever may start a run of the owner, and
	// their own machine where it runs there, then has the token's reach. Not for
	// runs that nobody vouches for, even once a person has approved something. A
	// run's own integration comes first, then the oldest one that fits, then the
	// server's own credentials for the host. Not beside NoGitAccess.
	LendToAllRuns bool `json:"lend_to_all_runs,omitempty"`
	// NoClone leaves it to the environment what is cloned. Without it a run also
	// has the repository that its event is from (Oz platform, GHM-5).
	NoClone bool `json:"no_clone,omitempty"`
	// Automations start runs by themselves. At most MaxAutomations.
	Automations []Automation `json:"automations,omitempty"`
}

// Bounds of Settings.
const (
	MaxAutomations  = 50
	MaxFilterValues = forge.MaxValues
	maxName         = 64
	maxPrompt       = 32 << 10
)

// Automation starts a run when one of some kinds of event happens and its
// filter matches (Oz platform, AUT-1). Several may match one event; each makes
// its own run. A later event that the same automation matches about the same
// issue or pull request goes to the run that is there.
type Automation struct {
	// Name tells automations of an integration apart: a to z, 0 to 9, - and _.
	// Who changes it starts new runs for what is under way.
	Name string `json:"name"`
	// Disabled turns it off.
	Disabled bool `json:"disabled,omitempty"`
	// On are the kinds of event.
	On []Kind `json:"on"`
	// Filter narrows them. It routes; it restricts nothing that the agent can reach.
	Filter Filter `json:"filter,omitzero"`
	// Prompt says what is to be done. Required.
	Prompt string `json:"prompt"`
	// AgentUID carries it out. Default: the integration's.
	AgentUID string `json:"agent_uid,omitempty"`
	// Join lets the run be the one that mentions on the issue or pull request
	// speak to. Else they have one of their own.
	Join bool `json:"join,omitempty"`
	// Quiet posts nothing about the run.
	Quiet bool `json:"quiet,omitempty"`
}

// Kind is a kind of event that an automation waits for (Oz platform, AUT-2).
type Kind string

// The kinds. An issue or pull request is mentioned when its body or a new
// comment on it contains the handle, or what Filter.Mentioned says.
const (
	IssueCreated        Kind = "issue_created"
	IssueLabeled        Kind = "issue_labeled"
	IssueMentioned      Kind = "issue_mentioned"
	IssueAssigned       Kind = "issue_assigned"
	PullOpened          Kind = "pull_request_opened"
	PullReady           Kind = "pull_request_ready"
	PullClosed          Kind = "pull_request_closed" // without being merged
	PullMerged          Kind = "pull_request_merged"
	PullMentioned       Kind = "pull_request_mentioned"
	PullAssigned        Kind = "pull_request_assigned"
	PullReviewRequested Kind = "pull_request_review_requested"
	CheckSuiteCompleted Kind = "check_suite_completed"
	WorkflowCompleted   Kind = "workflow_run_completed"
)

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{IssueCreated, IssueLabeled, IssueMentioned, IssueAssigned, PullOpened, PullReady, PullClosed, PullMerged, PullMentioned,
		PullAssigned, PullReviewRequested, CheckSuiteCompleted, WorkflowCompleted}
}

// ci reports that programs set it off as a matter of course.
func (k Kind) ci() bool { return k == CheckSuiteCompleted || k == WorkflowCompleted }

func (k Kind) pull() bool { return strings.HasPrefix(string(k), "pull_request_") }

func (k Kind) mentioned() bool { return k == IssueMentioned || k == PullMentioned }

// Filter narrows events: all fields that are given must match, each by any of
// its values (Oz platform, AUT-1). Case does not count. Repos, branches and
// workflows may have * for any part of a name.
type Filter struct {
	Repos         []string `json:"repos,omitempty"`          // "owner/name"
	Mentioned     []string `json:"mentioned,omitempty"`      // logins
	Assignees     []string `json:"assignees,omitempty"`      // logins; for an assignment, who was assigned
	Reviewers     []string `json:"reviewers,omitempty"`      // logins that were asked for a review
	ReviewerTeams []string `json:"reviewer_teams,omitempty"` // slugs of teams that were
	Labels        []string `json:"labels,omitempty"`         // for a labelling, the label that was added
	Branches      []string `json:"branches,omitempty"`       // what a pull request or a check is of
	BaseBranches  []string `json:"base_branches,omitempty"`  // what a pull request goes to
	Workflows     []string `json:"workflows,omitempty"`      // names or file names
	Conclusions   []string `json:"conclusions,omitempty"`    // such as "failure"
}

// field is one of a filter's, with the kinds that have it.
type field struct {
	name    string
	values  []string
	pattern bool
	of      func(Kind) bool
}

func (f Filter) fields() []field {
	thing := func(k Kind) bool { return !k.ci() }
	return []field{
		{"repos", f.Repos, true, func(Kind) bool { return true }},
		{"mentioned", f.Mentioned, false, thing},
		{"assignees", f.Assignees, false, thing},
		{"reviewers", f.Reviewers, false, Kind.pull},
		{"reviewer_teams", f.ReviewerTeams, false, Kind.pull},
		{"labels", f.Labels, false, thing},
		{"branches", f.Branches, true, func(k Kind) bool { return k.ci() || k.pull() }},
		{"base_branches", f.BaseBranches, true, Kind.pull},
		{"workflows", f.Workflows, true, func(k Kind) bool { return k == WorkflowCompleted }},
		{"conclusions", f.Conclusions, false, Kind.ci},
	}
}

var (
	handleForm = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?$`)
	nameForm   = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)
	shaForm    = regexp.MustCompile(`^[0-9a-f]{40}(?:[0-9a-f]{24})?$`)
	repoForm   = regexp.MustCompile(`^[A-Za-z0-9*-]{1,39}/[A-Za-z0-9._*-]{1,100}$`)
)

// Parse reads Settings and judges them: a field that nobody knows or that no
// event of the automation has is refused.
func Parse(raw json.RawMessage) (Settings, error) {
	var s Settings
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, task.Invalid("settings", "%w", err)
	}
	if dec.More() {
		return s, task.Invalid("settings", "is more than one JSON object")
	}
	return s, s.validate()
}

// Check judges Settings; see Parse.
func Check(raw json.RawMessage) error {
	_, err := Parse(raw)
	return err
}

func (s Settings) validate() error {
	switch {
	case !handleForm.MatchString(s.Handle):
		return task.Invalid("settings.handle", "%.50q must be as a login of GitHub: 1 to 39 letters, digits and hyphens, without @", s.Handle)
	case s.AppID < 0 || s.InstallationID < 0 || (s.AppID == 0) != (s.InstallationID == 0):
		return task.Invalid("settings.app_id", "and installation_id are both numbers from 1, or both missing")
	case len(s.Automations) > MaxAutomations:
		return task.Invalid("settings.automations", "are %d, at most %d are allowed", len(s.Automations), MaxAutomations)
	}
	if err := forge.CheckLendToAll(s.LendToAllRuns, s.NoGitAccess); err != nil {
		return err
	}
	if err := forge.CheckValues("settings.repositories", s.Repositories, true); err != nil {
		return err
	}
	if err := checkRepos("settings.repositories", s.Repositories); err != nil {
		return err
	}
	for i, a := range s.Automations {
		where := "settings.automations[" + a.Name + "]"
		if !nameForm.MatchString(a.Name) {
			return task.Invalid(fmt.Sprintf("settings.automations[%d].name", i), "%.50q must have 1 to %d of a to z, 0 to 9, - and _", a.Name, maxName)
		}
		if slices.ContainsFunc(s.Automations[:i], func(b Automation) bool { return b.Name == a.Name }) {
			return task.Invalid(where, "there are two of this name")
		}
		if err := a.validate(where); err != nil {
			return err
		}
	}
	return nil
}

func (a Automation) validate(where string) error {
	switch {
	case len(a.On) == 0:
		return task.Invalid(where+".on", "must name a kind of event")
	case strings.TrimSpace(a.Prompt) == "" || len(a.Prompt) > maxPrompt:
		return task.Invalid(where+".prompt", "must have 1 to %d bytes", maxPrompt)
	}
	for _, k := range a.On {
		if !slices.Contains(Kinds(), k) {
			return task.Invalid(where+".on", "%.50q is none of %v", string(k), Kinds())
		}
	}
	for _, f := range a.Filter.fields() {
		if len(f.values) > 0 && !slices.ContainsFunc(a.On, f.of) {
			return task.Invalid(where+".filter."+f.name, "none of %v has it", a.On)
		}
		if err := forge.CheckValues(where+".filter."+f.name, f.values, f.pattern); err != nil {
			return err
		}
	}
	return checkRepos(where+".filter.repos", a.Filter.Repos)
}

func checkRepos(where string, repos []string) error {
	for _, r := range repos {
		if !repoForm.MatchString(r) {
			return task.Invalid(where, "%.80q must be owner/name", r)
		}
	}
	return nil
}
