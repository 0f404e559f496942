package rest

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/transport/api"
)

//go:embed reference.css
var referenceStyle string

// GetReference implements GET /reference.
func (o operations) GetReference(context.Context, api.GetReferenceRequestObject) (api.GetReferenceResponseObject, error) {
	page, err := o.reference()
	return referencePage(page), err
}

// referencePage is the contract as a page for people.
type referencePage string

// referencePolicy lets the page have its own style and nothing else: no
// script, no other resource, no frame around it.
func referencePolicy() string {
	sum := sha256.Sum256([]byte(referenceStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// VisitGetReferenceResponse implements api.GetReferenceResponseObject.
func (p referencePage) VisitGetReferenceResponse(w http.ResponseWriter) error {
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", referencePolicy())
	head.Set("Cache-Control", "max-age=300") // the same for everybody, until the server is updated
	_, err := w.Write([]byte(p))
	return err
}

// renderReference makes the page of a contract that is served below prefix.
func renderReference(document []byte, prefix string) (string, error) {
	doc, err := parseContract(document)
	if err != nil {
		return "", fmt.Errorf("read contract: %w", err)
	}
	w := &markupWriter{}
	w.add(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>`+
		`<title>%s: API reference</title><style>%s</style></head><body><h1>%[1]s: API reference</h1>`, doc.Info.Title, markup(referenceStyle))
	w.prose(doc.Info.Description)
	w.add(`<p>The same for programs: <a href="%s/openapi.json">openapi.json</a>.</p><nav><ul>`, prefix)
	for _, tag := range doc.Tags {
		w.add(`<li><a href="#tag-%s">%[1]s</a></li>`, tag.Name)
	}
	w.add(`<li><a href="#schemas">schemas</a></li></ul></nav><main>`)
	for _, tag := range doc.Tags {
		w.add(`<section id="tag-%s"><h2>%[1]s</h2>`, tag.Name)
		w.prose(tag.Description)
		for _, op := range doc.tagged(tag.Name) {
			doc.operation(w, op, prefix)
		}
		w.add(`</section>`)
	}
	w.add(`<section id="schemas"><h2>Schemas</h2>`)
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		w.add(`<article id="schema-%s"><h3>%[1]s</h3>`, name)
		doc.schema(w, doc.Components.Schemas[name])
		w.add(`</article>`)
	}
	w.add(`</section></main></body></html>`)
	return w.String(), nil
}

// operation writes one operation with all that a caller has to know.
func (d *contract) operation(w *markupWriter, op contractOperation, prefix string) {
	if op.outside {
		prefix = ""
	}
	w.add(`<article id="%s"><h3><span class="method">%s</span> <code>%s</code></h3><p>%s</p>`, op.ID, op.method, prefix+op.path, op.Summary+".")
	w.prose(op.Description)
	if op.Action == publicAction {
		w.add(`<p class="access">Public: needs no key.</p>`)
	} else {
		w.add(`<p class="access">Access: <code>%s</code></p>`, op.Action)
	}
	if len(op.Parameters) > 0 {
		w.add(`<h4>Parameters</h4><div class="wide"><table><thead><tr><th>Name</th><th>In</th><th>Type</th><th>Meaning</th></tr></thead><tbody>`)
		for _, p := range op.Parameters {
			p = d.parameter(p)
			w.add(`<tr><td><code>%s</code>%s</td><td>%s</td><td>%s</td><td>`, p.Name, required(p.Required), p.In, d.typeOf(p.Schema))
			w.prose(cmp.Or(p.Description, p.Schema.Description))
			w.add(`</td></tr>`)
		}
		w.add(`</tbody></table></div>`)
	}
	if body := d.body(op.Body); body != nil {
		w.add(`<h4>Request body</h4>`)
		w.prose(body.Description)
		d.content(w, body.Content)
	}
	w.add(`<h4>Responses</h4>`)
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := d.response(op.Responses[status])
		w.add(`<p><b>%s</b> %s</p>`, status, prose(r.Description))
		d.content(w, r.Content)
	}
	w.add(`</article>`)
}

// required marks what must be given.
func required(yes bool) markup {
	if yes {
		return "&nbsp;<b title=\"required\">*</b>"
	}
	return ""
}

// content lists the media types of a body with their schemas.
func (d *contract) content(w *markupWriter, content map[string]contractMedia) {
	for _, media := range slices.Sorted(maps.Keys(content)) {
		s := content[media].Schema
		w.add(`<p><code>%s</code>: %s</p>`, media, d.typeOf(s))
		if s.Ref == "" && len(s.Properties) > 0 {
			d.properties(w, s)
		}
	}
}

// schema writes what a named schema is.
func (d *contract) schema(w *markupWriter, s contractSchema) {
	w.prose(s.Description)
	if len(s.Properties) == 0 {
		w.add(`<p>%s</p>`, d.typeOf(s))
	}
	for _, part := range append(slices.Clone(s.AllOf), s.OneOf...) {
		if part.Ref == "" && len(part.Properties) > 0 {
			d.properties(w, part)
		}
	}
	if len(s.Properties) > 0 {
		d.properties(w, s)
	}
}

// properties writes the table of an object's members.
func (d *contract) properties(w *markupWriter, s contractSchema) {
	w.add(`<div class="wide"><table><thead><tr><th>Member</th><th>Type</th><th>Meaning</th></tr></thead><tbody>`)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		w.add(`<tr><td><code>%s</code>%s</td><td>%s</td><td>`, name, required(slices.Contains(s.Required, name)), d.typeOf(p))
		w.prose(p.Description)
		w.add(`</td></tr>`)
	}
	w.add(`</tbody></table></div>`)
}

// typeOf gives a schema on one line, named ones as links.
func (d *contract) typeOf(s contractSchema) markup {
	w := &markupWriter{}
	switch {
	case s.Ref != "":
		name := refName(s.Ref)
		w.add(`<a href="#schema-%s">%[1]s</a>`, name)
	case len(s.AllOf) > 0:
		w.add(`%s`, d.join(s.AllOf, " and "))
	case len(s.OneOf) > 0:
		w.add(`%s`, d.join(s.OneOf, " or "))
	case len(s.Enum) > 0:
		for i, v := range s.Enum {
			w.add(`%s<code>%s</code>`, strings.Repeat(" ", min(i, 1)), fmt.Sprint(v))
		}
	case s.Items != nil:
		w.add(`list of %s`, d.typeOf(*s.Items))
	case s.Additional.schema != nil:
		w.add(`map of %s`, d.typeOf(*s.Additional.schema))
	default:
		w.add(`%s%s`, cmp.Or(s.Type, "any JSON"), strings.TrimRight(" "+s.Format, " "))
	}
	if s.Nullable {
		w.add(` or null`)
	}
	if s.Default != nil {
		w.add(`, default <code>%s</code>`, fmt.Sprint(s.Default))
	}
	return markup(w.String())
}

func (d *contract) join(parts []contractSchema, by string) markup {
	var out []string
	for _, p := range parts {
		out = append(out, string(d.typeOf(p)))
	}
	return markup(strings.Join(out, by))
}
