package githubsim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Options holds what a Server can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
	// PerHour is how many requests a token has in an hour. Default 5000.
	PerHour int
}

// Server is a GitHub. It serves the API at its root. Its methods panic when
// they are told of what is not there: that is a mistake in the test. Safe for
// concurrent use.
type Server struct {
	opts Options
	mux  *http.ServeMux

	mu         sync.Mutex
	next       int64 // the last ID that was given out
	users      map[string]*User
	tokens     map[string]*grant
	apps       map[int64]*App
	repos      map[string]*repo
	hooks      []hook
	faults     []*Fault
	deliveries []Delivery
	requests   []string
}

// User is an account.
type User struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Type  string `json:"type"` // "User" or "Bot"
}

// App is a GitHub app with its one installation.
type App struct {
	ID             int64
	InstallationID int64
	Slug           string
	// PrivateKey is in PEM, as GitHub gives it.
	PrivateKey []byte

	public *rsa.PublicKey
	denied []string // permissions it does not have
}

// grant is what a token stands for.
type grant struct {
	user    *User
	app     *App      // whose installation it is; nil for an account's
	expires time.Time // zero: never
	used    int
	since   time.Time
}

type hook struct {
	secret  string
	app     int64  // whose it is; 0 for a repository's
	id      int64  // of one of a repository or organisation that has an address
	place   string // "repos/owner/name" or "orgs/name", in lower case
	admin   string // may see it
	url     string
	deliver func(Delivery) error
}

// Delivery is an event on its way to a hook.
type Delivery struct {
	ID     string
	Event  string
	Header http.Header
	Body   []byte
	// Err is what the hook said, nil when it took it. See StatusError.
	Err error
	// Redelivery says that it was sent before, under the same ID.
	Redelivery bool
	// Number is its own alone, and SentAt its time.
	Number int64
	SentAt time.Time

	hook hook
}

// StatusError is a hook's answer with that status. Any other error is none.
type StatusError int

// Error implements error.
func (e StatusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// Fault is something that goes wrong with requests to the API.
type Fault struct {
	// Method and Path choose the requests: those whose path contains Path.
	// Empty: all.
	Method, Path string
	// Times is how many requests fail. Default 1.
	Times int
	// Status and Header answer them; Status 0 closes the connection instead.
	Status  int
	Header  map[string]string
	Message string
	// Done lets what was asked be done before.
	Done bool
}

// New returns a Server with nothing in it. opts may be nil.
func New(opts *Options) *Server {
	s := &Server{next: 1000, users: map[string]*User{}, tokens: map[string]*grant{}, apps: map[int64]*App{}, repos: map[string]*repo{}}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Clock == nil {
		s.opts.Clock = task.SystemClock()
	}
	if s.opts.PerHour == 0 {
		s.opts.PerHour = 5000
	}
	s.mux = s.routes()
	return s
}

func (s *Server) now() time.Time { return s.opts.Clock.Now().UTC().Truncate(time.Second) }

func (s *Server) id() int64 { s.next++; return s.next }

func (s *Server) user(login string) *User {
	u := s.users[strings.ToLower(login)]
	if u == nil {
		u = &User{ID: s.id(), Login: login, Type: "User"}
		if strings.HasSuffix(login, "[bot]") {
			u.Type = "Bot"
		}
		s.users[strings.ToLower(login)] = u
	}
	return u
}

// User gives an account, which is made when there is none. Logins that end in
// "[bot]" are programs.
func (s *Server) User(login string) User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.user(login)
}

func secret(prefix string) string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	return prefix + hex.EncodeToString(b)
}

// AddToken gives out a token of an account.
func (s *Server) AddToken(login string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := secret("ghp_")
	s.tokens[t] = &grant{user: s.user(login)}
	return t
}

// Valid reports whether a token was given out and is still good: for a git
// server that is played beside.
func (s *Server) Valid(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.tokens[token]
	return g != nil && (g.expires.IsZero() || s.now().Before(g.expires))
}

// RevokeTokens makes all tokens void that were given out.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// AddApp makes an app with a new key and installs it everywhere.
func (s *Server) AddApp(slug string) App {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &App{ID: s.id(), InstallationID: s.id(), Slug: slug, public: &key.PublicKey,
		PrivateKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})}
	s.apps[a.ID] = a
	return *a
}

// Deny takes a permission from an app, such as "checks". Apps have all at first.
func (s *Server) Deny(app int64, permission string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.apps[app]
	if a == nil {
		panic(fmt.Sprintf("githubsim: there is no app %d", app))
	}
	a.denied = append(a.denied, permission)
}

// AddHook sends all that happens from now on to deliver, signed with a secret.
func (s *Server) AddHook(secret string, deliver func(Delivery) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, hook{secret: secret, deliver: deliver})
}

// AddAppHook is AddHook for the webhook of an app, of which there is one, at a
// URL. The app may list what was sent to it, and have it sent again.
func (s *Server) AddAppHook(app int64, url, secret string, deliver func(Delivery) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apps[app] == nil {
		panic(fmt.Sprintf("githubsim: there is no app %d", app))
	}
	s.hooks = slices.DeleteFunc(s.hooks, func(h hook) bool { return h.app == app })
	s.hooks = append(s.hooks, hook{secret: secret, app: app, url: url, deliver: deliver})
}

// AddHookOf is AddHook for the webhook of a repository, "owner/name", or of an
// organisation, "name", at a URL. Who administers it may list what was sent to it
// and have that sent again; to others it is not there.
func (s *Server) AddHookOf(place, admin, url, secret string, deliver func(Delivery) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := "orgs/"
	if strings.Contains(place, "/") {
		kind = "repos/"
	}
	s.hooks = append(s.hooks, hook{id: s.id(), place: kind + strings.ToLower(place), admin: strings.ToLower(admin), secret: secret, url: url, deliver: deliver})
}

// sees reports that the hook is sent what happens in a repository.
func (h hook) sees(repo string) bool {
	repo = strings.ToLower(repo)
	owner, _, _ := strings.Cut(repo, "/")
	return h.place == "" || h.place == "repos/"+repo || h.place == "orgs/"+owner
}

// same reports that it is the same hook, whose address may be another by now.
func (h hook) same(other hook) bool { return h.app == other.app && h.id == other.id }

// Deliveries lists what was sent to hooks, the oldest first.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

// Redeliver sends a delivery to all hooks again, as it was.
func (s *Server) Redeliver(id string) {
	s.mu.Lock()
	i := slices.IndexFunc(s.deliveries, func(d Delivery) bool { return d.ID == id })
	if i < 0 {
		s.mu.Unlock()
		panic("githubsim: there is no delivery " + id)
	}
	d, hooks := s.deliveries[i], slices.Clone(s.hooks)
	s.mu.Unlock()
	for _, h := range hooks {
		_ = h.deliver(d) // as GitHub, it says so in the list only
	}
}

// Fail lets requests go wrong.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Times = max(1, f.Times)
	s.faults = append(s.faults, &f)
}

// Requests lists what was asked of the API, as "METHOD /path".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// fault is what goes wrong with a request, if anything.
func (s *Server) fault(r *http.Request) (Fault, bool) {
	for i, f := range s.faults {
		if f.Method != "" && f.Method != r.Method || !strings.Contains(r.URL.Path, f.Path) {
			continue
		}
		if f.Times--; f.Times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return *f, true
	}
	return Fault{}, false
}

func (s *Server) repo(name string) *repo {
	r := s.repos[strings.ToLower(name)]
	if r == nil {
		panic(fmt.Sprintf("githubsim: there is no repository %q: see AddRepo", name))
	}
	return r
}
