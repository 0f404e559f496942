package oz_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// notices are the texts of a run's notices.
func notices(t *testing.T, p *oz.Platform, id task.ID) (list []string) {
	t.Helper()
	events, err := p.Events(t.Context(), id, 0, oz.MaxEvents)
	assert.NilError(t, err)
	for _, e := range events {
		if n, ok := e.Payload.(*task.Notice); ok {
			list = append(list, n.Text)
		}
	}
	return list
}

// TestReports: what a program around an agent reports is an artifact of the
// run, once, without secrets, and only while its execution is live.
func TestReports(t *testing.T) {
	s := newStage(t, nil)
	c, ctx := s.clients["ann"], t.Context()
	_, err := c.CreateSecret(ctx, oz.SecretInput{Name: "SHOP_TOKEN", Value: "Jd4-Wq8_zT2nVb6Rk9Ls"})
	assert.NilError(t, err)
	run, link, _ := s.act(t, c, oz.Request{Prompt: "mend it"})
	o := link.(executor.Outreach)
	pull := executor.Report{Type: task.ArtifactPullRequest, Data: executor.ReportData{URL: "https://forge.example/a/b/pull/7", Branch: "mend"}}
	uid, err := o.ReportArtifact(ctx, pull)
	assert.NilError(t, err)
	again, err := o.ReportArtifact(ctx, pull)
	assert.NilError(t, err)
	assert.Equal(t, again, uid)
	ref := executor.Report{Type: task.ArtifactReference, Data: executor.ReportData{URL: "https://tracker.example/T-1", ReferenceType: "LINEAR_ISSUE",
		Title: "The token Jd4-Wq8_zT2nVb6Rk9Ls leaks", Metadata: json.RawMessage(`{"team":"shop"}`)}}
	_, err = o.ReportArtifact(ctx, ref)
	assert.NilError(t, err)
	// The runner's own stream is not disturbed.
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.Notice{Text: "from the runner"}}}))

	got := get(t, s.Platform, run.ID).Artifacts
	assert.Equal(t, len(got), 2)
	assert.Equal(t, got[0].UID, uid)
	assert.Equal(t, got[0].Type, task.ArtifactPullRequest)
	assert.Equal(t, got[0].Branch, "mend")
	assert.Equal(t, got[1].ReferenceType, "LINEAR_ISSUE")
	assert.Equal(t, string(got[1].Metadata), `{"team":"shop"}`)
	assert.Assert(t, strings.Contains(got[1].Title, "leaks") && !strings.Contains(got[1].Title, "Jd4"), got[1].Title)
	found, of, err := c.Artifact(ctx, uid)
	assert.NilError(t, err)
	assert.Equal(t, of, run.ID)
	assert.Equal(t, found.URL, pull.Data.URL)

	for name, tt := range map[string]struct {
		of     executor.Report
		change func(r *executor.Report)
		field  string
	}{
		"no type":        {pull, func(r *executor.Report) { r.Type = "" }, "artifact_type"},
		"a file":         {pull, func(r *executor.Report) { r.Type = task.ArtifactFile }, "artifact_type"},
		"no address":     {pull, func(r *executor.Report) { r.Data.URL = "" }, "data.url"},
		"a long address": {pull, func(r *executor.Report) { r.Data.URL = "https://a/" + strings.Repeat("x", 2048) }, "data.url"},
		"a path":         {pull, func(r *executor.Report) { r.Data.URL = "/a/b" }, "data.url"},
		"credentials":    {pull, func(r *executor.Report) { r.Data.URL = "https://u:p@forge.example/a" }, "data.url"},
		"a secret":       {pull, func(r *executor.Report) { r.Data.URL += "?t=Jd4-Wq8_zT2nVb6Rk9Ls" }, "data.url"},
		"no branch":      {pull, func(r *executor.Report) { r.Data.Branch = "" }, "data.branch"},
		"NUL":            {pull, func(r *executor.Report) { r.Data.Branch = "a\x00b" }, "data.branch"},
		"with a title":   {pull, func(r *executor.Report) { r.Data.Title = "x" }, "data"},
		"with a branch":  {ref, func(r *executor.Report) { r.Data.Branch = "x" }, "data.branch"},
		"of no type":     {ref, func(r *executor.Report) { r.Data.ReferenceType = "" }, "data.reference_type"},
		"long type":      {ref, func(r *executor.Report) { r.Data.ReferenceType = strings.Repeat("x", 257) }, "data.reference_type"},
		"long title":     {ref, func(r *executor.Report) { r.Data.Title = strings.Repeat("x", 4097) }, "data.title"},
		"a list":         {ref, func(r *executor.Report) { r.Data.Metadata = json.RawMessage(`[1]`) }, "data.metadata"},
		"much metadata": {ref, func(r *executor.Report) {
			r.Data.Metadata = json.RawMessage(`{"a":"` + strings.Repeat("x", 64<<10) + `"}`)
		}, "data.metadata"},
	} {
		bad := tt.of
		tt.change(&bad)
		_, err := o.ReportArtifact(ctx, bad)
		var e *task.Error
		assert.Assert(t, errors.As(err, &e) && e.Code == task.CodeInvalidRequest, "%s: %v", name, err)
		assert.Equal(t, e.Field, tt.field, "%s: %v", name, err)
		assert.Assert(t, !strings.Contains(err.Error(), "Jd4"), "%v", err)
	}

	for i := range task.MaxArtifacts - 2 {
		ref.Data.URL = fmt.Sprintf("https://tracker.example/T-%d", i+2)
		_, err = o.ReportArtifact(ctx, ref)
		assert.NilError(t, err)
	}
	ref.Data.URL = "https://tracker.example/one-more"
	_, err = o.ReportArtifact(ctx, ref)
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported, "%v", err)
	again, err = o.ReportArtifact(ctx, pull)
	assert.NilError(t, err, "what is there is there")
	assert.Equal(t, again, uid)

	assert.NilError(t, link.End(ctx, task.End{State: task.StateFailed, Status: task.Status{Message: "enough"}, SeenInput: run.LastInput}))
	_, err = o.ReportArtifact(ctx, pull)
	assert.ErrorIs(t, err, task.ErrFenced)
	assert.ErrorIs(t, o.NotifyUser(ctx, executor.Note{Message: "late"}), task.ErrFenced)
}

