package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// RegistryOptions holds what a Registry can do without.
type RegistryOptions struct {
	// KeyPrefix begins every key that is made, so that people and leak
	// scanners know what it is. Default "oz-".
	KeyPrefix string

	// OpenTeams lets every person make teams. Default false: only who leads a
	// team may make another, because whoever has a team can put people on it
	// without asking them.
	OpenTeams bool

	// Auditor is told of every change. Default: none; a Platform brings its own.
	Auditor Auditor
}

// Registry keeps people, teams and API keys.
type Registry struct {
	records task.Records
	clock   task.Clock
	prefix  string
	auditor Auditor // may be nil

	openTeams bool
	guesses   Guesses // of the codes of command lines, by person

	mu   sync.Mutex
	used map[string]time.Time // last use that was written down, by key uid
}

// NewRegistry returns a Registry on records. A nil clock is the machine's;
// opts may be nil.
func NewRegistry(records task.Records, clock task.Clock, opts *RegistryOptions) *Registry {
	if opts == nil {
		opts = &RegistryOptions{}
	}
	if clock == nil {
		clock = task.SystemClock()
	}
	return &Registry{openTeams: opts.OpenTeams, records: records, clock: clock, prefix: cmp.Or(opts.KeyPrefix, "oz-"), auditor: opts.Auditor,
		guesses: Guesses{Max: 10, Window: 10 * time.Minute}, used: map[string]time.Time{}}
}

// Bootstrap prepares the first start: the team DefaultTeam, its owner
// DefaultUser and one personal key of theirs. With a chosenKey that key is
// made sure to exist, on every start; without, one is generated at the first
// start and returned, that once. created reports whether key is new.
func (r *Registry) Bootstrap(ctx context.Context, chosenKey string) (key string, created bool, err error) {
	if err := r.bootstrapAccounts(ctx); err != nil {
		return "", false, fmt.Errorf("bootstrap: %w", err)
	}
	if chosenKey != "" {
		created, err = r.ensureKey(ctx, chosenKey)
		return chosenKey, created, err
	}
	keys, err := r.keys(ctx)
	if err != nil || len(keys) > 0 {
		return "", false, err
	}
	admin, err := r.Caller(ctx, DefaultUser)
	if err != nil {
		return "", false, fmt.Errorf("bootstrap: %w", err)
	}
	key, _, err = r.CreateKey(ctx, admin, KeySpec{Name: "bootstrap", Type: KeyPersonal})
	return key, err == nil, err
}

// bootstrapAccounts makes the first team and person unless they exist.
func (r *Registry) bootstrapAccounts(ctx context.Context) error {
	if _, err := r.Team(ctx, DefaultTeam); errors.Is(err, task.ErrNotFound) {
		if err := r.PutTeam(ctx, Team{UID: DefaultTeam, Name: "Default team"}); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	_, err := r.User(ctx, DefaultUser)
	if !errors.Is(err, task.ErrNotFound) {
		return err
	}
	return r.PutUser(ctx, User{UID: DefaultUser, DisplayName: "Admin", Teams: []Membership{{UID: DefaultTeam, Role: RoleOwner}}})
}

// ensureKey makes raw a personal key of DefaultUser. One that was revoked or
// had expired works again: whoever sets the server's configuration decides.
func (r *Registry) ensureKey(ctx context.Context, raw string) (created bool, err error) {
	if len(raw) < minChosenKey || len(raw) > maxKey {
		return false, task.Invalid("key", "a chosen key must have %d to %d bytes", minChosenKey, maxKey)
	}
	known, err := r.key(ctx, hashKey(raw))
	if err != nil && !errors.Is(err, task.ErrNotFound) || err == nil && !known.expired(r.now()) {
		return false, err
	}
	admin, err := r.User(ctx, DefaultUser)
	if err != nil {
		return false, err
	}
	k := Key{UID: newUID(), Name: "bootstrap", Type: KeyPersonal, Owner: task.Scope{Type: task.ScopeUser, UID: admin.UID},
		Creator: admin.principal(), Suffix: suffix(raw), CreatedAt: r.now()}
	if err := r.putKey(ctx, raw, k, known.revision); err != nil && !errors.Is(err, task.ErrConflict) {
		return false, err
	}
	return true, nil
}
