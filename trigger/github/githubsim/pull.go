package githubsim

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Push makes a branch known that a pull request can be of, with commits of its
// own. "main" is there at first.
func (s *Server) Push(repo, branch string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repo(repo).commits[sha(branch)] = branch
}

// PullRequest is a pull request as people see it.
type PullRequest struct {
	Pull
	Number      int
	Login       string // who opened it
	Title, Body string
	State       string // "open" or "closed"
	Labels      []string
	// Reviewers and Teams were asked to review it.
	Reviewers, Teams []string
}

// AddCollaborator gives somebody access to a repository: others are asked for no
// review.
func (s *Server) AddCollaborator(repo, login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(repo)
	r.collaborators = append(r.collaborators, strings.ToLower(login))
}

// strings reads a list of an input; false when it is none.
func (c call) strings(name string) (list []string, ok bool) {
	v, there := c.in[name]
	if !there {
		return nil, true
	}
	raw, ok := v.([]any)
	for _, one := range raw {
		text, isText := one.(string)
		ok = ok && isText
		list = append(list, text)
	}
	return list, ok
}

// addLabels puts labels on an issue or pull request; those that nobody made yet
// are made.
func (s *Server) addLabels(c call) answer {
	list, ok := c.strings("labels")
	if !ok {
		return refuse(422, "Invalid request.\n\nFor 'properties/labels', it is not an array of strings.")
	}
	for _, l := range list {
		if l == "" || utf8.RuneCountInString(l) > 50 {
			return invalid(map[string]any{"resource": "Label", "code": "custom", "field": "name", "message": "name is too long (maximum is 50 characters)"})
		}
	}
	for _, l := range list {
		if !slices.Contains(c.on.Labels, l) {
			c.on.Labels = append(c.on.Labels, l)
		}
	}
	out := []any{}
	for _, l := range c.on.Labels {
		out = append(out, labelJSON(l))
	}
	return answer{status: 200, body: out}
}

// askReviewers asks for reviews: of all, or of nobody.
func (s *Server) askReviewers(c call) answer {
	people, ok := c.strings("reviewers")
	teams, alsoOK := c.strings("team_reviewers")
	if !ok || !alsoOK {
		return refuse(422, "Invalid request.\n\nreviewers and team_reviewers are arrays of strings.")
	}
	for _, p := range people {
		switch {
		case strings.EqualFold(p, c.on.User.Login):
			return refuse(422, "Review cannot be requested from pull request author.")
		case !slices.Contains(c.repo.collaborators, strings.ToLower(p)):
			return refuse(422, "Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the %s repository.", c.repo.Name)
		}
	}
	for _, t := range teams {
		if !slices.Contains(c.repo.collaborators, "team "+strings.ToLower(t)) {
			return refuse(422, "Could not resolve to a node with the global id of '%s'.", t)
		}
	}
	add := func(list *[]string, names []string) {
		for _, n := range names {
			if !slices.Contains(*list, n) {
				*list = append(*list, n)
			}
		}
	}
	add(&c.on.Reviewers, people)
	add(&c.on.Teams, teams)
	return answer{status: 201, body: s.pullJSON(c.repo, c.on)}
}

// AddTeam gives a team, by its slug, access to a repository.
func (s *Server) AddTeam(repo, slug string) { s.AddCollaborator(repo, "team "+slug) }

// Pulls lists a repository's pull requests, the oldest first.
func (s *Server) Pulls(repo string) (list []PullRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.repo(repo).things {
		if t.Pull != nil {
			list = append(list, PullRequest{Pull: *t.Pull, Number: t.Number, Login: t.User.Login, Title: t.Title, Body: t.Body, State: t.State,
				Labels: slices.Clone(t.Labels), Reviewers: slices.Clone(t.Reviewers), Teams: slices.Clone(t.Teams)})
		}
	}
	return list
}

