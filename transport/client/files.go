package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Transcript writes a run's transcript to w as it comes.
func (c *Client) Transcript(ctx context.Context, id task.ID, w io.Writer, format string) error {
	if err := checkID("run id", string(id)); err != nil {
		return err
	}
	return c.transfer(ctx, w, func(ctx context.Context) (*http.Response, error) {
		return c.files.GetRunTranscript(ctx, string(id), nil, query(url.Values{"format": {format}}))
	})
}

// File is an artifact that can be fetched (Oz API, ArtifactResponse).
type File struct {
	UID         string
	Type        task.ArtifactType
	CreatedAt   time.Time
	Title       string
	Description string
	// Name and Path are set for files.
	Name, Path  string
	ContentType string
	// Content is the text of a plan.
	Content string
	// URL is where a file or screenshot can be fetched without a key until
	// ExpiresAt. It is as good as the file itself: do not log it.
	URL       string
	ExpiresAt time.Time
}

// Artifact looks up an artifact that has content. It fails with
// task.ErrNotFound for kinds that have none, such as a pull request.
func (c *Client) Artifact(ctx context.Context, uid string) (File, error) {
	if err := checkID("artifact uid", uid); err != nil {
		return File{}, err
	}
	answer, err := decode[json.RawMessage](c.raw.GetArtifact(ctx, uid))
	if err != nil {
		return File{}, err
	}
	var a struct {
		UID       string            `json:"artifact_uid"`
		Type      task.ArtifactType `json:"artifact_type"`
		CreatedAt time.Time         `json:"created_at"`
		Data      struct {
			Title       string    `json:"title"`
			Description string    `json:"description"`
			Filename    string    `json:"filename"`
			Filepath    string    `json:"filepath"`
			ContentType string    `json:"content_type"`
			Content     string    `json:"content"`
			DownloadURL string    `json:"download_url"`
			ExpiresAt   time.Time `json:"expires_at"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return File{}, fmt.Errorf("read artifact %s: %w", uid, err)
	}
	d := a.Data
	return File{UID: a.UID, Type: a.Type, CreatedAt: a.CreatedAt, Title: d.Title, Description: d.Description, Name: d.Filename,
		Path: d.Filepath, ContentType: d.ContentType, Content: d.Content, URL: d.DownloadURL, ExpiresAt: d.ExpiresAt}, nil
}

// Download writes an artifact's file, or a plan's text, to w.
func (c *Client) Download(ctx context.Context, uid string, w io.Writer) error {
	f, err := c.Artifact(ctx, uid)
	if err != nil {
		return err
	}
	if f.URL == "" {
		_, err := io.WriteString(w, f.Content)
		return err
	}
	return c.follow(ctx, uid, f.URL, w)
}

// follow writes what a signed link leads to.
func (c *Client) follow(ctx context.Context, uid, link string, w io.Writer) error {
	return c.transfer(ctx, w, func(ctx context.Context) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
		if err != nil {
			return nil, fmt.Errorf("file %s: the server gave a link that is no URL", uid)
		}
		req.Header.Set("User-Agent", c.opts.UserAgent) // the link needs no key, and may lead elsewhere
		return (&sender{opts: c.opts, retry: retryFew(c.opts.MaxRetries)}).Do(req)
	})
}

// transfer writes an answer to w as it comes. A server that falls silent is
// given up; w may be as slow as it is.
func (c *Client) transfer(ctx context.Context, w io.Writer, send func(context.Context) (*http.Response, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := send(ctx)
	if err := check(resp, err); err != nil {
		return err
	}
	defer func() { cancel(nil); _ = resp.Body.Close() }() // what is left is not drained
	idle := time.AfterFunc(c.opts.StreamIdle, func() { cancel(errSilent) })
	defer idle.Stop()
	_, err = io.Copy(w, &watched{r: resp.Body, idle: idle, limit: c.opts.StreamIdle})
	if err != nil && context.Cause(ctx) == errSilent {
		err = errSilent
	}
	if err != nil {
		return fmt.Errorf("copy the server's answer: %w", err)
	}
	return nil
}

// errSilent is an answer that stops without an end.
var errSilent = task.Errorf(task.CodeResourceUnavailable, "the server fell silent in the middle of its answer")

// watched lets the timer run while a read waits, and only then.
type watched struct {
	r     io.Reader
	idle  *time.Timer
	limit time.Duration
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.idle.Reset(w.limit)
	defer w.idle.Stop()
	return w.r.Read(p)
}
