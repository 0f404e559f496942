// Package secretstest is the contract of [secrets.Provider] as tests. Who writes a
// provider runs it:
//
//	func TestProvider(t *testing.T) {
//		secretstest.Run(t, secretstest.Harness{Open: open, Owner: team, Stranger: other})
//	}
package secretstest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Harness is what a provider brings to its tests.
type Harness struct {
	// Open returns a provider without secrets, private to t, and the place that it
	// reads from. It registers its own cleanup.
	Open func(t *testing.T) (secrets.Provider, Place)

	// Owner is a team whose secrets the provider hands out.
	Owner task.Scope

	// Stranger is somebody who has no secrets there.
	Stranger task.Scope
}

// Place is where a provider finds secrets.
type Place interface {
	// Set makes value the secret called name of Owner, new or in place of another.
	// It returns an error for a value that the place refuses.
	Set(name, value string) error
	// Delete removes the secret called name of Owner.
	Delete(name string) error
}

// Run runs all cases against the provider of h.
func Run(t *testing.T, h Harness) {
	t.Run("Empty", h.empty)
	t.Run("Values", h.values)
	t.Run("OddValues", h.oddValues)
	t.Run("RotateAndDelete", h.rotateAndDelete)
	t.Run("Stranger", h.stranger)
	t.Run("WeakValue", h.weakValue)
	t.Run("ReservedName", h.reservedName)
	t.Run("NeverPrints", h.neverPrints)
	t.Run("OwnMemory", h.ownMemory)
	t.Run("Cancelled", h.cancelled)
	t.Run("Concurrent", h.concurrent)
	t.Run("Resolve", h.resolve)
}

// read returns the owner's variables as NAME=value, sorted.
func (h Harness) read(t *testing.T, p secrets.Provider) []string {
	t.Helper()
	values, err := p.Values(t.Context(), h.Owner)
	assert.NilError(t, err)
	all := []string{}
	for _, v := range values {
		assert.Equal(t, v.Scope, h.Owner)
		all = append(all, v.Name+"="+v.Plaintext())
	}
	slices.Sort(all)
	return all
}

func (h Harness) empty(t *testing.T) {
	p, _ := h.Open(t)
	assert.DeepEqual(t, h.read(t, p), []string{})
}

func (h Harness) values(t *testing.T) {
	p, place := h.Open(t)
	assert.NilError(t, place.Set("SECRETSTEST_A", "first-value-4711"))
	assert.NilError(t, place.Set("SECRETSTEST_B", "second-value-4712"))
	assert.NilError(t, place.Set("secretstest_a", "lower-value-4713"))
	assert.DeepEqual(t, h.read(t, p), []string{"SECRETSTEST_A=first-value-4711", "SECRETSTEST_B=second-value-4712", "secretstest_a=lower-value-4713"})
}

func (h Harness) oddValues(t *testing.T) {
	p, place := h.Open(t)
	longest := strings.Repeat("0123456789abcdefX", secrets.MaxVariableBytes/17+1)[:secrets.MaxVariableBytes-len("SECRETSTEST=\x00")]
	for _, value := range []string{"line one 4711\nline two 4712", "ends with blanks 4711  ", "\n\n starts with blanks 4711", `quotes "'\` + "`$x", "=equals==4711==",
		"pässwörd-Ω-😀-4711", "not \xff UTF-8 \xfe 4711", "tabs\tand\rreturns 4711", "\x1b[31mcolour-4711\x1b[0m", longest} {
		assert.NilError(t, place.Set("SECRETSTEST", value))
		assert.DeepEqual(t, h.read(t, p), []string{"SECRETSTEST=" + value})
	}
	if place.Set("SECRETSTEST", longest+"x") == nil {
		_, err := p.Values(t.Context(), h.Owner)
		assert.ErrorIs(t, err, task.ErrInvalid, "a variable longer than Linux allows")
	}
}

func (h Harness) rotateAndDelete(t *testing.T) {
	p, place := h.Open(t)
	assert.NilError(t, place.Set("SECRETSTEST", "before-rotation-4711"))
	assert.DeepEqual(t, h.read(t, p), []string{"SECRETSTEST=before-rotation-4711"})
	assert.NilError(t, place.Set("SECRETSTEST", "after-rotation-4712"))
	assert.DeepEqual(t, h.read(t, p), []string{"SECRETSTEST=after-rotation-4712"})
	assert.NilError(t, place.Delete("SECRETSTEST"))
	assert.DeepEqual(t, h.read(t, p), []string{})
}

