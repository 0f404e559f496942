package gitlab

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// Names of the secrets of an integration.
const (
	SecretSigning = "signing_secret" // GitLab proves its webhooks by it
	SecretToken   = "token"          // an access token with the scope api
)

// DefaultURL is the server that is meant without another.
const DefaultURL = "https://gitlab.com"

// Settings are an integration's own, as JSON in integration.Spec.Settings.
type Settings struct {
	// URL is the server. Default: DefaultURL.
	URL string `json:"url,omitempty"`
	// Handle is what people write after an @ to speak to the bot, best the
	// username of its account. Required.
	Handle string `json:"handle"`
	// Projects narrows where events count, and LendToAllRuns, as paths such as
	// "group/project", with * for any part. Empty: everywhere that events come from.
	Projects []string `json:"projects,omitempty"`
	// IgnoreMentions leaves mentions to Automations.
	IgnoreMentions bool `json:"ignore_mentions,omitempty"`
	// CommitStatus also gives the newest commit of a merge request or pipeline a
	// status, named after the handle. A project may demand that it is a success
	// before it merges.
	CommitStatus bool `json:"commit_status,omitempty"`
	// NoGitAccess keeps the integration's token from the git of its runs, which
	// then reach what the server's own credentials reach, and open no merge
	// requests. Without it they clone and push what the token's account may: it
	// needs the scope
	// write_repository, too, unless that is a part of api.
	NoGitAccess bool `json:"no_git_access,omitempty"`
	// LendToAllRuns lends the token to every run of the integration's owner, too,
	// such as those that people, schedules and other triggers start: they clone
	// and push with it, and open merge requests, in Projects, or where those are
	// none in all that it reaches. Whoever may start a run of the owner, and their
	// own machine where it runs there, then has the token's reach. Not for runs
	// that nobody vouches for, even once a person has approved something. A run's
	// own integration comes first, then the oldest one that fits, then the
	// server's own credentials for the host. Not beside NoGitAccess.
	LendToAllRuns bool `json:"lend_to_all_runs,omitempty"`
	// NoClone leaves it to the environment what is cloned. Without it a run also
	// has the repository of the project that its event is from.
	NoClone bool `json:"no_clone,omitempty"`
	// Automations start runs by themselves. At most MaxAutomations.
	Automations []Automation `json:"automations,omitempty"`
}

// Bounds of Settings.
const (
	MaxAutomations  = 50
	MaxFilterValues = forge.MaxValues
	maxPrompt       = 32 << 10
	maxURL          = 150 // bytes
)

// Automation starts a run when one of some kinds of event happens and its
// filter matches (Oz platform, AUT-1 and SCM-3). Several may match one event;
// each makes its own run. A later event that the same automation matches about
// the same issue or merge request goes to the run that is there.
type Automation struct {
	// Name tells automations of an integration apart: 1 to 64 of a to z, 0 to 9,
	// - and _. Who changes it starts new runs for what is under way.
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
	// Join lets the run be the one that mentions on the issue or merge request
	// speak to. Else they have one of their own.
	Join bool `json:"join,omitempty"`
	// Quiet posts nothing about the run.
	Quiet bool `json:"quiet,omitempty"`
}

// Kind is a kind of event that an automation waits for.
type Kind string

// The kinds. An issue or merge request is mentioned when its text or a new
// comment on it contains the handle, or what Filter.Mentioned says.
const (
	IssueCreated         Kind = "issue_created"
	IssueLabeled         Kind = "issue_labeled"
	IssueMentioned       Kind = "issue_mentioned"
	IssueAssigned        Kind = "issue_assigned"
	MergeOpened          Kind = "merge_request_opened"
	MergeReopened        Kind = "merge_request_reopened"
	MergeUpdated         Kind = "merge_request_updated" // new commits
	MergeReady           Kind = "merge_request_ready"   // no draft any more
	MergeLabeled         Kind = "merge_request_labeled"
	MergeClosed          Kind = "merge_request_closed" // without being merged
	MergeMerged          Kind = "merge_request_merged"
	MergeApproved        Kind = "merge_request_approved"
	MergeMentioned       Kind = "merge_request_mentioned"
	MergeAssigned        Kind = "merge_request_assigned"
	MergeReviewRequested Kind = "merge_request_review_requested"
	PipelineCompleted    Kind = "pipeline_completed"
)

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{IssueCreated, IssueLabeled, IssueMentioned, IssueAssigned, MergeOpened, MergeReopened, MergeUpdated, MergeReady, MergeLabeled,
		MergeClosed, MergeMerged, MergeApproved, MergeMentioned, MergeAssigned, MergeReviewRequested, PipelineCompleted}
}

