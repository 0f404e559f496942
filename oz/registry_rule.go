package oz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// maxRule bounds a rule, in bytes: what agents are told of one at most.
const maxRule = 32 << 10

// maxRunRules bounds the rules of one run, in bytes together: what agents are
// told of all at most. The weakest give way.
const maxRunRules = 96 << 10

// Rule is what all agents of its owner are told, beside the rules of their
// projects, which are stronger (Oz platform, RUL-2).
type Rule struct {
	Registered
	// Rule is the text, at most 32 KiB.
	Rule string `json:"rule"`
}

// RuleInput asks for a rule.
type RuleInput struct {
	Name, Description, Rule string
	// Team says whose it is, as in Request.
	Team *bool
}

// RuleChange changes what is not nil.
type RuleChange struct {
	Name, Description, Rule *string
	// Revision fails the change with task.ErrConflict when it is not the
	// stored one; 0 is any.
	Revision int64
}

func rules() shelf[Rule] {
	return shelf[Rule]{kind: "rule", what: "rule",
		create: access.RuleCreate, view: access.RuleView, manage: access.RuleManage,
		head: func(r *Rule) *Registered { return &r.Registered },
		check: func(r Rule) error {
			if strings.TrimSpace(r.Rule) == "" {
				return task.Invalid("rule", "is empty")
			}
			if len(r.Rule) > maxRule {
				return task.Invalid("rule", "has %d bytes, at most %d are allowed", len(r.Rule), maxRule)
			}
			return task.ValidateText("rule", r.Rule)
		}}
}

// CreateRule makes a rule: runs of its owner that begin later follow it. It
// fails with task.CodeInvalidRequest, or with task.ErrConflict when the owner
// has one of that name.
func (c *Client) CreateRule(ctx context.Context, in RuleInput) (Rule, error) {
	return rules().add(ctx, c, Rule{Registered: Registered{Name: in.Name, Description: in.Description}, Rule: in.Rule}, in.Team)
}

// Rule returns one rule.
func (c *Client) Rule(ctx context.Context, uid string) (Rule, error) {
	return rules().get(ctx, c, uid, access.RuleView)
}

// Rules lists the rules that the caller may see, by name.
func (c *Client) Rules(ctx context.Context) ([]Rule, error) { return rules().list(ctx, c) }

// UpdateRule changes a rule.
func (c *Client) UpdateRule(ctx context.Context, uid string, change RuleChange) (Rule, error) {
	return rules().update(ctx, c, uid, change.Revision, func(r *Rule) {
		set(&r.Name, change.Name)
		set(&r.Description, change.Description)
		set(&r.Rule, change.Rule)
	})
}

// DeleteRule removes a rule.
func (c *Client) DeleteRule(ctx context.Context, uid string) error {
	return rules().remove(ctx, c, uid)
}

// runRules are the rules that a run's agent is told, by name: those of the
// run's owner.
func (p *Platform) runRules(ctx context.Context, owner task.Scope) ([]executor.Rule, error) {
	records, err := p.store.Records(ctx, rules().kind, &owner)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	var list []Rule
	for _, r := range records {
		rule, err := rules().decode(r)
		if err != nil {
			return nil, err
		}
		list = append(list, rule)
	}
	slices.SortFunc(list, func(a, b Rule) int { return strings.Compare(a.Name, b.Name) })
	var out []executor.Rule
	total := 0
	for _, r := range slices.Backward(list) { // of rules that disagree the last counts
		if total += len(r.Rule); total > maxRunRules {
			break
		}
		out = append(out, executor.Rule{Name: r.Name, Text: r.Rule})
	}
	slices.Reverse(out)
	return out, nil
}
