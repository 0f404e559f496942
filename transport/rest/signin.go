package rest

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// SignIn lets people sign in with a browser, beside API keys.
type SignIn struct {
	// Provider says who people are; *oidc.Provider is one. Required.
	Provider SignInProvider
	// Policy says who may come in.
	Policy access.SignInPolicy
	// Name is what people call the provider. Default "single sign-on".
	Name string
}

// SignInProvider is an identity provider with the authorization code flow and
// PKCE. Implementations are safe for concurrent use; see package oidc.
type SignInProvider interface {
	// AuthURL is where to send a browser, which comes back to redirect.
	AuthURL(ctx context.Context, redirect, state, nonce, verifier string) (string, error)
	// Exchange turns the code that it came back with into who the person is.
	Exchange(ctx context.Context, redirect, code, nonce, verifier string) (access.Identity, error)
}

// Cookies, and how long a person may take to sign in at the provider.
const (
	sessionCookie = "oz_session"
	loginCookie   = "oz_login"
	loginTime     = 10 * time.Minute
	maxNext       = 2048 // bytes
)

// login is what a browser carries from startLogin to finishLogin, signed.
type login struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Next     string `json:"to"`
	Expires  int64  `json:"e"`
}

// GetAuthConfig implements GET /oz/auth/config.
func (o operations) GetAuthConfig(context.Context, api.GetAuthConfigRequestObject) (api.GetAuthConfigResponseObject, error) {
	c := api.GetAuthConfig200JSONResponse{ApiKeys: true}
	if s := o.opts.SignIn; s != nil {
		c.Oidc, c.Provider = true, s.Name
	}
	return c, nil
}

// signIn gives the ways in for people, or says that there are none.
func (h *Handler) signIn() (*SignIn, error) {
	if h.opts.SignIn == nil {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server has no identity provider: use an API key")
	}
	return h.opts.SignIn, nil
}

// StartLogin implements GET /oz/auth/login.
func (o operations) StartLogin(ctx context.Context, r api.StartLoginRequestObject) (api.StartLoginResponseObject, error) {
	s, err := o.signIn()
	if err != nil {
		return nil, err
	}
	next, err := o.localPath(r.Params.Next)
	if err != nil {
		return nil, err
	}
	c := callOf(ctx)
	l := login{State: token(), Nonce: token(), Verifier: token(), Next: next, Expires: o.opts.Clock.Now().Add(loginTime).Unix()}
	target, err := s.Provider.AuthURL(ctx, o.callback(c.request), l.State, l.Nonce, l.Verifier)
	if err != nil {
		return nil, err
	}
	return moveTo{target, []*http.Cookie{o.cookie(c.request, loginCookie, o.seal(l), loginTime)}}, nil
}

// token draws 256 bits, as text that any part of a URL may hold.
func token() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// callback is where the provider sends the browser back to.
func (h *Handler) callback(r *http.Request) string {
	return h.absolute(r, h.opts.Prefix+"/oz/auth/callback")
}

// localPath allows a path of this server only: a link to the sign-in must not
// lead elsewhere in the end.
func (h *Handler) localPath(next string) (string, error) {
	if next == "" {
		return h.opts.Prefix + "/oz/auth/device", nil
	}
	u, err := url.Parse(next)
	bad := err != nil || len(next) > maxNext || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\t\r\n") ||
		strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, "\\")
	if bad {
		return "", task.Invalid("next", "must be a path of this server, such as /runs")
	}
	return u.String(), nil
}

// seal signs what a browser carries.
func (h *Handler) seal(l login) string {
	data, _ := json.Marshal(l) // strings and a number
	text := base64.RawURLEncoding.EncodeToString(data)
	return text + "." + h.links.sign(l.Expires, loginCookie, text)
}

// unseal reads what seal made; ok is false for anything else.
func (h *Handler) unseal(value string) (l login, ok bool) {
	text, signature, _ := strings.Cut(value, ".")
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(data, &l) != nil {
		return login{}, false
	}
	return l, h.links.check(l.Expires, signature, loginCookie, text) == nil
}

