package jira

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

type client struct {
	caller tracker.Caller
	base   string
	header http.Header
}

func newClient(caller tracker.Caller, base string, s Settings, token string) client {
	value := "Bearer " + token
	if s.Email != "" {
		value = "Basic " + base64.StdEncoding.EncodeToString([]byte(s.Email+":"+token))
	}
	return client{caller: caller, base: strings.TrimRight(base, "/"), header: http.Header{"Authorization": {value}}}
}

func (c client) do(ctx context.Context, method, path string, in, out any) error {
	return c.caller.Do(ctx, method, c.base+"/rest/api/3"+path, c.header, in, out)
}

func (c client) myself(ctx context.Context) (a account, err error) {
	err = c.do(ctx, http.MethodGet, "/myself", nil, &a)
	return a, err
}

// item is an issue as the API tells it.
type item struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Fields struct {
		Summary     string          `json:"summary"`
		Description json.RawMessage `json:"description"`
		Labels      []string        `json:"labels"`
		Status      struct {
			Name string `json:"name"`
		} `json:"status"`
		Project struct {
			Key string `json:"key"`
		} `json:"project"`
	} `json:"fields"`

	comments []comment
}

type comment struct {
	ID         string          `json:"id"`
	Author     account         `json:"author"`
	Body       json.RawMessage `json:"body"`
	Created    string          `json:"created"`
	Properties []property      `json:"properties"`
}

// createdLayout is how Jira writes times.
const createdLayout = "2006-01-02T15:04:05.000-0700"

func (c comment) at() time.Time {
	t, err := time.Parse(createdLayout, c.Created)
	if err != nil {
		t, _ = time.Parse(time.RFC3339, c.Created) // zero is the oldest
	}
	return t
}

// recent is how many comments are read.
const recent = 50

func (c client) issue(ctx context.Context, id string) (i item, err error) {
	path := "/issue/" + url.PathEscape(id)
	if err := c.do(ctx, http.MethodGet, path+"?fields=summary,description,labels,status,project", nil, &i); err != nil {
		return i, err
	}
	i.comments, err = c.comments(ctx, id)
	return i, err
}

// comments are the newest of an issue.
func (c client) comments(ctx context.Context, id string) ([]comment, error) {
	var page struct {
		Comments []comment `json:"comments"`
	}
	err := c.do(ctx, http.MethodGet, "/issue/"+url.PathEscape(id)+"/comment?orderBy=-created&maxResults=50", nil, &page)
	return page.Comments[:min(len(page.Comments), recent)], err
}

// propertyKey is under which our comments carry what they are.
const propertyKey = "oz.cloudagents"

type property struct {
	Key   string `json:"key"`
	Value mark   `json:"value"`
}

// mark says what a comment of ours is.
type mark struct {
	Key  string       `json:"key"` // of the message
	Run  task.ID      `json:"run,omitempty"`
	Kind tracker.Kind `json:"kind,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler: others' properties may be
// anything.
func (m *mark) UnmarshalJSON(data []byte) error {
	type plain mark
	var p plain
	if json.Unmarshal(data, &p) == nil {
		*m = mark(p)
	}
	return nil
}

// find gives the newest comment with a mark that fits; empty when there is none.
func (c client) find(ctx context.Context, issue string, fits func(mark) bool) (string, error) {
	list, err := c.comments(ctx, issue)
	if err != nil || len(list) == 0 {
		return "", err
	}
	ids := make([]json.Number, 0, len(list))
	for _, one := range list {
		ids = append(ids, json.Number(one.ID))
	}
	var page struct {
		Values []comment `json:"values"`
	}
	if err := c.do(ctx, http.MethodPost, "/comment/list?expand=properties", map[string]any{"ids": ids}, &page); err != nil {
		return "", err
	}
	slices.SortFunc(page.Values, func(a, b comment) int { return b.at().Compare(a.at()) })
	for _, one := range page.Values {
		for _, p := range one.Properties {
			if p.Key == propertyKey && fits(p.Value) {
				return one.ID, nil
			}
		}
	}
	return "", nil
}

func (c client) add(ctx context.Context, issue string, body node, m mark) (id string, err error) {
	var made comment
	err = c.do(ctx, http.MethodPost, "/issue/"+url.PathEscape(issue)+"/comment",
		map[string]any{"body": body, "properties": []property{{Key: propertyKey, Value: m}}}, &made)
	return made.ID, err
}

func (c client) edit(ctx context.Context, issue, id string, body node) error {
	return c.do(ctx, http.MethodPut, "/issue/"+url.PathEscape(issue)+"/comment/"+url.PathEscape(id), map[string]any{"body": body}, nil)
}

// mail sends somebody an e-mail about an issue.
func (c client) mail(ctx context.Context, issue, to, subject, text string) error {
	return c.do(ctx, http.MethodPost, "/issue/"+url.PathEscape(issue)+"/notify", map[string]any{"subject": subject, "textBody": text,
		"to": map[string]any{"users": []map[string]string{{"accountId": to}}}}, nil)
}
