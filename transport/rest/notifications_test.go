package rest_test

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// TestNotificationsOverHTTP: a run that fails is told to who made it, in the
// list and in the stream, and is read by the SDK.
func TestNotificationsOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin := sdk(t, e, transporttest.AdminKey)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL+"/api/v1/oz/runs/stream", nil)
	assert.NilError(t, err)
	req.Header.Set("Authorization", "Bearer "+transporttest.AdminKey)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	assert.NilError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func(prefix string) string {
		t.Helper()
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return rest
			}
		}
		t.Fatalf("the stream ended before %q: %v", prefix, lines.Err())
		return ""
	}
	next("event: resync")

	run, err := admin.Submit(ctx, oz.Request{Prompt: "x", Title: "Mend it"})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	assert.NilError(t, link.End(ctx, task.End{State: task.StateFailed, Status: task.Status{Message: "no such branch", ErrorCode: task.CodeEnvironmentSetupFailed}}))
	next("event: notification")
	data := next("data: ")
	assert.Assert(t, strings.Contains(data, `"kind":"error"`) && strings.Contains(data, string(run.ID)) && strings.Contains(data, "Mend it"), data)

	list, unread, err := admin.Notifications(ctx, oz.NotificationsErrors, 5)
	assert.NilError(t, err)
	assert.Equal(t, unread, 1)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].Text, "no such branch")
	assert.NilError(t, admin.ReadNotification(ctx, list[0].ID))
	assert.ErrorIs(t, admin.ReadNotification(ctx, "4711"), task.ErrNotFound)
	assert.NilError(t, admin.ReadAllNotifications(ctx))
	list, unread, err = admin.Notifications(ctx, oz.NotificationsUnread, 0)
	assert.NilError(t, err)
	assert.Equal(t, unread+len(list), 0)
	theirs, _, err := sdk(t, e, e.Member).Notifications(ctx, "", 0)
	assert.NilError(t, err)
	assert.Equal(t, len(theirs), 0)
	for query, field := range map[string]string{"?filter=loud": "filter", "?limit=0.5": "limit", "?limit=301": "limit"} {
		a := e.Call(transporttest.AdminKey, http.MethodGet, "/api/v1/oz/notifications"+query, nil)
		assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
		assert.Equal(t, a.Problem()["field"], field)
	}
}

// TestBrowsersSubscribeOverHTTP: each person has their own, and no answer shows
// an address.
func TestBrowsersSubscribeOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin, member, ctx := sdk(t, e, transporttest.AdminKey), sdk(t, e, e.Member), t.Context()
	key, err := admin.PushKey(ctx)
	assert.NilError(t, err)
	point, err := base64.RawURLEncoding.DecodeString(key)
	assert.NilError(t, err)
	_, err = ecdh.P256().NewPublicKey(point)
	assert.NilError(t, err)
	other, err := member.PushKey(ctx)
	assert.NilError(t, err)
	assert.Equal(t, other, key)

	private, err := ecdh.P256().GenerateKey(rand.Reader)
	assert.NilError(t, err)
	in := webpush.Spec{Endpoint: "https://push.example.com/a-secret-address", P256dh: base64.RawURLEncoding.EncodeToString(private.PublicKey().Bytes()),
		Auth: base64.RawURLEncoding.EncodeToString(make([]byte, 16))}
	sub, err := admin.SubscribePush(ctx, in)
	assert.NilError(t, err)
	assert.Equal(t, sub.Service, "push.example.com")
	again, err := admin.SubscribePush(ctx, in)
	assert.NilError(t, err)
	assert.Equal(t, again.UID, sub.UID)
	list, err := admin.PushSubscriptions(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []webpush.Subscription{sub})
	a := e.Call(transporttest.AdminKey, http.MethodGet, "/api/v1/oz/push/subscriptions", nil)
	assert.Assert(t, !strings.Contains(string(a.Body), "secret-address"), "%s", a.Body)
	list, err = member.PushSubscriptions(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
	assert.ErrorIs(t, member.UnsubscribePush(ctx, sub.UID), task.ErrNotFound)
	assert.NilError(t, admin.UnsubscribePush(ctx, sub.UID))
	assert.ErrorIs(t, admin.UnsubscribePush(ctx, sub.UID), task.ErrNotFound)

	for field, bad := range map[string]webpush.Spec{"endpoint": {Endpoint: "http://push.example.com/", P256dh: in.P256dh, Auth: in.Auth},
		"keys.p256dh": {Endpoint: in.Endpoint, P256dh: "x", Auth: in.Auth}, "keys.auth": {Endpoint: in.Endpoint, P256dh: in.P256dh, Auth: "x"}} {
		_, err := admin.SubscribePush(ctx, bad)
		assert.ErrorIs(t, err, task.ErrInvalid, field)
		assert.ErrorContains(t, err, field)
	}
}
