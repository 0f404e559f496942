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

// listDeliveries lists what an app's hook was sent, the newest first. A cursor
// names the delivery that a page begins with.
func (s *Server) listDeliveries(a *App, r *http.Request) answer {
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
		if d.hook.app != a.ID || from > 0 && d.Number > from {
			continue
		}
		if len(page.list) == min(size, 100) {
			page.next = fmt.Sprintf("https://api.github.com/app/hook/deliveries?per_page=%d&cursor=v1_%d", size, d.Number)
			break
		}
		page.list = append(page.list, d.json(a))
	}
	return answer{status: 200, body: page}
}

func (d Delivery) json(a *App) map[string]any {
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
		"status": said, "status_code": code, "event": d.Event, "action": body.Action, "installation_id": a.InstallationID}
}

// redeliver sends a delivery to the app's hook again.
func (s *Server) redeliver(a *App, r *http.Request) answer {
	i := slices.IndexFunc(s.deliveries, func(d Delivery) bool {
		return d.hook.app == a.ID && strconv.FormatInt(d.Number, 10) == r.PathValue("id")
	})
	h, ok := s.hookOf(a)
	if i < 0 || !ok {
		return refuse(404, "Not Found")
	}
	d := s.deliveries[i]
	if s.now().Sub(d.SentAt) > keptDeliveries {
		return refuse(422, "Deliveries older than 3 days cannot be redelivered")
	}
	d.Redelivery, d.hook = true, h
	return answer{status: 202, body: map[string]any{}, send: func() { s.deliver(d) }}
}
