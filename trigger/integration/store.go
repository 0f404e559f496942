package integration

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// kindIntegration are the records of integrations.
const kindIntegration = "integration"

// Store keeps integrations among a platform's records. It checks what it
// stores, but not who may. Safe for concurrent use.
type Store struct {
	records task.Records
	vault   webhook.Vault
	opts    Options
}

// Options holds what a Store can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// PublicURL is where people reach the server. Default: none, so that answers
	// hold no links.
	PublicURL string

	// Member reports whether somebody is of an owner today, and so may start its
	// runs. Default: whoever is linked.
	Member func(ctx context.Context, p task.Principal, owner task.Scope) (bool, error)

	// ByEmail finds the person with an e-mail address, as an owner may trust it to
	// be theirs; ok is false for nobody. Default: nobody is found.
	ByEmail func(ctx context.Context, email string, owner task.Scope) (p task.Principal, ok bool, err error)
}

// NewStore returns a Store on records; the vault keeps the services' secrets.
// opts may be nil.
func NewStore(records task.Records, vault webhook.Vault, opts *Options) *Store {
	s := &Store{records: records, vault: vault}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Clock == nil {
		s.opts.Clock = task.SystemClock()
	}
	if s.opts.ByEmail == nil {
		s.opts.ByEmail = func(context.Context, string, task.Scope) (task.Principal, bool, error) {
			return task.Principal{}, false, nil
		}
	}
	if s.opts.Member == nil {
		s.opts.Member = func(context.Context, task.Principal, task.Scope) (bool, error) { return true, nil }
	}
	return s
}

// document is an integration as it is stored.
type document struct {
	Integration
	// Deleted hides it while its secrets are being removed.
	Deleted bool `json:"deleted,omitempty"`

	revision int64
}

// Create stores an integration with its secrets, by name. It fails with
// task.CodeInvalidRequest.
func (s *Store) Create(ctx context.Context, p Provider, owner task.Scope, by task.Principal, spec Spec, secrets map[string]string) (Integration, error) {
	if err := spec.Validate(); err != nil {
		return Integration{}, err
	}
	if !slices.Contains(Providers(), p) {
		return Integration{}, task.Invalid("provider", "%q is none of %v", string(p), Providers())
	}
	if owner.Type != task.ScopeTeam || owner.UID == "" {
		return Integration{}, task.Errorf(task.CodeFeatureNotAvailable, "an integration belongs to a team: join or make one (Oz platform, INT-1)")
	}
	list, err := s.List(ctx, owner)
	if err != nil {
		return Integration{}, err
	}
	if len(list) >= MaxPerOwner {
		return Integration{}, task.Invalid("name", "there are %d integrations, the most that one owner may have: delete some", len(list))
	}
	now := s.now()
	d := document{Integration: Integration{UID: uuid.NewString(), Provider: p, Owner: owner, Spec: spec, Creator: by, LastEditor: by, CreatedAt: now, UpdatedAt: now}}
	if err := s.keep(ctx, &d, secrets); err != nil {
		return Integration{}, err
	}
	if _, err := s.put(ctx, d); err != nil {
		return Integration{}, err
	}
	return d.Integration, nil
}

// keep stores secrets under their names; an empty one is removed.
func (s *Store) keep(ctx context.Context, d *document, secrets map[string]string) error {
	if len(secrets) > 0 && s.vault == nil {
		return task.Errorf(task.CodeFeatureNotAvailable, "this server keeps no secrets")
	}
	for name, value := range secrets {
		if !secretName(name) || len(value) > 64<<10 {
			return task.Invalid("secrets", "%.50q: names have 1 to 50 of a to z and _, values at most %d bytes", name, 64<<10)
		}
		d.Secrets = slices.DeleteFunc(d.Secrets, func(n string) bool { return n == name })
		if value == "" {
			if err := s.vault.Drop(ctx, d.Owner, vaultName(d.UID, name)); err != nil {
				return err
			}
			continue
		}
		if err := s.vault.Keep(ctx, d.Owner, vaultName(d.UID, name), []byte(value)); err != nil {
			return fmt.Errorf("keep the secret %s of integration %s: %w", name, d.UID, err)
		}
		d.Secrets = append(d.Secrets, name)
	}
	slices.Sort(d.Secrets)
	return nil
}