// secure reports that browsers reach the server by https.
func (h *Handler) secure(r *http.Request) bool { return strings.HasPrefix(h.absolute(r, ""), "https:") }

// cookieName is what a cookie is called in a browser. By the prefix it takes
// such a cookie from this very host alone: a neighbour in the same domain
// cannot put a person into a session of somebody else (RFC 6265bis, section
// 4.1.3.2).
func (h *Handler) cookieName(r *http.Request, name string) string {
	if h.secure(r) {
		return "__Host-" + name
	}
	return name
}

// cookie makes one that scripts and other sites do not get. life 0 removes it.
func (h *Handler) cookie(r *http.Request, name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: h.cookieName(r, name), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: h.secure(r), MaxAge: int(life.Seconds())}
	if life == 0 {
		c.MaxAge = -1
	}
	return c
}

// FinishLogin implements GET /oz/auth/callback.
func (o operations) FinishLogin(ctx context.Context, r api.FinishLoginRequestObject) (api.FinishLoginResponseObject, error) {
	s, err := o.signIn()
	if err != nil {
		return nil, err
	}
	c := callOf(ctx)
	l, err := o.loginOf(c.request, r.Params.State)
	if err != nil {
		return nil, err
	}
	if r.Params.Error != "" {
		return nil, task.Errorf(task.CodeNotAuthorized, "the identity provider did not sign you in (%q); begin again", clip(r.Params.Error))
	}
	id, err := s.Provider.Exchange(ctx, o.callback(c.request), r.Params.Code, l.Nonce, l.Verifier)
	if err != nil {
		return nil, err
	}
	user, err := o.platform.Registry().SignIn(ctx, id, s.Policy)
	if err != nil {
		return nil, err
	}
	value, until, err := o.platform.Registry().StartSession(ctx, user.UID)
	if err != nil {
		return nil, err
	}
	return moveTo{l.Next, []*http.Cookie{
		o.cookie(c.request, sessionCookie, value, until.Sub(o.opts.Clock.Now())),
		o.cookie(c.request, loginCookie, "", 0), // a code is good for one sign-in
	}}, nil
}

// loginOf finds the sign-in that this browser has begun. A state that it did
// not begin with comes from somebody else.
func (h *Handler) loginOf(r *http.Request, state string) (login, error) {
	cookie, err := r.Cookie(h.cookieName(r, loginCookie))
	if err == nil {
		l, ok := h.unseal(cookie.Value)
		if ok && state != "" && subtle.ConstantTimeCompare([]byte(l.State), []byte(state)) == 1 {
			return l, nil
		}
	}
	return login{}, task.Errorf(task.CodeNotAuthorized, "this browser did not begin this sign-in, or took too long; begin again at %s/oz/auth/login", h.opts.Prefix)
}

// clip shortens what a stranger has sent.
func clip(s string) string { return s[:min(len(s), 100)] }

// Logout implements POST /oz/auth/logout.
func (o operations) Logout(ctx context.Context, _ api.LogoutRequestObject) (api.LogoutResponseObject, error) {
	r := callOf(ctx).request
	cookie, err := r.Cookie(o.cookieName(r, sessionCookie))
	if err != nil {
		return nil, task.Errorf(task.CodeInvalidRequest, "there is no session to end: API keys are revoked at /oz/api-keys")
	}
	if err := o.platform.Registry().EndSession(ctx, cookie.Value); err != nil {
		return nil, err
	}
	return signedOut{o.cookie(r, sessionCookie, "", 0)}, nil
}

