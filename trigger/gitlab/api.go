package gitlab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// Bounds of what is read.
const (
	pageSize = 100
	maxPages = 10
	// maxKnown bounds the usernames that are remembered.
	maxKnown = 1000
)

// client asks GitLab in the name of one integration.
type client struct {
	o      *Origin
	name   string // of the integration and its token
	base   string
	header http.Header
}

// client fails with task.CodeIntegrationNotConfigured when there is no token.
func (o *Origin) client(ctx context.Context, i integration.Integration, s Settings) (*client, error) {
	token, err := o.store.Secret(ctx, i, SecretToken)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(token)
	return &client{o: o, name: i.UID + " " + hex.EncodeToString(sum[:]), base: cmp.Or(o.url, s.URL) + "/api/v4",
		header: http.Header{"Private-Token": {string(token)}, "User-Agent": {"oz-cloudagents/" + version.String()}}}, nil
}

func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	return c.o.caller.Do(ctx, method, c.base+path, c.header, in, out)
}

// username is who our comments are by.
func (c *client) username(ctx context.Context) (string, error) {
	c.o.mu.Lock()
	known, ok := c.o.us[c.name]
	c.o.mu.Unlock()
	if ok {
		return known, nil
	}
	var who account
	if err := c.call(ctx, http.MethodGet, "/user", nil, &who); err != nil {
		return "", fmt.Errorf("ask GitLab who we are: %w", err)
	}
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	if len(c.o.us) >= maxKnown {
		clear(c.o.us)
	}
	c.o.us[c.name] = who.Username
	return who.Username, nil
}

// path is that of the issue or merge request.
func (a address) path() string {
	kind := "issues"
	if a.Merge {
		kind = "merge_requests"
	}
	return fmt.Sprintf("/projects/%d/%s/%d", a.Project, kind, a.IID)
}

// note is a comment.
type note struct {
	ID        int64     `json:"id"`
	Body      string    `json:"body"`
	Author    account   `json:"author"`
	CreatedAt time.Time `json:"created_at"`
	System    bool      `json:"system"`
}

// each gives the comments, the newest first, until f says that it is enough or
// they are older than since.
func (c *client) each(ctx context.Context, a address, since time.Time, f func(note) bool) error {
	for page := 1; page <= maxPages; page++ {
		var list []note
		path := fmt.Sprintf("%s/notes?sort=desc&order_by=created_at&per_page=%d&page=%d", a.path(), pageSize, page)
		if err := c.call(ctx, http.MethodGet, path, nil, &list); err != nil {
			return err
		}
		for _, n := range list {
			if n.CreatedAt.Before(since) || f(n) {
				return nil
			}
		}
		if len(list) < pageSize {
			return nil
		}
	}
	return nil
}

// find looks for the comment of ours that bears a mark; one without ID when
// there is none.
func (c *client) find(ctx context.Context, a address, mark string, since time.Time) (found note, err error) {
	us, err := c.username(ctx)
	if err != nil {
		return found, err
	}
	err = c.each(ctx, a, since, func(n note) bool {
		if strings.HasPrefix(n.Body, mark) && strings.EqualFold(n.Author.Username, us) {
			found = n
		}
		return found.ID > 0
	})
	return found, err
}

// post writes a comment, in a thread as an answer.
func (c *client) post(ctx context.Context, a address, text string) (id int64, err error) {
	path := a.path() + "/notes"
	if a.Discussion != "" {
		path = a.path() + "/discussions/" + a.Discussion + "/notes"
	}
	var made note
	err = c.call(ctx, http.MethodPost, path, map[string]string{"body": text}, &made)
	return made.ID, err
}

// edit changes a comment of ours.
func (c *client) edit(ctx context.Context, a address, id int64, text string) error {
	return c.call(ctx, http.MethodPut, fmt.Sprintf("%s/notes/%d", a.path(), id), map[string]string{"body": text}, nil)
}

// nod says that somebody was heard. That it is there already is no error.
func (c *client) nod(ctx context.Context, a address) error {
	path := a.path()
	if a.Note > 0 {
		path += fmt.Sprintf("/notes/%d", a.Note)
	}
	err := c.call(ctx, http.MethodPost, path+"/award_emoji", map[string]string{"name": "eyes"}, nil)
	if refused(err, http.StatusNotFound, "already been taken") {
		return nil
	}
	return err
}

// status gives a commit one. GitLab refuses one that it has.
func (c *client) status(ctx context.Context, a address, s commitStatus) error {
	err := c.call(ctx, http.MethodPost, fmt.Sprintf("/projects/%d/statuses/%s", a.Project, a.Commit), s, nil)
	if refused(err, http.StatusBadRequest, "Cannot transition status") {
		return nil
	}
	return err
}

// commitStatus is what a commit is given.
type commitStatus struct {
	State       string `json:"state"`
	Name        string `json:"name"`
	URL         string `json:"target_url,omitempty"`
	Description string `json:"description,omitempty"`
}

// refused reports that GitLab says no with these words.
func refused(err error, status int, words string) bool {
	var no *tracker.StatusError
	return errors.As(err, &no) && no.Status == status && strings.Contains(no.Message, words)
}