func secretName(name string) bool {
	return name != "" && len(name) <= 50 && !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
}

func vaultName(uid, name string) string { return "integration-" + uid + "-" + name }

// Secret gives one that was stored with an integration. It fails with
// task.CodeIntegrationNotConfigured when it is missing.
func (s *Store) Secret(ctx context.Context, i Integration, name string) ([]byte, error) {
	if s.vault == nil {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server keeps no secrets")
	}
	value, err := s.vault.Kept(ctx, i.Owner, vaultName(i.UID, name))
	if errors.Is(err, task.ErrNotFound) {
		return nil, task.Errorf(task.CodeIntegrationNotConfigured, "the integration %q lacks its secret %s: give it with 'oz integration update'", i.Name, name)
	}
	return value, err
}

// Load returns an integration of a provider. It fails with task.CodeNotFound.
func (s *Store) Load(ctx context.Context, p Provider, uid string) (Integration, error) {
	d, err := s.load(ctx, uid)
	if err == nil && d.Provider != p {
		return Integration{}, notFound(uid)
	}
	return d.Integration, err
}

// Listening finds the integration of a provider that a request is for by its
// address alone, and begins the Arrival of what comes there. It fails with
// task.CodeNotFound, in words that tell strangers nothing.
func (s *Store) Listening(ctx context.Context, p Provider, r trigger.Request, perMinute int) (Integration, trigger.Arrival, error) {
	i, err := s.Load(ctx, p, r.Path)
	if errors.Is(err, task.ErrNotFound) {
		err = task.Errorf(task.CodeNotFound, "nothing listens here")
	}
	if err != nil {
		return Integration{}, trigger.Arrival{}, err
	}
	return i, trigger.Arrival{Source: i.Source(), Owner: i.Owner, PerMinute: perMinute}, nil
}

// Get returns an integration. It fails with task.CodeNotFound.
func (s *Store) Get(ctx context.Context, uid string) (Integration, error) {
	d, err := s.load(ctx, uid)
	return d.Integration, err
}