// onPulls finds the repository, and lets only apps through that have the right.
func (s *Server) onPulls(do func(call) answer) func(call) answer {
	return func(c call) answer {
		c.repo = s.repos[strings.ToLower(c.PathValue("owner")+"/"+c.PathValue("name"))]
		switch {
		case c.repo == nil:
			return refuse(404, "Not Found")
		case c.app != nil && slices.Contains(c.app.denied, "pull_requests"):
			return refuse(403, "Resource not accessible by integration")
		}
		return do(c)
	}
}

// listPulls gives those of a head, a base and a state, a page of them.
func (s *Server) listPulls(c call) answer {
	q := c.URL.Query()
	state := q.Get("state")
	if state == "" {
		state = "open"
	}
	if !slices.Contains([]string{"open", "closed", "all"}, state) {
		return refuse(422, "Validation Failed: state")
	}
	owner, _, _ := strings.Cut(c.repo.Name, "/")
	out := []any{}
	for _, t := range c.repo.things {
		if t.Pull == nil {
			continue
		}
		head := owner + ":" + t.Pull.Head
		if t.Pull.Fork != "" {
			from, _, _ := strings.Cut(t.Pull.Fork, "/")
			head = from + ":" + t.Pull.Head
		}
		switch {
		case state != "all" && t.State != state, q.Has("head") && q.Get("head") != head, q.Has("base") && q.Get("base") != t.Pull.Base:
			continue
		}
		out = append(out, s.pullJSON(c.repo, t))
	}
	if q.Get("direction") != "asc" {
		slices.Reverse(out)
	}
	return page(c, out)
}

// invalid is how GitHub refuses what a pull request would be.
func invalid(errors ...any) answer {
	return answer{status: 422, body: map[string]any{"message": "Validation Failed", "errors": errors, "documentation_url": "https://docs.github.com/rest"}}
}

func custom(format string, args ...any) answer {
	return invalid(map[string]any{"resource": "PullRequest", "code": "custom", "message": fmt.Sprintf(format, args...)})
}

// openPull makes a pull request of a branch of the same repository.
func (s *Server) openPull(c call) answer {
	field := func(name string) string { v, _ := c.in[name].(string); return v }
	title, head, base, body := field("title"), field("head"), field("base"), field("body")
	draft, isBool := c.in["draft"].(bool)
	has := func(branch string) bool { return c.repo.commits[sha(branch)] == branch }
	owner, _, _ := strings.Cut(c.repo.Name, "/")
	head = strings.TrimPrefix(head, owner+":")
	missing := func(field string) answer {
		return invalid(map[string]any{"resource": "PullRequest", "code": "missing_field", "field": field})
	}
	bad := func(field string) answer {
		return invalid(map[string]any{"resource": "PullRequest", "code": "invalid", "field": field})
	}
	switch {
	case strings.TrimSpace(title) == "":
		return missing("title")
	case head == "":
		return missing("head")
	case base == "":
		return missing("base")
	case utf8.RuneCountInString(title) > 256:
		return custom("title is too long (maximum is 256 characters)")
	case utf8.RuneCountInString(body) > 65536:
		return custom("body is too long (maximum is 65536 characters)")
	case c.in["draft"] != nil && !isBool:
		return refuse(422, "Invalid request.\n\nFor 'properties/draft', %v is not a boolean.", c.in["draft"])
	case !has(base):
		return bad("base")
	case !has(head):
		return bad("head")
	case head == base:
		return custom("No commits between %s and %s", base, head)
	}
	for _, t := range c.repo.things {
		if t.Pull != nil && t.State == "open" && t.Pull.Head == head && t.Pull.Base == base && t.Pull.Fork == "" {
			return custom("A pull request already exists for %s:%s.", owner, head)
		}
	}
	t := s.open(c.repo, c.by.Login, title, body, &Pull{Head: head, Base: base, Draft: draft}, nil)
	made := s.pullJSON(c.repo, t)
	return answer{201, made, s.event("pull_request", "opened", c.repo, t.User, map[string]any{"number": t.Number, "pull_request": made})}
}
