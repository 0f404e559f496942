package github

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// event is what GitHub says has happened, as far as it counts here.
type event struct {
	kind string // of the header X-GitHub-Event

	Action            string       `json:"action"`
	Repo              repository   `json:"repository"`
	Sender            account      `json:"sender"`
	Issue             *issue       `json:"issue"`
	Pull              *pull        `json:"pull_request"`
	Comment           *comment     `json:"comment"`
	Label             *label       `json:"label"`
	Assignee          *account     `json:"assignee"`
	RequestedReviewer *account     `json:"requested_reviewer"`
	RequestedTeam     *team        `json:"requested_team"`
	Suite             *checkSuite  `json:"check_suite"`
	Run               *workflowRun `json:"workflow_run"`
}

type repository struct {
	ID            int64  `json:"id"`
	FullName      string `json:"full_name"`
	Private       bool   `json:"private"`
	HTMLURL       string `json:"html_url"`
	CloneURL      string `json:"clone_url"`
	DefaultBranch string `json:"default_branch"`
}

type account struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Type  string `json:"type"`
}

func (a account) key() string { return strconv.FormatInt(a.ID, 10) }

func (a account) bot() bool { return a.Type == "Bot" || strings.HasSuffix(a.Login, "[bot]") }

type label struct {
	Name string `json:"name"`
}

type team struct {
	Slug string `json:"slug"`
}

type issue struct {
	ID        int64     `json:"id"`
	Number    int       `json:"number"`
	Title     string    `json:"title"`
	Body      string    `json:"body"`
	State     string    `json:"state"`
	HTMLURL   string    `json:"html_url"`
	User      account   `json:"user"`
	Labels    []label   `json:"labels"`
	Assignees []account `json:"assignees"`
	Comments  int       `json:"comments"`
	// PullRequest is there when the issue is one.
	PullRequest json.RawMessage `json:"pull_request"`
}

type pull struct {
	issue
	Draft              bool      `json:"draft"`
	Merged             bool      `json:"merged"`
	RequestedReviewers []account `json:"requested_reviewers"`
	RequestedTeams     []team    `json:"requested_teams"`
	Head               branch    `json:"head"`
	Base               branch    `json:"base"`
}

type branch struct {
	Ref  string `json:"ref"`
	SHA  string `json:"sha"`
	Repo *struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
	} `json:"repo"`
}

type comment struct {
	ID        int64     `json:"id"`
	Body      string    `json:"body"`
	HTMLURL   string    `json:"html_url"`
	User      account   `json:"user"`
	CreatedAt time.Time `json:"created_at"`
	// Those of a review comment.
	InReplyTo int64  `json:"in_reply_to_id"`
	Path      string `json:"path"`
	DiffHunk  string `json:"diff_hunk"`
	Line      int    `json:"line"`
	CommitID  string `json:"commit_id"`
}

// pullRef is a pull request that a check belongs to.
type pullRef struct {
	Number int `json:"number"`
	Base   struct {
		Repo struct {
			ID int64 `json:"id"`
		} `json:"repo"`
	} `json:"base"`
}

type checkSuite struct {
	ID         int64     `json:"id"`
	HeadBranch string    `json:"head_branch"`
	HeadSHA    string    `json:"head_sha"`
	Conclusion string    `json:"conclusion"`
	Pulls      []pullRef `json:"pull_requests"`
	App        struct {
		ID   int64  `json:"id"`
		Slug string `json:"slug"`
	} `json:"app"`
}

type workflowRun struct {
	ID         int64  `json:"id"`
	Attempt    int    `json:"run_attempt"`
	Name       string `json:"name"`
	Path       string `json:"path"`
	HeadBranch string `json:"head_branch"`
	HeadSHA    string `json:"head_sha"`
	Conclusion string `json:"conclusion"`
	HTMLURL    string `json:"html_url"`
	HeadRepo   struct {
		ID int64 `json:"id"`
	} `json:"head_repository"`
	Pulls []pullRef `json:"pull_requests"`
}

// Kinds of events that count. Others are not kept.
const (
	onIssue         = "issues"
	onIssueComment  = "issue_comment"
	onPull          = "pull_request"
	onReviewComment = "pull_request_review_comment"
	onCheckSuite    = "check_suite"
	onWorkflowRun   = "workflow_run"
	onPing          = "ping"
)

var counted = []string{onIssue, onIssueComment, onPull, onReviewComment, onCheckSuite, onWorkflowRun}

