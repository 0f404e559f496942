package gitlabsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// handler is the API.
func (s *Sim) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v4/user", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, wireAccount(s.Agent)) })
	mux.HandleFunc("GET /api/v4/projects/{project}/{kind}/{iid}/notes", s.on(s.listNotes))
	mux.HandleFunc("POST /api/v4/projects/{project}/{kind}/{iid}/notes", s.on(s.makeNote))
	mux.HandleFunc("POST /api/v4/projects/{project}/{kind}/{iid}/discussions/{discussion}/notes", s.on(s.makeNote))
	mux.HandleFunc("PUT /api/v4/projects/{project}/{kind}/{iid}/notes/{note}", s.on(s.editNote))
	mux.HandleFunc("POST /api/v4/projects/{project}/{kind}/{iid}/award_emoji", s.on(s.award))
	mux.HandleFunc("POST /api/v4/projects/{project}/{kind}/{iid}/notes/{note}/award_emoji", s.on(s.award))
	mux.HandleFunc("POST /api/v4/projects/{project}/statuses/{sha}", s.setStatus)
	mux.HandleFunc("GET /api/v4/users", s.listUsers)
	mux.HandleFunc("GET /api/v4/projects/{project}/merge_requests", s.ofProject(s.listMerges))
	mux.HandleFunc("POST /api/v4/projects/{project}/merge_requests", s.ofProject(s.openMerge))
	return s.guarded(mux)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller is gone
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, map[string]any{"message": fmt.Sprintf(format, args...)})
}

// guarded asks for the token and lets calls fail that are to fail.
func (s *Sim) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Private-Token") != s.opts.Token {
			refuse(w, http.StatusUnauthorized, "401 Unauthorized")
			return
		}
		switch s.nextFault() {
		case FaultDown:
			refuse(w, http.StatusServiceUnavailable, "503 Service Unavailable")
		case FaultRateLimit:
			w.Header().Set("Retry-After", strconv.Itoa(s.opts.RetryAfter))
			refuse(w, http.StatusTooManyRequests, "Retry later")
		case FaultDenied:
			refuse(w, http.StatusForbidden, "403 Forbidden")
		case FaultCut:
			next.ServeHTTP(discard{}, r)
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// discard is an answer that nobody gets.
type discard struct{}

// Header implements http.ResponseWriter.
func (discard) Header() http.Header { return http.Header{} }

// Write implements http.ResponseWriter.
func (discard) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (discard) WriteHeader(int) {}

// on finds the issue or merge request that a call is about. What f returns is
// sent as an event after the lock is free.
func (s *Sim) on(f func(w http.ResponseWriter, r *http.Request, t *Thing) *Note) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		i := slices.IndexFunc(s.things, func(t *Thing) bool {
			kind := map[bool]string{true: "merge_requests", false: "issues"}[t.Merge]
			return r.PathValue("project") == strconv.Itoa(project) && r.PathValue("kind") == kind && r.PathValue("iid") == strconv.FormatInt(t.IID, 10)
		})
		if i < 0 {
			s.mu.Unlock()
			refuse(w, http.StatusNotFound, "404 Not found")
			return
		}
		made := f(w, r, s.things[i])
		var hook string
		var body map[string]any
		if made != nil {
			hook, body = s.ofNote(*made)
		}
		s.mu.Unlock()
		if made != nil {
			s.send(s.Agent, hook, body)
		}
	}
}

// text reads the body of a comment.
func text(w http.ResponseWriter, r *http.Request) (string, bool) {
	var in struct {
		Body string `json:"body"`
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, 2<<20))
	if err != nil || json.Unmarshal(data, &in) != nil || strings.TrimSpace(in.Body) == "" || len(in.Body) > 1_000_000 || r.Header.Get("Content-Type") != "application/json" {
		refuse(w, http.StatusBadRequest, "400 Bad request - Note {:note=>[\"can't be blank\"]}")
		return "", false
	}
	return in.Body, true
}

func wireNote(n *Note) map[string]any {
	return map[string]any{"id": n.ID, "body": n.Body, "author": wireAccount(n.Author), "created_at": n.Created.UTC().Format(time.RFC3339Nano), "system": false}
}

