package githubsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// answer is what the API says to a request.
type answer struct {
	status int
	body   any
	send   func() // the event that tells of it
}

func refuse(status int, format string, args ...any) answer {
	return answer{status: status, body: map[string]any{"message": fmt.Sprintf(format, args...), "documentation_url": "https://docs.github.com/rest"}}
}

// call is a request by an account that may be made.
type call struct {
	*http.Request
	by   *User
	app  *App
	in   map[string]any
	repo *repo
	on   *thing
}

func (s *Server) routes() *http.ServeMux {
	m := http.NewServeMux()
	at := func(pattern string, do func(call) answer) { m.HandleFunc(pattern, s.onThing(do)) }
	m.HandleFunc("GET /user", s.authed(func(c call) answer { return answer{status: 200, body: c.by} }))
	m.HandleFunc("GET /app", s.byApp(func(a *App, _ *http.Request) answer {
		return answer{status: 200, body: map[string]any{"id": a.ID, "slug": a.Slug, "name": a.Slug}}
	}))
	m.HandleFunc("POST /app/installations/{id}/access_tokens", s.byApp(s.mint))
	m.HandleFunc("GET /app/hook/config", s.byApp(s.hookConfig))
	m.HandleFunc("GET /app/hook/deliveries", s.byApp(s.listDeliveries))
	m.HandleFunc("POST /app/hook/deliveries/{id}/attempts", s.byApp(s.redeliver))
	for _, place := range []string{"repos/{owner}/{name}", "orgs/{owner}"} {
		m.HandleFunc("GET /"+place+"/hooks", s.authed(s.listHooks))
		m.HandleFunc("GET /"+place+"/hooks/{hook}/deliveries", s.authed(s.onHook(func(h hook, c call) answer { return s.deliveriesOf(h, 0, c.Request) })))
		m.HandleFunc("POST /"+place+"/hooks/{hook}/deliveries/{id}/attempts", s.authed(s.onHook(func(h hook, c call) answer { return s.sendAgain(h, c.Request) })))
	}
	at("GET /repos/{owner}/{name}/issues/{number}", func(c call) answer { return answer{status: 200, body: s.issueJSON(c.repo, c.on)} })
	at("GET /repos/{owner}/{name}/pulls/{number}", func(c call) answer { return answer{status: 200, body: s.pullJSON(c.repo, c.on)} })
	at("GET /repos/{owner}/{name}/pulls/{number}/files", s.listFiles)
	m.HandleFunc("POST /repos/{owner}/{name}/issues/{number}/labels", s.onThing(s.onPulls(s.addLabels)))
	m.HandleFunc("POST /repos/{owner}/{name}/pulls/{number}/requested_reviewers", s.onThing(s.onPulls(s.askReviewers)))
	at("GET /repos/{owner}/{name}/issues/{number}/comments", func(c call) answer { return s.list(c, c.on.Comments) })
	at("GET /repos/{owner}/{name}/pulls/{number}/comments", func(c call) answer { return s.list(c, c.on.Reviews) })
	at("POST /repos/{owner}/{name}/issues/{number}/comments", s.postComment)
	at("POST /repos/{owner}/{name}/pulls/{number}/comments/{id}/replies", s.postReply)
	at("POST /repos/{owner}/{name}/issues/{number}/reactions", func(c call) answer { return react(c, &c.on.reactions) })
	m.HandleFunc("GET /repos/{owner}/{name}/commits/{sha}/check-runs", s.onChecks(s.listChecks))
	m.HandleFunc("POST /repos/{owner}/{name}/check-runs", s.onChecks(s.postCheck))
	m.HandleFunc("PATCH /repos/{owner}/{name}/check-runs/{id}", s.onChecks(s.patchCheck))
	m.HandleFunc("GET /repos/{owner}/{name}/pulls", s.authed(s.onPulls(s.listPulls)))
	m.HandleFunc("POST /repos/{owner}/{name}/pulls", s.authed(s.onPulls(s.openPull)))
	for _, kind := range []string{"issues", "pulls"} {
		m.HandleFunc("PATCH /repos/{owner}/{name}/"+kind+"/comments/{id}", s.onComment(kind, s.patchComment))
		m.HandleFunc("POST /repos/{owner}/{name}/"+kind+"/comments/{id}/reactions", s.onComment(kind, func(c call, _ *thing, m *Comment) answer { return react(c, &m.Reactions) }))
	}
	return m
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	f, failing := s.fault(r)
	s.mu.Unlock()
	if !failing {
		s.mux.ServeHTTP(w, r)
		return
	}
	if f.Done {
		s.mux.ServeHTTP(httptest.NewRecorder(), r)
	}
	if f.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	write(w, refuse(f.Status, "%s", f.Message))
}

