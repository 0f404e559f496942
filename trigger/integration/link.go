package integration

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// kindLink are the records of whose an account elsewhere is.
const kindLink = "integration.link"

// linkLife is how long an address for linking is good.
const linkLife = 24 * time.Hour

// Link is whose an account elsewhere is.
type Link struct {
	Provider Provider       `json:"provider"`
	Account  string         `json:"account"` // its ID there, which never changes
	Name     string         `json:"name"`    // as people there know it
	Person   task.Principal `json:"person"`
	LinkedAt time.Time      `json:"linked_at"`
}

// Linked says who of ours an account is; ok is false when nobody has linked it.
func (s *Store) Linked(ctx context.Context, p Provider, account string) (who task.Principal, ok bool, err error) {
	l, err := s.link(ctx, p, account)
	if errors.Is(err, task.ErrNotFound) {
		return task.Principal{}, false, nil
	}
	return l.Person, err == nil, err
}

func (s *Store) link(ctx context.Context, p Provider, account string) (Link, error) {
	var l Link
	rec, err := s.records.Record(ctx, kindLink, linkKey(p, account))
	if err == nil {
		err = json.Unmarshal(rec.Data, &l)
	}
	if err != nil {
		return l, fmt.Errorf("look for whose the account %s of %s is: %w", account, p, err)
	}
	return l, nil
}

func linkKey(p Provider, account string) string {
	sum := sha256.Sum256([]byte(account))
	return string(p) + "/" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// SetLink says that an account is somebody's, also when it was somebody else's.
func (s *Store) SetLink(ctx context.Context, l Link) error {
	if l.Account == "" || len(l.Account) > maxAccount || !l.Person.IsPerson() {
		return task.Invalid("account", "must have 1 to %d bytes, and belong to a person", maxAccount)
	}
	l.LinkedAt = s.now()
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode link: %w", err)
	}
	key, owner := linkKey(l.Provider, l.Account), task.Scope{Type: task.ScopeUser, UID: l.Person.UID}
	for range 20 {
		old, err := s.records.Record(ctx, kindLink, key)
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return err
		}
		_, err = s.records.PutRecord(ctx, task.Record{Kind: kindLink, Key: key, Owner: owner, Revision: old.Revision, Data: data, UpdatedAt: l.LinkedAt})
		if !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
	return task.Errorf(task.CodeConflict, "this account is being linked by many at once: try again")
}

