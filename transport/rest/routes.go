package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
)

// route is one operation of the contract.
type route struct {
	method    string
	path      string // below the prefix
	operation string // operationId
	action    access.Action
	public    bool // needs no caller
	outside   bool // served outside the prefix
	body      bodyKind
	optional  bool // the body may be absent
}

// bodyKind says what a request carries.
type bodyKind int

const (
	noBody     bodyKind = iota // never looked at
	jsonBody                   // read whole, within a limit
	streamBody                 // handed on as it comes
)

// publicAction marks operations that need no caller.
const publicAction = "public"

// pattern is the route as ServeMux spells it, without prefix.
func (r route) pattern() string { return r.method + " " + r.path }

// parseRoutes reads the route table from the contract: every operation with
// its entry of the access table. One without a known entry is an error, so
// that nothing is served that nobody decided on.
func parseRoutes(document []byte) (map[string]route, error) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("read contract: %w", err)
	}
	routes := map[string]route{}
	var errs []error
	for path, item := range doc.Paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead} {
			raw, ok := item[strings.ToLower(method)]
			if !ok {
				continue
			}
			r, err := parseRoute(raw)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", method, path, err))
				continue
			}
			r.method, r.path = method, path
			_, r.outside = item["servers"]
			routes[r.pattern()] = r
		}
	}
	return routes, errors.Join(errs...)
}

func parseRoute(raw json.RawMessage) (route, error) {
	var op struct {
		ID     string          `json:"operationId"`
		Action string          `json:"x-oz-action"`
		Body   json.RawMessage `json:"requestBody"`
	}
	if err := json.Unmarshal(raw, &op); err != nil {
		return route{}, err
	}
	r := route{operation: op.ID, action: access.Action(op.Action), public: op.Action == publicAction}
	if op.ID == "" {
		return route{}, errors.New("no operationId")
	}
	if !r.public && !r.action.Known() {
		return route{}, fmt.Errorf("x-oz-action %q is not in the access table", op.Action)
	}
	var body struct {
		Required *bool                      `json:"required"`
		Content  map[string]json.RawMessage `json:"content"`
	}
	if op.Body == nil {
		return r, nil
	}
	if err := json.Unmarshal(op.Body, &body); err != nil {
		return route{}, err
	}
	r.body, r.optional = jsonBody, body.Required != nil && !*body.Required
	if _, ok := body.Content["application/octet-stream"]; ok {
		r.body = streamBody
	}
	return r, nil
}

// table registers the generated routes, each behind its entry of the contract.
type table struct {
	mux    *http.ServeMux
	prefix string
	routes map[string]route
	guard  func(route, http.HandlerFunc) http.Handler
	served []string
	errs   []error
}

// HandleFunc implements api.ServeMux.
func (t *table) HandleFunc(pattern string, f func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	key := method + " " + strings.TrimPrefix(path, t.prefix)
	r, ok := t.routes[key]
	if !ok {
		t.errs = append(t.errs, fmt.Errorf("route %s has no entry in the contract", key))
		return
	}
	t.served = append(t.served, key)
	t.mux.Handle(pattern, t.guard(r, f))
}

// ServeHTTP implements api.ServeMux.
func (t *table) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.mux.ServeHTTP(w, r) }

// check reports operations of the contract that nothing serves.
func (t *table) check() error {
	for key := range t.routes {
		if !slices.Contains(t.served, key) {
			t.errs = append(t.errs, fmt.Errorf("operation %s is not served", key))
		}
	}
	return errors.Join(t.errs...)
}
