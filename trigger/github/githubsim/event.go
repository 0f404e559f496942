package githubsim

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // commits have such names
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// event makes an event and gives what sends it, to be called without the lock.
func (s *Server) event(kind, action string, r *repo, sender *User, fields map[string]any) (send func()) {
	fields["action"], fields["repository"], fields["sender"] = action, s.repoJSON(r), sender
	body, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	hooks := slices.DeleteFunc(slices.Clone(s.hooks), func(h hook) bool { return !h.sees(r.Name) })
	return func() {
		for _, h := range hooks {
			d := Sign(h.secret, kind, body)
			d.hook = h
			s.deliver(d)
		}
	}
}

// deliver sends a delivery to its hook and lists it.
func (s *Server) deliver(d Delivery) {
	s.mu.Lock()
	d.Number, d.SentAt = s.id(), s.now()
	s.mu.Unlock()
	d.Err = d.hook.deliver(d)
	s.mu.Lock()
	s.deliveries = append(s.deliveries, d)
	s.mu.Unlock()
}

// Sign makes a delivery of an event of one's own.
func Sign(secret, kind string, body []byte) Delivery {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	id := uuid.NewString()
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", "GitHub-Hookshot/sim")
	header.Set("X-GitHub-Event", kind)
	header.Set("X-GitHub-Delivery", id)
	header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return Delivery{ID: id, Event: kind, Header: header, Body: body}
}

func (s *Server) repoJSON(r *repo) map[string]any {
	owner, name, _ := strings.Cut(r.Name, "/")
	return map[string]any{"id": r.ID, "name": name, "full_name": r.Name, "private": r.Private, "owner": s.user(owner), "default_branch": "main",
		"html_url": "https://github.com/" + r.Name, "clone_url": "https://github.com/" + r.Name + ".git"}
}

func (s *Server) issueJSON(r *repo, t *thing) map[string]any {
	m := s.thingJSON(r, t, "issues")
	if t.Pull != nil {
		m["pull_request"] = map[string]any{"html_url": fmt.Sprintf("https://github.com/%s/pull/%d", r.Name, t.Number)}
	}
	return m
}

func (s *Server) pullJSON(r *repo, t *thing) map[string]any {
	m := s.thingJSON(r, t, "pull")
	headRepo := map[string]any{"id": r.ID, "full_name": r.Name}
	if t.Pull.Fork != "" {
		headRepo = map[string]any{"id": -r.ID, "full_name": t.Pull.Fork}
	}
	teams := []any{}
	for _, slug := range t.Teams {
		teams = append(teams, map[string]any{"slug": slug, "name": slug})
	}
	m["draft"], m["merged"] = t.Pull.Draft, t.Merged
	m["head"] = map[string]any{"ref": t.Pull.Head, "sha": t.Pull.sha(), "repo": headRepo}
	m["base"] = map[string]any{"ref": t.Pull.Base, "sha": sha(t.Pull.Base), "repo": map[string]any{"id": r.ID, "full_name": r.Name}}
	m["requested_reviewers"], m["requested_teams"] = s.usersJSON(t.Reviewers), teams
	return m
}

func (s *Server) thingJSON(r *repo, t *thing, kind string) map[string]any {
	labels := []any{}
	for _, l := range t.Labels {
		labels = append(labels, labelJSON(l))
	}
	return map[string]any{"id": t.ID, "number": t.Number, "title": t.Title, "body": t.Body, "state": t.State, "user": t.User, "labels": labels,
		"assignees": s.usersJSON(t.Assignees), "comments": len(t.Comments), "locked": t.Locked,
		"html_url":   fmt.Sprintf("https://github.com/%s/%s/%d", r.Name, kind, t.Number),
		"created_at": t.created.Format(time.RFC3339), "updated_at": t.upd.Format(time.RFC3339)}
}

func (s *Server) usersJSON(logins []string) []*User {
	list := []*User{}
	for _, l := range logins {
		list = append(list, s.user(l))
	}
	return list
}

func labelJSON(name string) map[string]any { return map[string]any{"name": name} }

func (s *Server) commentJSON(r *repo, t *thing, c *Comment) map[string]any {
	page, anchor := "issues", "issuecomment-"
	if t.Pull != nil {
		page = "pull"
	}
	if c.Path != "" {
		anchor = "discussion_r"
	}
	m := map[string]any{"id": c.ID, "body": c.Body, "user": c.user, "created_at": c.CreatedAt.Format(time.RFC3339), "updated_at": c.UpdatedAt.Format(time.RFC3339),
		"html_url": fmt.Sprintf("https://github.com/%s/%s/%d#%s%d", r.Name, page, t.Number, anchor, c.ID)}
	if c.Path != "" {
		m["path"], m["diff_hunk"], m["line"], m["commit_id"] = c.Path, c.Hunk, 1, t.Pull.sha()
		if c.ReplyTo != 0 {
			m["in_reply_to_id"] = c.ReplyTo
		}
	}
	return m
}

// sha names the commit that a branch is at.
func sha(branch string) string {
	sum := sha1.Sum([]byte(branch)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
