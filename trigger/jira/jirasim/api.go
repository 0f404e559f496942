package jirasim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// refusal is an error of the API.
type refusal struct {
	status  int
	message string
}

// Error implements error.
func (r *refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, message: fmt.Sprintf(format, args...)}
}

// handler is the API.
func (s *Sim) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, f := range map[string]func(r *http.Request) (int, any, error){
		"GET /rest/api/3/myself":                    s.myself,
		"GET /rest/api/3/issue/{id}":                s.getIssue,
		"GET /rest/api/3/issue/{id}/comment":        s.getComments,
		"POST /rest/api/3/issue/{id}/comment":       s.addComment,
		"PUT /rest/api/3/issue/{id}/comment/{comm}": s.editComment,
		"POST /rest/api/3/comment/list":             s.listComments,
		"POST /rest/api/3/issue/{id}/notify":        s.notify,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, f) })
	}
	return mux
}

func (s *Sim) serve(w http.ResponseWriter, r *http.Request, f func(r *http.Request) (int, any, error)) {
	fault := s.nextFault()
	switch fault {
	case FaultDown:
		http.Error(w, "upstream unavailable", http.StatusServiceUnavailable)
		return
	case FaultRateLimit:
		w.Header().Set("Retry-After", strconv.Itoa(s.opts.RetryAfter))
		w.Header().Set("X-RateLimit-NearLimit", "true")
		http.Error(w, "Rate limit exceeded", http.StatusTooManyRequests)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	status, v, err := 0, any(nil), s.authenticate(r)
	if err == nil {
		status, v, err = f(r)
	}
	if fault == FaultCut { // it is done, and nobody hears so
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	var refused *refusal
	if errors.As(err, &refused) {
		w.WriteHeader(refused.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errorMessages": []string{refused.message}, "errors": map[string]string{}})
		return
	}
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v)
	}
}

func (s *Sim) authenticate(r *http.Request) error {
	ok := false
	if user, password, basic := r.BasicAuth(); basic && !s.opts.OAuth {
		ok = user == s.opts.Email && password == s.opts.Token
	}
	if s.opts.OAuth {
		ok = r.Header.Get("Authorization") == "Bearer "+s.opts.Token
	}
	if !ok || len(r.Header.Values("Authorization")) != 1 {
		return refuse(http.StatusUnauthorized, "Client must be authenticated to access this resource.")
	}
	return nil
}

func (s *Sim) myself(*http.Request) (int, any, error) { return http.StatusOK, wire(s.Agent), nil }

// issue finds one by its ID or key; the lock is held.
func (s *Sim) issue(id string) (*Issue, error) {
	for _, i := range s.issues {
		if i.ID == id || i.Key == id {
			return i, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "Issue does not exist or you do not have permission to see it.")
}

func (s *Sim) getIssue(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.issue(r.PathValue("id"))
	if err != nil {
		return 0, nil, err
	}
	fields := map[string]any{"summary": i.Summary, "description": i.Description, "labels": slices.Concat([]string{}, i.Labels),
		"status": map[string]any{"name": "To Do"}, "project": map[string]any{"key": projectOf(i.Key)}}
	if asked := r.URL.Query().Get("fields"); asked != "" {
		for name := range fields {
			if !slices.Contains(strings.Split(asked, ","), name) {
				delete(fields, name)
			}
		}
	}
	return http.StatusOK, map[string]any{"id": i.ID, "key": i.Key, "fields": fields}, nil
}

func commentValue(c Comment, properties bool) map[string]any {
	v := map[string]any{"id": c.ID, "author": wire(c.Author), "body": c.Body, "created": c.Created.Format("2006-01-02T15:04:05.000-0700")}
	if properties {
		list := []any{}
		for key, value := range c.Properties {
			list = append(list, map[string]any{"key": key, "value": value})
		}
		v["properties"] = list
	}
	return v
}

func (s *Sim) getComments(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.issue(r.PathValue("id"))
	if err != nil {
		return 0, nil, err
	}
	limit := 100
	if text := r.URL.Query().Get("maxResults"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
			return 0, nil, refuse(http.StatusBadRequest, "maxResults is no number")
		}
	}
	list := []any{}
	all := slices.Clone(s.comments)
	switch order := r.URL.Query().Get("orderBy"); order {
	case "-created":
		slices.Reverse(all)
	case "", "created", "+created":
	default:
		return 0, nil, refuse(http.StatusBadRequest, "orderBy cannot be %s", order)
	}
	for _, c := range all {
		if c.Issue == i.ID && len(list) < limit {
			list = append(list, commentValue(c, false))
		}
	}
	return http.StatusOK, map[string]any{"startAt": 0, "maxResults": limit, "total": len(list), "comments": list}, nil
}

func (s *Sim) listComments(r *http.Request) (int, any, error) {
	var in struct {
		IDs []int64 `json:"ids"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if len(in.IDs) == 0 || len(in.IDs) > 1000 {
		return 0, nil, refuse(http.StatusBadRequest, "ids must have 1 to 1000 entries")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, c := range s.comments {
		if id, err := strconv.ParseInt(c.ID, 10, 64); err == nil && slices.Contains(in.IDs, id) {
			list = append(list, commentValue(c, strings.Contains(r.URL.Query().Get("expand"), "properties")))
		}
	}
	return http.StatusOK, map[string]any{"values": list, "isLast": true, "total": len(list)}, nil
}

// commentInput is what makes or edits a comment.
type commentInput struct {
	Body       json.RawMessage `json:"body"`
	Properties []struct {
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
	} `json:"properties"`
}

func (s *Sim) addComment(r *http.Request) (int, any, error) {
	var in commentInput
	if err := readComment(r, &in); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	i, err := s.issue(r.PathValue("id"))
	if err != nil {
		s.mu.Unlock()
		return 0, nil, err
	}
	c := Comment{Issue: i.ID, Author: s.Agent, Body: in.Body, Properties: map[string]json.RawMessage{}}
	for _, p := range in.Properties {
		c.Properties[p.Key] = p.Value
	}
	c, body := s.comment(c, TextOf(in.Body))
	s.mu.Unlock()
	s.send("comment_created", body)
	return http.StatusCreated, commentValue(c, false), nil
}

func (s *Sim) editComment(r *http.Request) (int, any, error) {
	var in commentInput
	if err := readComment(r, &in); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	at := slices.IndexFunc(s.comments, func(c Comment) bool { return c.ID == r.PathValue("comm") && c.Issue == r.PathValue("id") })
	if at < 0 {
		s.mu.Unlock()
		return 0, nil, refuse(http.StatusNotFound, "Can not find a comment for the id: %s.", r.PathValue("comm"))
	}
	c := &s.comments[at]
	c.Body, c.Edited = in.Body, true
	value, body := commentValue(*c, false), s.event("comment_updated", c.Author, *s.issues[c.Issue], map[string]any{"comment": map[string]any{"id": c.ID}})
	s.mu.Unlock()
	s.send("comment_updated", body)
	return http.StatusOK, value, nil
}

func (s *Sim) notify(r *http.Request) (int, any, error) {
	var in struct {
		Subject string `json:"subject"`
		Text    string `json:"textBody"`
		To      struct {
			Users []struct {
				AccountID string `json:"accountId"`
			} `json:"users"`
		} `json:"to"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.issue(r.PathValue("id"))
	if err != nil {
		return 0, nil, err
	}
	if len(in.To.Users) == 0 {
		return 0, nil, refuse(http.StatusBadRequest, "No recipients were defined for notification.")
	}
	for _, u := range in.To.Users {
		s.mails = append(s.mails, Mail{Issue: i.ID, To: u.AccountID, Subject: in.Subject, Text: in.Text})
	}
	return http.StatusNoContent, nil, nil
}

func read(r *http.Request, v any) error {
	if r.Header.Get("Content-Type") != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "the content type must be application/json")
	}
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "There was an error parsing JSON. Check that your request body is valid.")
	}
	return nil
}

