package linear

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// DefaultAPIURL is Linear's API.
const DefaultAPIURL = "https://api.linear.app/graphql"

// The calls. All that is asked for is used.
const (
	queryViewer = `query Viewer { viewer { id name displayName } }`
	queryUsers  = `query Users($ids: [ID!]) { users(filter: { id: { in: $ids } }, first: 100) { nodes { id name displayName } } }`
	queryEmail  = `query Email($id: ID) { users(filter: { id: { eq: $id } }, first: 1) { nodes { id email active guest } } }`
	queryIssue  = `query Issue($id: String!) { issue(id: $id) { id identifier title description url
  team { id name } project { id name } state { id name } assignee { id name displayName } delegate { id name displayName }
  labels(first: 50) { nodes { id name } }
  comments(first: 50, orderBy: createdAt) { nodes { id body createdAt user { id name displayName } botActor { name } } } } }`
	queryComment   = `query Comment($id: ID) { comments(filter: { id: { eq: $id } }, first: 1) { nodes { id } } }`
	queryActivity  = `query Activity($id: ID) { agentActivities(filter: { id: { eq: $id } }, first: 1) { nodes { id } } }`
	createComment  = `mutation Comment($input: CommentCreateInput!) { commentCreate(input: $input) { success } }`
	createActivity = `mutation Activity($input: AgentActivityCreateInput!) { agentActivityCreate(input: $input) { success } }`
	updateComment  = `mutation Change($id: String!, $input: CommentUpdateInput!) { commentUpdate(id: $id, input: $input) { success } }`
	updateSession  = `mutation Session($id: String!, $input: AgentSessionUpdateInput!) { agentSessionUpdate(id: $id, input: $input) { success } }`
)

type client struct {
	caller tracker.Caller
	url    string
	token  string
}

// call sends one query and reads its data into out.
func (c client) call(ctx context.Context, query string, variables map[string]any, out any) error {
	reply := struct {
		Data   any `json:"data"`
		Errors []struct {
			Message    string `json:"message"`
			Extensions struct {
				Code string `json:"code"`
			} `json:"extensions"`
		} `json:"errors"`
	}{Data: out}
	h := http.Header{"Authorization": {authorization(c.token)}}
	err := c.caller.DoAny(ctx, http.MethodPost, c.url, h, map[string]any{"query": query, "variables": variables}, &reply)
	var status *tracker.StatusError
	if err != nil && (!errors.As(err, &status) || len(reply.Errors) == 0) {
		return fmt.Errorf("call Linear: %w", err)
	}
	if len(reply.Errors) == 0 {
		return nil
	}
	first := reply.Errors[0]
	failed := &tracker.StatusError{Status: http.StatusBadRequest, Message: first.Message}
	switch {
	case strings.EqualFold(first.Extensions.Code, "RATELIMITED"):
		failed.Status = http.StatusTooManyRequests
		if status != nil {
			failed.RetryAfter = c.reset(status.Header)
		}
	case strings.EqualFold(first.Extensions.Code, "AUTHENTICATION_ERROR"):
		failed.Status = http.StatusUnauthorized
	case strings.EqualFold(first.Extensions.Code, "FORBIDDEN"):
		failed.Status = http.StatusForbidden
	case strings.HasPrefix(first.Message, "Entity not found"):
		failed.Status = http.StatusNotFound
	case status != nil && status.Status >= 500 || strings.EqualFold(first.Extensions.Code, "INTERNAL_SERVER_ERROR"):
		failed.Status = http.StatusInternalServerError
	}
	return fmt.Errorf("call Linear: %w", failed)
}

// reset is when Linear lets us call again; it says so in milliseconds since
// 1970.
func (c client) reset(h http.Header) time.Duration {
	for _, name := range []string{"X-RateLimit-Requests-Reset", "X-RateLimit-Complexity-Reset", "X-RateLimit-Endpoint-Requests-Reset"} {
		if ms, err := strconv.ParseInt(h.Get(name), 10, 64); err == nil && ms > 0 {
			if wait := time.UnixMilli(ms).Sub(c.caller.Clock.Now()); wait > 0 {
				return wait
			}
		}
	}
	return time.Minute
}

// authorization is how Linear wants a token: API keys stand as they are.
func authorization(token string) string {
	if strings.HasPrefix(token, "lin_api_") {
		return token
	}
	return "Bearer " + token
}

func (c client) viewer(ctx context.Context) (node, error) {
	var out struct {
		Viewer node `json:"viewer"`
	}
	err := c.call(ctx, queryViewer, nil, &out)
	if err == nil && out.Viewer.ID == "" {
		err = errors.New("call Linear: it does not say who we are")
	}
	return out.Viewer, err
}

func (c client) issue(ctx context.Context, id string) (issue, error) {
	var out struct {
		Issue *issue `json:"issue"`
	}
	err := c.call(ctx, queryIssue, map[string]any{"id": id}, &out)
	if err == nil && out.Issue == nil {
		err = fmt.Errorf("call Linear: %w", &tracker.StatusError{Status: http.StatusNotFound, Message: "there is no issue " + id})
	}
	if err != nil {
		return issue{}, err
	}
	return *out.Issue, nil
}

// email is that of somebody of the workspace: with it they sign in to Linear. It
// is "" for guests, for whoever has left, and for accounts that are not there.
func (c client) email(ctx context.Context, id string) (string, error) {
	var out struct {
		Users struct {
			Nodes []struct {
				ID     string `json:"id"`
				Email  string `json:"email"`
				Active bool   `json:"active"`
				Guest  bool   `json:"guest"`
			} `json:"nodes"`
		} `json:"users"`
	}
	if err := c.call(ctx, queryEmail, map[string]any{"id": id}, &out); err != nil {
		return "", err
	}
	for _, u := range out.Users.Nodes {
		if u.ID == id && u.Active && !u.Guest {
			return u.Email, nil
		}
	}
	return "", nil
}

// users gives the names of people by ID.
func (c client) users(ctx context.Context, ids []string) (map[string]node, error) {
	var out struct {
		Users struct {
			Nodes []node `json:"nodes"`
		} `json:"users"`
	}
	if err := c.call(ctx, queryUsers, map[string]any{"ids": ids}, &out); err != nil {
		return nil, err
	}
	byID := map[string]node{}
	for _, n := range out.Users.Nodes {
		byID[n.ID] = n
	}
	return byID, nil
}

// there reports whether what has an ID exists.
func (c client) there(ctx context.Context, query, id string) (bool, error) {
	type list struct {
		Nodes []node `json:"nodes"`
	}
	var out struct {
		Comments        list `json:"comments"`
		AgentActivities list `json:"agentActivities"`
	}
	err := c.call(ctx, query, map[string]any{"id": id}, &out)
	return len(out.Comments.Nodes)+len(out.AgentActivities.Nodes) > 0, err
}

// act does what changes something at Linear.
func (c client) act(ctx context.Context, mutation string, variables map[string]any) error {
	var out map[string]struct {
		Success bool `json:"success"`
	}
	if err := c.call(ctx, mutation, variables, &out); err != nil {
		return err
	}
	for name, result := range out {
		if !result.Success {
			return fmt.Errorf("call Linear: %s has not succeeded, without a reason", name)
		}
	}
	return nil
}