// Links lists the accounts that somebody has linked.
func (s *Store) Links(ctx context.Context, person string) ([]Link, error) {
	records, err := s.records.Records(ctx, kindLink, &task.Scope{Type: task.ScopeUser, UID: person})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	list := make([]Link, 0, len(records))
	for _, rec := range records {
		var l Link
		if err := json.Unmarshal(rec.Data, &l); err != nil {
			return nil, fmt.Errorf("decode link %s: %w", rec.Key, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// Unlink forgets whose an account is, if it is somebody's. It fails with
// task.CodeNotFound when it is not.
func (s *Store) Unlink(ctx context.Context, p Provider, account, person string) error {
	l, err := s.link(ctx, p, account)
	if err == nil && l.Person.UID != person {
		err = task.ErrNotFound
	}
	if errors.Is(err, task.ErrNotFound) {
		return task.Errorf(task.CodeNotFound, "the account %q of %s is not linked to you", account, p)
	}
	if err != nil {
		return err
	}
	return s.records.DeleteRecord(ctx, kindLink, linkKey(p, account))
}

// offer is what an address for linking carries, signed.
type offer struct {
	Provider Provider  `json:"p"`
	Account  string    `json:"a"`
	Name     string    `json:"n"`
	Until    time.Time `json:"u"`
}

// LinkURL is what somebody is sent who is not linked: whoever opens it within a
// day, signed in here, says that the account is theirs. It must reach nobody but
// the account's holder. Empty when the server does not know its own address.
func (s *Store) LinkURL(ctx context.Context, p Provider, account, name string) (string, error) {
	if s.opts.PublicURL == "" {
		return "", nil
	}
	code, err := s.LinkCode(ctx, p, account, name)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(s.opts.PublicURL, "/") + "/link?code=" + url.QueryEscape(code), nil
}

// LinkCode is the part of LinkURL that counts: for `oz integration link`.
func (s *Store) LinkCode(ctx context.Context, p Provider, account, name string) (string, error) {
	if len(account) > maxAccount || account == "" {
		return "", task.Invalid("account", "must have 1 to %d bytes", maxAccount)
	}
	body, err := json.Marshal(offer{Provider: p, Account: account, Name: task.CutReason(name, maxAccount), Until: s.now().Add(linkLife)})
	if err != nil {
		return "", fmt.Errorf("encode offer: %w", err)
	}
	key, err := s.linkKey(ctx)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(body) + "." + base64.RawURLEncoding.EncodeToString(sign(key, body)), nil
}

// AcceptLink links the account of a code to somebody. It fails with
// task.CodeInvalidRequest for a code that is wrong or over.
func (s *Store) AcceptLink(ctx context.Context, code string, who task.Principal) (Link, error) {
	o, err := s.readOffer(ctx, code)
	if err != nil {
		return Link{}, err
	}
	l := Link{Provider: o.Provider, Account: o.Account, Name: o.Name, Person: who}
	return l, s.SetLink(ctx, l)
}

func (s *Store) readOffer(ctx context.Context, code string) (o offer, err error) {
	wrong := task.Invalid("code", "is none of this server: ask for a new one where you got it")
	if len(code) > 4<<10 {
		return o, wrong
	}
	text, mac, _ := strings.Cut(code, ".")
	body, err := base64.RawURLEncoding.DecodeString(text)
	given, macErr := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || macErr != nil {
		return o, wrong
	}
	key, err := s.linkKey(ctx)
	if err != nil {
		return o, err
	}
	if !hmac.Equal(given, sign(key, body)) || json.Unmarshal(body, &o) != nil {
		return o, wrong
	}
	if s.now().After(o.Until) {
		return o, task.Invalid("code", "was good until %s: ask for a new one where you got it", o.Until.Format(time.RFC3339))
	}
	return o, nil
}

// byEmail finds whose an address is that a service tells.
func (s *Store) byEmail(ctx context.Context, i Integration, email func(context.Context) (string, error)) (who task.Principal, ok bool, err error) {
	address, err := email(ctx)
	if err != nil || address == "" {
		return task.Principal{}, false, err
	}
	return s.opts.ByEmail(ctx, address, i.Owner)
}

// kindLinkKey is the record that names the key of offers: of several replicas
// that make one at once, the first counts.
const kindLinkKey = "integration.linkkey"

// linkKey is what offers are signed with, the same on all replicas.
func (s *Store) linkKey(ctx context.Context) ([]byte, error) {
	if s.vault == nil {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server keeps no secrets, so that accounts cannot be linked")
	}
	owner := task.Scope{Type: task.ScopeTeam, UID: "server"}
	for {
		rec, err := s.records.Record(ctx, kindLinkKey, "name")
		if err == nil {
			return s.vault.Kept(ctx, owner, string(rec.Data))
		}
		if !errors.Is(err, task.ErrNotFound) {
			return nil, err
		}
		key, name := make([]byte, 32), "integration-links-"+uuid.NewString()
		_, _ = rand.Read(key) // never fails
		if err := s.vault.Keep(ctx, owner, name, key); err != nil {
			return nil, err
		}
		_, err = s.records.PutRecord(ctx, task.Record{Kind: kindLinkKey, Key: "name", Data: []byte(name), UpdatedAt: s.now()})
		if err == nil {
			return key, nil
		}
		if dropErr := s.vault.Drop(ctx, owner, name); dropErr != nil || !errors.Is(err, task.ErrConflict) {
			return nil, errors.Join(err, dropErr)
		}
	}
}

func sign(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(nil)
}

// Admit says whether an account may start runs of an integration (Oz platform,
// INT-1 and SLK-6). Bots may not, unless Trust says that strangers may.
func (s *Store) Admit(ctx context.Context, i Integration, account string, bot bool) (Admission, error) {
	return s.AdmitByEmail(ctx, i, account, bot, nil)
}

// AdmitByEmail is Admit for a service that knows its people's addresses (Oz
// platform, LIN-3): an account that nobody has linked is whose address it has.
// email gives the one that the service has made sure of, "" for none; it is only
// asked when it counts. nil is none.
func (s *Store) AdmitByEmail(ctx context.Context, i Integration, account string, bot bool, email func(context.Context) (string, error)) (Admission, error) {
	who, linked, err := s.Linked(ctx, i.Provider, account)
	if err == nil && !linked && !bot && email != nil {
		who, linked, err = s.byEmail(ctx, i, email)
	}
	if err != nil {
		return Admission{}, err
	}
	member := false
	if linked && !bot {
		if member, err = s.opts.Member(ctx, who, i.Owner); err != nil {
			return Admission{}, err
		}
	}
	if member {
		return Admission{Principal: who}, nil
	}
	reason := "the account is not linked to anybody here"
	switch {
	case bot:
		reason = "its author is a program"
	case linked:
		reason = "whoever it is linked to is not on the team"
	}
	switch i.Trust {
	case TrustUntrusted:
		return Admission{Untrusted: true, Reason: reason}, nil
	case TrustHold:
		return Admission{Held: true, Reason: reason + ", so that a person must let it through"}, nil
	}
	return Admission{Refused: true, Reason: reason}, nil
}
