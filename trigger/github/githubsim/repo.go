package githubsim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// repo is a repository.
type repo struct {
	ID      int64
	Name    string // owner/name
	Private bool
	// collaborators are logins in lower case, and teams as "team slug".
	collaborators []string
	things        []*thing          // number 1 and so on
	commits       map[string]string // branches by the commit that they are at
	checks        []*CheckRun
}

// thing is an issue or a pull request.
type thing struct {
	ID           int64
	Number       int
	Title, Body  string
	State        string
	User         *User
	Labels       []string
	Assignees    []string
	Locked       bool
	Pull         *Pull
	Merged       bool
	Reviewers    []string
	Teams        []string
	Comments     []*Comment
	Reviews      []*Comment
	reactions    []string
	created, upd time.Time
}

// Pull is what makes an issue a pull request.
type Pull struct {
	Head string // branch; default "topic"
	Base string // branch; default "main"
	// Fork is the repository that Head is in. Default: the same.
	Fork string
	// SHA is the newest commit of Head. Default: one that is made up.
	SHA   string
	Draft bool
	// Files are the patches by name.
	Files map[string]string
}

// sha is the newest commit of the branch.
func (p *Pull) sha() string {
	if p.SHA != "" {
		return p.SHA
	}
	return sha(p.Head)
}

// Comment is a comment on an issue, a pull request or a change.
type Comment struct {
	ID        int64
	Login     string
	Body      string
	Reactions []string
	CreatedAt time.Time
	UpdatedAt time.Time
	// Those of a comment on a change. ReplyTo is the thread's first comment.
	Path, Hunk string
	ReplyTo    int64

	user *User
}

// AddRepo makes a repository, named owner/name.
func (s *Server) AddRepo(name string, private bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repos[strings.ToLower(name)] = &repo{ID: s.id(), Name: name, Private: private, commits: map[string]string{sha("main"): "main"}}
}

func (r *repo) thing(n int) *thing {
	if n < 1 || n > len(r.things) {
		panic(fmt.Sprintf("githubsim: there is no #%d in %s", n, r.Name))
	}
	return r.things[n-1]
}

func (s *Server) open(r *repo, login, title, body string, pull *Pull, labels []string) *thing {
	t := &thing{ID: s.id(), Number: len(r.things) + 1, Title: title, Body: body, State: "open", User: s.user(login), Labels: labels, Pull: pull, created: s.now(), upd: s.now()}
	r.things = append(r.things, t)
	return t
}

// OpenIssue lets somebody open an issue, and gives its number.
func (s *Server) OpenIssue(repo, login, title, body string, labels ...string) int {
	s.mu.Lock()
	r := s.repo(repo)
	t := s.open(r, login, title, body, nil, labels)
	send := s.event("issues", "opened", r, t.User, map[string]any{"issue": s.issueJSON(r, t)})
	s.mu.Unlock()
	send()
	return t.Number
}

// OpenPull lets somebody open a pull request, and gives its number.
func (s *Server) OpenPull(repo, login, title, body string, p Pull, labels ...string) int {
	s.mu.Lock()
	r := s.repo(repo)
	if p.Head == "" {
		p.Head = "topic"
	}
	if p.Base == "" {
		p.Base = "main"
	}
	r.commits[p.sha()], r.commits[sha(p.Base)] = p.Head, p.Base
	t := s.open(r, login, title, body, &p, labels)
	send := s.event("pull_request", "opened", r, t.User, map[string]any{"number": t.Number, "pull_request": s.pullJSON(r, t)})
	s.mu.Unlock()
	send()
	return t.Number
}

// Comment lets somebody comment on an issue or a pull request, and gives the
// comment's number.
func (s *Server) Comment(repo string, number int, login, body string) int64 {
	s.mu.Lock()
	r := s.repo(repo)
	c, send := s.comment(r, r.thing(number), s.user(login), body)
	s.mu.Unlock()
	send()
	return c.ID
}

func (s *Server) comment(r *repo, t *thing, u *User, body string) (*Comment, func()) {
	c := &Comment{ID: s.id(), Login: u.Login, Body: body, CreatedAt: s.now(), UpdatedAt: s.now(), user: u}
	t.Comments = append(t.Comments, c)
	return c, s.event("issue_comment", "created", r, u, map[string]any{"issue": s.issueJSON(r, t), "comment": s.commentJSON(r, t, c)})
}

