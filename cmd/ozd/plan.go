package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// budgetConfig is a budget for one owner, or for all of a type.
type budgetConfig struct {
	// Scope is Team or User, UID which one; empty for all without their own.
	Scope       string   `yaml:"scope"`
	UID         string   `yaml:"uid"`
	LimitUSD    *float64 `yaml:"limit_usd"`
	LimitTokens *int64   `yaml:"limit_tokens"`
	Period      string   `yaml:"period"`
}

// planConfig is what owners are entitled to, see oz.PlanOptions. Owners are
// named Team:uid or User:uid.
type planConfig struct {
	Credits    creditsConfig    `yaml:"credits"`
	Concurrent concurrentConfig `yaml:"concurrent"`
	Missing    []oz.Feature     `yaml:"missing"`
	TeamOnly   []oz.Feature     `yaml:"team_only"`
	// Forbidden are regular expressions that no prompt, message or setup
	// command may match.
	Forbidden []string `yaml:"forbidden"`
}

type creditsConfig struct {
	Default *float64           `yaml:"default"`
	Owners  map[string]float64 `yaml:"owners"`
	Min     float64            `yaml:"min"`
	USD     float64            `yaml:"usd"`
}

type concurrentConfig struct {
	Default int            `yaml:"default"`
	Owners  map[string]int `yaml:"owners"`
}

// budgets gives the budgets of the file.
func (c *config) budgets() []oz.Budget {
	var list []oz.Budget
	for _, b := range c.Budgets {
		list = append(list, oz.Budget{Scope: task.Scope{Type: task.ScopeType(b.Scope), UID: b.UID},
			LimitUSD: b.LimitUSD, LimitTokens: b.LimitTokens, Period: oz.BudgetPeriod(b.Period)})
	}
	return list
}

func (c *config) checkBudgets() error {
	for i, b := range c.budgets() {
		if err := b.Validate(); err != nil {
			return fmt.Errorf("budgets[%d]: %w", i, err)
		}
	}
	return nil
}

// plan makes the entitlements of the file; nil when it has none.
func (c *config) plan(accounts task.Accounts) (oz.Entitlements, error) {
	if c.Plan == nil {
		return nil, nil
	}
	opts, err := c.Plan.options()
	if err != nil {
		return nil, err
	}
	plan, err := oz.NewPlan(accounts, opts)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return plan, nil
}

func (p planConfig) options() (oz.PlanOptions, error) {
	o := oz.PlanOptions{DefaultCredits: p.Credits.Default, MinCredits: p.Credits.Min, CreditUSD: p.Credits.USD,
		DefaultConcurrent: p.Concurrent.Default, Missing: p.Missing, TeamOnly: p.TeamOnly}
	for i, text := range p.Forbidden {
		re, err := regexp.Compile(text)
		if err != nil {
			return o, fmt.Errorf("plan.forbidden[%d]: %w", i, err)
		}
		o.Forbidden = append(o.Forbidden, re)
	}
	var err error
	if o.Credits, err = byOwner("plan.credits.owners", p.Credits.Owners); err != nil {
		return o, err
	}
	o.Concurrent, err = byOwner("plan.concurrent.owners", p.Concurrent.Owners)
	return o, err
}

// byOwner reads the names of owners.
func byOwner[T any](field string, in map[string]T) (map[task.Scope]T, error) {
	out := map[task.Scope]T{}
	for name, v := range in {
		kind, uid, _ := strings.Cut(name, ":")
		s := task.Scope{Type: task.ScopeType(kind), UID: uid}
		if uid == "" || s.Type != task.ScopeTeam && s.Type != task.ScopeUser {
			return nil, fmt.Errorf("%s: %q is neither Team:uid nor User:uid", field, name)
		}
		out[s] = v
	}
	return out, nil
}
