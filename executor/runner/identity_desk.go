package runner

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// maxIdentityBody bounds a request for a token.
const maxIdentityBody = 16 << 10

// identityDesk gives the agent's processes identity tokens, on loopback and
// behind a token of its own: they never have the run's. The same request gets
// the same token while more than half of its life is left.
type identityDesk struct {
	x    *execution
	from executor.Identifier
	sum  [sha256.Size]byte // of its token

	mu    sync.Mutex
	given map[string]given // by request
}

type given struct {
	token executor.IdentityToken
	until time.Time // it is given again
}

func newIdentityDesk(x *execution, from executor.Identifier) *identityDesk {
	return &identityDesk{x: x, from: from, given: map[string]given{}}
}

// serve answers until ctx ends, and gives the variables that lead here.
func (d *identityDesk) serve(ctx context.Context, work *sync.WaitGroup) (env []string, err error) {
	token := rand.Text()
	if err := d.x.redactor.Add(executor.EnvIdentityToken, token); err != nil {
		return nil, err
	}
	d.sum = sha256.Sum256([]byte(token))
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for who asks for identity tokens: %w", err)
	}
	server := &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	work.Go(func() { _ = server.Serve(ln) }) // it ends by Close
	work.Go(func() { <-ctx.Done(); _ = server.Close() })
	return []string{executor.EnvIdentityURL + "=http://" + ln.Addr().String() + "/token", executor.EnvIdentityToken + "=" + token}, nil
}

// ServeHTTP answers POST with an executor.IdentityRequest.
func (d *identityDesk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shown, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(shown))
	switch {
	case subtle.ConstantTimeCompare(sum[:], d.sum[:]) != 1:
		refuse(w, http.StatusUnauthorized, task.Errorf(task.CodeAuthenticationRequired, "the token in %s is needed", executor.EnvIdentityToken))
		return
	case r.Method != http.MethodPost || r.URL.Path != "/token":
		refuse(w, http.StatusNotFound, task.Errorf(task.CodeNotFound, "there is nothing but POST /token"))
		return
	}
	var in executor.IdentityRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxIdentityBody)).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, task.Errorf(task.CodeInvalidRequest, "the body must be JSON with an audience"))
		return
	}
	token, err := d.token(r.Context(), in)
	if err != nil {
		refuse(w, task.CodeOf(err).HTTPStatus(), err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(token) // who asked may be gone
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(executor.IdentityRefusal{Code: task.CodeOf(err), Message: err.Error()})
}

// token gives the token of before, or a new one. One request is made at a time:
// many programs that begin together get one token.
func (d *identityDesk) token(ctx context.Context, in executor.IdentityRequest) (executor.IdentityToken, error) {
	key, err := json.Marshal(in)
	if err != nil {
		return executor.IdentityToken{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.x.opts.Clock.Now()
	for k, g := range d.given {
		if !now.Before(g.until) {
			delete(d.given, k)
		}
	}
	if g, ok := d.given[string(key)]; ok {
		return g.token, nil
	}
	token, err := d.x.identityToken(ctx, d.from, in)
	if err != nil {
		return token, err
	}
	d.given[string(key)] = given{token, now.Add(token.ExpiresAt.Sub(now) / refreshAfter)}
	return token, nil
}