// Review lets somebody comment on a change of a file, or answer such a comment
// when replyTo is not 0.
func (s *Server) Review(repo string, number int, login, path, hunk, body string, replyTo int64) int64 {
	s.mu.Lock()
	r := s.repo(repo)
	c, send := s.review(r, r.thing(number), s.user(login), path, hunk, body, replyTo)
	s.mu.Unlock()
	send()
	return c.ID
}

func (s *Server) review(r *repo, t *thing, u *User, path, hunk, body string, replyTo int64) (*Comment, func()) {
	c := &Comment{ID: s.id(), Login: u.Login, Body: body, CreatedAt: s.now(), UpdatedAt: s.now(), Path: path, Hunk: hunk, ReplyTo: replyTo, user: u}
	t.Reviews = append(t.Reviews, c)
	return c, s.event("pull_request_review_comment", "created", r, u, map[string]any{"pull_request": s.pullJSON(r, t), "comment": s.commentJSON(r, t, c)})
}

// EditComment lets somebody change a comment.
func (s *Server) EditComment(repo string, number int, login string, id int64, body string) {
	s.mu.Lock()
	r := s.repo(repo)
	t := r.thing(number)
	c, kind := t.find(id)
	if c == nil {
		s.mu.Unlock()
		panic(fmt.Sprintf("githubsim: there is no comment %d on #%d", id, number))
	}
	send := s.edit(r, t, c, kind, s.user(login), body)
	s.mu.Unlock()
	send()
}

// DeleteComment lets somebody remove a comment on an issue or pull request.
func (s *Server) DeleteComment(repo string, number int, login string, id int64) {
	s.mu.Lock()
	r := s.repo(repo)
	t := r.thing(number)
	i := slices.IndexFunc(t.Comments, func(c *Comment) bool { return c.ID == id })
	if i < 0 {
		s.mu.Unlock()
		panic(fmt.Sprintf("githubsim: there is no comment %d on #%d", id, number))
	}
	c := t.Comments[i]
	t.Comments = slices.Delete(t.Comments, i, i+1)
	send := s.event("issue_comment", "deleted", r, s.user(login), map[string]any{"issue": s.issueJSON(r, t), "comment": s.commentJSON(r, t, c)})
	s.mu.Unlock()
	send()
}

func (s *Server) edit(r *repo, t *thing, c *Comment, kind string, by *User, body string) func() {
	was := c.Body
	c.Body, c.UpdatedAt = body, s.now()
	fields := map[string]any{"comment": s.commentJSON(r, t, c), "changes": map[string]any{"body": map[string]any{"from": was}}}
	if kind == "issue_comment" {
		fields["issue"] = s.issueJSON(r, t)
	} else {
		fields["pull_request"] = s.pullJSON(r, t)
	}
	return s.event(kind, "edited", r, by, fields)
}

func (t *thing) find(id int64) (*Comment, string) {
	for kind, list := range map[string][]*Comment{"issue_comment": t.Comments, "pull_request_review_comment": t.Reviews} {
		if i := slices.IndexFunc(list, func(c *Comment) bool { return c.ID == id }); i >= 0 {
			return list[i], kind
		}
	}
	return nil, ""
}

// change does something to an issue or pull request and tells of it. more is
// what the event has besides.
func (s *Server) change(repo string, number int, login, action string, do func(*thing) map[string]any) {
	s.mu.Lock()
	r := s.repo(repo)
	t := r.thing(number)
	fields := do(t)
	if fields == nil {
		fields = map[string]any{}
	}
	t.upd = s.now()
	kind := "issues"
	if t.Pull != nil {
		kind = "pull_request"
		fields["number"], fields["pull_request"] = t.Number, s.pullJSON(r, t)
	} else {
		fields["issue"] = s.issueJSON(r, t)
	}
	send := s.event(kind, action, r, s.user(login), fields)
	s.mu.Unlock()
	send()
}

// Label lets somebody add a label.
func (s *Server) Label(repo string, number int, login, label string) {
	s.change(repo, number, login, "labeled", func(t *thing) map[string]any {
		t.Labels = append(t.Labels, label)
		return map[string]any{"label": labelJSON(label)}
	})
}

// Assign lets somebody assign an account.
func (s *Server) Assign(repo string, number int, login, assignee string) {
	s.change(repo, number, login, "assigned", func(t *thing) map[string]any {
		t.Assignees = append(t.Assignees, assignee)
		return map[string]any{"assignee": s.user(assignee)}
	})
}

