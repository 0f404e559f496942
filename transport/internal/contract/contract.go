// Package contract holds answers of a server against the OpenAPI document, for
// tests: status, media type and every member of a JSON body.
package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// Contract is the document, ready to be compared with. Safe for concurrent use.
type Contract struct {
	prefix string
	router routers.Router
	doc    *openapi3.T
}

// New reads a document whose operations are served below prefix. Objects may
// then only have the members that it names: what is not in the contract does
// not belong into an answer.
func New(ctx context.Context, document []byte, prefix string) (*Contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("read the contract: %w", err)
	}
	if err := doc.Validate(ctx); err != nil {
		return nil, fmt.Errorf("the contract is not valid: %w", err)
	}
	closeAll(doc)
	doc.Servers = openapi3.Servers{{URL: "/"}}
	for _, item := range doc.Paths.Map() {
		item.Servers = nil
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("read the contract: %w", err)
	}
	return &Contract{prefix: prefix, router: router, doc: doc}, nil
}

// closeAll forbids members that a schema does not name.
func closeAll(doc *openapi3.T) {
	seen := map[*openapi3.Schema]bool{}
	for _, ref := range doc.Components.Schemas {
		closeSchema(ref, seen)
	}
}

func closeSchema(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if ref == nil || ref.Value == nil || seen[ref.Value] {
		return
	}
	s := ref.Value
	seen[s] = true
	open := s.AdditionalProperties.Has != nil || s.AdditionalProperties.Schema != nil
	if len(s.Properties) > 0 && !open && len(s.AllOf)+len(s.OneOf)+len(s.AnyOf) == 0 {
		no := false
		s.AdditionalProperties.Has = &no
	}
	for _, p := range s.Properties {
		closeSchema(p, seen)
	}
	closeSchema(s.Items, seen)
	closeSchema(s.AdditionalProperties.Schema, seen)
	for _, list := range [][]*openapi3.SchemaRef{s.AllOf, s.OneOf, s.AnyOf} {
		for _, p := range list {
			closeSchema(p, seen)
		}
	}
}

// Check says how an answer differs from what the contract says of it. Answers
// to requests that are in no operation must be problems.
func (c *Contract) Check(r *http.Request, status int, header http.Header, body []byte) error {
	probe := r.Clone(context.WithoutCancel(r.Context()))
	probe.Body, probe.URL.Host, probe.URL.Scheme, probe.Host = http.NoBody, "", "", ""
	if rest, ok := strings.CutPrefix(probe.URL.Path, c.prefix); ok {
		probe.URL.Path, probe.URL.RawPath = rest, strings.TrimPrefix(probe.URL.RawPath, c.prefix)
	}
	route, params, err := c.router.FindRoute(probe)
	if err != nil {
		return c.checkProblem(status, header, body)
	}
	if err := checkMedia(route.Operation, status, header, body); err != nil {
		return fmt.Errorf("%s %s (%s): %w\n%s", r.Method, r.URL.Path, route.Operation.OperationID, err, clip(body))
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: probe, Route: route, PathParams: params},
		Status:                 status, Header: header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: !isJSON(header)},
	}
	if err := openapi3filter.ValidateResponse(r.Context(), in); err != nil {
		return fmt.Errorf("%s %s (%s): the answer is not as the contract says: %w\n%s", r.Method, r.URL.Path, route.Operation.OperationID, err, clip(body))
	}
	return nil
}

// checkMedia asks that a body has one of the media types of its answer. Where
// that is bytes of any kind, as an agent made them, every type will do.
func checkMedia(op *openapi3.Operation, status int, header http.Header, body []byte) error {
	answer := op.Responses.Status(status)
	if answer == nil {
		answer = op.Responses.Default()
	}
	if len(body) == 0 || answer == nil || answer.Value.Content.Get(header.Get("Content-Type")) != nil ||
		answer.Value.Content.Get("application/octet-stream") != nil {
		return nil
	}
	return fmt.Errorf("the answer to %d has Content-Type %q, which the contract does not name", status, header.Get("Content-Type"))
}

// checkProblem holds an answer to a request outside the contract against the
// schema of problems. What has no body is none of its business.
func (c *Contract) checkProblem(status int, header http.Header, body []byte) error {
	if status < http.StatusBadRequest || !isJSON(header) {
		return nil
	}
	var v any
	if err := decode(body, &v); err != nil {
		return err
	}
	return c.doc.Components.Schemas["Problem"].Value.VisitJSON(v)
}

func isJSON(header http.Header) bool {
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// clip shortens a body for an error.
func clip(body []byte) []byte {
	const most = 2000
	return body[:min(len(body), most)]
}