// List returns the integrations of the given owners, by provider and name.
// Without owners it returns none.
func (s *Store) List(ctx context.Context, owners ...task.Scope) ([]Integration, error) {
	list := []Integration{}
	for _, owner := range owners {
		found, err := s.read(ctx, &owner)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	slices.SortFunc(list, func(a, b Integration) int {
		return cmp.Or(strings.Compare(string(a.Provider), string(b.Provider)), strings.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	return slices.CompactFunc(list, func(a, b Integration) bool { return a.UID == b.UID }), nil
}

// Sources lists what events of a provider may have arrived through.
func (s *Store) Sources(ctx context.Context, p Provider) ([]string, error) {
	list, err := s.read(ctx, nil)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range list {
		if i.Provider == p {
			out = append(out, i.Source())
		}
	}
	return out, nil
}

func (s *Store) read(ctx context.Context, owner *task.Scope) ([]Integration, error) {
	records, err := s.records.Records(ctx, kindIntegration, owner)
	if err != nil {
		return nil, fmt.Errorf("list integrations: %w", err)
	}
	list := make([]Integration, 0, len(records))
	for _, rec := range records {
		d, err := decode(rec)
		if err != nil {
			return nil, err
		}
		if !d.Deleted {
			list = append(list, d.Integration)
		}
	}
	return list, nil
}

// Update changes what people set, and the secrets that are named: an empty one
// is removed. change may be called several times; nil changes nothing. It fails
// with task.CodeNotFound and task.CodeInvalidRequest.
func (s *Store) Update(ctx context.Context, uid string, by task.Principal, change func(*Spec) error, secrets map[string]string) (Integration, error) {
	return s.rewrite(ctx, uid, func(d *document) error {
		if change != nil {
			if err := change(&d.Spec); err != nil {
				return err
			}
		}
		if err := d.Validate(); err != nil {
			return err
		}
		d.LastEditor, d.UpdatedAt = by, s.now()
		return s.keep(ctx, d, secrets)
	})
}

// Delete removes an integration with its secrets; links of accounts stay. It
// fails with task.CodeNotFound.
func (s *Store) Delete(ctx context.Context, uid string) error {
	i, err := s.rewrite(ctx, uid, func(d *document) error { d.Deleted = true; return nil })
	if err != nil {
		return err
	}
	for _, name := range i.Secrets {
		if err := s.vault.Drop(ctx, i.Owner, vaultName(uid, name)); err != nil {
			return fmt.Errorf("remove the secrets of integration %s: %w", uid, err)
		}
	}
	if err := s.records.DeleteRecord(ctx, kindNote, uid); err != nil && !errors.Is(err, task.ErrNotFound) {
		return fmt.Errorf("delete the note of integration %s: %w", uid, err)
	}
	if err := s.records.DeleteRecord(ctx, kindIntegration, uid); err != nil && !errors.Is(err, task.ErrNotFound) {
		return fmt.Errorf("delete integration %s: %w", uid, err)
	}
	return nil
}

func (s *Store) rewrite(ctx context.Context, uid string, change func(*document) error) (Integration, error) {
	for range 20 {
		d, err := s.load(ctx, uid)
		if err == nil {
			err = change(&d)
		}
		if err != nil {
			return Integration{}, err
		}
		if _, err = s.put(ctx, d); err == nil || !errors.Is(err, task.ErrConflict) {
			return d.Integration, err
		}
	}
	return Integration{}, task.Errorf(task.CodeConflict, "integration %s is being changed by many at once: try again", uid)
}

func (s *Store) load(ctx context.Context, uid string) (document, error) {
	if len(uid) != 36 || uuid.Validate(uid) != nil {
		return document{}, notFound(uid)
	}
	rec, err := s.records.Record(ctx, kindIntegration, uid)
	if errors.Is(err, task.ErrNotFound) {
		return document{}, notFound(uid)
	}
	if err != nil {
		return document{}, fmt.Errorf("read integration %s: %w", uid, err)
	}
	d, err := decode(rec)
	if err == nil && d.Deleted {
		return document{}, notFound(uid)
	}
	return d, err
}

func notFound(uid string) error {
	return task.Errorf(task.CodeNotFound, "integration %.50q does not exist, or you may not see it", uid)
}

func (s *Store) put(ctx context.Context, d document) (int64, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return 0, fmt.Errorf("encode integration %s: %w", d.UID, err)
	}
	rec := task.Record{Kind: kindIntegration, Key: d.UID, Owner: d.Owner, Revision: d.revision, Data: data, UpdatedAt: d.UpdatedAt}
	revision, err := s.records.PutRecord(ctx, rec)
	if err != nil {
		return 0, fmt.Errorf("write integration %s: %w", d.UID, err)
	}
	return revision, nil
}

func decode(rec task.Record) (document, error) {
	var d document
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return d, fmt.Errorf("decode integration %s: %w", rec.Key, err)
	}
	d.revision = rec.Revision
	return d, nil
}

func (s *Store) now() time.Time { return s.opts.Clock.Now().UTC().Truncate(time.Microsecond) }

// Page is where people see a run; empty when the server does not know its own
// address.
func (s *Store) Page(run task.ID) string {
	if s.opts.PublicURL == "" || run == "" {
		return ""
	}
	return strings.TrimRight(s.opts.PublicURL, "/") + "/runs/" + string(run)
}
