package linearsim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/google/uuid"
)

// resolve gives the value of a field of a query or mutation.
func (s *Sim) resolve(name string, args map[string]any) (any, error) {
	switch name {
	case "commentCreate", "agentActivityCreate":
		return s.mutate(name, args)
	case "commentUpdate":
		return s.updateComment(args)
	case "agentSessionUpdate":
		return s.updateSession(args)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case "viewer":
		return userValue(s.App), nil
	case "user":
		id, _ := args["id"].(string)
		if !slices.ContainsFunc(s.users, func(u User) bool { return u.ID == id }) {
			return nil, notFound("User", id)
		}
		return userValue(s.user(id)), nil
	case "users":
		var list []object
		for _, u := range s.users {
			if wanted(args, u.ID) {
				list = append(list, userValue(u))
			}
		}
		return object{"nodes": list}, nil
	case "issue":
		id, _ := args["id"].(string)
		for _, i := range s.issues {
			if i.ID == id || i.Identifier == id {
				return s.issueValue(*i), nil
			}
		}
		return nil, notFound("Issue", id)
	case "comments":
		var list []object
		for _, c := range s.comments {
			if wanted(args, c.ID) {
				list = append(list, s.commentValue(c))
			}
		}
		return object{"nodes": list}, nil
	case "agentActivities":
		var list []object
		for _, a := range s.activities {
			if wanted(args, a.ID) {
				list = append(list, object{"id": a.ID})
			}
		}
		return object{"nodes": list}, nil
	}
	return nil, invalid("the simulator has no %s", name)
}

// wanted applies the filter by ID.
func wanted(args map[string]any, id string) bool {
	filter, _ := args["filter"].(map[string]any)
	by, _ := filter["id"].(map[string]any)
	if eq, ok := by["eq"].(string); ok && eq != id {
		return false
	}
	if in, ok := by["in"]; ok {
		switch list := in.(type) {
		case []any:
			return slices.Contains(list, any(id))
		case []string:
			return slices.Contains(list, id)
		}
	}
	return true
}

func userValue(u User) object {
	return object{"id": u.ID, "name": u.Name, "displayName": u.DisplayName, "email": u.Email, "active": !u.Left, "guest": u.Guest}
}

func (s *Sim) userOrNil(id string) any {
	if id == "" {
		return nil
	}
	return userValue(s.user(id))
}

func (s *Sim) issueValue(i Issue) object {
	var labels, comments []object
	for _, l := range i.Labels {
		labels = append(labels, object{"id": l, "name": l})
	}
	for _, c := range slices.Backward(s.comments) { // the newest first
		if c.Issue == i.ID {
			comments = append(comments, s.commentValue(c))
		}
	}
	v := object{"id": i.ID, "identifier": i.Identifier, "title": i.Title, "description": orNil(i.Description), "url": address(i),
		"createdAt": i.created, "updatedAt": i.updated, "team": object{"id": i.Team, "name": i.Team, "key": "ENG"},
		"state": object{"id": i.State, "name": i.State, "type": "unstarted"}, "assignee": s.userOrNil(i.Assignee), "delegate": s.userOrNil(i.Delegate),
		"labels": object{"nodes": labels}, "comments": object{"nodes": comments}}
	if i.Project != "" {
		v["project"] = object{"id": i.Project, "name": i.Project}
	}
	return v
}

func (s *Sim) commentValue(c Comment) object {
	return object{"id": c.ID, "body": c.Body, "createdAt": c.CreatedAt, "updatedAt": c.CreatedAt, "user": s.userOrNil(c.User)}
}

// mutate makes a comment or an activity, and sends what Linear would send of it.
func (s *Sim) mutate(name string, args map[string]any) (any, error) {
	input, _ := args["input"].(map[string]any)
	id, _ := input["id"].(string)
	if id == "" {
		id = uuid.NewString()
	}
	if u, err := uuid.Parse(id); err != nil || u.Version() != 4 {
		return nil, invalid("Argument Validation Error: id must be a UUID of version 4")
	}
	s.mu.Lock()
	if s.taken(id) {
		s.mu.Unlock()
		return nil, &refusal{status: http.StatusOK, code: "INPUT_ERROR", message: "Entity already exists with the ID " + id}
	}
	if name == "agentActivityCreate" {
		defer s.mu.Unlock()
		return s.createActivity(id, input)
	}
	value, sends, err := s.createComment(id, input)
	s.mu.Unlock()
	s.send(sends...)
	return value, err
}

func (s *Sim) taken(id string) bool {
	return slices.ContainsFunc(s.comments, func(c Comment) bool { return c.ID == id }) ||
		slices.ContainsFunc(s.activities, func(a Activity) bool { return a.ID == id })
}

