package oz_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// server is the smallest transport that a runner in a process of its own can
// reach a platform by. The platform behind it may be exchanged.
type server struct {
	*httptest.Server
	platform atomic.Pointer[oz.Platform]
}

func newServer(t testing.TB) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.handle))
	t.Cleanup(s.Close)
	return s
}

type appendBody struct {
	Offset int64
	Events []task.Event
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	p := s.platform.Load()
	if p == nil {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	answer, err := s.act(p, r)
	switch {
	case errors.Is(err, task.ErrFenced):
		http.Error(w, err.Error(), http.StatusGone)
	case errors.Is(err, task.ErrUnseenInput):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (s *server) act(p *oz.Platform, r *http.Request) (any, error) {
	ctx := r.Context()
	caller, err := p.Authenticate(ctx, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		return nil, err
	}
	l, err := p.Link(caller)
	if err != nil {
		return nil, err
	}
	switch r.URL.Path {
	case "/bundle":
		return l.Bundle(ctx)
	case "/begin":
		return nil, l.Begin(ctx)
	case "/heartbeat":
		return l.Heartbeat(ctx)
	case "/append":
		var body appendBody
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, err
		}
		return nil, l.Append(ctx, body.Offset, body.Events)
	case "/end":
		var end task.End
		if err := json.NewDecoder(r.Body).Decode(&end); err != nil {
			return nil, err
		}
		return nil, l.End(ctx, end)
	}
	return nil, fmt.Errorf("no such path %s", r.URL.Path)
}

// runner is the far side: a process in a sandbox.
type runner struct {
	h        executor.Handshake
	appended int64
}

// runnerMain is what the test's binary does in a sandbox.
func runnerMain(mode string) int {
	r := &runner{}
	if err := json.NewDecoder(os.Stdin).Decode(&r.h); err != nil {
		fmt.Println(err)
		return 9
	}
	var b executor.Bundle
	if err := r.call("/bundle", nil, &b); err != nil {
		fmt.Println(err)
		return 8
	}
	if err := r.call("/begin", nil, nil); err != nil {
		fmt.Println(err)
		return 7
	}
	switch mode {
	case "succeed":
		r.say("hello")
	case "crash":
		for _, v := range b.Secrets {
			fmt.Printf("about to die with %s=%s\n", v.Name, v.Value.Reveal())
		}
		return 3
	case "vanish":
		return 0 // as if all were well
	case "files":
		if _, err := os.ReadFile("left-by-an-earlier-execution"); err == nil {
			r.say("found")
		} else if os.WriteFile("left-by-an-earlier-execution", nil, 0o600) == nil {
			r.say("made")
		}
	case "tree":
		// A child that leaves the process group and the session.
		seconds := fmt.Sprintf("1000.%09d", os.Getpid())
		if err := exec.Command("setsid", "sleep", seconds).Start(); err == nil {
			r.say(seconds)
		}
		r.wait("never")
	case "wait":
		r.say("waiting")
		r.wait("finish")
	}
	if strings.HasPrefix(b.Task.Prompt, "fail") {
		return r.end(task.End{State: task.StateFailed, Status: task.Status{Message: "no luck", ErrorCode: task.CodeEnvironmentSetupFailed}})
	}
	return r.end(task.End{State: task.StateSucceeded})
}

// wait sends heartbeats until the file is there.
func (r *runner) wait(file string) {
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if err := r.call("/heartbeat", nil, nil); errors.Is(err, task.ErrFenced) {
			os.Exit(5)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (r *runner) say(text string) {
	body := appendBody{r.appended, []task.Event{{Payload: &task.Message{ID: "m", Text: text}}}}
	if err := r.call("/append", body, nil); err != nil {
		os.Exit(6)
	}
	r.appended++
}

func (r *runner) end(end task.End) int {
	for {
		var beat executor.Heartbeat
		if err := r.call("/heartbeat", nil, &beat); err != nil {
			return 5
		}
		end.SeenInput = beat.LastInput
		if r.call("/end", end, nil) == nil {
			return 0
		}
	}
}

// call tries until the platform answers.
func (r *runner) call(path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, r.h.ServerURL+path, bytes.NewReader(data))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+r.h.Token.Reveal())
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode == http.StatusServiceUnavailable {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusGone:
			return task.ErrFenced
		case resp.StatusCode != http.StatusOK:
			return errors.New(string(text))
		case answer == nil:
			return nil
		}
		return json.Unmarshal(text, answer)
	}
}

// eventually polls what other processes do.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func said(t testing.TB, events []task.Event) (texts []string) {
	t.Helper()
	for _, e := range events {
		if m, ok := e.Payload.(*task.Message); ok {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

func says(text string) func(task.Event) bool {
	return func(e task.Event) bool {
		m, ok := e.Payload.(*task.Message)
		return ok && m.Text == text
	}
}