func (k Kind) merge() bool { return strings.HasPrefix(string(k), "merge_request_") }

func (k Kind) mentioned() bool { return k == IssueMentioned || k == MergeMentioned }

// Filter narrows events: all fields that are given must match, each by any of
// its values. Case does not count. Projects and branches may have * for any part.
type Filter struct {
	Projects       []string `json:"projects,omitempty"`        // paths
	Mentioned      []string `json:"mentioned,omitempty"`       // usernames
	Assignees      []string `json:"assignees,omitempty"`       // usernames; for an assignment, who was assigned
	Reviewers      []string `json:"reviewers,omitempty"`       // usernames; for a request, who was asked
	Labels         []string `json:"labels,omitempty"`          // for a labelling, the labels that were added
	Branches       []string `json:"branches,omitempty"`        // what a merge request or a pipeline is of
	TargetBranches []string `json:"target_branches,omitempty"` // what a merge request goes to
	Statuses       []string `json:"statuses,omitempty"`        // of a pipeline: success, failed, canceled, skipped
}

// field is one of a filter's, with the kinds that have it.
type field struct {
	name    string
	values  []string
	pattern bool
	of      func(Kind) bool
}

func (f Filter) fields() []field {
	ci := func(k Kind) bool { return k == PipelineCompleted }
	thing := func(k Kind) bool { return !ci(k) }
	return []field{
		{"projects", f.Projects, true, func(Kind) bool { return true }},
		{"mentioned", f.Mentioned, false, thing},
		{"assignees", f.Assignees, false, thing},
		{"reviewers", f.Reviewers, false, Kind.merge},
		{"labels", f.Labels, false, thing},
		{"branches", f.Branches, true, func(k Kind) bool { return ci(k) || k.merge() }},
		{"target_branches", f.TargetBranches, true, Kind.merge},
		{"statuses", f.Statuses, false, ci},
	}
}

var (
	handleForm = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?$`)
	nameForm   = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)
	pathForm   = regexp.MustCompile(`^[A-Za-z0-9_.*-]+(?:/[A-Za-z0-9_.*-]+)+$`)
)

// Parse reads Settings and judges them: a field that nobody knows or that no
// event of the automation has is refused. It fails with task.CodeInvalidRequest.
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
	s.URL = strings.TrimRight(cmp.Or(s.URL, DefaultURL), "/")
	return s, s.validate()
}

// Check judges Settings; see Parse.
func Check(raw json.RawMessage) error {
	_, err := Parse(raw)
	return err
}

func (s Settings) validate() error {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(s.URL) > maxURL:
		return task.Invalid("settings.url", "must be the https address of a GitLab server, without user, query or fragment, and of at most %d bytes", maxURL)
	case !handleForm.MatchString(s.Handle):
		return task.Invalid("settings.handle", "%.50q must be as a username of GitLab: 1 to 255 letters, digits, _, - and ., without @", s.Handle)
	case len(s.Automations) > MaxAutomations:
		return task.Invalid("settings.automations", "are %d, at most %d are allowed", len(s.Automations), MaxAutomations)
	}
	if err := forge.CheckLendToAll(s.LendToAllRuns, s.NoGitAccess); err != nil {
		return err
	}
	if err := checkProjects("settings.projects", s.Projects); err != nil {
		return err
	}
	for i, a := range s.Automations {
		where := "settings.automations[" + a.Name + "]"
		if !nameForm.MatchString(a.Name) {
			return task.Invalid(fmt.Sprintf("settings.automations[%d].name", i), "%.50q must have 1 to 64 of a to z, 0 to 9, - and _", a.Name)
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
	return checkProjects(where+".filter.projects", a.Filter.Projects)
}

func checkProjects(where string, paths []string) error {
	for _, p := range paths {
		if !pathForm.MatchString(p) {
			return task.Invalid(where, "%.80q must be a project's path, such as group/project", p)
		}
	}
	return forge.CheckValues(where, paths, true)
}
