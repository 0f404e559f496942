package rest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

var window = executor.TerminalSize{Cols: 80, Rows: 24}

// echoes plays a runner whose terminals answer in capitals, say how large they
// are, end at "exit" and break off at "crash".
func echoes(t *testing.T, link *client.Link) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	work.Go(func() {
		for ctx.Err() == nil {
			next, err := link.NextTerminal(ctx, 20*time.Second)
			if err != nil {
				return
			}
			if next == nil {
				continue
			}
			conn, err := link.JoinTerminal(ctx, next.ID)
			if err != nil {
				continue
			}
			work.Go(func() {
				defer func() { _ = conn.Close() }()
				for {
					f, err := conn.Receive(ctx)
					code := 7
					switch {
					case err != nil, f.Closed != nil, string(f.Data) == "crash":
						return
					case f.Size != nil:
						data, _ := json.Marshal(f.Size)
						err = conn.Send(ctx, executor.TerminalFrame{Data: data})
					case string(f.Data) == "exit":
						err = conn.Send(ctx, executor.TerminalFrame{Closed: &task.Terminal{Code: task.TerminalExited, Reason: "the shell has ended", Exit: &code}})
					default:
						err = conn.Send(ctx, executor.TerminalFrame{Data: bytes.ToUpper(f.Data)})
					}
					if err != nil {
						return
					}
				}
			})
		}
	})
}

// receive waits for what is shown, or the last frame.
func receive(t *testing.T, conn executor.TerminalConn) executor.TerminalFrame {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f, err := conn.Receive(ctx)
	assert.NilError(t, err)
	return f
}

// open opens a terminal and checks that it answers.
func open(t *testing.T, c *client.Client, id task.ID) executor.TerminalConn {
	t.Helper()
	conn, err := c.Terminal(t.Context(), id, window)
	assert.NilError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	first := receive(t, conn)
	assert.Assert(t, first.Opened != "")
	assert.DeepEqual(t, *first.Size, window)
	assert.NilError(t, conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("hello")}))
	assert.Equal(t, string(receive(t, conn).Data), "HELLO")
	return conn
}

// TestTerminal connects an editor with the runner, both from outside.
func TestTerminal(t *testing.T) { onEachStore(t, testTerminal) }

func testTerminal(t *testing.T, start starter) {
	e := start(t, &transporttest.Options{Platform: patient()})
	id, link := begin(t, e)
	echoes(t, link)
	mary := sdk(t, e, e.Member)
	conn := open(t, mary, id)
	assert.NilError(t, conn.Send(t.Context(), executor.TerminalFrame{Size: &executor.TerminalSize{Cols: 100, Rows: 30}}))
	assert.Equal(t, string(receive(t, conn).Data), `{"cols":100,"rows":30}`)
	p, err := mary.Presence(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, len(p.Participants), 1)
	assert.Assert(t, p.Participants[0].Terminal && p.Participants[0].UID == "mary" && p.Participants[0].Streams == 0)
	assert.NilError(t, conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("exit")}))
	end := receive(t, conn).Closed
	assert.Equal(t, end.Code, task.TerminalExited)
	assert.Equal(t, *end.Exit, 7)

	conn = open(t, mary, id)
	assert.NilError(t, conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("crash")}))
	assert.Equal(t, receive(t, conn).Closed.Code, task.TerminalSandboxGone)

	conn = open(t, mary, id)
	e.Handler.Stop()
	assert.Equal(t, receive(t, conn).Closed.Code, task.TerminalStopping)
	codes := terminalCodes(t, e, id, 3)
	assert.DeepEqual(t, codes, []task.TerminalCode{task.TerminalExited, task.TerminalSandboxGone, task.TerminalStopping})
	written := 0
	for entry, err := range sdk(t, e, transporttest.AdminKey).AuditEntries(t.Context(), 0) {
		assert.NilError(t, err)
		if strings.Contains(string(entry.Body), `"`+string(access.RunTakeOver)+`"`) {
			written++
		}
	}
	assert.Equal(t, written, 6, "three were begun and done")
}

// terminalCodes waits for n ends of terminals in the log.
func terminalCodes(t *testing.T, e *transporttest.Env, id task.ID, n int) (codes []task.TerminalCode) {
	t.Helper()
	for event, err := range e.Platform.Watch(t.Context(), id, 0) {
		assert.NilError(t, err)
		if p, ok := event.Payload.(*task.Terminal); ok && p.State == task.TerminalClosed {
			assert.Equal(t, p.By.UID, "mary")
			if codes = append(codes, p.Code); len(codes) == n {
				break
			}
		}
	}
	return codes
}