// RequestReview lets somebody ask an account for a review, or a team when its
// slug begins with "team:".
func (s *Server) RequestReview(repo string, number int, login, reviewer string) {
	s.change(repo, number, login, "review_requested", func(t *thing) map[string]any {
		if slug, ok := strings.CutPrefix(reviewer, "team:"); ok {
			t.Teams = append(t.Teams, slug)
			return map[string]any{"requested_team": map[string]any{"slug": slug, "name": slug}}
		}
		t.Reviewers = append(t.Reviewers, reviewer)
		return map[string]any{"requested_reviewer": s.user(reviewer)}
	})
}

// Ready lets somebody end a pull request's being a draft.
func (s *Server) Ready(repo string, number int, login string) {
	s.change(repo, number, login, "ready_for_review", func(t *thing) map[string]any { t.Pull.Draft = false; return nil })
}

// Close lets somebody close an issue or a pull request, which may be merged so.
func (s *Server) Close(repo string, number int, login string, merged bool) {
	s.change(repo, number, login, "closed", func(t *thing) map[string]any { t.State, t.Merged = "closed", merged; return nil })
}

// EditTitle lets somebody change the title and body.
func (s *Server) EditTitle(repo string, number int, login, title, body string) {
	s.change(repo, number, login, "edited", func(t *thing) map[string]any {
		was := t.Title
		t.Title, t.Body = title, body
		return map[string]any{"changes": map[string]any{"title": map[string]any{"from": was}}}
	})
}

// Lock lets nobody comment any more.
func (s *Server) Lock(repo string, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repo(repo).thing(number).Locked = true
}

// Workflow is a workflow's run that has ended.
type Workflow struct {
	Name, File, Branch, Conclusion string
	// Fork is the repository that the branch is in. Default: the same.
	Fork string
	// Pulls are the numbers of the branch's pull requests.
	Pulls []int
}

// EndWorkflow lets a run of a workflow end. A program sets it off.
func (s *Server) EndWorkflow(repo string, w Workflow) {
	s.mu.Lock()
	r := s.repo(repo)
	head := r.ID
	r.commits[sha(w.Branch)] = w.Branch
	if w.Fork != "" {
		head = -r.ID
	}
	id := s.id()
	run := map[string]any{"id": id, "run_attempt": 1, "name": w.Name, "path": ".github/workflows/" + w.File, "head_branch": w.Branch, "head_sha": sha(w.Branch),
		"status": "completed", "conclusion": w.Conclusion, "html_url": fmt.Sprintf("https://github.com/%s/actions/runs/%d", r.Name, id),
		"head_repository": map[string]any{"id": head}, "pull_requests": s.pullRefs(r, w.Pulls)}
	send := s.event("workflow_run", "completed", r, s.user("github-actions[bot]"), map[string]any{"workflow_run": run})
	s.mu.Unlock()
	send()
}

// EndChecks lets a suite of checks on a branch end.
func (s *Server) EndChecks(repo, branch, conclusion string, pulls ...int) {
	s.mu.Lock()
	r := s.repo(repo)
	r.commits[sha(branch)] = branch
	suite := map[string]any{"id": s.id(), "head_branch": branch, "head_sha": sha(branch), "status": "completed", "conclusion": conclusion,
		"pull_requests": s.pullRefs(r, pulls), "app": map[string]any{"id": actionsApp, "slug": "github-actions"}}
	send := s.event("check_suite", "completed", r, s.user("github-actions[bot]"), map[string]any{"check_suite": suite})
	s.mu.Unlock()
	send()
}

func (s *Server) pullRefs(r *repo, numbers []int) []any {
	refs := []any{}
	for _, n := range numbers {
		refs = append(refs, map[string]any{"id": r.thing(n).ID, "number": n, "base": map[string]any{"repo": map[string]any{"id": r.ID}}})
	}
	return refs
}

// Comments are those on an issue or pull request, the oldest first; Reviews
// those on a pull request's changes.
func (s *Server) Comments(repo string, number int) []Comment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copies(s.repo(repo).thing(number).Comments)
}

// Reviews are the comments on a pull request's changes, the oldest first.
func (s *Server) Reviews(repo string, number int) []Comment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copies(s.repo(repo).thing(number).Reviews)
}

// Reactions are those to an issue or pull request itself.
func (s *Server) Reactions(repo string, number int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.repo(repo).thing(number).reactions)
}

func copies(list []*Comment) []Comment {
	out := make([]Comment, 0, len(list))
	for _, c := range list {
		d := *c
		d.Reactions = slices.Clone(c.Reactions)
		out = append(out, d)
	}
	return out
}