func write(w http.ResponseWriter, a answer) {
	if l, ok := a.body.(linked); ok {
		a.body = l.list
		if l.next != "" {
			w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", l.next))
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body) // who has hung up needs none
}

// finish answers, after the event is out: its receiver must cope with that.
func finish(w http.ResponseWriter, a answer) {
	if a.send != nil {
		a.send()
	}
	write(w, a)
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "token") {
		return ""
	}
	return token
}

// shape refuses what GitHub does before it looks at anything else.
func shape(r *http.Request) (map[string]any, *answer) {
	if r.Header.Get("User-Agent") == "" {
		a := refuse(403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header")
		return nil, &a
	}
	if r.Method == http.MethodGet {
		return nil, nil
	}
	var in map[string]any
	dec := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	if err := dec.Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		a := refuse(400, "Problems parsing JSON")
		return nil, &a
	}
	return in, nil
}

// authed lets through who shows a good token, and counts.
func (s *Server) authed(do func(call) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in, bad := shape(r)
		if bad != nil {
			write(w, *bad)
			return
		}
		s.mu.Lock()
		g := s.tokens[bearer(r)]
		now := s.now()
		var a answer
		switch {
		case g == nil || !g.expires.IsZero() && !now.Before(g.expires):
			a = refuse(401, "Bad credentials")
		case !s.count(g, w.Header(), now):
			a = refuse(403, "API rate limit exceeded for user ID %d.", g.user.ID)
		default:
			a = do(call{Request: r, by: g.user, app: g.app, in: in})
		}
		s.mu.Unlock()
		finish(w, a)
	}
}

// count takes one request of the hour's.
func (s *Server) count(g *grant, h http.Header, now time.Time) bool {
	if now.Sub(g.since) >= time.Hour {
		g.used, g.since = 0, now
	}
	g.used++
	h.Set("X-RateLimit-Limit", strconv.Itoa(s.opts.PerHour))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, s.opts.PerHour-g.used)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(g.since.Add(time.Hour).Unix(), 10))
	return g.used <= s.opts.PerHour
}

// byApp lets through who signs as an app: with its key, for ten minutes at most.
func (s *Server) byApp(do func(*App, *http.Request) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, bad := shape(r); bad != nil {
			write(w, *bad)
			return
		}
		s.mu.Lock()
		app, why := s.app(bearer(r))
		a := refuse(401, "%s", why)
		if why == "" {
			a = do(app, r)
		}
		s.mu.Unlock()
		finish(w, a)
	}
}

// app finds who signed a token; why says, in GitHub's words, what is wrong with it.
func (s *Server) app(token string) (a *App, why string) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, "A JSON web token could not be decoded"
	}
	var c jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return nil, err.Error()
	}
	id, _ := strconv.ParseInt(c.Issuer, 10, 64)
	a = s.apps[id]
	now := s.opts.Clock.Now()
	switch {
	case a == nil:
		return nil, "Integration not found"
	case parsed.Claims(a.public, &c) != nil:
		return nil, "A JSON web token could not be decoded"
	case c.IssuedAt == nil || c.IssuedAt.Time().After(now):
		return nil, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	case c.Expiry == nil || !now.Before(c.Expiry.Time()) || c.Expiry.Time().Sub(now) > 10*time.Minute:
		return nil, "'Expiration time' claim ('exp') is too far in the future"
	}
	return a, ""
}

// mint makes an installation token, good for an hour.
func (s *Server) mint(a *App, r *http.Request) answer {
	if r.PathValue("id") != strconv.FormatInt(a.InstallationID, 10) {
		return refuse(404, "Not Found")
	}
	t := secret("ghs_")
	expires := s.now().Add(time.Hour)
	s.tokens[t] = &grant{user: s.user(a.Slug + "[bot]"), app: a, expires: expires}
	return answer{status: 201, body: map[string]any{"token": t, "expires_at": expires.Format(time.RFC3339)}}
}

