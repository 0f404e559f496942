package worker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

const (
	dialTimeout = 45 * time.Second
	// Delays between connections, before jitter. After refusal the worker asks
	// seldom: somebody has to mend the key first.
	firstDelay   = 200 * time.Millisecond
	lastDelay    = 30 * time.Second
	refusedDelay = time.Minute
	// maxRefusal is how much of a refusal's body is read, in bytes.
	maxRefusal = 16 << 10
)

// delays are the waits between connections.
type delays struct{ failed int }

// next is how long to wait before the next connection.
func (d *delays) next(welcomed bool, err error) time.Duration {
	if welcomed {
		d.failed = 0
	}
	wait := lastDelay
	if d.failed < 8 {
		wait = min(lastDelay, firstDelay<<d.failed)
	}
	d.failed++
	if errors.Is(err, errRefused) {
		wait = refusedDelay
	}
	return time.Duration(float64(wait) * (0.5 + rand.Float64())) // so that workers which lost a server together do not return together
}

// errRefused says that the server knows this worker and does not want it.
var errRefused = errors.New("the server refuses this worker")

// dial makes a connection.
func (w *Worker) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	u, err := url.Parse(w.opts.LinkURL)
	if err != nil {
		return nil, task.Invalid("LinkURL", "is no URL")
	}
	q := u.Query()
	q.Set("worker_id", w.local.Info().ID)
	u.RawQuery = q.Encode()
	client := *w.opts.HTTPClient
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the key is for this server
	ws, answer, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: &client, Subprotocols: []string{Subprotocol},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + w.opts.Key.Reveal()}}})
	if err != nil {
		return nil, refusal(answer, err)
	}
	if ws.Subprotocol() != Subprotocol {
		_ = ws.CloseNow()
		return nil, fmt.Errorf("%w: it does not speak %s; it may be older than this worker, or another product", errRefused, Subprotocol)
	}
	ws.SetReadLimit(maxFrame)
	return &conn{ws: ws, now: w.opts.Clock.Now}, nil
}

// problem is the body of a refusal.
type problem struct {
	Detail string `json:"detail"`
	Error  string `json:"error"`
}

func (p problem) said() string { return cmp.Or(p.Detail, p.Error) }

// refusal says why a server gave no connection.
func refusal(answer *http.Response, err error) error {
	if answer == nil {
		return unreachable(err)
	}
	text := http.StatusText(answer.StatusCode)
	if answer.Body != nil {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
		if p, err := decode[problem](body); err == nil && p.said() != "" {
			text = plain(p.said(), maxMessage)
		}
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest, http.StatusNotFound:
		return fmt.Errorf("%w: %d: %s", errRefused, answer.StatusCode, text)
	}
	return fmt.Errorf("the server gives no connection: %d: %s", answer.StatusCode, text)
}

// unreachable says why there was no answer, without the address, which whoever
// tells the error tells beside it.
func unreachable(err error) error {
	var bare *url.Error
	if errors.As(err, &bare) {
		err = bare.Err
	}
	if mend := Advice(err); mend != "" {
		return fmt.Errorf("the server cannot be reached: %w (%s)", err, mend)
	}
	return fmt.Errorf("the server cannot be reached: %w", err)
}

// Advice says what an operator can do about a server that gave no answer;
// empty where the error does not tell.
func Advice(err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return "that name has no address here: mind the spelling, and DNS"
	case errors.As(err, &cert):
		return "this host does not trust the server's certificate: add its authority to the system's (ca-certificates), or set SSL_CERT_FILE"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the server up, and is this its port?"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "look at the way there: outbound connections to the server are all that a worker needs; HTTPS_PROXY is honoured"
	}
	return ""
}

// instanceFile keeps the name of a worker among those that share its id.
const instanceFile = "instance"

// claimInstance gives the name that this directory's workers have, and keeps
// others from using it until unlock.
func claimInstance(dir string) (instance string, unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, instanceFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("StateDir: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := lockFile(f); err != nil {
		return "", nil, task.Errorf(task.CodeConflict, "StateDir: another worker uses %s: %w", dir, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return "", nil, fmt.Errorf("StateDir: %w", err)
	}
	if instance = strings.TrimSpace(string(raw)); uuid.Validate(instance) != nil {
		instance = uuid.NewString()
		if err := rewrite(f, instance+"\n"); err != nil {
			return "", nil, fmt.Errorf("StateDir: %w", err)
		}
	}
	return instance, func() { _ = f.Close() }, nil
}

// rewrite replaces what is in f, and makes sure of it.
func rewrite(f *os.File, text string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Sync()
}
