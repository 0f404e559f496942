package rest_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// answering is a policy that refuses every run in its own way.
type answering struct{ err error }

func (a answering) Allow(_ context.Context, ask oz.Ask) error {
	if ask.Feature != oz.FeatureRun {
		return nil
	}
	return a.err
}

func (answering) Concurrent(context.Context, task.Scope) (int, error) { return 0, nil }

// refusing starts a server whose policy answers err to every run.
func refusing(t *testing.T, err error) *transporttest.Env {
	t.Helper()
	return transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Entitlements: answering{err}}})
}

// started starts a server with a plan.
func started(t *testing.T, plan oz.PlanOptions) *transporttest.Env {
	t.Helper()
	p, err := oz.NewPlan(nothingSpent{}, plan)
	assert.NilError(t, err)
	return transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Entitlements: p}})
}

// nothingSpent is the accounts of a server that has just begun.
type nothingSpent struct{ task.Accounts }

func (nothingSpent) Spent(context.Context, task.Scope, time.Time) (task.Spending, error) {
	return task.Spending{}, nil
}

// create asks for a run as the admin.
func create(e *transporttest.Env) transporttest.Answer {
	return e.Call(transporttest.AdminKey, http.MethodPost, "/api/v1/agent/runs", map[string]any{"prompt": "mine xmrcoin"})
}

// provocations has a way to get each code of the catalogue as the answer to a
// request (Oz platform, section 25).
func provocations() map[task.Code]func(t *testing.T) transporttest.Answer {
	admin := transporttest.AdminKey
	plain := func(f func(e *transporttest.Env) transporttest.Answer) func(t *testing.T) transporttest.Answer {
		return func(t *testing.T) transporttest.Answer {
			return f(transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{MaxWaiting: 1}}))
		}
	}
	policy := func(err error) func(t *testing.T) transporttest.Answer {
		return func(t *testing.T) transporttest.Answer { return create(refusing(t, err)) }
	}
	return map[task.Code]func(t *testing.T) transporttest.Answer{
		task.CodeInsufficientCredits: func(t *testing.T) transporttest.Answer {
			return create(started(t, oz.PlanOptions{Credits: map[task.Scope]float64{team: 19}}))
		},
		task.CodeFeatureNotAvailable: func(t *testing.T) transporttest.Answer {
			e := started(t, oz.PlanOptions{Missing: []oz.Feature{oz.FeatureComputerUse}})
			return e.Call(admin, http.MethodPost, "/api/v1/agent/runs", map[string]any{"prompt": "x", "config": map[string]any{"computer_use_enabled": true}})
		},
		task.CodeContentPolicyViolation: func(t *testing.T) transporttest.Answer {
			return create(started(t, oz.PlanOptions{Forbidden: []*regexp.Regexp{regexp.MustCompile(`\bxmr`)}}))
		},
		task.CodeBudgetExceeded: plain(func(e *transporttest.Env) transporttest.Answer {
			e.Call(admin, http.MethodPut, "/api/v1/oz/budgets/Team/default", map[string]any{"limit_usd": 0})
			return create(e)
		}),
		task.CodeExternalAuthRequired: policy(&task.Error{Code: task.CodeExternalAuthRequired, Message: "connect GitHub",
			Help: &task.Help{Provider: "github", AuthURL: "https://oz.example.com/connect", InaccessibleRepos: []string{"demo/greeting"}}}),
		task.CodeIntegrationDisabled: policy(task.Errorf(task.CodeIntegrationDisabled, "an admin has switched Slack off")),
		task.CodeIntegrationNotConfigured: policy(&task.Error{Code: task.CodeIntegrationNotConfigured, Message: "finish the setup",
			Help: &task.Help{IntegrationName: "slack", SetupURL: "https://oz.example.com/setup"}}),
		task.CodeInternal: policy(errors.New("the billing service is away")),
		task.CodeNotAuthorized: plain(func(e *transporttest.Env) transporttest.Answer {
			return e.Call(e.Member, http.MethodPut, "/api/v1/oz/budgets/Team/default", map[string]any{"limit_usd": 1})
		}),
		task.CodeInvalidRequest: plain(func(e *transporttest.Env) transporttest.Answer {
			return e.Call(admin, http.MethodPost, "/api/v1/agent/runs", map[string]any{"prompt": ""})
		}),
		task.CodeNotFound: plain(func(e *transporttest.Env) transporttest.Answer {
			return e.Call(admin, http.MethodGet, "/api/v1/agent/runs/none", nil)
		}),
		task.CodeOperationNotSupported: plain(func(e *transporttest.Env) transporttest.Answer {
			local := e.Call(admin, http.MethodPost, "/api/v1/oz/local-runs", map[string]any{"prompt": "x"})
			run, _ := local.Problem()["run"].(map[string]any)
			id, _ := run["run_id"].(string)
			return e.Call(admin, http.MethodPost, "/api/v1/agent/runs/"+id+"/cancel", nil)
		}),
		task.CodeConflict: plain(func(e *transporttest.Env) transporttest.Answer {
			e.Call(admin, http.MethodPost, "/api/v1/agent/runs", map[string]any{"prompt": "x"}, "Idempotency-Key", "k")
			return e.Call(admin, http.MethodPost, "/api/v1/agent/runs", map[string]any{"prompt": "y"}, "Idempotency-Key", "k")
		}),
		task.CodeAuthenticationRequired: plain(func(e *transporttest.Env) transporttest.Answer {
			return e.Call("", http.MethodGet, "/api/v1/agent/runs", nil)
		}),
		task.CodeResourceUnavailable: plain(func(e *transporttest.Env) transporttest.Answer {
			create(e)
			return create(e)
		}),
	}
}

