package linearsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// object is a value of the API: fields that a query may ask for.
type object map[string]any

// refusal is an error of the API.
type refusal struct {
	status  int
	code    string
	message string
	header  http.Header
}

// Error implements error.
func (r *refusal) Error() string { return r.message }

func invalid(format string, args ...any) error {
	return &refusal{status: http.StatusBadRequest, code: "INPUT_ERROR", message: fmt.Sprintf(format, args...)}
}

func notFound(what, id string) error {
	return &refusal{status: http.StatusOK, code: "INPUT_ERROR", message: fmt.Sprintf("Entity not found: %s - Could not find referenced %s %s.", what, what, id)}
}

// maxQuery bounds a request's body, in bytes.
const maxQuery = 1 << 20

// ServeHTTP implements http.Handler: it is the API at any path.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := s.nextFault()
	if fault == FaultDown {
		http.Error(w, "upstream unavailable", http.StatusServiceUnavailable)
		return
	}
	data, err := s.answer(w, r, fault)
	if fault == FaultCut { // it is done, and nobody hears so
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if err == nil {
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
		return
	}
	refused, ok := err.(*refusal) //nolint:errorlint // made here
	if !ok {
		refused = &refusal{status: http.StatusBadRequest, code: "GRAPHQL_VALIDATION_FAILED", message: err.Error()}
	}
	for name, values := range refused.header {
		w.Header()[name] = values
	}
	w.WriteHeader(refused.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"data": nil, "errors": []any{map[string]any{"message": refused.message, "extensions": map[string]any{"code": refused.code}}}})
}

func (s *Sim) answer(w http.ResponseWriter, r *http.Request, fault Fault) (object, error) {
	switch {
	case r.Method != http.MethodPost:
		return nil, &refusal{status: http.StatusMethodNotAllowed, code: "BAD_REQUEST", message: "only POST is allowed"}
	case r.Header.Get("Content-Type") != "application/json":
		return nil, &refusal{status: http.StatusUnsupportedMediaType, code: "BAD_REQUEST", message: "the content type must be application/json"}
	case len(r.Header.Values("Authorization")) != 1 || r.Header.Get("Authorization") != s.authorization():
		return nil, &refusal{status: http.StatusUnauthorized, code: "AUTHENTICATION_ERROR", message: "Authentication required, not authenticated"}
	case fault == FaultRateLimit:
		reset := strconv.FormatInt(s.opts.Clock.Now().Add(s.opts.RetryAfter).UnixMilli(), 10)
		return nil, &refusal{status: http.StatusBadRequest, code: "RATELIMITED", message: "Rate limit exceeded",
			header: http.Header{"X-Ratelimit-Requests-Reset": {reset}}}
	}
	var q struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuery)).Decode(&q); err != nil {
		return nil, invalid("the body is no query: %v", err)
	}
	doc, errs := gqlparser.LoadQueryWithRules(s.schema, q.Query, rules.NewDefaultRules())
	if len(errs) > 0 {
		return nil, errs
	}
	if len(doc.Operations) != 1 {
		return nil, invalid("a request has one operation")
	}
	op := doc.Operations[0]
	variables, err := validator.VariableValues(s.schema, op, q.Variables)
	if err != nil {
		return nil, err
	}
	out := object{}
	for _, sel := range op.SelectionSet {
		field, ok := sel.(*ast.Field)
		if !ok {
			return nil, invalid("the simulator knows no fragments")
		}
		value, err := s.resolve(field.Name, field.ArgumentMap(variables))
		if err != nil {
			return nil, err
		}
		if out[field.Alias], err = pick(value, field); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// pick leaves of a value what was asked for.
func pick(value any, field *ast.Field) (any, error) {
	switch v := value.(type) {
	case object:
		if v == nil {
			return nil, nil
		}
		out := object{}
		for _, sel := range field.SelectionSet {
			f, ok := sel.(*ast.Field)
			if !ok {
				return nil, invalid("the simulator knows no fragments")
			}
			part, err := pick(v[f.Name], f)
			if err != nil {
				return nil, err
			}
			out[f.Alias] = part
		}
		return out, nil
	case []object:
		list := make([]any, 0, len(v))
		for _, o := range v {
			part, err := pick(o, field)
			if err != nil {
				return nil, err
			}
			list = append(list, part)
		}
		return list, nil
	case time.Time:
		return stamp(v), nil
	}
	return value, nil
}

// stamp is a time as Linear writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