func (h Harness) stranger(t *testing.T) {
	p, place := h.Open(t)
	assert.NilError(t, place.Set("SECRETSTEST", "not-for-strangers-4711"))
	for _, scope := range []task.Scope{h.Stranger, {}, {Type: task.ScopeUser, UID: h.Owner.UID}, {Type: h.Owner.Type, UID: ""}, {Type: h.Owner.Type, UID: h.Owner.UID + "x"}} {
		values, err := p.Values(t.Context(), scope)
		assert.NilError(t, err)
		assert.Equal(t, len(values), 0, "%s sees secrets of %s", scope, h.Owner)
	}
}

// weakValue holds that a value which cannot be redacted never gets into a run.
func (h Harness) weakValue(t *testing.T) {
	for _, weak := range []string{"12-x", "aaaaaaaaaaaaaaaaa"} {
		p, place := h.Open(t)
		err := place.Set("SECRETSTEST", weak)
		if err == nil {
			_, err = p.Values(t.Context(), h.Owner)
		}
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.Assert(t, !strings.Contains(err.Error(), weak), "%v quotes the value", err)
	}
}

func (h Harness) reservedName(t *testing.T) {
	p, place := h.Open(t)
	err := place.Set("LD_PRELOAD", "/tmp/reserved-name-4711.so")
	if err == nil {
		_, err = p.Values(t.Context(), h.Owner)
	}
	assert.ErrorIs(t, err, task.ErrInvalid)
}

func (h Harness) neverPrints(t *testing.T) {
	p, place := h.Open(t)
	const canary = "canary-Zx81-Kq42"
	assert.NilError(t, place.Set("SECRETSTEST", canary))
	values, err := p.Values(t.Context(), h.Owner)
	assert.NilError(t, err)
	encoded, err := json.Marshal(values)
	assert.NilError(t, err)
	r := secrets.NewRedactor(nil)
	assert.NilError(t, r.Add("CANARY", canary))
	for _, printed := range []string{string(encoded), fmt.Sprint(values), fmt.Sprintf("%+v %#v", values, values), fmt.Sprintf("%+v %#v", p, p)} {
		assert.Equal(t, len(r.Contains([]byte(printed))), 0, "%s", printed)
	}
}

func (h Harness) ownMemory(t *testing.T) {
	p, place := h.Open(t)
	assert.NilError(t, place.Set("SECRETSTEST", "first-value-4711"))
	values, err := p.Values(t.Context(), h.Owner)
	assert.NilError(t, err)
	values[0] = secrets.Value{Name: "CHANGED"}
	assert.DeepEqual(t, h.read(t, p), []string{"SECRETSTEST=first-value-4711"})
}

func (h Harness) cancelled(t *testing.T) {
	p, place := h.Open(t)
	assert.NilError(t, place.Set("SECRETSTEST", "first-value-4711"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Values(ctx, h.Owner)
	assert.ErrorIs(t, err, context.Canceled)
}

func (h Harness) concurrent(t *testing.T) {
	p, place := h.Open(t)
	assert.NilError(t, place.Set("SECRETSTEST", "first-value-4711"))
	done := make(chan error)
	const readers = 8
	for range readers {
		go func() {
			for range 20 {
				values, err := p.Values(t.Context(), h.Owner)
				if err == nil && (len(values) != 1 || values[0].Plaintext() != "first-value-4711") {
					err = fmt.Errorf("got %v", values)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range readers {
		assert.Check(t, <-done)
	}
}

func (h Harness) resolve(t *testing.T) {
	p, place := h.Open(t)
	assert.NilError(t, place.Set("SECRETSTEST_A", "first-value-4711"))
	assert.NilError(t, place.Set("SECRETSTEST_B", "second-value-4712"))
	allow := []string{"SECRETSTEST_B", "SECRETSTEST_NOBODY"}
	set, err := secrets.Resolve(t.Context(), []secrets.Provider{p}, secrets.Request{Owner: h.Owner, Allow: &allow})
	assert.NilError(t, err)
	assert.DeepEqual(t, set.Environ(), []string{"SECRETSTEST_B=second-value-4712"})
	assert.DeepEqual(t, set.Missing, []string{"SECRETSTEST_NOBODY"})
	r := secrets.NewRedactor(nil)
	assert.NilError(t, set.RedactWith(r))
	assert.Equal(t, r.String("x second-value-4712"), "x [redacted:SECRETSTEST_B]")
}
