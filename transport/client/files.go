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
	return copyTo(w)(c.stream.GetRunTranscript(ctx, string(id), nil, query(url.Values{"format": {format}})))
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return fmt.Errorf("artifact %s: the server gave a link that is no URL", uid)
	}
	req.Header.Set("User-Agent", c.opts.UserAgent) // the link needs no key, and may lead elsewhere
	s := &sender{opts: c.opts, retry: retryFew(c.opts.MaxRetries)}
	return copyTo(w)(s.Do(req))
}

// copyTo writes an answer to w as it comes.
func copyTo(w io.Writer) func(*http.Response, error) error {
	return func(resp *http.Response, err error) error {
		if err := check(resp, err); err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.Copy(w, resp.Body); err != nil {
			return fmt.Errorf("copy the server's answer: %w", err)
		}
		return nil
	}
}