// parse reads an event and makes sure that all is there that is used of it.
func parse(kind string, body []byte) (*event, error) {
	e := &event{kind: kind}
	if err := json.Unmarshal(body, e); err != nil {
		return nil, task.Invalid("body", "is no event of GitHub: %w", err)
	}
	missing := func(what string) (*event, error) {
		return nil, task.Invalid("body", "is no %s event of GitHub: %s is missing or not in order", kind, what)
	}
	switch {
	case e.Action == "" || len(e.Action) > 50:
		return missing("action")
	case e.Repo.ID <= 0 || !repoForm.MatchString(e.Repo.FullName) || strings.Contains(e.Repo.FullName, "*"):
		return missing("repository")
	case e.Sender.ID <= 0 || e.Sender.Login == "":
		return missing("sender")
	}
	ok := true
	switch kind {
	case onIssue:
		ok = e.Issue != nil && e.Issue.Number > 0
	case onIssueComment:
		ok = e.Issue != nil && e.Issue.Number > 0 && e.Comment != nil && e.Comment.ID > 0 && e.Comment.User.ID > 0
	case onPull:
		ok = e.Pull != nil && e.Pull.Number > 0
	case onReviewComment:
		ok = e.Pull != nil && e.Pull.Number > 0 && e.Comment != nil && e.Comment.ID > 0 && e.Comment.User.ID > 0
	case onCheckSuite:
		ok = e.Suite != nil && e.Suite.ID > 0
	case onWorkflowRun:
		ok = e.Run != nil && e.Run.ID > 0
	}
	if !ok {
		return missing(strings.TrimSuffix(kind, "s"))
	}
	return e, nil
}

// key names the event by what it is about, where that happens once: a
// repository and its organisation may both send it, each under its own number.
// Else it is the delivery's.
func (e *event) key(delivery string) string {
	switch {
	case e.Action == "created" && e.Comment != nil:
		return fmt.Sprintf("%s %d", e.kind, e.Comment.ID)
	case e.Action == "opened" && e.Issue != nil:
		return fmt.Sprintf("%s opened %d", e.kind, e.Issue.ID)
	case e.Action == "opened" && e.Pull != nil:
		return fmt.Sprintf("%s opened %d", e.kind, e.Pull.ID)
	case e.Action == "completed" && e.Run != nil:
		return fmt.Sprintf("%s completed %d %d", e.kind, e.Run.ID, e.Run.Attempt)
	}
	return delivery
}

// number is that of the issue or pull request; 0 when it is about none, or
// about more than one.
func (e *event) number() int {
	var refs []pullRef
	switch {
	case e.Issue != nil:
		return e.Issue.Number
	case e.Pull != nil:
		return e.Pull.Number
	case e.Suite != nil:
		refs = e.Suite.Pulls
	case e.Run != nil:
		refs = e.Run.Pulls
	}
	if len(refs) == 1 && refs[0].Base.Repo.ID == e.Repo.ID {
		return refs[0].Number
	}
	return 0
}

// thread is the first comment of the review thread that the event belongs to;
// 0 outside of one.
func (e *event) thread() int64 {
	if e.kind != onReviewComment {
		return 0
	}
	if e.Comment.InReplyTo > 0 {
		return e.Comment.InReplyTo
	}
	return e.Comment.ID
}

// isPull reports that it is about a pull request.
func (e *event) isPull() bool {
	return e.Pull != nil || e.Issue != nil && len(e.Issue.PullRequest) > 0 && string(e.Issue.PullRequest) != "null"
}

// thing is the issue or pull request; nil for checks.
func (e *event) thing() *issue {
	if e.Pull != nil {
		return &e.Pull.issue
	}
	return e.Issue
}

// author wrote what the event is about, and words are what was newly written.
// Only new words count: an edit is none.
func (e *event) author() account {
	if e.Comment != nil {
		return e.Comment.User
	}
	return e.Sender
}

func (e *event) words() string {
	switch {
	case e.Comment != nil && e.Action == "created":
		return e.Comment.Body
	case e.Comment == nil && e.Action == "opened" && e.thing() != nil:
		return e.thing().Body
	}
	return ""
}

// url leads people to it.
func (e *event) url() string {
	switch {
	case e.Comment != nil:
		return e.Comment.HTMLURL
	case e.thing() != nil:
		return e.thing().HTMLURL
	case e.Run != nil:
		return e.Run.HTMLURL
	case e.Repo.HTMLURL != "" && e.Suite != nil:
		return e.Repo.HTMLURL + "/commit/" + e.Suite.HeadSHA + "/checks"
	}
	return e.Repo.HTMLURL
}

// kinds are those of automations that the event is.
func (e *event) kinds() []Kind {
	switch e.kind {
	case onIssue:
		return e.issueKinds()
	case onPull:
		return e.pullKinds()
	case onIssueComment, onReviewComment:
		if e.Action != "created" {
			return nil
		}
		if e.isPull() {
			return []Kind{PullMentioned}
		}
		return []Kind{IssueMentioned}
	case onCheckSuite:
		if e.Action == "completed" {
			return []Kind{CheckSuiteCompleted}
		}
	case onWorkflowRun:
		if e.Action == "completed" {
			return []Kind{WorkflowCompleted}
		}
	}
	return nil
}

