package githubsim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// actionsApp is the number of GitHub's own app for workflows.
const actionsApp = 15368

// CheckRun is one of a commit's.
type CheckRun struct {
	ID         int64
	App        int64 // whose it is
	Name       string
	HeadSHA    string
	ExternalID string
	DetailsURL string
	Status     string
	Conclusion string // "": it has not ended
	Title      string
	Summary    string
	// States are those that it has had, each as "status conclusion", the oldest
	// first.
	States []string
}

// CheckRuns lists those of a repository, the oldest first.
func (s *Server) CheckRuns(repo string) []CheckRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []CheckRun
	for _, c := range s.repo(repo).checks {
		d := *c
		d.States = slices.Clone(c.States)
		list = append(list, d)
	}
	return list
}

// onChecks finds the repository, and lets only apps through that may see checks,
// or write them.
func (s *Server) onChecks(do func(call) answer) http.HandlerFunc {
	return s.authed(func(c call) answer {
		c.repo = s.repos[strings.ToLower(c.PathValue("owner")+"/"+c.PathValue("name"))]
		switch {
		case c.repo == nil:
			return refuse(404, "Not Found")
		case c.app == nil && c.Method != http.MethodGet:
			return refuse(403, "You must authenticate via a GitHub App.")
		case c.app != nil && slices.Contains(c.app.denied, "checks"):
			return refuse(403, "Resource not accessible by integration")
		}
		return do(c)
	})
}

func (s *Server) listChecks(c call) answer {
	q := c.URL.Query()
	if _, ok := c.repo.commits[c.PathValue("sha")]; !ok {
		return refuse(422, "No commit found for SHA: %s", c.PathValue("sha"))
	}
	filter := q.Get("filter")
	if filter != "" && filter != "all" && filter != "latest" {
		return refuse(422, "Validation Failed: filter")
	}
	list := []any{}
	seen := map[string]bool{}
	for _, r := range slices.Backward(c.repo.checks) {
		same := fmt.Sprint(r.App, " ", r.Name)
		switch {
		case r.HeadSHA != c.PathValue("sha"),
			q.Has("check_name") && r.Name != q.Get("check_name"),
			q.Has("app_id") && q.Get("app_id") != strconv.FormatInt(r.App, 10),
			q.Has("status") && r.Status != q.Get("status"),
			filter != "all" && seen[same]:
			continue
		}
		seen[same] = true
		list = append(list, s.checkJSON(r))
	}
	a := page(c, list)
	a.body = map[string]any{"total_count": len(list), "check_runs": a.body}
	return a
}

func (s *Server) checkJSON(r *CheckRun) map[string]any {
	m := map[string]any{"id": r.ID, "name": r.Name, "head_sha": r.HeadSHA, "external_id": r.ExternalID, "details_url": r.DetailsURL, "status": r.Status,
		"conclusion": nil, "output": map[string]any{"title": r.Title, "summary": r.Summary}, "app": map[string]any{"id": r.App, "slug": s.apps[r.App].Slug}}
	if r.Conclusion != "" {
		m["conclusion"] = r.Conclusion
	}
	return m
}

func (s *Server) postCheck(c call) answer {
	r := &CheckRun{App: c.app.ID, Status: "queued"}
	r.HeadSHA, _ = c.in["head_sha"].(string)
	if r.Name, _ = c.in["name"].(string); r.Name == "" {
		return refuse(422, "Invalid request.\n\n\"name\" wasn't supplied.")
	}
	if _, ok := c.repo.commits[r.HeadSHA]; !ok {
		return refuse(422, "No commit found for SHA: %s", r.HeadSHA)
	}
	if wrong := r.set(c.in); wrong != "" {
		return refuse(422, "Invalid request.\n\n%s", wrong)
	}
	r.ID = s.id()
	c.repo.checks = append(c.repo.checks, r)
	return answer{201, s.checkJSON(r), s.suiteEvent(c.repo, r)}
}

func (s *Server) patchCheck(c call) answer {
	i := slices.IndexFunc(c.repo.checks, func(r *CheckRun) bool { return strconv.FormatInt(r.ID, 10) == c.PathValue("id") })
	if i < 0 {
		return refuse(404, "Not Found")
	}
	r := c.repo.checks[i]
	if r.App != c.app.ID {
		return refuse(403, "Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", c.app.ID)
	}
	next := *r
	if wrong := next.set(c.in); wrong != "" {
		return refuse(422, "Invalid request.\n\n%s", wrong)
	}
	*r = next
	return answer{200, s.checkJSON(r), s.suiteEvent(c.repo, r)}
}

var (
	checkStatuses    = []string{"queued", "in_progress", "completed"}
	checkConclusions = []string{"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}
)

// set takes what a request says of a check run; wrong says what GitHub would
// not take.
func (r *CheckRun) set(in map[string]any) (wrong string) {
	text := func(name string, to *string) {
		v, given := in[name]
		s, ok := v.(string)
		switch {
		case given && !ok:
			wrong = name + " is not a string"
		case given:
			*to = s
		}
	}
	conclusion := ""
	text("name", &r.Name)
	text("external_id", &r.ExternalID)
	text("details_url", &r.DetailsURL)
	text("status", &r.Status)
	text("conclusion", &conclusion)
	if conclusion != "" {
		r.Status = "completed"
	}
	u, err := url.Parse(r.DetailsURL)
	switch {
	case wrong != "":
	case r.DetailsURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http"):
		wrong = "details_url must use the http or https scheme"
	case !slices.Contains(checkStatuses, r.Status):
		wrong = "status is not a member of " + fmt.Sprint(checkStatuses)
	case r.Status == "completed" && conclusion == "":
		wrong = "conclusion is required when status is completed"
	case conclusion != "" && !slices.Contains(checkConclusions, conclusion):
		wrong = "conclusion is not a member of " + fmt.Sprint(checkConclusions)
	}
	if out, given := in["output"]; given && wrong == "" {
		wrong = r.setOutput(out)
	}
	r.Conclusion = conclusion
	r.States = append(slices.Clone(r.States), strings.TrimSpace(r.Status+" "+conclusion))
	return wrong
}

func (r *CheckRun) setOutput(out any) (wrong string) {
	m, _ := out.(map[string]any)
	title, hasTitle := m["title"].(string)
	summary, hasSummary := m["summary"].(string)
	switch {
	case !hasTitle || title == "":
		return "output.title wasn't supplied"
	case !hasSummary || summary == "":
		return "output.summary wasn't supplied"
	case utf8.RuneCountInString(summary) > 65535:
		return "output.summary is too long"
	}
	r.Title, r.Summary = title, summary
	return ""
}

// suiteEvent tells that an app's checks of a commit have all ended.
func (s *Server) suiteEvent(r *repo, of *CheckRun) func() {
	var pulls []int
	for _, t := range r.things {
		if t.Pull != nil && t.Pull.sha() == of.HeadSHA {
			pulls = append(pulls, t.Number)
		}
	}
	for _, c := range r.checks {
		if c.App == of.App && c.HeadSHA == of.HeadSHA && c.Status != "completed" {
			return nil
		}
	}
	app := s.apps[of.App]
	suite := map[string]any{"id": s.id(), "head_branch": r.commits[of.HeadSHA], "head_sha": of.HeadSHA, "status": "completed", "conclusion": of.Conclusion,
		"pull_requests": s.pullRefs(r, pulls), "app": map[string]any{"id": app.ID, "slug": app.Slug}}
	return s.event("check_suite", "completed", r, s.user(app.Slug+"[bot]"), map[string]any{"check_suite": suite})
}
