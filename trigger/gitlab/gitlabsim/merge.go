package gitlabsim

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Merges are the project's merge requests, the oldest first.
func (s *Sim) Merges() (list []Thing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.things {
		if t.Merge {
			list = append(list, *t)
		}
	}
	return list
}

func (s *Sim) wireMerge(t *Thing) map[string]any {
	out := s.wire(*t)
	delete(out, "url") // that is the webhooks'
	out["web_url"], out["project_id"], out["author"] = s.page(*t), project, wireAccount(t.Author)
	return out
}

// ofProject lets calls through that are about the project there is.
func (s *Sim) ofProject(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if p := r.PathValue("project"); p != strconv.Itoa(project) && !strings.EqualFold(p, s.opts.Path) {
			refuse(w, http.StatusNotFound, "404 Project Not Found")
			return
		}
		do(w, r)
	}
}

// listMerges answers one page of the merge requests of two branches.
func (s *Sim) listMerges(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state, size := q.Get("state"), 20
	if text := q.Get("per_page"); text != "" {
		size, _ = strconv.Atoi(text)
	}
	if !slices.Contains([]string{"", "all", "opened", "closed", "locked", "merged"}, state) || size < 1 || size > 100 {
		answer(w, http.StatusBadRequest, map[string]any{"error": "state or per_page does not have a valid value"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []map[string]any{}
	for _, t := range slices.Backward(s.things) {
		switch {
		case !t.Merge, state != "" && state != "all" && t.State != state,
			q.Has("source_branch") && q.Get("source_branch") != t.Source, q.Has("target_branch") && q.Get("target_branch") != t.Target:
			continue
		}
		list = append(list, s.wireMerge(t))
	}
	answer(w, http.StatusOK, list[:min(size, len(list))])
}

// listUsers finds the account of a username.
func (s *Sim) listUsers(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []map[string]any{}
	for _, a := range s.people {
		if strings.EqualFold(a.Username, r.URL.Query().Get("username")) {
			list = append(list, wireAccount(a))
		}
	}
	answer(w, http.StatusOK, list)
}

// openMerge makes a merge request, in the agent's name.
func (s *Sim) openMerge(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Title       string  `json:"title"`
		Source      string  `json:"source_branch"`
		Target      string  `json:"target_branch"`
		Description string  `json:"description"`
		Labels      string  `json:"labels"`
		Reviewers   []int64 `json:"reviewer_ids"`
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, 2<<20))
	if err != nil || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(data, &in) != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "The request body is invalid"})
		return
	}
	var missing []string
	for _, f := range []struct{ name, value string }{{"title", in.Title}, {"source_branch", in.Source}, {"target_branch", in.Target}} {
		if strings.TrimSpace(f.value) == "" {
			missing = append(missing, f.name+" is missing")
		}
	}
	s.mu.Lock()
	i := slices.IndexFunc(s.things, func(t *Thing) bool {
		return t.Merge && !t.Fork && t.State == StateOpened && t.Source == in.Source && t.Target == in.Target
	})
	var no any
	status := http.StatusBadRequest
	switch {
	case len(missing) > 0:
		no = map[string]any{"error": strings.Join(missing, ", ")}
	case utf8.RuneCountInString(in.Title) > 255:
		no = map[string]any{"message": map[string]any{"title": []string{"is too long (maximum is 255 characters)"}}}
	case in.Source == in.Target:
		status, no = http.StatusUnprocessableEntity, map[string]any{"message": []string{"You can't use same project/branch for source and target"}}
	case i >= 0:
		status = http.StatusConflict
		no = map[string]any{"message": []string{"Another open merge request already exists for this source branch: !" + strconv.FormatInt(s.things[i].IID, 10)}}
	}
	if no != nil {
		s.mu.Unlock()
		answer(w, status, no)
		return
	}
	t, hook, body := s.open(s.Agent, Thing{Merge: true, Title: in.Title, Description: in.Description, Source: in.Source, Target: in.Target,
		Draft: strings.HasPrefix(in.Title, "Draft: ")})
	asked := s.dress(t, in.Labels, in.Reviewers)
	out := s.wireMerge(t)
	out["reviewers"] = asked
	s.mu.Unlock()
	answer(w, http.StatusCreated, out)
	s.send(s.Agent, hook, body)
}

// dress puts labels on a merge request and asks for reviews; those without
// access are left out in silence. The lock is held.
func (s *Sim) dress(t *Thing, labels string, reviewers []int64) []map[string]any {
	for label := range strings.SplitSeq(labels, ",") {
		if label = strings.TrimSpace(label); label != "" {
			t.Labels = append(t.Labels, label)
		}
	}
	asked := []map[string]any{}
	for _, a := range s.people {
		if slices.Contains(reviewers, a.ID) && !slices.Contains(s.outside, a.ID) {
			t.Reviewers = append(t.Reviewers, a.Username)
			asked = append(asked, wireAccount(a))
		}
	}
	return asked
}