func (e *event) issueKinds() []Kind {
	switch e.Action {
	case "opened":
		return []Kind{IssueCreated, IssueMentioned}
	case "labeled":
		return []Kind{IssueLabeled}
	case "assigned":
		return []Kind{IssueAssigned}
	}
	return nil
}

func (e *event) pullKinds() []Kind {
	switch e.Action {
	case "opened":
		return []Kind{PullOpened, PullMentioned}
	case "ready_for_review":
		return []Kind{PullReady}
	case "closed":
		if e.Pull.Merged {
			return []Kind{PullMerged}
		}
		return []Kind{PullClosed}
	case "assigned":
		return []Kind{PullAssigned}
	case "review_requested":
		return []Kind{PullReviewRequested}
	}
	return nil
}

// matches reports whether an automation waits for the event.
func (a Automation) matches(e *event, handle string) bool {
	if a.Disabled {
		return false
	}
	kinds := e.kinds()
	i := slices.IndexFunc(a.On, func(k Kind) bool { return slices.Contains(kinds, k) && a.mentions(k, e, handle) })
	if i < 0 {
		return false
	}
	for _, f := range a.Filter.fields() {
		if len(f.values) > 0 && !forge.In(f.values, e.values(f.name)...) {
			return false
		}
	}
	return true
}

// mentions reports whether an event that counts only with a mention has one.
func (a Automation) mentions(k Kind, e *event, handle string) bool {
	if !k.mentioned() || len(a.Filter.Mentioned) > 0 { // else the filter looks
		return true
	}
	return slices.Contains(Mentioned(e.words()), strings.ToLower(handle))
}

// values are what an event has for a field of a filter.
func (e *event) values(name string) []string {
	switch name {
	case "repos":
		return []string{e.Repo.FullName}
	case "mentioned":
		return Mentioned(e.words())
	case "assignees":
		return e.assignees()
	case "labels":
		return e.labels()
	case "conclusions", "workflows":
		return e.ofCheck(name)
	case "reviewers", "reviewer_teams":
		return e.reviewers(name)
	case "branches":
		switch {
		case e.Pull != nil:
			return []string{e.Pull.Head.Ref}
		case e.Suite != nil:
			return []string{e.Suite.HeadBranch}
		case e.Run != nil:
			return []string{e.Run.HeadBranch}
		}
	case "base_branches":
		if e.Pull != nil {
			return []string{e.Pull.Base.Ref}
		}
	}
	return nil
}

func (e *event) assignees() []string {
	switch {
	case e.Action == "assigned" && e.Assignee != nil:
		return []string{e.Assignee.Login}
	case e.thing() != nil:
		return logins(e.thing().Assignees)
	}
	return nil
}

func (e *event) labels() []string {
	switch {
	case e.Action == "labeled" && e.Label != nil:
		return []string{e.Label.Name}
	case e.thing() == nil:
		return nil
	}
	var names []string
	for _, l := range e.thing().Labels {
		names = append(names, l.Name)
	}
	return names
}

func (e *event) ofCheck(name string) []string {
	switch {
	case e.Suite != nil && name == "conclusions":
		return []string{e.Suite.Conclusion}
	case e.Run != nil && name == "conclusions":
		return []string{e.Run.Conclusion}
	case e.Run != nil:
		return []string{e.Run.Name, e.Run.Path[strings.LastIndexByte(e.Run.Path, '/')+1:]}
	}
	return nil
}

func (e *event) reviewers(name string) []string {
	if e.Pull == nil {
		return nil
	}
	asked := e.Action == "review_requested"
	if name == "reviewers" {
		switch {
		case asked && e.RequestedReviewer != nil:
			return []string{e.RequestedReviewer.Login}
		case asked:
			return nil
		}
		return logins(e.Pull.RequestedReviewers)
	}
	if asked {
		if e.RequestedTeam == nil {
			return nil
		}
		return []string{e.RequestedTeam.Slug}
	}
	var slugs []string
	for _, t := range e.Pull.RequestedTeams {
		slugs = append(slugs, t.Slug)
	}
	return slugs
}

func logins(list []account) []string {
	var names []string
	for _, a := range list {
		names = append(names, a.Login)
	}
	return names
}

// loginSyntax is how logins look at GitHub.
var loginSyntax = forge.Syntax{Inner: "-", Last: "-", Max: 39}

// Mentioned lists the logins that a text mentions, in lower case and the order
// in which they stand there. What stands in code, in quotes, in comments of HTML
// and in e-mail addresses does not count (Oz platform, AUT-3).
func Mentioned(text string) []string { return loginSyntax.Mentioned(text) }
