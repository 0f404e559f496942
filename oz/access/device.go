package access

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/oz-platform/cloudagents/task"
)

// What polling for the key of a command line fails with until it is there (RFC
// 8628, section 3.5).
var (
	ErrAuthorizationPending error = &task.Error{Code: task.CodeConflict, Message: "nobody has agreed yet; ask again in a few seconds"}
	ErrSlowDown             error = &task.Error{Code: task.CodeConflict, Message: "you ask too often; wait five seconds more between two questions"}
	ErrAccessDenied         error = &task.Error{Code: task.CodeNotAuthorized, Message: "the sign-in was refused"}
	ErrExpiredToken         error = &task.Error{Code: task.CodeNotFound, Message: "the sign-in has expired, or was used already; begin again"}
)

// Device is a command line that wants to be signed in.
type Device struct {
	// DeviceCode is the command line's own; UserCode is typed by a person.
	DeviceCode, UserCode string
	ExpiresAt            time.Time
	// Interval is how long to wait between two polls.
	Interval time.Duration
}

// Kinds and limits of command lines that wait.
const (
	kindDevice   = "access.device"
	kindUserCode = "access.user_code"

	deviceLife     = 10 * time.Minute
	deviceInterval = 5 * time.Second
	deviceKeyLife  = 90 * 24 * time.Hour
	maxDevices     = 1000 // that wait at once
	// codeLetters have no vowels, so that codes are no words, and none that
	// look like another (RFC 8628, section 6.1).
	codeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	codeLength  = 8
)

// deviceState is how far a command line is.
type deviceState string

const (
	devicePending  deviceState = "pending"
	deviceApproved deviceState = "approved"
	deviceDenied   deviceState = "denied"
)

// device is stored under the hash of its device code.
type device struct {
	Name      string      `json:"name"`
	UserCode  string      `json:"user_code"`
	State     deviceState `json:"state"`
	User      string      `json:"user,omitempty"`
	ExpiresAt time.Time   `json:"expires_at"`
	PolledAt  time.Time   `json:"polled_at,omitzero"`
}

// StartDevice begins to sign a command line in. name says what asks, for the
// person who is to agree. It fails with task.CodeResourceUnavailable while too
// many wait.
func (r *Registry) StartDevice(ctx context.Context, name string) (Device, error) {
	if len(name) > maxKeyName || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return Device{}, task.Invalid("client_name", "must be one line of at most %d bytes, of letters that can be seen", maxKeyName)
	}
	if name == "" {
		name = "command line"
	}
	if err := r.sweepDevices(ctx); err != nil {
		return Device{}, err
	}
	code, now := "ozd_"+secret(), r.now()
	d := device{Name: name, UserCode: userCode(), State: devicePending, ExpiresAt: now.Add(deviceLife)}
	if _, err := r.records.PutRecord(ctx, task.Record{Kind: kindUserCode, Key: d.UserCode, Data: []byte(hashKey(code)), UpdatedAt: now}); err != nil {
		return Device{}, fmt.Errorf("write user code: %w", err)
	}
	if err := r.putDevice(ctx, hashKey(code), d, 0); err != nil {
		return Device{}, err
	}
	return Device{DeviceCode: code, UserCode: d.UserCode[:codeLength/2] + "-" + d.UserCode[codeLength/2:], ExpiresAt: d.ExpiresAt, Interval: deviceInterval}, nil
}

func userCode() string {
	var b [codeLength]byte
	for i := range b {
		b[i] = codeLetters[randomBelow(len(codeLetters))]
	}
	return string(b[:])
}

// randomBelow draws a number without a bias.
func randomBelow(n int) int {
	limit := 256 - 256%n
	for {
		var b [1]byte
		_, _ = rand.Read(b[:]) // never fails
		if int(b[0]) < limit {
			return int(b[0]) % n
		}
	}
}

// sweepDevices removes those that have expired, and refuses one more when too
// many are left.
func (r *Registry) sweepDevices(ctx context.Context) error {
	recs, err := r.records.Records(ctx, kindDevice, nil)
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	left := 0
	for _, rec := range recs {
		var d device
		if json.Unmarshal(rec.Data, &d) == nil && r.now().Before(d.ExpiresAt) {
			left++
			continue
		}
		r.dropDevice(ctx, rec.Key, d)
	}
	if left >= maxDevices {
		return &task.Error{Code: task.CodeResourceUnavailable, RetryAfterMS: time.Minute.Milliseconds(), Message: "too many command lines wait to be signed in; try again in a minute"}
	}
	return nil
}

// endDevices removes the command lines that a person has agreed to and that
// did not fetch their key yet.
func (r *Registry) endDevices(ctx context.Context, user string) error {
	recs, err := r.records.Records(ctx, kindDevice, nil)
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	for _, rec := range recs {
		var d device
		if json.Unmarshal(rec.Data, &d) != nil || d.User != user {
			continue
		}
		if err := r.records.DeleteRecord(ctx, kindDevice, rec.Key); err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("end devices of %s: %w", user, err)
		}
	}
	return nil
}

func (r *Registry) dropDevice(ctx context.Context, key string, d device) {
	_ = r.records.DeleteRecord(ctx, kindDevice, key) // the next sweep tries again
	if d.UserCode != "" {
		_ = r.records.DeleteRecord(ctx, kindUserCode, d.UserCode)
	}
}

func (r *Registry) putDevice(ctx context.Context, key string, d device, revision int64) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode device: %w", err)
	}
	if _, err = r.records.PutRecord(ctx, task.Record{Kind: kindDevice, Key: key, Revision: revision, Data: data, UpdatedAt: r.now()}); err != nil {
		return fmt.Errorf("write device: %w", err)
	}
	return nil
}

