package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
)

// serveModels answers what models there are, in the wire's shape: those that
// the run can use, whatever else the providers have. It reports false for a
// path that is none of these.
func (g *Gateway) serveModels(w http.ResponseWriter, r *http.Request) bool {
	wire := wireOf(r.URL.Path)
	one, ok := modelsPath(wire, r.URL.Path)
	if !ok {
		return false
	}
	var answer any
	if one == "" {
		answer = g.modelList(wire)
	} else if g.router.route(wire, one) != nil {
		answer = g.modelEntry(wire, one)
	} else {
		refusal{http.StatusNotFound, ClassModelNotFound, g.router.missing(wire, one)}.write(w, wire)
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client is gone: nobody to tell
	return true
}

// modelsPath takes the id out of a path that asks for models; "" asks for all.
func modelsPath(wire Wire, path string) (id string, ok bool) {
	if wire == Gemini {
		_, id, ok = geminiPath(path)
		return id, ok
	}
	rest, ok := strings.CutPrefix(path, "/"+string(wire)+"/v1/models")
	return strings.TrimPrefix(rest, "/"), ok && (rest == "" || rest[0] == '/')
}

func (g *Gateway) modelList(wire Wire) any {
	ids := g.router.ids(wire, g.opts.Prices)
	list := make([]any, 0, len(ids))
	for _, id := range ids {
		list = append(list, g.modelEntry(wire, id))
	}
	switch wire {
	case Gemini:
		return map[string]any{"models": list}
	case Anthropic:
		page := map[string]any{"data": list, "has_more": false, "first_id": nil, "last_id": nil}
		if len(ids) > 0 {
			page["first_id"], page["last_id"] = ids[0], ids[len(ids)-1]
		}
		return page
	}
	return map[string]any{"object": "list", "data": list}
}

// modelEntry is one model as the vendors describe theirs.
func (g *Gateway) modelEntry(wire Wire, id string) any {
	switch wire {
	case Gemini:
		entry := map[string]any{"name": "models/" + id, "displayName": id, "version": "1",
			"supportedGenerationMethods": []string{"generateContent", "countTokens"}}
		if price, ok := g.opts.Prices.Of(id); ok && price.ContextWindow > 0 {
			entry["inputTokenLimit"], entry["outputTokenLimit"] = price.ContextWindow, price.MaxOutput
		}
		return entry
	case Anthropic:
		return map[string]any{"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"}
	}
	return map[string]any{"id": id, "object": "model", "created": 0, "owned_by": "gateway"}
}