// noticeBoard is a board that is told of its runs; its store fails when
// a test says so.
type noticeBoard struct {
	board
	mu   sync.Mutex
	told []string // notes
	fail bool
}

func (b *noticeBoard) Report(_ context.Context, n trigger.News) ([]task.Outgoing, error) {
	if n.Type != trigger.NewsNote {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail {
		return nil, errors.New("the origin is away")
	}
	return []task.Outgoing{{Key: "board " + n.Key, Kind: "board", Body: []byte(n.Note)}}, nil
}

func (b *noticeBoard) Kinds() []string { return []string{"board"} }

func (b *noticeBoard) Send(_ context.Context, o task.Outgoing) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, string(o.Body))
	return nil, nil
}

// TestNotes: what a program tells the run's people stands in the log and is
// said at the origin, once for each key, also when it was interrupted between
// the two.
func TestNotes(t *testing.T) {
	origin, sent, decided := &noticeBoard{}, make(chan task.Outgoing, 10), make(chan task.Delivery, 10)
	s := newStage(t, func(o *oz.Options) {
		o.Origins = []trigger.Origin{origin}
		o.Triggers = trigger.Options{Poll: 5 * time.Millisecond, OnDelivery: func(d task.Delivery) { decided <- d }, OnSent: func(o task.Outgoing, _ error) { sent <- o }}
	})
	ann := s.clients["ann"]
	_, err := ann.CreateSecret(t.Context(), oz.SecretInput{Name: "SHOP_TOKEN", Value: "Jd4-Wq8_zT2nVb6Rk9Ls"})
	assert.NilError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Triggers().Run(ctx) }()
	defer func() { stop(); assert.NilError(t, <-done) }()
	body, err := json.Marshal(trigger.Start{Kind: task.SourceSlack, Title: "t", Prompt: "mend it", Owner: task.Scope{Type: task.ScopeTeam, UID: "red"}, Creator: ann.Caller().Principal})
	assert.NilError(t, err)
	_, err = s.Triggers().Receive(ctx, "board", trigger.Request{Path: "1", Body: body})
	assert.NilError(t, err)
	id := (<-decided).Runs[0]
	link := deskOf(t, s.Platform, s.store, id)
	assert.NilError(t, link.Begin(ctx))
	o := link.(executor.Outreach)

	first := executor.Note{Message: "Half is **done**; the key is Jd4-Wq8_zT2nVb6Rk9Ls.", Key: "a"}
	assert.NilError(t, o.NotifyUser(ctx, first))
	assert.NilError(t, o.NotifyUser(ctx, first), "once more after a lost answer")
	assert.Equal(t, (<-sent).TaskID, id)
	logged := notices(t, s.Platform, id)
	assert.Equal(t, len(logged), 1)
	text, ok := strings.CutPrefix(logged[0], "Note from the run: ")
	assert.Assert(t, ok && strings.HasPrefix(text, "Half is **done**; the key is ") && !strings.Contains(text, "Jd4"), logged[0])

	// The platform dies between the log and the origin.
	origin.mu.Lock()
	origin.fail = true
	origin.mu.Unlock()
	second := executor.Note{Message: "More is done.", Key: "b"}
	assert.ErrorContains(t, o.NotifyUser(ctx, second), "away")
	origin.mu.Lock()
	origin.fail = false
	origin.mu.Unlock()
	assert.NilError(t, o.NotifyUser(ctx, second))
	<-sent
	assert.NilError(t, o.NotifyUser(ctx, executor.Note{Message: "More is done."}), "another note with the same words")
	<-sent
	assert.DeepEqual(t, notices(t, s.Platform, id)[1:], []string{"Note from the run: More is done.", "Note from the run: More is done."})
	origin.mu.Lock()
	assert.DeepEqual(t, origin.told, []string{text, "More is done.", "More is done."})
	origin.mu.Unlock()

	for name, bad := range map[string]executor.Note{
		"message:":   {Message: " \n"},
		"message: h": {Message: strings.Repeat("x", executor.MaxNoteBytes+1)},
		"message: m": {Message: "a\xff"},
		"key: may":   {Message: "x", Key: strings.Repeat("k", executor.MaxNoteKey+1)},
		"key: ma":    {Message: "x", Key: "a b"},
		"key: con":   {Message: "x", Key: "Jd4-Wq8_zT2nVb6Rk9Ls"},
	} {
		err := o.NotifyUser(ctx, bad)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.Assert(t, strings.HasPrefix(err.Error(), name) && !strings.Contains(err.Error(), "Jd4"), "%v", err)
	}
}

