package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/api"
)

// How requests carry links to runs. A browser's cookie is signed, so that
// nobody guesses tokens with it, and one that opens nothing any more is no
// reason to refuse a request.
const (
	linkHeader     = "X-Oz-Link"
	linkCookie     = "oz_links"
	linkCookieLife = 30 * 24 * time.Hour
	maxCookieLinks = 5 // the newest
)

// linkCookieValue is what a browser carries, signed.
type linkCookieValue struct {
	Tokens  []string `json:"t"` // the newest first
	Expires int64    `json:"e"`
}

// OpenRunLink implements POST /oz/links/open.
func (o operations) OpenRunLink(ctx context.Context, r api.OpenRunLinkRequestObject) (api.OpenRunLinkResponseObject, error) {
	l, until, err := o.platform.OpenRunLink(ctx, r.Body.Token)
	if err != nil {
		return nil, err
	}
	req := callOf(ctx).request
	caller, err := o.account(req)
	if err != nil || !caller.SignedIn() {
		if caller, err = o.platform.GuestOf(l); err != nil {
			return nil, err
		}
	}
	guest := caller.Guest()
	if err := o.platform.As(caller).LinkOpened(ctx, l); err != nil {
		return nil, err
	}
	tokens := slices.DeleteFunc(o.cookieLinks(req), func(t string) bool { return t == r.Body.Token })
	tokens = append([]string{r.Body.Token}, tokens...)
	return openedLink{api.OpenedRunLink{RunId: string(l.TaskID), Role: api.OpenedRunLinkRole(l.Role), Guest: guest, ExpiresAt: until.UTC()},
		o.cookie(req, linkCookie, o.sealLinks(tokens[:min(len(tokens), maxCookieLinks)]), linkCookieLife)}, nil
}

// account finds who is signed in, whatever links the request carries.
func (h *Handler) account(r *http.Request) (access.Caller, error) {
	key, err := bearer(r)
	switch {
	case err != nil:
		return access.Caller{}, err
	case key != "":
		return h.platform.Authenticate(r.Context(), key)
	}
	return h.session(r)
}

// openedLink answers with a cookie.
type openedLink struct {
	body   api.OpenedRunLink
	cookie *http.Cookie
}

// VisitOpenRunLinkResponse implements api.OpenRunLinkResponseObject.
func (l openedLink) VisitOpenRunLinkResponse(w http.ResponseWriter) error {
	http.SetCookie(w, l.cookie)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(l.body)
}

func (h *Handler) sealLinks(tokens []string) string {
	expires := h.opts.Clock.Now().Add(linkCookieLife).Unix()
	data, _ := json.Marshal(linkCookieValue{tokens, expires}) // strings and a number
	text := base64.RawURLEncoding.EncodeToString(data)
	return text + "." + h.links.sign(expires, linkCookie, text)
}

// cookieLinks gives the tokens of a browser's cookie. A browser sends that by
// itself, so that it counts only for what a page of this server asks.
func (h *Handler) cookieLinks(r *http.Request) []string {
	cookie, err := r.Cookie(h.cookieName(r, linkCookie))
	if err != nil || !h.harmless(r) {
		return nil
	}
	text, signature, _ := strings.Cut(cookie.Value, ".")
	data, err := base64.RawURLEncoding.DecodeString(text)
	var v linkCookieValue
	if err != nil || json.Unmarshal(data, &v) != nil || h.links.check(v.Expires, signature, linkCookie, text) != nil {
		return nil
	}
	return v.Tokens[:min(len(v.Tokens), maxCookieLinks)]
}

// harmless reports that a browser's cookies may count for a request: it changes
// nothing, or comes from a page of this server.
func (h *Handler) harmless(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || h.sameOrigin(r)
}

// runLinks finds what the links of a request open: that of its header, which
// must be right, or those of its cookie that still are.
func (h *Handler) runLinks(r *http.Request) ([]access.Link, error) {
	if token := r.Header.Get(linkHeader); token != "" {
		l, _, err := h.platform.OpenRunLink(r.Context(), token)
		return []access.Link{l}, err
	}
	var links []access.Link
	for _, token := range h.cookieLinks(r) {
		l, ok, err := h.platform.KnownRunLink(r.Context(), token)
		if err != nil {
			return nil, err
		}
		if ok {
			links = append(links, l)
		}
	}
	return links, nil
}

// guest is the caller whose key is a link.
func (h *Handler) guest(r *http.Request, token string) (access.Caller, error) {
	l, _, err := h.platform.OpenRunLink(r.Context(), token)
	if err != nil {
		return access.Caller{}, err
	}
	return h.guestOf([]access.Link{l})
}

// guestOf is the caller with links and no account. The newest names them.
func (h *Handler) guestOf(links []access.Link) (access.Caller, error) {
	c, err := h.platform.GuestOf(links[0])
	c.Links = links
	return c, err
}
