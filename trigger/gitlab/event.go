package gitlab

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// event is what GitLab says has happened, as far as it counts here.
type event struct {
	Kind      string     `json:"object_kind"`
	User      account    `json:"user"`
	Project   project    `json:"project"`
	Attrs     attributes `json:"object_attributes"`
	Issue     *thing     `json:"issue"`
	Merge     *thing     `json:"merge_request"`
	Labels    []label    `json:"labels"`
	Assignees []account  `json:"assignees"`
	Reviewers []account  `json:"reviewers"`
	Changes   struct {
		Labels    change[[]label]   `json:"labels"`
		Assignees change[[]account] `json:"assignees"`
		Reviewers change[[]account] `json:"reviewers"`
		Draft     change[bool]      `json:"draft"`
	} `json:"changes"`
}

type change[T any] struct {
	Previous T `json:"previous"`
	Current  T `json:"current"`
}

type account struct {
	ID       int64  `json:"id"`
	Name     string `json:"name"`
	Username string `json:"username"`
}

// programs are the accounts that GitLab makes for tokens, and its own.
var programs = regexp.MustCompile(`^(?:(?:project|group)_[0-9]+_bot|service_account_|ghost$|(?:alert|support|migration|security|automation|duo[a-z-]*)-bot$)`)

func (a account) bot() bool { return programs.MatchString(strings.ToLower(a.Username)) }

type label struct {
	Title string `json:"title"`
}

type project struct {
	ID            int64  `json:"id"`
	Path          string `json:"path_with_namespace"`
	WebURL        string `json:"web_url"`
	CloneURL      string `json:"git_http_url"`
	DefaultBranch string `json:"default_branch"`
	// Visibility is 0 for private, 10 for internal, 20 for public.
	Visibility int `json:"visibility_level"`
}

// attributes are those of what the event is about: a comment, an issue, a
// merge request or a pipeline.
type attributes struct {
	thing
	Action string `json:"action"`
	// Those of a comment.
	Note       string `json:"note"`
	NoteType   string `json:"type"`
	On         string `json:"noteable_type"`
	Discussion string `json:"discussion_id"`
	System     bool   `json:"system"`
	Internal   bool   `json:"internal"`
	Diff       *struct {
		Diff string `json:"diff"`
		Path string `json:"new_path"`
	} `json:"st_diff"`
	Position *struct {
		Path string `json:"new_path"`
		Line int    `json:"new_line"`
	} `json:"position"`
	// Those of a pipeline.
	Ref    string `json:"ref"`
	SHA    string `json:"sha"`
	Status string `json:"status"`
	// OldRev is there when a merge request got new commits.
	OldRev string `json:"oldrev"`
}

// thing is an issue or a merge request.
type thing struct {
	ID           int64   `json:"id"`
	IID          int64   `json:"iid"` // its number in the project
	Title        string  `json:"title"`
	Description  string  `json:"description"`
	State        string  `json:"state"`
	URL          string  `json:"url"`
	Confidential bool    `json:"confidential"`
	Labels       []label `json:"labels"`
	// Those of a merge request.
	Source        string `json:"source_branch"`
	Target        string `json:"target_branch"`
	SourceProject int64  `json:"source_project_id"`
	TargetProject int64  `json:"target_project_id"`
	Draft         bool   `json:"draft"`
	LastCommit    struct {
		ID string `json:"id"`
	} `json:"last_commit"`
}

// Kinds of events that count. Others are not kept.
const (
	onNote     = "note"
	onIssue    = "issue"
	onMerge    = "merge_request"
	onPipeline = "pipeline"
)

var counted = map[string]string{"Note Hook": onNote, "Confidential Note Hook": onNote, "Issue Hook": onIssue, "Confidential Issue Hook": onIssue,
	"Merge Request Hook": onMerge, "Pipeline Hook": onPipeline}

var commitForm = regexp.MustCompile(`^[0-9a-f]{40,64}$`)

