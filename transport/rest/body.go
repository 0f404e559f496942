package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// maxTextBody bounds bodies that carry one text of task.MaxInputBytes, which
// JSON escapes to at most six bytes for one, or a batch of events.
const maxTextBody = 8<<20 + 64<<10

// limit is how large a body of the route may be, in bytes.
func (h *Handler) limit(rt route) int64 {
	switch rt.operation {
	case "createRun", "createRunAlias", "createLocalRun":
		return h.opts.MaxCreateBytes
	case "followUpRun":
		return max(h.opts.MaxBodyBytes, maxTextBody)
	case "appendExecutionEvents":
		return max(h.opts.MaxBodyBytes, MaxAppendBytes)
	}
	return h.opts.MaxBodyBytes
}

// MaxAppendBytes bounds one append of events: a client splits larger batches.
// It holds several events of task.MaxEventBytes.
const MaxAppendBytes = 16 << 20

// readBody prepares the request's body for the generated code: JSON is read
// whole and checked, streams are left alone, and where the contract has no
// body whatever came is not looked at (Oz API, body-less POST).
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, c *call) error {
	switch c.route.body {
	case streamBody:
		return nil
	case noBody:
		r.Body = http.NoBody
		return nil
	}
	data, err := h.readJSON(w, r, c.route)
	if err != nil {
		return err
	}
	c.body = data
	r.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

func (h *Handler) readJSON(w http.ResponseWriter, r *http.Request, rt route) ([]byte, error) {
	limit := h.limit(rt)
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &statusError{http.StatusRequestEntityTooLarge,
			task.Errorf(task.CodeInvalidRequest, "the body has more than the %d bytes allowed here", limit)}
	case err != nil:
		return nil, task.Errorf(task.CodeInvalidRequest, "the body ended early")
	}
	if len(bytes.TrimSpace(data)) == 0 {
		if rt.optional {
			return []byte(`{}`), nil
		}
		return nil, task.Errorf(task.CodeInvalidRequest, "send a JSON object as the body")
	}
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	return data, checkJSON(data)
}

// checkContentType refuses what is declared to be something else than JSON,
// such as the form that curl -d says it sends.
func checkContentType(header string) error {
	if header == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(header)
	charset := strings.ToLower(params["charset"])
	if err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")) && (charset == "" || charset == "utf-8") {
		return nil
	}
	return &statusError{http.StatusUnsupportedMediaType,
		task.Errorf(task.CodeInvalidRequest, "send the body as Content-Type: application/json in UTF-8")}
}

// checkJSON finds what decoding would pass over or tell badly: invalid UTF-8,
// text after the value, and where the syntax breaks.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return task.Errorf(task.CodeInvalidRequest, "the body is not valid UTF-8 at %s", position(data, validPrefix(data)))
	}
	var value json.RawMessage
	var err error
	if !json.Valid(data) { // decoding says why, and would copy what is valid
		err = json.Unmarshal(data, &value)
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return task.Errorf(task.CodeInvalidRequest, "the body is not valid JSON at or before %s: %v", position(data, int(syntax.Offset)-1), syntax)
	case err != nil:
		return task.Errorf(task.CodeInvalidRequest, "the body is not valid JSON: %v", err)
	case bytes.TrimSpace(data)[0] != '{':
		return task.Errorf(task.CodeInvalidRequest, "the body must be a JSON object")
	}
	return nil
}

// validPrefix is the length of data's longest valid beginning.
func validPrefix(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// position names an offset as people count: lines and columns from 1, columns
// in bytes.
func position(data []byte, offset int) string {
	offset = min(max(offset, 0), len(data))
	before := data[:offset]
	return fmt.Sprintf("line %d, column %d", 1+bytes.Count(before, []byte("\n")), offset-bytes.LastIndexByte(before, '\n'))
}

// listQuery is the query of the list of runs.
type listQuery = wire.List

// maxQuery bounds a query string, in bytes.
const maxQuery = 16 << 10

// readQuery prepares the query for the generated code. That of the list of
// runs is read here, by hand: the generated code knows neither times without
// offset nor the shapes of arrays that clients send.
func readQuery(r *http.Request, c *call) error {
	if len(r.URL.RawQuery) > maxQuery {
		return task.Errorf(task.CodeInvalidRequest, "the query has more than %d bytes", maxQuery)
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return task.Errorf(task.CodeInvalidRequest, "the query is not valid: check its percent signs and semicolons")
	}
	location := *r.URL
	r.URL = &location
	if c.route.operation == "listRuns" {
		location.RawQuery = ""
		list, err := wire.ParseList(values)
		c.list = &list
		return err
	}
	for key, all := range values {
		values[key] = slices.DeleteFunc(all, func(v string) bool { return v == "" }) // empty: not given
	}
	if c.route.operation == "listSignals" {
		values["run_ids"] = wire.Array(values, "run_ids")
	}
	location.RawQuery = values.Encode()
	return nil
}