func (r *Registry) device(ctx context.Context, key string) (device, int64, error) {
	rec, err := r.records.Record(ctx, kindDevice, key)
	if errors.Is(err, task.ErrNotFound) {
		return device{}, 0, ErrExpiredToken
	}
	if err != nil {
		return device{}, 0, fmt.Errorf("read device: %w", err)
	}
	var d device
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return device{}, 0, fmt.Errorf("decode device: %w", err)
	}
	if !r.now().Before(d.ExpiresAt) {
		r.dropDevice(ctx, key, d)
		return device{}, 0, ErrExpiredToken
	}
	return d, rec.Revision, nil
}

// DeviceName says what asks with a user code, for the person who is to agree.
// Only a person may ask; who guesses codes is slowed down. It fails with
// ErrExpiredToken.
func (r *Registry) DeviceName(ctx context.Context, by Caller, code string) (string, error) {
	_, d, _, err := r.deviceByCode(ctx, by, code)
	return d.Name, err
}

// deviceByCode finds a waiting command line by what a person has typed.
func (r *Registry) deviceByCode(ctx context.Context, by Caller, code string) (key string, d device, revision int64, err error) {
	if !by.Principal.IsPerson() || by.Execution != "" {
		return "", device{}, 0, task.Errorf(task.CodeNotAuthorized, "only a person can sign a command line in")
	}
	if !r.guesses.Allow(by.Principal.UID, r.now()) {
		return "", device{}, 0, &task.Error{Code: task.CodeResourceUnavailable, RetryAfterMS: r.guesses.Window.Milliseconds(), Message: "too many codes that do not exist; wait ten minutes"}
	}
	plain := strings.Map(func(c rune) rune {
		if c == '-' || c == ' ' {
			return -1
		}
		return c
	}, strings.ToUpper(code))
	rec, err := r.records.Record(ctx, kindUserCode, plainOr(plain))
	if errors.Is(err, task.ErrNotFound) {
		r.guesses.Miss(by.Principal.UID, r.now())
		return "", device{}, 0, ErrExpiredToken
	}
	if err != nil {
		return "", device{}, 0, fmt.Errorf("read user code: %w", err)
	}
	d, revision, err = r.device(ctx, string(rec.Data))
	return string(rec.Data), d, revision, err
}

// plainOr keeps what is no code out of the store's keys.
func plainOr(code string) string {
	if len(code) != codeLength || strings.Trim(code, codeLetters) != "" {
		return "none"
	}
	return code
}

// ApproveDevice lets a command line in as by, or refuses it. It fails with
// ErrExpiredToken, also when somebody has decided before.
func (r *Registry) ApproveDevice(ctx context.Context, by Caller, code string, deny bool) error {
	key, d, revision, err := r.deviceByCode(ctx, by, code)
	if err != nil {
		return err
	}
	decision, user := deviceApproved, by.Principal.UID
	if deny {
		decision, user = deviceDenied, ""
	}
	approve := Act{By: by, Action: KeyCreate, Kind: "device", ID: d.Name, Owner: task.Scope{Type: task.ScopeUser, UID: by.Principal.UID},
		Details: map[string]string{"decision": string(decision)}}
	return r.act(ctx, approve, func() error {
		for {
			if d.State != devicePending {
				return ErrExpiredToken
			}
			d.State, d.User = decision, user
			if err := r.putDevice(ctx, key, d, revision); !errors.Is(err, task.ErrConflict) {
				return err
			}
			// It was decided on meanwhile, or has only polled.
			if d, revision, err = r.device(ctx, key); err != nil {
				return err
			}
		}
	})
}

// PollDevice gives a command line its key, this once: a personal key that
// expires. It fails with ErrAuthorizationPending, ErrSlowDown, ErrAccessDenied
// or ErrExpiredToken.
func (r *Registry) PollDevice(ctx context.Context, deviceCode string) (raw string, k Key, err error) {
	if len(deviceCode) > maxKey {
		return "", Key{}, ErrExpiredToken
	}
	key := hashKey(deviceCode)
	d, revision, err := r.device(ctx, key)
	if err != nil {
		return "", Key{}, err
	}
	switch d.State {
	case devicePending:
		return "", Key{}, r.pollPending(ctx, key, d, revision)
	case deviceDenied:
		r.dropDevice(ctx, key, d)
		return "", Key{}, ErrAccessDenied
	}
	// Whoever deletes the record has the key: of two polls at once, one.
	if err := r.records.DeleteRecord(ctx, kindDevice, key); errors.Is(err, task.ErrNotFound) {
		return "", Key{}, ErrExpiredToken
	} else if err != nil {
		return "", Key{}, fmt.Errorf("redeem device: %w", err)
	}
	_ = r.records.DeleteRecord(ctx, kindUserCode, d.UserCode) // it leads nowhere
	by, err := r.Caller(ctx, d.User)
	if err != nil {
		return "", Key{}, ErrAccessDenied
	}
	return r.CreateKey(ctx, by, KeySpec{Name: d.Name, Type: KeyPersonal, ExpiresAt: r.now().Add(deviceKeyLife)})
}

func (r *Registry) pollPending(ctx context.Context, key string, d device, revision int64) error {
	now := r.now()
	if now.Sub(d.PolledAt) < deviceInterval-time.Second { // the network is not that exact
		return ErrSlowDown
	}
	d.PolledAt = now
	if err := r.putDevice(ctx, key, d, revision); err != nil && !errors.Is(err, task.ErrConflict) {
		return err
	}
	return ErrAuthorizationPending
}