// listNotes answers one page, the newest first.
func (s *Sim) listNotes(w http.ResponseWriter, r *http.Request, t *Thing) *Note {
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	if size < 1 || size > 100 || page < 1 || r.URL.Query().Get("sort") != "desc" {
		refuse(w, http.StatusBadRequest, "per_page does not have a valid value")
		return nil
	}
	list := []map[string]any{}
	for _, n := range slices.Backward(s.notes) {
		if n.On == t.ID {
			list = append(list, wireNote(n))
		}
	}
	from := min((page-1)*size, len(list))
	answer(w, http.StatusOK, list[from:min(from+size, len(list))])
	return nil
}

func (s *Sim) makeNote(w http.ResponseWriter, r *http.Request, t *Thing) *Note {
	body, ok := text(w, r)
	if !ok {
		return nil
	}
	discussion := r.PathValue("discussion")
	if discussion != "" && !slices.ContainsFunc(s.notes, func(n *Note) bool { return n.On == t.ID && n.Discussion == discussion }) {
		refuse(w, http.StatusNotFound, "404 Discussion Not Found")
		return nil
	}
	n := s.addNote(Note{On: t.ID, Author: s.Agent, Body: body, Discussion: discussion})
	answer(w, http.StatusCreated, wireNote(n))
	return n
}

func (s *Sim) editNote(w http.ResponseWriter, r *http.Request, t *Thing) *Note {
	body, ok := text(w, r)
	if !ok {
		return nil
	}
	i := slices.IndexFunc(s.notes, func(n *Note) bool { return n.On == t.ID && strconv.FormatInt(n.ID, 10) == r.PathValue("note") })
	switch {
	case i < 0:
		refuse(w, http.StatusNotFound, "404 Note Not Found")
	case s.notes[i].Author != s.Agent:
		refuse(w, http.StatusForbidden, "403 Forbidden")
	default:
		s.notes[i].Body, s.notes[i].Edited = body, true
		answer(w, http.StatusOK, wireNote(s.notes[i]))
	}
	return nil
}

func (s *Sim) award(w http.ResponseWriter, r *http.Request, t *Thing) *Note {
	var in struct {
		Name string `json:"name"`
	}
	if json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&in) != nil || in.Name == "" {
		refuse(w, http.StatusBadRequest, "name is missing")
		return nil
	}
	what := fmt.Sprintf("%s on %s %d", in.Name, strings.TrimSuffix(r.PathValue("kind"), "s"), t.IID)
	if id := r.PathValue("note"); id != "" {
		what = fmt.Sprintf("%s on note %s", in.Name, id)
	}
	if slices.Contains(s.awards, what) {
		refuse(w, http.StatusNotFound, "404 Award Emoji Name has already been taken Not Found")
		return nil
	}
	s.awards = append(s.awards, what)
	answer(w, http.StatusCreated, map[string]any{"id": len(s.awards), "name": in.Name})
	return nil
}

// setStatus gives a commit one, and refuses the one that it has.
func (s *Sim) setStatus(w http.ResponseWriter, r *http.Request) {
	var in struct {
		State       string `json:"state"`
		Name        string `json:"name"`
		URL         string `json:"target_url"`
		Description string `json:"description"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sha := r.PathValue("sha")
	known := slices.ContainsFunc(s.things, func(t *Thing) bool { return t.Commit == sha }) || sha == fmt.Sprintf("%040x", 1)
	states := []string{"pending", "running", "success", "failed", "canceled"}
	switch {
	case r.PathValue("project") != strconv.Itoa(project) || !known:
		refuse(w, http.StatusNotFound, "404 Commit Not Found")
		return
	case json.NewDecoder(io.LimitReader(r.Body, 8<<10)).Decode(&in) != nil || !slices.Contains(states, in.State) || len(in.Description) > 255 || len(in.Name) > 255:
		refuse(w, http.StatusBadRequest, "state does not have a valid value")
		return
	}
	for _, old := range slices.Backward(s.statuses) {
		if old.Commit == sha && old.Name == in.Name {
			if old.State == in.State {
				refuse(w, http.StatusBadRequest, "Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via \"%s\")", in.State, old.State, in.State)
				return
			}
			break
		}
	}
	s.statuses = append(s.statuses, Status{Commit: sha, State: in.State, Name: in.Name, URL: in.URL, Description: in.Description})
	answer(w, http.StatusCreated, map[string]any{"id": len(s.statuses), "status": in.State})
}
