package linear

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// Kind is a kind of event (Oz platform, LIN-4).
type Kind string

// The kinds. One change of an issue can be several.
const (
	AgentSession      Kind = "agent_session" // the agent is mentioned or delegated to, or answered
	IssueCreated      Kind = "issue_created"
	IssueLabeled      Kind = "issue_labeled"
	IssueStateChanged Kind = "issue_state_changed"
	IssueAssigned     Kind = "issue_assigned" // or delegated
	CommentCreated    Kind = "comment_created"
)

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{AgentSession, IssueCreated, IssueLabeled, IssueStateChanged, IssueAssigned, CommentCreated}
}

// Settings are those of an integration with Linear.
type Settings struct {
	// AgentSessions says that the app has agent sessions: mentions of it and
	// issues delegated to it come as those, and not by the default rules.
	AgentSessions bool `json:"agent_sessions,omitempty"`
	// NoEmailMatch asks everybody to link their account. Without it somebody who
	// has not counts as whoever of the team has the same e-mail address.
	NoEmailMatch bool `json:"no_email_match,omitempty"`
	// Rules say what starts runs; one that fits is enough. Without any, a
	// mention of the agent does, and an issue that is assigned to it.
	Rules []Rule `json:"rules,omitempty"`
}

// Rule is a kind of event and what it must be about. All lists that are not
// empty must have one that fits.
type Rule struct {
	Kind Kind `json:"kind"`
	// TeamIDs and ProjectIDs are of the issue.
	TeamIDs    []string `json:"team_ids,omitempty"`
	ProjectIDs []string `json:"project_ids,omitempty"`
	// LabelIDs are those that are added, for IssueLabeled, and else those that
	// the issue has.
	LabelIDs []string `json:"label_ids,omitempty"`
	// StateIDs are what the state becomes, for IssueStateChanged, and else what
	// it is.
	StateIDs []string `json:"state_ids,omitempty"`
	// AssigneeIDs are who gets the issue, for IssueAssigned, and else who has it.
	// "agent" is the agent.
	AssigneeIDs []string `json:"assignee_ids,omitempty"`
	// MentionedUserIDs are of people whom the text names. "agent" is the agent.
	MentionedUserIDs []string `json:"mentioned_user_ids,omitempty"`
}

// Agent stands for the agent's own account in lists of people.
const Agent = "agent"

// Limits of settings.
const (
	maxRules = 50
	maxIDs   = 100
	maxID    = 100 // bytes
)

// Check judges settings. It fails with task.CodeInvalidRequest and the name of
// the field.
func Check(raw json.RawMessage) error {
	_, err := ParseSettings(raw)
	return err
}

// ParseSettings reads settings, and fails as Check does. None at all are the
// defaults.
func ParseSettings(raw json.RawMessage) (Settings, error) {
	var s Settings
	if len(raw) == 0 || string(raw) == "null" {
		return s, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, task.Invalid("settings", "are not those of Linear: %w", err)
	}
	if len(s.Rules) > maxRules {
		return s, task.Invalid("settings.rules", "has %d entries, at most %d are allowed", len(s.Rules), maxRules)
	}
	for i, r := range s.Rules {
		if err := r.check(fmt.Sprintf("settings.rules[%d]", i)); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (r Rule) check(field string) error {
	if !slices.Contains(Kinds(), r.Kind) {
		return task.Invalid(field+".kind", "%q is none of %v", string(r.Kind), Kinds())
	}
	for name, ids := range map[string][]string{"team_ids": r.TeamIDs, "project_ids": r.ProjectIDs, "label_ids": r.LabelIDs,
		"state_ids": r.StateIDs, "assignee_ids": r.AssigneeIDs, "mentioned_user_ids": r.MentionedUserIDs} {
		if len(ids) > maxIDs {
			return task.Invalid(field+"."+name, "has %d entries, at most %d are allowed", len(ids), maxIDs)
		}
		for _, id := range ids {
			if id == "" || len(id) > maxID {
				return task.Invalid(field+"."+name, "%.50q: an ID has 1 to %d bytes", id, maxID)
			}
		}
	}
	return nil
}

// rules are those that count.
func (s Settings) rules() []Rule {
	rules := s.Rules
	if len(rules) == 0 && !s.AgentSessions {
		rules = []Rule{
			{Kind: CommentCreated, MentionedUserIDs: []string{Agent}},
			{Kind: IssueCreated, MentionedUserIDs: []string{Agent}},
			{Kind: IssueAssigned, AssigneeIDs: []string{Agent}},
		}
	}
	if s.AgentSessions && !slices.ContainsFunc(rules, func(r Rule) bool { return r.Kind == AgentSession }) {
		rules = append(rules[:len(rules):len(rules)], Rule{Kind: AgentSession})
	}
	return rules
}

// facts are what rules look at.
type facts struct {
	kinds     []Kind
	issue     issue
	added     []string // labels
	mentioned func(id string) bool
	agent     string
}

// match gives the first rule that fits.
func match(rules []Rule, f facts) (Rule, bool) {
	for _, r := range rules {
		if r.fits(f) {
			return r, true
		}
	}
	return Rule{}, false
}

func (r Rule) fits(f facts) bool {
	if !slices.Contains(f.kinds, r.Kind) {
		return false
	}
	labels := f.issue.labelIDs()
	if r.Kind == IssueLabeled {
		labels = f.added
	}
	people := []string{f.issue.assignee(), f.issue.delegate()}
	return fitsAny(r.TeamIDs, f.issue.team()) && fitsAny(r.ProjectIDs, f.issue.project()) && fitsAny(r.StateIDs, f.issue.state()) &&
		fitsAny(r.LabelIDs, labels...) && fitsAny(withAgent(r.AssigneeIDs, f.agent), people...) && r.mentions(f)
}

func (r Rule) mentions(f facts) bool {
	return len(r.MentionedUserIDs) == 0 || slices.ContainsFunc(withAgent(r.MentionedUserIDs, f.agent), f.mentioned)
}

// fitsAny reports whether a list is empty or has one of the values.
func fitsAny(list []string, values ...string) bool {
	return len(list) == 0 || slices.ContainsFunc(values, func(v string) bool { return v != "" && slices.Contains(list, v) })
}

// withAgent puts the agent's ID in the place of "agent".
func withAgent(ids []string, agent string) []string {
	out := slices.Clone(ids)
	for i, id := range out {
		if id == Agent {
			out[i] = agent
		}
	}
	return out
}
