package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Link is the runner's side of a remote platform, bound to one execution.
// While the server cannot be reached, or answers that it cannot serve now,
// each call waits and asks again until its context ends, so that a server may
// restart under a run.
type Link struct {
	c *Client
}

var _ executor.Link = (*Link)(nil)

// NewLink returns the link that h describes. Of opts the HTTPClient, Timeout,
// UserAgent and Clock count; nil takes the defaults.
func NewLink(h executor.Handshake, opts *Options) (*Link, error) {
	if h.Token.Reveal() == "" {
		return nil, task.Invalid("token", "a runner needs the token of its execution")
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	o.APIKey = h.Token.Reveal()
	c, err := New(h.ServerURL, &o)
	if err != nil {
		return nil, err
	}
	if c.raw, err = c.newRaw(&sender{opts: c.opts, timeout: c.opts.Timeout, whole: true, retry: retryForever}); err != nil {
		return nil, err
	}
	if c.files, err = c.newRaw(&sender{opts: c.opts, whole: true, retry: retryForever}); err != nil {
		return nil, err
	}
	return &Link{c: c}, nil
}

// Bundle implements executor.Link.
func (l *Link) Bundle(ctx context.Context) (*executor.Bundle, error) {
	b, err := decode[executor.Bundle](l.c.raw.GetExecutionBundle(ctx))
	if err != nil {
		return nil, err
	}
	return &b, nil
}

// Begin implements executor.Link.
func (l *Link) Begin(ctx context.Context) error { return done(l.c.raw.BeginExecution(ctx)) }

// maxBatch is when a batch of events is split, in bytes: half of what the
// server takes, so that one event more fits in any case.
const maxBatch = 8 << 20

// Append implements executor.Link. A batch that is too large for one request
// is sent in several; each is in the log whole or not at all.
func (l *Link) Append(ctx context.Context, offset int64, events []task.Event) error {
	for {
		n, err := batch(events)
		if err != nil {
			return err
		}
		err = done(l.c.raw.AppendExecutionEvents(ctx, api.AppendEventsRequest{Offset: offset, Events: events[:n]}))
		if err != nil {
			return err
		}
		offset, events = offset+int64(n), events[n:]
		if len(events) == 0 {
			return nil
		}
	}
}

// batch says how many events to send at once.
func batch(events []task.Event) (int, error) {
	size := 0
	for i, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			return 0, fmt.Errorf("encode event: %w", err)
		}
		if size += len(data); i > 0 && (size > maxBatch || i == task.MaxAppendEvents) {
			return i, nil
		}
	}
	return len(events), nil
}

// Events implements executor.Link.
func (l *Link) Events(ctx context.Context, after int64, limit int) ([]task.Event, error) {
	return eventPages(after, limit, func(q url.Values) (api.EventPage, error) {
		return decode[api.EventPage](l.c.raw.ListExecutionEvents(ctx, nil, query(q)))
	})
}

// Heartbeat implements executor.Link.
func (l *Link) Heartbeat(ctx context.Context) (executor.Heartbeat, error) {
	return decode[executor.Heartbeat](l.c.raw.HeartbeatExecution(ctx))
}

// Upload implements executor.Link. What r gives is kept in a temporary file
// until the server has it, unless r is a file itself.
func (l *Link) Upload(ctx context.Context, uid string, r io.Reader) (blob string, sizeBytes int64, err error) {
	if err := checkID("artifact uid", uid); err != nil {
		return "", 0, err
	}
	file, remove, err := spool(r)
	if err != nil {
		return "", 0, fmt.Errorf("read artifact %s: %w", uid, err)
	}
	defer remove()
	answer, err := decode[api.UploadResponse](l.c.files.UploadArtifactWithBody(ctx, uid, "application/octet-stream", http.NoBody, replay(file)))
	return answer.Blob, answer.SizeBytes, err
}

// OpenBlob implements executor.Link. The file is fetched whole first, so that a
// connection that breaks is made again rather than cutting it off.
func (l *Link) OpenBlob(ctx context.Context, key string) (io.ReadCloser, error) {
	resp, err := l.c.files.OpenExecutionBlob(ctx, &api.OpenExecutionBlobParams{Key: key})
	if err := check(resp, err); err != nil {
		return nil, err
	}
	return resp.Body, nil
}

var _ executor.GitLender = (*Link)(nil)

// GitCredential implements executor.GitLender.
func (l *Link) GitCredential(ctx context.Context, host, path string) (executor.GitCredential, error) {
	return decode[executor.GitCredential](l.c.raw.LendGitCredential(ctx, api.GitCredentialRequest{Host: host, Path: path}))
}

var _ executor.PullRequester = (*Link)(nil)

// OpenPullRequest implements executor.PullRequester.
func (l *Link) OpenPullRequest(ctx context.Context, r executor.PullRequest) (executor.PullRequestAnswer, error) {
	return decode[executor.PullRequestAnswer](l.c.raw.OpenPullRequest(ctx, r))
}

// replay makes a request send a file from its present position, again in each
// attempt.
func replay(file *os.File) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		start, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		end, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		r.ContentLength = end - start
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(file, start, end-start)), nil }
		r.Body, err = r.GetBody()
		if r.ContentLength == 0 {
			r.Body, r.GetBody = http.NoBody, nil // zero with a body means unknown
		}
		return err
	}
}

// spool gives r as a file. remove deletes what was made for it.
func spool(r io.Reader) (file *os.File, remove func(), err error) {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, func() {}, nil
		}
	}
	f, err := os.CreateTemp("", "oz-upload-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = f.Close(); _ = os.Remove(f.Name()) }
	if _, err = io.Copy(f, r); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	return f, remove, nil
}

// Reserve implements executor.Link.
func (l *Link) Reserve(ctx context.Context, r executor.Reservation) (executor.Reserved, error) {
	return decode[executor.Reserved](l.c.raw.ReserveBudget(ctx, r))
}

// End implements executor.Link.
func (l *Link) End(ctx context.Context, end task.End) error {
	return done(l.c.raw.EndExecution(ctx, wire.End(end)))
}

var _ executor.Outreach = (*Link)(nil)

// ReportArtifact implements executor.Outreach.
func (l *Link) ReportArtifact(ctx context.Context, r executor.Report) (string, error) {
	answer, err := decode[api.ReportArtifactResponse](l.c.raw.ReportArtifact(ctx, r))
	return answer.ArtifactUid, err
}

// NotifyUser implements executor.Outreach. A note without a key gets one, so
// that it is said once, however often it is sent.
func (l *Link) NotifyUser(ctx context.Context, n executor.Note) error {
	if n.Key == "" {
		n.Key = uuid.NewString()
	}
	return done(l.c.raw.NotifyUser(ctx, n))
}