// TestTerminalIsForEditors tries everybody else, and runs that have none.
func TestTerminalIsForEditors(t *testing.T) { onEachStore(t, testTerminalIsForEditors) }

func testTerminalIsForEditors(t *testing.T, start starter) {
	e := start(t, guests())
	ctx, admin := t.Context(), sdk(t, e, transporttest.AdminKey)
	id, link := begin(t, e)
	echoes(t, link)
	_, err := admin.Share(ctx, id, task.Sharing{Grants: []task.Grant{{To: task.Scope{Type: task.ScopeUser, UID: "oscar"}, Role: task.RoleViewer}}})
	assert.NilError(t, err)
	token, _, _, err := admin.CreateRunLink(ctx, id, oz.RunLinkSpec{Role: task.RoleEditor})
	assert.NilError(t, err)
	for name, tt := range map[string]struct {
		c    *client.Client
		want task.Code
	}{
		"viewer":  {sdk(t, e, e.Outsider), task.CodeNotAuthorized},
		"guest":   {withLink(t, e, "", token), task.CodeNotAuthorized},
		"nobody":  {sdk(t, e, "garbage"), task.CodeAuthenticationRequired},
		"no run":  {sdk(t, e, e.Member), task.CodeNotFound},
		"runner":  {sdk(t, e, "ozr_x.y"), task.CodeAuthenticationRequired},
		"too big": {sdk(t, e, e.Member), task.CodeInvalidRequest},
	} {
		run, size := id, window
		switch name {
		case "no run":
			run = task.NewID()
		case "too big":
			size.Cols = executor.MaxTerminalSize + 1
		}
		_, err := tt.c.Terminal(ctx, run, size)
		assert.Equal(t, task.CodeOf(err), tt.want, "%s: %v", name, err)
	}
	open(t, withLink(t, e, e.Outsider, token), id) // an editor by a link, with an account
	local, handshake, err := sdk(t, e, e.Member).StartLocal(ctx, oz.Request{Prompt: "here"})
	assert.NilError(t, err)
	handshake.ServerURL = e.URL
	own, err := client.NewLink(handshake, nil)
	assert.NilError(t, err)
	assert.NilError(t, own.Begin(ctx))
	_, err = sdk(t, e, e.Member).Terminal(ctx, local.ID, window)
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported, "a person's own machine: %v", err)
	assert.NilError(t, admin.Cancel(ctx, id))
	_, err = sdk(t, e, e.Member).Terminal(ctx, id, window)
	assert.Equal(t, task.CodeOf(err), task.CodeConflict, "%v", err)
}

// TestTerminalOrigins dials as pages do, of this server and of others.
func TestTerminalOrigins(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	id, link := begin(t, e)
	echoes(t, link)
	address := strings.Replace(e.URL, "http", "ws", 1) + "/api/v1/oz/runs/" + string(id) + "/terminal"
	key := "oz.bearer." + base64.RawURLEncoding.EncodeToString([]byte(e.Member))
	for _, tt := range []struct {
		name      string
		protocols []string
		header    http.Header
		want      int
	}{
		{"page of this server", []string{"oz.terminal.v1", key}, http.Header{"Origin": {e.URL}}, 101},
		{"page with a key", []string{"oz.terminal.v1", key}, http.Header{"Origin": {"https://dash.example"}}, 101},
		{"page without one", []string{"oz.terminal.v1"}, http.Header{"Origin": {"https://evil.example"}}, 401},
		{"page that has the browser send one", []string{"oz.terminal.v1"}, http.Header{"Origin": {"https://evil.example"}, "Authorization": {"Bearer " + e.Member}}, 403},
		{"no origin and no key", []string{"oz.terminal.v1"}, nil, 401},
		{"broken key", []string{"oz.terminal.v1", "oz.bearer.%%"}, http.Header{"Origin": {e.URL}}, 401},
		{"wrong key", []string{"oz.terminal.v1", "oz.bearer.AAAA"}, http.Header{"Origin": {e.URL}}, 401},
		{"other protocol", []string{"chat"}, http.Header{"Authorization": {"Bearer " + e.Member}}, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws, answer, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{Subprotocols: tt.protocols, HTTPHeader: tt.header})
			assert.Equal(t, answer.StatusCode, tt.want, "%v", err)
			if ws != nil {
				assert.Equal(t, ws.Subprotocol(), "oz.terminal.v1")
				assert.NilError(t, ws.CloseNow())
			}
		})
	}
	a := e.Call(e.Member, "GET", "/oz/runs/"+string(id)+"/terminal", nil)
	assert.Equal(t, a.Status, 400, "%s", a.Body)
}