// lifeCodes end runs and answer no request: a runner or the platform says them.
func lifeCodes() []task.Code {
	return []task.Code{task.CodeEnvironmentSetupFailed, task.CodeAgentProcessFailed, task.CodeInfrastructureTimeout}
}

// TestCodes provokes every code of the catalogue that a request can get, and
// holds the whole problem against the catalogue.
func TestCodes(t *testing.T) {
	ways := provocations()
	for _, code := range task.Codes() {
		t.Run(string(code), func(t *testing.T) {
			if slices.Contains(lifeCodes(), code) {
				endsRun(t, code)
				return
			}
			provoke := ways[code]
			assert.Assert(t, provoke != nil, "no way to provoke %s", code)
			a := provoke(t)
			path, _ := a.Problem()["instance"].(string)
			checkProblem(t, a, code.HTTPStatus(), code, code.Retryable(), path)
			checkHelp(t, code, a)
		})
	}
}

// checkHelp asks for what goes with some codes only.
func checkHelp(t *testing.T, code task.Code, a transporttest.Answer) {
	t.Helper()
	p := a.Problem()
	switch code {
	case task.CodeExternalAuthRequired:
		assert.Equal(t, p["provider"], "github")
		assert.Equal(t, p["auth_url"], "https://oz.example.com/connect")
		assert.DeepEqual(t, p["inaccessible_repos"], []any{"demo/greeting"})
	case task.CodeIntegrationNotConfigured:
		assert.Equal(t, p["integration_name"], "slack")
		assert.Equal(t, p["setup_url"], "https://oz.example.com/setup")
	case task.CodeContentPolicyViolation:
		assert.Equal(t, p["detail"], "the request was refused by this server's content policy")
		assert.Assert(t, p["request_id"] != "", "by which an admin finds it in the log")
	}
}

// endsRun ends a run by a code and asks for it on the run.
func endsRun(t *testing.T, code task.Code) {
	e := transporttest.Start(t, nil)
	admin := sdk(t, e, transporttest.AdminKey)
	run, err := admin.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	assert.NilError(t, link.End(t.Context(), task.End{State: code.EndState(), Status: task.Status{Message: "it failed", ErrorCode: code, Retryable: code.Retryable()}}))
	got, err := admin.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, code.EndState())
	assert.Equal(t, got.Status.ErrorCode, code)
}
