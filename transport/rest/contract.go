package rest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"path"
	"slices"
	"strings"
)

// contract is what the reference page shows of the OpenAPI document.
type contract struct {
	Info struct {
		Title, Description string
	}
	Tags       []struct{ Name, Description string }
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas       map[string]contractSchema
		Parameters    map[string]contractParameter
		RequestBodies map[string]contractBody
		Responses     map[string]contractBody
	}

	operations []contractOperation
}

type contractOperation struct {
	ID                   string `json:"operationId"`
	Action               string `json:"x-oz-action"`
	Tags                 []string
	Summary, Description string
	Parameters           []contractParameter
	Body                 *contractBody `json:"requestBody"`
	Responses            map[string]contractBody

	method, path string
	outside      bool // outside the prefix
}

type contractParameter struct {
	Ref                   string `json:"$ref"`
	Name, In, Description string
	Required              bool
	Schema                contractSchema
}

// contractBody is a request body or a response.
type contractBody struct {
	Ref         string `json:"$ref"`
	Description string
	Content     map[string]contractMedia
}

type contractMedia struct{ Schema contractSchema }

type contractSchema struct {
	Ref                       string `json:"$ref"`
	Type, Format, Description string
	Enum                      []any
	Default                   any
	Nullable                  bool
	Items                     *contractSchema
	AllOf, OneOf              []contractSchema
	Properties                map[string]contractSchema
	Additional                additional `json:"additionalProperties"`
	Required                  []string
}

// additional is what OpenAPI allows there: a schema, or true or false.
type additional struct{ schema *contractSchema }

// UnmarshalJSON implements json.Unmarshaler.
func (a *additional) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "false":
		return nil
	case "true":
		a.schema = &contractSchema{}
		return nil
	}
	return json.Unmarshal(data, &a.schema)
}

// methodOrder is how the operations of one path are listed.
var methodOrder = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

func parseContract(document []byte) (*contract, error) {
	d := &contract{}
	if err := json.Unmarshal(document, d); err != nil {
		return nil, err
	}
	for path, item := range d.Paths {
		var shared []contractParameter
		if raw, ok := item["parameters"]; ok {
			if err := json.Unmarshal(raw, &shared); err != nil {
				return nil, fmt.Errorf("parameters of %s: %w", path, err)
			}
		}
		for _, method := range methodOrder {
			raw, ok := item[strings.ToLower(method)]
			if !ok {
				continue
			}
			op := contractOperation{method: method, path: path}
			if err := json.Unmarshal(raw, &op); err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			op.Parameters = append(slices.Clone(shared), op.Parameters...)
			_, op.outside = item["servers"]
			d.operations = append(d.operations, op)
		}
	}
	slices.SortFunc(d.operations, func(a, b contractOperation) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(slices.Index(methodOrder, a.method), slices.Index(methodOrder, b.method)))
	})
	return d, nil
}

// tagged gives the operations of a tag.
func (d *contract) tagged(tag string) []contractOperation {
	return slices.DeleteFunc(slices.Clone(d.operations), func(op contractOperation) bool { return !slices.Contains(op.Tags, tag) })
}

func (d *contract) parameter(p contractParameter) contractParameter {
	if p.Ref != "" {
		return d.Components.Parameters[refName(p.Ref)]
	}
	return p
}

func (d *contract) body(b *contractBody) *contractBody {
	if b != nil && b.Ref != "" {
		named := d.Components.RequestBodies[refName(b.Ref)]
		return &named
	}
	return b
}

func (d *contract) response(r contractBody) contractBody {
	if r.Ref != "" {
		return d.Components.Responses[refName(r.Ref)]
	}
	return r
}

// refName is the last part of a reference within the document.
func refName(ref string) string { return path.Base(ref) }

// markup is HTML that needs no more escaping.
type markup string

// markupWriter writes HTML. Not html/template: that calls methods by name,
// which makes the linker keep every method of every type in every program that
// has this package.
type markupWriter struct{ strings.Builder }

// add writes format with its values escaped, but for those of type markup.
func (w *markupWriter) add(format string, values ...any) {
	for i, v := range values {
		switch v := v.(type) {
		case markup:
			values[i] = string(v)
		default:
			values[i] = html.EscapeString(fmt.Sprint(v))
		}
	}
	fmt.Fprintf(w, format, values...)
}

// prose writes a text of the contract as paragraphs.
func (w *markupWriter) prose(text string) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if part != "" {
			w.add(`<p>%s</p>`, prose(part))
		}
	}
}

// prose marks what stands in backquotes as code.
func prose(text string) markup {
	var out strings.Builder
	for i, part := range strings.Split(text, "`") {
		part = html.EscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		out.WriteString(part)
	}
	return markup(out.String())
}
