package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// checkRun is one of a commit's, as GitHub writes it. There is one for each
// run: its ExternalID is the run's, and by that it is found again.
type checkRun struct {
	ID         int64       `json:"id,omitempty"`
	Name       string      `json:"name"`
	HeadSHA    string      `json:"head_sha,omitempty"` // only when it is made
	ExternalID string      `json:"external_id"`
	DetailsURL string      `json:"details_url,omitempty"`
	Status     string      `json:"status"`
	Conclusion string      `json:"conclusion,omitempty"` // of those that have ended
	Output     checkOutput `json:"output"`
}

// checkOutput is what people read. Its summary is Markdown.
type checkOutput struct {
	Title   string `json:"title"`
	Summary string `json:"summary"`
}

// completed is the status of check runs that have ended.
const completed = "completed"

// maxCheckTitle bounds the title of a check run.
const maxCheckTitle = 200 // bytes

// stateOf is how a check run says what a run does; status is empty for nothing.
func stateOf(s task.State) (status, conclusion string) {
	switch s {
	case task.StateQueued:
		return "queued", ""
	case task.StateInProgress:
		return "in_progress", ""
	case task.StateSucceeded:
		return completed, "success"
	case task.StateFailed, task.StateError:
		return completed, "failure"
	case task.StateBlocked:
		return completed, "action_required"
	case task.StateCancelled:
		return completed, "cancelled"
	}
	return "", ""
}

// check tells the run's check run. It stays with the commit that the run began
// with, whatever is said to the run later.
func (r *report) check(w forge.Words, page string) error {
	o := r.n.Task.Origin
	if o == nil || o.Source != r.n.Origin.Source { // who made the run hears how it ends
		return nil
	}
	var to address
	if ok, err := trigger.AddressOf(*o, &to); !ok || err != nil {
		return err
	}
	status, conclusion := stateOf(w.State)
	if to.Commit == "" || status == "" {
		return nil
	}
	id := string(r.n.Task.ID)
	mark := forge.Mark("check " + id)
	title := strings.NewReplacer("**", "", "`", "").Replace(w.Status)
	title, _, _ = strings.Cut(title, " [")
	c := checkRun{Name: to.Check, HeadSHA: to.Commit, ExternalID: checkID(r.n.Task.ID), DetailsURL: page, Status: status, Conclusion: conclusion,
		Output: checkOutput{Title: task.CutReason(title, maxCheckTitle),
			Summary: forge.Stamp(mark, r.n.Task.LastSeq) + "\n" + forge.Cut(cmp.Or(w.Comment, w.Status), maxComment)}}
	r.add(kindCheck, "check", "github check "+id, letter{To: to, Mark: mark, Event: r.n.Task.LastSeq, Check: &c})
	return nil
}

func checkID(run task.ID) string { return "oz run " + string(run) }

// putCheck makes a run's check run, or changes the one that is there. What is
// told late does not replace what is newer.
func (c *client) putCheck(ctx context.Context, s Settings, l letter) (int64, error) {
	there, err := c.findCheck(ctx, s, l)
	want := *l.Check
	made := there
	switch path := "/repos/" + l.To.Repo + "/check-runs"; {
	case err != nil:
	case there.ID == 0:
		err = c.call(ctx, http.MethodPost, path, want, &made)
	case !forge.Newer(there.Output.Summary, l.Mark, l.Event):
		want.HeadSHA = ""
		err = c.call(ctx, http.MethodPatch, fmt.Sprintf("%s/%d", path, there.ID), want, nil)
	}
	return made.ID, noRight(err)
}

// findCheck looks for a run's check run among the commit's; one without ID when
// there is none.
func (c *client) findCheck(ctx context.Context, s Settings, l letter) (checkRun, error) {
	q := url.Values{"check_name": {l.Check.Name}, "filter": {"all"}, "per_page": {fmt.Sprint(pageSize)}}
	if s.AppID > 0 { // others may copy the ID
		q.Set("app_id", fmt.Sprint(s.AppID))
	}
	for page := 1; page <= maxPages; page++ {
		q.Set("page", fmt.Sprint(page))
		var list struct {
			Runs []checkRun `json:"check_runs"`
		}
		if err := c.call(ctx, http.MethodGet, fmt.Sprintf("/repos/%s/commits/%s/check-runs?%s", l.To.Repo, l.To.Commit, q.Encode()), nil, &list); err != nil {
			return checkRun{}, err
		}
		for _, r := range list.Runs {
			if r.ExternalID == l.Check.ExternalID {
				return r, nil
			}
		}
		if len(list.Runs) < pageSize {
			break
		}
	}
	return checkRun{}, nil
}

// noRight says what to do when GitHub does not let us make check runs. No
// further try can mend that.
func noRight(err error) error {
	var p *problem
	if !errors.As(err, &p) || p.status != http.StatusForbidden || p.after > 0 {
		return err
	}
	return &trigger.GiveUp{Err: fmt.Errorf("no check run was made: give the GitHub app the permission \"Checks: read and write\" "+
		"(the token of an account cannot have it), or turn the setting check_runs off: %w", err)}
}