// StartDeviceLogin implements POST /oz/auth/device.
func (o operations) StartDeviceLogin(ctx context.Context, r api.StartDeviceLoginRequestObject) (api.StartDeviceLoginResponseObject, error) {
	if _, err := o.signIn(); err != nil {
		return nil, err
	}
	d, err := o.platform.Registry().StartDevice(ctx, r.Body.ClientName)
	if err != nil {
		return nil, err
	}
	page := o.absolute(callOf(ctx).request, o.opts.Prefix+"/oz/auth/device")
	return api.StartDeviceLogin200JSONResponse{DeviceCode: d.DeviceCode, UserCode: d.UserCode, VerificationUri: page,
		VerificationUriComplete: page + "?" + url.Values{"user_code": {d.UserCode}}.Encode(),
		ExpiresIn:               int(d.ExpiresAt.Sub(o.opts.Clock.Now()).Seconds()), Interval: int(d.Interval.Seconds())}, nil
}

// PollDeviceLogin implements POST /oz/auth/device/token.
func (o operations) PollDeviceLogin(ctx context.Context, r api.PollDeviceLoginRequestObject) (api.PollDeviceLoginResponseObject, error) {
	if _, err := o.signIn(); err != nil {
		return nil, err
	}
	raw, k, err := o.platform.Registry().PollDevice(ctx, r.Body.DeviceCode)
	if err != nil {
		return nil, err
	}
	return api.PollDeviceLogin200JSONResponse{Key: raw, ApiKey: wire.Key(k)}, nil
}

// ApproveDeviceLogin implements POST /oz/auth/device/approve.
func (o operations) ApproveDeviceLogin(ctx context.Context, r api.ApproveDeviceLoginRequestObject) (api.ApproveDeviceLoginResponseObject, error) {
	if _, err := o.signIn(); err != nil {
		return nil, err
	}
	err := o.platform.Registry().ApproveDevice(ctx, callOf(ctx).caller, r.Body.UserCode, r.Body.Deny)
	return api.ApproveDeviceLogin200JSONResponse{}, err
}

// moveTo sends a browser elsewhere, with cookies.
type moveTo struct {
	target  string
	cookies []*http.Cookie
}

func (m moveTo) write(w http.ResponseWriter) error {
	for _, c := range m.cookies {
		http.SetCookie(w, c)
	}
	w.Header().Set("Location", m.target)
	w.WriteHeader(http.StatusFound)
	return nil
}

// VisitStartLoginResponse implements api.StartLoginResponseObject.
func (m moveTo) VisitStartLoginResponse(w http.ResponseWriter) error { return m.write(w) }

// VisitFinishLoginResponse implements api.FinishLoginResponseObject.
func (m moveTo) VisitFinishLoginResponse(w http.ResponseWriter) error { return m.write(w) }

// VisitGetDevicePageResponse implements api.GetDevicePageResponseObject.
func (m moveTo) VisitGetDevicePageResponse(w http.ResponseWriter) error { return m.write(w) }

// signedOut removes the cookie.
type signedOut struct{ cookie *http.Cookie }

// VisitLogoutResponse implements api.LogoutResponseObject.
func (s signedOut) VisitLogoutResponse(w http.ResponseWriter) error {
	http.SetCookie(w, s.cookie)
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write([]byte("{}\n"))
	return err
}

// session finds the caller behind a request's cookie. A browser sends that by
// itself, so what changes something must come from a page of this server.
func (h *Handler) session(r *http.Request) (access.Caller, error) {
	cookie, err := r.Cookie(h.cookieName(r, sessionCookie))
	if err != nil {
		return access.Caller{}, task.Errorf(task.CodeAuthenticationRequired, "send an API key in the header Authorization: Bearer <key>")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !h.sameOrigin(r) {
		return access.Caller{}, task.Errorf(task.CodeNotAuthorized, "a request with a session must come from a page of this server")
	}
	return h.platform.Registry().SessionCaller(r.Context(), cookie.Value)
}

// sameOrigin reports that a page of this server made the request. Every
// browser says so in one way or the other.
func (h *Handler) sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	origin := r.Header.Get("Origin")
	return origin != "" && origin == h.origin(r)
}

// origin is that of the pages by which people reach the server. The same host
// without https is another one: anybody in between can write its pages.
func (h *Handler) origin(r *http.Request) string {
	u, err := url.Parse(h.absolute(r, ""))
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