func readComment(r *http.Request, in *commentInput) error {
	if err := read(r, in); err != nil {
		return err
	}
	var n node
	if err := json.Unmarshal(in.Body, &n); err != nil || n.Type != "doc" || n.Version != 1 {
		return refuse(http.StatusBadRequest, "Comment body is not valid! It must be a document of version 1.")
	}
	if len(TextOf(in.Body)) > 32767 {
		return refuse(http.StatusBadRequest, "The entered text is too long. It exceeds the allowed limit of 32,767 characters.")
	}
	return n.check("")
}

// node is one of a document.
type node struct {
	Type    string         `json:"type"`
	Version int            `json:"version"`
	Text    string         `json:"text"`
	Attrs   map[string]any `json:"attrs"`
	Marks   []node         `json:"marks"`
	Content []node         `json:"content"`
}

// parents are the nodes that the simulator takes, and where each may stand.
var parents = map[string][]string{"doc": {""}, "paragraph": {"doc", "listItem"}, "codeBlock": {"doc", "listItem"}, "bulletList": {"doc", "listItem"},
	"listItem": {"bulletList"}, "text": {"paragraph", "codeBlock"}, "hardBreak": {"paragraph"}}

func (n node) check(parent string) error {
	bad := refuse(http.StatusBadRequest, "Comment body is not valid! A %q may not stand so in a %q.", n.Type, parent)
	allowed, ok := parents[n.Type]
	switch {
	case !ok || !slices.Contains(allowed, parent):
		return bad
	case n.Type == "text" && (n.Text == "" || len(n.Content) > 0 || parent == "codeBlock" && len(n.Marks) > 0):
		return bad
	case (n.Type == "bulletList" || n.Type == "listItem") && len(n.Content) == 0:
		return bad
	}
	for _, m := range n.Marks {
		if href, _ := m.Attrs["href"].(string); m.Type != "link" || href == "" {
			return bad
		}
	}
	for _, c := range n.Content {
		if err := c.check(n.Type); err != nil {
			return err
		}
	}
	return nil
}

// TextOf is the text of a document, a line for each paragraph.
func TextOf(body json.RawMessage) string {
	var n node
	if json.Unmarshal(body, &n) != nil {
		return ""
	}
	var lines []string
	for _, block := range n.Content {
		lines = append(lines, block.text())
	}
	return strings.Join(lines, "\n")
}

func (n node) text() string {
	if n.Type == "hardBreak" {
		return "\n"
	}
	text := n.Text
	for _, c := range n.Content {
		text += c.text()
		if c.Type == "listItem" {
			text += "\n"
		}
	}
	for _, m := range n.Marks {
		if href, _ := m.Attrs["href"].(string); href != "" && href != text {
			text += " (" + href + ")"
		}
	}
	return text
}