// TestTerminalBadFrames sends what no terminal sends.
func TestTerminalBadFrames(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	id, link := begin(t, e)
	echoes(t, link)
	address := strings.Replace(e.URL, "http", "ws", 1) + "/api/v1/oz/runs/" + string(id) + "/terminal"
	for _, bad := range []string{"{", "[]", `{"type":"resize"}`, `{"type":"resize","cols":0,"rows":5}`, `{"type":"resize","cols":1e9,"rows":5}`, strings.Repeat("x", executor.MaxTerminalData+1)} {
		ws, _, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{Subprotocols: []string{"oz.terminal.v1"},
			HTTPHeader: http.Header{"Authorization": {"Bearer " + e.Member}}})
		assert.NilError(t, err)
		assert.NilError(t, ws.Write(t.Context(), websocket.MessageText, []byte(bad)))
		for err == nil { // what is on its way comes first
			_, _, err = ws.Read(t.Context())
		}
		var closed websocket.CloseError
		assert.Assert(t, errors.As(err, &closed), "%.20q: %v", bad, err)
		_ = ws.CloseNow()
	}
	ws, _, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{Subprotocols: []string{"oz.terminal.v1"},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + e.Member}}})
	assert.NilError(t, err)
	defer func() { _ = ws.CloseNow() }()
	assert.NilError(t, ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"mouse","x":1}`)), "of a newer client")
	assert.NilError(t, ws.Write(t.Context(), websocket.MessageBinary, []byte("ok")))
	for {
		kind, data, err := ws.Read(t.Context())
		assert.NilError(t, err)
		if kind == websocket.MessageBinary && string(data) == "OK" {
			break
		}
	}
}

// TestRevokedEditorLosesTerminal takes the right to edit from somebody in a
// terminal: by sharing, by membership, by key and by link.
func TestRevokedEditorLosesTerminal(t *testing.T) {
	e := transporttest.Start(t, guests())
	ctx, admin := t.Context(), sdk(t, e, transporttest.AdminKey)
	id, link := begin(t, e)
	echoes(t, link)
	keys := cast(t, e)
	token, _, l, err := admin.CreateRunLink(ctx, id, oz.RunLinkSpec{Role: task.RoleEditor})
	assert.NilError(t, err)
	raw, key, err := sdk(t, e, e.Member).CreateKey(ctx, access.KeySpec{Name: "spare"})
	assert.NilError(t, err)
	byLink := open(t, withLink(t, e, keys["solo"], token), id)
	byKey := open(t, sdk(t, e, raw), id)
	byPlace := open(t, sdk(t, e, e.Member), id)
	assert.NilError(t, admin.RevokeRunLink(ctx, id, l.UID))
	assert.NilError(t, sdk(t, e, e.Member).RevokeKey(ctx, key.UID))
	_, err = admin.Share(ctx, id, task.Sharing{Visibility: task.VisibilityPrivate})
	assert.NilError(t, err)
	for _, conn := range []executor.TerminalConn{byLink, byKey, byPlace} {
		assert.Equal(t, receive(t, conn).Closed.Code, task.TerminalRevoked)
	}
}

// TestNobodyJoinsAnothersTerminal has the runner of another run try.
func TestNobodyJoinsAnothersTerminal(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	id, link := begin(t, e)
	_, other := begin(t, e)
	opened := make(chan error, 1)
	go func() {
		conn, err := sdk(t, e, e.Member).Terminal(context.Background(), id, window)
		if err == nil {
			err = conn.Close()
		}
		opened <- err
	}()
	next, err := link.NextTerminal(t.Context(), 20*time.Second)
	assert.NilError(t, err)
	assert.DeepEqual(t, next.TerminalSize, window)
	_, err = other.JoinTerminal(t.Context(), next.ID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = link.JoinTerminal(t.Context(), "nothing")
	assert.ErrorIs(t, err, task.ErrNotFound)
	again, err := link.NextTerminal(t.Context(), 20*time.Second)
	assert.NilError(t, err)
	assert.Equal(t, again.ID, next.ID, "the first answer may have been lost")
	conn, err := link.JoinTerminal(t.Context(), next.ID)
	assert.NilError(t, err)
	defer func() { _ = conn.Close() }()
	assert.NilError(t, <-opened)
	_, err = link.JoinTerminal(t.Context(), next.ID)
	assert.ErrorIs(t, err, task.ErrNotFound, "it has its sandbox")
	none, err := link.NextTerminal(t.Context(), 0)
	assert.NilError(t, err)
	assert.Assert(t, none == nil)
	_, err = link.NextTerminal(t.Context(), time.Hour)
	assert.ErrorIs(t, err, task.ErrInvalid)
}