// parse reads an event and makes sure that all is there that is used of it.
func parse(kind string, body []byte) (*event, error) {
	e := &event{}
	if err := json.Unmarshal(body, e); err != nil {
		return nil, task.Invalid("body", "is no event of GitLab: %w", err)
	}
	missing := func(what string) (*event, error) {
		return nil, task.Invalid("body", "is no %s event of GitLab: %s is missing or not in order", kind, what)
	}
	switch {
	case e.Kind != kind:
		return missing("object_kind")
	case e.Project.ID <= 0 || len(e.Project.Path) > 1000 || !pathForm.MatchString(e.Project.Path) || strings.Contains(e.Project.Path, "*"):
		return missing("project")
	case e.User.ID <= 0 || e.User.Username == "":
		return missing("user")
	case e.Attrs.ID <= 0 || len(e.Attrs.Action) > 50:
		return missing("object_attributes")
	}
	if kind == onNote && (len(e.Attrs.Discussion) > 100 || strings.ContainsFunc(e.Attrs.Discussion, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })) {
		return missing("discussion_id")
	}
	if t := e.thing(); t != nil && t.IID <= 0 || t == nil && (kind == onIssue || kind == onMerge) {
		return missing("iid")
	}
	return e, nil
}

// thing is the issue or merge request that the event is about; nil for none.
func (e *event) thing() *thing {
	switch e.Kind {
	case onIssue, onMerge:
		return &e.Attrs.thing
	case onPipeline:
		return e.Merge
	}
	if e.Attrs.On == "MergeRequest" {
		return e.Merge
	}
	return e.Issue
}

// isMerge reports that it is about a merge request.
func (e *event) isMerge() bool {
	return e.Kind == onMerge || e.Kind == onPipeline || e.Kind == onNote && e.Attrs.On == "MergeRequest"
}

// isNew reports that what the event tells of was written just now. Older
// servers say nothing of comments, and then send new ones only.
func (e *event) isNew() bool {
	switch e.Kind {
	case onNote:
		return (e.Attrs.Action == "create" || e.Attrs.Action == "") && !e.Attrs.System
	case onIssue, onMerge:
		return e.Attrs.Action == "open"
	}
	return false
}

// key names the event by what it is about, where that happens once: a project
// and its group may both send it. Else it is the delivery's.
func (e *event) key(delivery string) string {
	switch {
	case e.isNew():
		return fmt.Sprintf("%s %d", e.Kind, e.Attrs.ID)
	case e.Kind == onPipeline:
		return fmt.Sprintf("pipeline %d %.20s", e.Attrs.ID, e.Attrs.Status)
	}
	return delivery
}

// name is the event's kind for people.
func (e *event) name() string {
	if e.Kind == onPipeline {
		return e.Kind + "." + task.CutReason(e.Attrs.Status, 50)
	}
	return strings.TrimSuffix(e.Kind+"."+e.Attrs.Action, ".")
}

// words are what was newly written. Only new words count: an edit is none.
func (e *event) words() string {
	switch {
	case !e.isNew():
		return ""
	case e.Kind == onNote:
		return e.Attrs.Note
	}
	return e.Attrs.Description
}

// usernames is how they look at GitLab.
var usernames = forge.Syntax{Inner: "_.-", Last: ".-", Max: 255}

func (e *event) mentions(handle string) bool {
	return slices.Contains(usernames.Mentioned(e.words()), strings.ToLower(handle))
}

// finished are the states in which a pipeline has ended.
var finished = []string{"success", "failed", "canceled", "skipped"}

// kinds are those of automations that the event is.
func (e *event) kinds() []Kind {
	switch e.Kind {
	case onIssue:
		return e.issueKinds()
	case onMerge:
		return e.mergeKinds()
	case onPipeline:
		if slices.Contains(finished, e.Attrs.Status) {
			return []Kind{PipelineCompleted}
		}
	case onNote:
		switch {
		case !e.isNew() || e.thing() == nil:
		case e.isMerge():
			return []Kind{MergeMentioned}
		default:
			return []Kind{IssueMentioned}
		}
	}
	return nil
}

func (e *event) issueKinds() (list []Kind) {
	switch e.Attrs.Action {
	case "open":
		return []Kind{IssueCreated, IssueMentioned}
	case "update":
		if len(e.added("labels")) > 0 {
			list = append(list, IssueLabeled)
		}
		if len(e.added("assignees")) > 0 {
			list = append(list, IssueAssigned)
		}
	}
	return list
}