// onThing finds the issue or pull request that a request is about.
func (s *Server) onThing(do func(call) answer) http.HandlerFunc {
	return s.authed(func(c call) answer {
		c.repo = s.repos[strings.ToLower(c.PathValue("owner")+"/"+c.PathValue("name"))]
		n, err := strconv.Atoi(c.PathValue("number"))
		if c.repo == nil || err != nil || n < 1 || n > len(c.repo.things) {
			return refuse(404, "Not Found")
		}
		c.on = c.repo.things[n-1]
		if c.on.Pull == nil && strings.Contains(c.URL.Path, "/pulls/") {
			return refuse(404, "Not Found")
		}
		if c.on.Locked && c.Method != http.MethodGet {
			return refuse(403, "Unable to create comment because issue is locked.")
		}
		return do(c)
	})
}

// onComment finds the comment that a request is about.
func (s *Server) onComment(kind string, do func(call, *thing, *Comment) answer) http.HandlerFunc {
	return s.authed(func(c call) answer {
		c.repo = s.repos[strings.ToLower(c.PathValue("owner")+"/"+c.PathValue("name"))]
		id, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
		if c.repo == nil || err != nil {
			return refuse(404, "Not Found")
		}
		for _, t := range c.repo.things {
			list := t.Comments
			if kind == "pulls" {
				list = t.Reviews
			}
			if i := slices.IndexFunc(list, func(m *Comment) bool { return m.ID == id }); i >= 0 {
				return do(c, t, list[i])
			}
		}
		return refuse(404, "Not Found")
	})
}

// text is the body of a comment that is to be.
func (c call) text() (string, *answer) {
	text, ok := c.in["body"].(string)
	bad := refuse(422, "Validation Failed: body")
	if !ok || strings.TrimSpace(text) == "" || utf8.RuneCountInString(text) > 65536 {
		return "", &bad
	}
	return text, nil
}

func (s *Server) postComment(c call) answer {
	text, bad := c.text()
	if bad != nil {
		return *bad
	}
	m, send := s.comment(c.repo, c.on, c.by, text)
	return answer{201, s.commentJSON(c.repo, c.on, m), send}
}

// postReply answers the first comment of a thread, and no other.
func (s *Server) postReply(c call) answer {
	text, bad := c.text()
	if bad != nil {
		return *bad
	}
	i := slices.IndexFunc(c.on.Reviews, func(m *Comment) bool { return strconv.FormatInt(m.ID, 10) == c.PathValue("id") })
	if i < 0 {
		return refuse(404, "Not Found")
	}
	first := c.on.Reviews[i]
	if first.ReplyTo != 0 {
		return refuse(422, "Validation Failed: in_reply_to must be a top-level comment")
	}
	m, send := s.review(c.repo, c.on, c.by, first.Path, first.Hunk, text, first.ID)
	return answer{201, s.commentJSON(c.repo, c.on, m), send}
}

func (s *Server) patchComment(c call, on *thing, m *Comment) answer {
	text, bad := c.text()
	switch {
	case bad != nil:
		return *bad
	case m.user.ID != c.by.ID:
		return refuse(403, "Resource not accessible by integration")
	}
	_, kind := on.find(m.ID)
	send := s.edit(c.repo, on, m, kind, c.by, text)
	return answer{200, s.commentJSON(c.repo, on, m), send}
}

var reactions = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}

func react(c call, list *[]string) answer {
	what, _ := c.in["content"].(string)
	if !slices.Contains(reactions, what) {
		return refuse(422, "Validation Failed: content")
	}
	entry := c.by.Login + " " + what
	if slices.Contains(*list, entry) {
		return answer{status: 200, body: map[string]any{"content": what}}
	}
	*list = append(*list, entry)
	return answer{status: 201, body: map[string]any{"content": what}}
}

// list gives comments that were changed since, a page of them.
func (s *Server) list(c call, all []*Comment) answer {
	var since time.Time
	if text := c.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return refuse(422, "Validation Failed: since")
		}
	}
	out := []any{}
	for _, m := range all {
		if !m.UpdatedAt.Before(since) {
			out = append(out, s.commentJSON(c.repo, c.on, m))
		}
	}
	return page(c, out)
}

func page(c call, all []any) answer {
	size, _ := strconv.Atoi(c.URL.Query().Get("per_page"))
	if size < 1 {
		size = 30
	}
	size = min(size, 100)
	n, _ := strconv.Atoi(c.URL.Query().Get("page"))
	from := min(len(all), (max(1, n)-1)*size)
	return answer{status: 200, body: all[from:min(len(all), from+size)]}
}

func (s *Server) listFiles(c call) answer {
	out := []any{}
	for _, name := range slices.Sorted(maps.Keys(c.on.Pull.Files)) {
		out = append(out, map[string]any{"filename": name, "status": "modified", "patch": c.on.Pull.Files[name]})
	}
	return page(c, out)
}