func (s *Sim) createComment(id string, input map[string]any) (any, []object, error) {
	issue, _ := input["issueId"].(string)
	body, _ := input["body"].(string)
	parent, _ := input["parentId"].(string)
	if s.issues[issue] == nil {
		return nil, nil, notFound("Issue", issue)
	}
	if body == "" {
		return nil, nil, invalid("Argument Validation Error: body must not be empty")
	}
	if parent != "" {
		at := slices.IndexFunc(s.comments, func(c Comment) bool { return c.ID == parent })
		switch {
		case at < 0:
			return nil, nil, notFound("Comment", parent)
		case s.comments[at].Parent != "":
			return nil, nil, invalid("Parent comment must be a top level comment")
		}
	}
	c, sends := s.comment(Comment{ID: id, Issue: issue, Parent: parent, User: s.App.ID, Body: body})
	return object{"success": true, "comment": s.commentValue(c)}, sends, nil
}

// statusAfter is what the last activity makes of a session's status.
var statusAfter = map[string]string{"thought": "active", "action": "active", "elicitation": "awaitingInput", "response": "complete", "error": "error"}

func (s *Sim) createActivity(id string, input map[string]any) (any, error) {
	session, _ := input["agentSessionId"].(string)
	x := s.session(session)
	if x == nil {
		return nil, notFound("AgentSession", session)
	}
	content, _ := input["content"].(map[string]any)
	kind, _ := content["type"].(string)
	body, _ := content["body"].(string)
	if statusAfter[kind] == "" || kind != "action" && body == "" {
		return nil, invalid("Argument Validation Error: content has no known type, or no body")
	}
	signal, _ := input["signal"].(string)
	metadata, _ := input["signalMetadata"].(map[string]any)
	if err := checkSignal(kind, signal, metadata); err != nil {
		return nil, err
	}
	a := Activity{ID: id, Session: session, Type: kind, Body: body, Signal: signal}
	if metadata != nil {
		data, err := json.Marshal(metadata)
		if err != nil {
			return nil, invalid("signalMetadata: %v", err)
		}
		a.Metadata = string(data)
	}
	s.activities = append(s.activities, a)
	x.Status = statusAfter[kind]
	return object{"success": true, "agentActivity": object{"id": id}}, nil
}

func checkSignal(kind, signal string, metadata map[string]any) error {
	switch signal {
	case "":
		return nil
	case "auth":
		if u, err := url.Parse(text(metadata["url"])); err != nil || u.Host == "" {
			return invalid("Argument Validation Error: auth needs a url")
		}
	case "select":
		if options, ok := metadata["options"].([]any); !ok || len(options) == 0 {
			return invalid("Argument Validation Error: select needs options")
		}
	}
	if kind != "elicitation" {
		return invalid("Argument Validation Error: the signal %s belongs to an elicitation", signal)
	}
	return nil
}

// updateComment changes a comment of the agent's own.
func (s *Sim) updateComment(args map[string]any) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _ := args["id"].(string)
	input, _ := args["input"].(map[string]any)
	at := slices.IndexFunc(s.comments, func(c Comment) bool { return c.ID == id })
	switch {
	case at < 0:
		return nil, notFound("Comment", id)
	case s.comments[at].User != s.App.ID:
		return nil, &refusal{status: http.StatusOK, code: "FORBIDDEN", message: "You may change your own comments alone"}
	case text(input["body"]) == "":
		return nil, invalid("Argument Validation Error: body must not be empty")
	}
	s.comments[at].Body = text(input["body"])
	s.comments[at].Edits++
	return object{"success": true, "comment": s.commentValue(s.comments[at])}, nil
}

// planOf reads the plan of a session, which replaces the one before.
func planOf(v any) ([]Step, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, invalid("Argument Validation Error: plan must be a list")
	}
	var plan []Step
	for _, one := range list {
		entry, _ := one.(map[string]any)
		step := Step{Content: text(entry["content"]), Status: text(entry["status"])}
		if step.Content == "" || !slices.Contains([]string{"pending", "inProgress", "completed", "canceled"}, step.Status) {
			return nil, invalid("Argument Validation Error: a step of a plan needs content, and a status that is known")
		}
		plan = append(plan, step)
	}
	return plan, nil
}

func text(v any) string { t, _ := v.(string); return t }

func (s *Sim) updateSession(args map[string]any) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _ := args["id"].(string)
	x := s.session(id)
	if x == nil {
		return nil, notFound("AgentSession", id)
	}
	input, _ := args["input"].(map[string]any)
	if v, ok := input["plan"]; ok && v != nil {
		plan, err := planOf(v)
		if err != nil {
			return nil, err
		}
		x.Plan = plan
		x.Plans++
	}
	added, _ := input["addedExternalUrls"].([]any)
	for _, v := range added {
		entry, _ := v.(map[string]any)
		if u := text(entry["url"]); u != "" && !slices.Contains(x.URLs, u) {
			x.URLs = append(x.URLs, u)
		}
	}
	return object{"success": true, "agentSession": object{"id": id, "status": x.Status}}, nil
}