func (e *event) mergeKinds() (list []Kind) {
	switch e.Attrs.Action {
	case "open":
		return []Kind{MergeOpened, MergeMentioned}
	case "reopen":
		return []Kind{MergeReopened}
	case "close":
		return []Kind{MergeClosed}
	case "merge":
		return []Kind{MergeMerged}
	case "approved":
		return []Kind{MergeApproved}
	case "update":
		for _, is := range []struct {
			so   bool
			kind Kind
		}{{e.Attrs.OldRev != "", MergeUpdated}, {e.Changes.Draft.Previous && !e.Changes.Draft.Current, MergeReady},
			{len(e.added("labels")) > 0, MergeLabeled}, {len(e.added("assignees")) > 0, MergeAssigned}, {len(e.added("reviewers")) > 0, MergeReviewRequested}} {
			if is.so {
				list = append(list, is.kind)
			}
		}
	}
	return list
}

// added is what an update has added to a list.
func (e *event) added(list string) []string {
	var before, now []string
	switch c := &e.Changes; list {
	case "labels":
		before, now = titles(c.Labels.Previous), titles(c.Labels.Current)
	case "assignees":
		before, now = names(c.Assignees.Previous), names(c.Assignees.Current)
	case "reviewers":
		before, now = names(c.Reviewers.Previous), names(c.Reviewers.Current)
	}
	return slices.DeleteFunc(now, func(s string) bool { return slices.Contains(before, s) })
}

func titles(list []label) (out []string) {
	for _, l := range list {
		out = append(out, l.Title)
	}
	return out
}

func names(list []account) (out []string) {
	for _, a := range list {
		out = append(out, a.Username)
	}
	return out
}

// matches reports whether an automation waits for the event.
func (a Automation) matches(e *event, handle string) bool {
	if a.Disabled {
		return false
	}
	kinds := e.kinds()
	i := slices.IndexFunc(a.On, func(k Kind) bool {
		return slices.Contains(kinds, k) && (!k.mentioned() || len(a.Filter.Mentioned) > 0 || e.mentions(handle)) // else the filter looks
	})
	if i < 0 {
		return false
	}
	for _, f := range a.Filter.fields() {
		if len(f.values) > 0 && !forge.In(f.values, e.values(f.name, a.On[i])...) {
			return false
		}
	}
	return true
}

// values are what an event of a kind has for a field of a filter.
func (e *event) values(name string, k Kind) []string {
	switch name {
	case "projects":
		return []string{e.Project.Path}
	case "mentioned":
		return usernames.Mentioned(e.words())
	case "statuses":
		return []string{e.Attrs.Status}
	case "assignees":
		if k == IssueAssigned || k == MergeAssigned {
			return e.added(name)
		}
		return names(e.Assignees)
	case "reviewers":
		if k == MergeReviewRequested {
			return e.added(name)
		}
		return names(e.Reviewers)
	case "labels":
		if k == IssueLabeled || k == MergeLabeled {
			return e.added(name)
		}
		return e.labels()
	}
	switch t := e.thing(); {
	case name == "branches" && e.Kind == onPipeline:
		return []string{e.branch()}
	case name == "branches" && t != nil:
		return []string{t.Source}
	case name == "target_branches" && t != nil:
		return []string{t.Target}
	}
	return nil
}

// branch is what a pipeline is of: that of a merge request, where it is of one.
func (e *event) branch() string {
	if e.Merge != nil && e.Merge.Source != "" {
		return e.Merge.Source
	}
	return e.Attrs.Ref
}

func (e *event) labels() []string {
	if t := e.thing(); t != nil && len(t.Labels) > 0 {
		return titles(t.Labels)
	}
	return titles(e.Labels)
}

// url leads people to it.
func (e *event) url() string {
	if e.Attrs.URL != "" {
		return e.Attrs.URL
	}
	return e.Project.WebURL
}

// commit is the newest one that the event is about; empty when it is about none.
func (e *event) commit() string {
	sha := e.Attrs.SHA
	if t := e.thing(); e.Kind != onPipeline && t != nil {
		sha = t.LastCommit.ID
	}
	if !e.isMerge() || !commitForm.MatchString(sha) {
		return ""
	}
	return sha
}

// foreign reports that what the event runs comes from elsewhere, as of a fork.
func (e *event) foreign() bool {
	return e.Merge != nil && e.Merge.SourceProject != e.Project.ID
}

// fork reports that it is about a merge request whose branch is elsewhere.
func (e *event) fork() bool {
	t := e.thing()
	return e.foreign() || e.isMerge() && t != nil && t.SourceProject != e.Project.ID
}

// private reports that no stranger reads what is said about it.
func (e *event) private() bool {
	t := e.thing()
	return e.Project.Visibility == 0 || e.Attrs.Internal || t != nil && t.Confidential
}