// TestNotesAreBounded: a program that cannot stop telling is told to.
func TestNotesAreBounded(t *testing.T) {
	s := newStage(t, nil)
	run, link, _ := s.act(t, s.clients["ann"], oz.Request{Prompt: "mend it"})
	o := link.(executor.Outreach)
	for i := range executor.MaxNotes {
		assert.NilError(t, o.NotifyUser(t.Context(), executor.Note{Message: "x", Key: fmt.Sprint(i)}))
	}
	err := o.NotifyUser(t.Context(), executor.Note{Message: "x", Key: "more"})
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported, "%v", err)
	assert.NilError(t, o.NotifyUser(t.Context(), executor.Note{Message: "x", Key: "7"}), "that one is said")
	assert.Equal(t, len(notices(t, s.Platform, run.ID)), executor.MaxNotes)
}

// todoBoard is a board that is told how far its runs have come.
type todoBoard struct {
	board
	told chan string
}

func (b *todoBoard) Report(_ context.Context, n trigger.News) ([]task.Outgoing, error) {
	if n.Type != trigger.NewsProgress {
		return nil, nil
	}
	var titles []string
	for _, t := range n.Progress.Items {
		titles = append(titles, t.Title)
	}
	return []task.Outgoing{{Key: "board " + n.Key, Kind: "board", Body: []byte(strings.Join(titles, ", "))}}, nil
}

func (b *todoBoard) Kinds() []string { return []string{"board"} }

func (b *todoBoard) Send(_ context.Context, o task.Outgoing) ([]byte, error) {
	b.told <- string(o.Body)
	return nil, nil
}

// TestTaskListsAreTold: what an agent has set out to do is told where its run
// came from, without secrets, and once however often its runner says so.
func TestTaskListsAreTold(t *testing.T) {
	origin, decided := &todoBoard{told: make(chan string, 10)}, make(chan task.Delivery, 1)
	s := newStage(t, func(o *oz.Options) {
		o.Origins = []trigger.Origin{origin}
		o.Triggers = trigger.Options{Poll: 5 * time.Millisecond, Progress: 10 * time.Millisecond, OnDelivery: func(d task.Delivery) { decided <- d }}
	})
	ann := s.clients["ann"]
	_, err := ann.CreateSecret(t.Context(), oz.SecretInput{Name: "SHOP_TOKEN", Value: "Jd4-Wq8_zT2nVb6Rk9Ls"})
	assert.NilError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Triggers().Run(ctx) }()
	defer func() { stop(); assert.NilError(t, <-done) }()
	body, err := json.Marshal(trigger.Start{Kind: task.SourceSlack, Title: "t", Prompt: "mend it", Owner: task.Scope{Type: task.ScopeTeam, UID: "red"},
		Creator: ann.Caller().Principal, Address: json.RawMessage(`"here"`)})
	assert.NilError(t, err)
	_, err = s.Triggers().Receive(ctx, "board", trigger.Request{Path: "1", Body: body})
	assert.NilError(t, err)
	id := (<-decided).Runs[0]
	link := deskOf(t, s.Platform, s.store, id)
	assert.NilError(t, link.Begin(ctx))

	events := func(titles ...string) (list []task.Event) {
		for _, title := range titles {
			list = append(list, task.Event{Time: time.Now(), Payload: &task.Todos{Items: []task.Todo{{Title: title}}}})
		}
		return list
	}
	assert.NilError(t, link.Append(ctx, 0, events("old", "use Jd4-Wq8_zT2nVb6Rk9Ls")))
	told := <-origin.told
	assert.Assert(t, strings.HasPrefix(told, "use ") && !strings.Contains(told, "Jd4"), told)
	assert.NilError(t, link.Append(ctx, 0, events("old", "use Jd4-Wq8_zT2nVb6Rk9Ls")), "once more after a lost answer")
	assert.NilError(t, link.Append(ctx, 2, []task.Event{{Time: time.Now(), Payload: &task.Notice{Text: "hello"}}}))
	assert.NilError(t, link.Append(ctx, 3, events("next")))
	assert.Equal(t, <-origin.told, "next")
	assert.Equal(t, len(origin.told), 0)
}
