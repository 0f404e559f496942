package githubsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keptDeliveries is for how long GitHub sends a delivery again.
const keptDeliveries = 72 * time.Hour

// linked is a page of a list, with the address of the next.
type linked struct {
	list []any
	next string
}

// hookOf finds an app's webhook.
func (s *Server) hookOf(a *App) (hook, bool) {
	i := slices.IndexFunc(s.hooks, func(h hook) bool { return h.app == a.ID })
	if i < 0 {
		return hook{}, false
	}
	return s.hooks[i], true
}

func (s *Server) hookConfig(a *App, _ *http.Request) answer {
	h, ok := s.hookOf(a)
	if !ok {
		return refuse(404, "Not Found")
	}
	return answer{status: 200, body: map[string]any{"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": h.url}}
}

// hooksAt are those of the repository or organisation of a request that its
// account administers.
func (s *Server) hooksAt(c call) (list []hook) {
	place, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(c.URL.Path, "/")), "/hooks")
	for _, h := range s.hooks {
		if h.id > 0 && h.place == place && c.app == nil && h.admin == strings.ToLower(c.by.Login) {
			list = append(list, h)
		}
	}
	return list
}

func (s *Server) listHooks(c call) answer {
	out := []any{}
	for _, h := range s.hooksAt(c) {
		out = append(out, map[string]any{"id": h.id, "type": "Repository", "name": "web", "active": true, "events": []string{"*"},
			"config": map[string]any{"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": h.url}})
	}
	if len(out) == 0 {
		return refuse(404, "Not Found") // so also of hooks that the account may not see
	}
	return page(c, out)
}

// onHook finds the hook of a request.
func (s *Server) onHook(do func(hook, call) answer) func(call) answer {
	return func(c call) answer {
		for _, h := range s.hooksAt(c) {
			if strconv.FormatInt(h.id, 10) == c.PathValue("hook") {
				return do(h, c)
			}
		}
		return refuse(404, "Not Found")
	}
}

// listDeliveries lists what an app's hook was sent.
func (s *Server) listDeliveries(a *App, r *http.Request) answer {
	return s.deliveriesOf(hook{app: a.ID}, a.InstallationID, r)
}

// deliveriesOf lists what a hook was sent, the newest first. A cursor names the
// delivery that a page begins with.
func (s *Server) deliveriesOf(h hook, installation int64, r *http.Request) answer {
	q := r.URL.Query()
	size := 30
	if text := q.Get("per_page"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil || size < 1 {
			return refuse(422, "Validation Failed: per_page")
		}
	}
	var from int64
	if text := q.Get("cursor"); text != "" {
		number, ok := strings.CutPrefix(text, "v1_")
		var err error
		if from, err = strconv.ParseInt(number, 10, 64); err != nil || !ok {
			return refuse(400, "Invalid cursor")
		}
	}
	page := linked{list: []any{}}
	for _, d := range slices.Backward(s.deliveries) {
		if !d.hook.same(h) || from > 0 && d.Number > from {
			continue
		}
		if len(page.list) == min(size, 100) {
			page.next = fmt.Sprintf("https://api.github.com%s?per_page=%d&cursor=v1_%d", r.URL.Path, size, d.Number)
			break
		}
		page.list = append(page.list, d.json(installation))
	}
	return answer{status: 200, body: page}
}

func (d Delivery) json(installation int64) map[string]any {
	code, said := 200, "OK"
	var status StatusError
	switch {
	case errors.As(d.Err, &status):
		code, said = int(status), "Invalid HTTP Response: "+strconv.Itoa(int(status))
	case d.Err != nil:
		code, said = 0, "failed to connect to host"
	}
	var body struct {
		Action string `json:"action"`
	}
	_ = json.Unmarshal(d.Body, &body) // tests may have sent anything
	return map[string]any{"id": d.Number, "guid": d.ID, "delivered_at": d.SentAt.Format(time.RFC3339), "redelivery": d.Redelivery, "duration": 0.1,
		"status": said, "status_code": code, "event": d.Event, "action": body.Action, "installation_id": installation}
}

// redeliver sends a delivery to the app's hook again.
func (s *Server) redeliver(a *App, r *http.Request) answer {
	h, ok := s.hookOf(a)
	if !ok {
		return refuse(404, "Not Found")
	}
	return s.sendAgain(h, r)
}

// sendAgain sends a delivery to its hook again.
func (s *Server) sendAgain(h hook, r *http.Request) answer {
	i := slices.IndexFunc(s.deliveries, func(d Delivery) bool {
		return d.hook.same(h) && strconv.FormatInt(d.Number, 10) == r.PathValue("id")
	})
	if i < 0 {
		return refuse(404, "Not Found")
	}
	d := s.deliveries[i]
	if s.now().Sub(d.SentAt) > keptDeliveries {
		return refuse(422, "Deliveries older than 3 days cannot be redelivered")
	}
	d.Redelivery, d.hook = true, h
	return answer{status: 202, body: map[string]any{}, send: func() { s.deliver(d) }}
}
