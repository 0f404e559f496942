package sealed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/secrets/secretstest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

var (
	team  = task.Scope{Type: task.ScopeTeam, UID: "t1"}
	other = task.Scope{Type: task.ScopeTeam, UID: "t2"}
	ann   = task.Scope{Type: task.ScopeUser, UID: "ann"}
)

// clock stands still until it is moved.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time                       { return c.now }
func (c *clock) After(time.Duration) <-chan time.Time { return nil }

// kit is a sealed store on a real database.
type kit struct {
	*sealed.Store
	records *sqlitestore.Store
	keys    *sealed.Keys
	keyFile string
	data    string
	clock   *clock
}

func open(t *testing.T) kit {
	t.Helper()
	k := kit{keyFile: filepath.Join(t.TempDir(), "keys", "secrets.json"), data: filepath.Join(t.TempDir(), "oz.db"), clock: &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	var err error
	k.records, err = sqlitestore.Open(t.Context(), k.data, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, k.records.Close()) })
	k.keys, err = sealed.OpenKeys(k.keyFile)
	assert.NilError(t, err)
	k.Store = sealed.New(k.records, k.keys, &sealed.Options{Clock: k.clock})
	return k
}

// plaintexts returns what a run of owner would get, NAME=value.
func plaintexts(t *testing.T, p secrets.Provider, owner task.Scope) []string {
	t.Helper()
	values, err := p.Values(t.Context(), owner)
	assert.NilError(t, err)
	var all []string
	for _, v := range values {
		all = append(all, v.Name+"="+v.Plaintext())
	}
	return all
}

// place sets secrets of team.
type place struct {
	ctx   context.Context
	store *sealed.Store
}

func (p place) Set(name, value string) error {
	_, err := p.store.Update(p.ctx, team, name, sealed.Change{Value: sealed.Raw(value)})
	if errors.Is(err, task.ErrNotFound) {
		_, err = p.store.Create(p.ctx, team, sealed.Creation{Name: name, Value: sealed.Raw(value)})
	}
	return err
}

func (p place) Delete(name string) error { return p.store.Delete(p.ctx, team, name) }

func TestProvider(t *testing.T) {
	secretstest.Run(t, secretstest.Harness{
		Open: func(t *testing.T) (secrets.Provider, secretstest.Place) {
			k := open(t)
			return k.Store, place{t.Context(), k.Store}
		},
		Owner:    team,
		Stranger: ann,
	})
}

func TestLifeOfASecret(t *testing.T) {
	k, ctx := open(t), t.Context()
	created, err := k.Create(ctx, team, sealed.Creation{Name: "TOKEN", Description: "for CI", Value: sealed.Raw("first-value-4711")})
	assert.NilError(t, err)
	want := sealed.Secret{Name: "TOKEN", Scope: team, Type: sealed.TypeRawValue, Description: "for CI", Version: 1, CreatedAt: k.clock.now, UpdatedAt: k.clock.now}
	assert.DeepEqual(t, created, want)

	_, err = k.Create(ctx, team, sealed.Creation{Name: "TOKEN", Value: sealed.Raw("second-value-4712")})
	assert.ErrorIs(t, err, task.ErrConflict)
	_, err = k.Create(ctx, ann, sealed.Creation{Name: "TOKEN", Value: sealed.Raw("value-of-ann-4713")})
	assert.NilError(t, err, "the same name in another scope")

	k.clock.now = k.clock.now.Add(time.Hour)
	text := "for releases"
	updated, err := k.Update(ctx, team, "TOKEN", sealed.Change{Description: &text})
	assert.NilError(t, err)
	want.Description, want.UpdatedAt = text, k.clock.now
	assert.DeepEqual(t, updated, want)
	assert.DeepEqual(t, plaintexts(t, k, team), []string{"TOKEN=first-value-4711"})

	updated, err = k.Update(ctx, team, "TOKEN", sealed.Change{Value: sealed.Raw("third-value-4714")})
	assert.NilError(t, err)
	want.Version = 2
	assert.DeepEqual(t, updated, want)

	list, err := k.List(ctx, team)
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []sealed.Secret{want})
	assert.DeepEqual(t, plaintexts(t, k, team), []string{"TOKEN=third-value-4714"})

	assert.NilError(t, k.Delete(ctx, team, "TOKEN"))
	assert.ErrorIs(t, k.Delete(ctx, team, "TOKEN"), task.ErrNotFound)
	_, err = k.Update(ctx, team, "TOKEN", sealed.Change{Description: &text})
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.Equal(t, len(plaintexts(t, k, team)), 0)
	assert.DeepEqual(t, plaintexts(t, k, ann), []string{"TOKEN=value-of-ann-4713"})
}

func TestTypes(t *testing.T) {
	for _, tt := range []struct {
		value sealed.Plaintext
		want  []string
	}{
		{sealed.AnthropicAPIKey("sk-ant-4711-abc"), []string{"ANTHROPIC_API_KEY=sk-ant-4711-abc"}},
		{sealed.OpenAIAPIKey("sk-4711-abcdef", ""), []string{"OPENAI_API_KEY=sk-4711-abcdef"}},
		{sealed.OpenAIAPIKey("sk-4711-abcdef", "https://llm.internal/v1"), []string{"OPENAI_API_KEY=sk-4711-abcdef", "OPENAI_BASE_URL=https://llm.internal/v1"}},
		{sealed.BedrockAPIKey("bedrock-4711-abc", "eu-central-1"), []string{"AWS_BEARER_TOKEN_BEDROCK=bedrock-4711-abc", "AWS_REGION=eu-central-1", "CLAUDE_CODE_USE_BEDROCK=1"}},
		{sealed.BedrockAccessKey("AKIA4711ABCD", "secret-4711-abc", "session-4711-abc", "eu-central-1"), []string{"AWS_ACCESS_KEY_ID=AKIA4711ABCD", "AWS_REGION=eu-central-1",
			"AWS_SECRET_ACCESS_KEY=secret-4711-abc", "AWS_SESSION_TOKEN=session-4711-abc", "CLAUDE_CODE_USE_BEDROCK=1"}},
	} {
		k := open(t)
		created, err := k.Create(t.Context(), team, sealed.Creation{Name: "MODEL_KEY", Value: tt.value})
		assert.NilError(t, err)
		set, err := secrets.Resolve(t.Context(), []secrets.Provider{k}, secrets.Request{Owner: team, Allow: &[]string{"MODEL_KEY"}})
		assert.NilError(t, err)
		assert.DeepEqual(t, set.Environ(), tt.want)
		r := secrets.NewRedactor(nil)
		assert.NilError(t, set.RedactWith(r))
		all := r.String(strings.Join(tt.want, " "))
		assert.Assert(t, !strings.Contains(all, "4711"), all)
		assert.Equal(t, strings.Contains(strings.Join(tt.want, " "), "eu-central-1"), strings.Contains(all, "eu-central-1"), "a region is no secret")

		_, err = k.Update(t.Context(), team, "MODEL_KEY", sealed.Change{Value: sealed.Raw("raw-value-4711")})
		assert.ErrorContains(t, err, string(created.Type))
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.Assert(t, !strings.Contains(fmt.Sprintf("%v %+v %#v", tt.value, tt.value, &tt.value), "4711"))
	}
}

func TestRefusals(t *testing.T) {
	k, good := open(t), sealed.Raw("good-value-4711")
	for _, tt := range []struct {
		name, field string
		scope       task.Scope
		creation    sealed.Creation
	}{
		{"no owner", "scope", task.Scope{}, sealed.Creation{Name: "A", Value: good}},
		{"no such kind of owner", "scope", task.Scope{Type: "Bot", UID: "x"}, sealed.Creation{Name: "A", Value: good}},
		{"no uid", "scope", task.Scope{Type: task.ScopeTeam}, sealed.Creation{Name: "A", Value: good}},
		{"long uid", "scope", task.Scope{Type: task.ScopeTeam, UID: strings.Repeat("u", 201)}, sealed.Creation{Name: "A", Value: good}},
		{"no name", "name", team, sealed.Creation{Value: good}},
		{"no variable", "name", team, sealed.Creation{Name: "a-b", Value: good}},
		{"reserved", "name", team, sealed.Creation{Name: "OZ_TOKEN", Value: good}},
		{"no value", "value", team, sealed.Creation{Name: "A"}},
		{"empty value", "value", team, sealed.Creation{Name: "A", Value: sealed.Raw("")}},
		{"short value", "value", team, sealed.Creation{Name: "A", Value: sealed.Raw("4711-ab")}},
		{"weak value", "value", team, sealed.Creation{Name: "A", Value: sealed.Raw("password4711")}},
		{"too long with its name", "value", team, sealed.Creation{Name: "LONGER_NAME", Value: sealed.Raw(strings.Repeat("good-value-4711.", 1<<13)[:131065])}},
		{"no region", "region", team, sealed.Creation{Name: "A", Value: sealed.BedrockAPIKey("bedrock-4711-abc", "")}},
		{"region of two lines", "value", team, sealed.Creation{Name: "A", Value: sealed.BedrockAPIKey("bedrock-4711-abc", "a\nb")}},
		{"long description", "description", team, sealed.Creation{Name: "A", Value: good, Description: strings.Repeat("d", 1001)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := k.Create(t.Context(), tt.scope, tt.creation)
			var e *task.Error
			assert.Assert(t, errors.As(err, &e), "%v", err)
			assert.Equal(t, e.Code, task.CodeInvalidRequest)
			assert.Equal(t, e.Field, tt.field)
			assert.Assert(t, !strings.Contains(err.Error(), "4711"), "%v quotes the value", err)
		})
	}
	_, err := k.Create(t.Context(), team, sealed.Creation{Name: "A", Value: good})
	assert.NilError(t, err)
	_, err = k.Update(t.Context(), team, "A", sealed.Change{})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = k.Update(t.Context(), team, "A", sealed.Change{Value: sealed.Raw("aaaaaaaa")})
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.DeepEqual(t, plaintexts(t, k, team), []string{"A=good-value-4711"})
}

func TestMaxPerOwner(t *testing.T) {
	k := open(t)
	for i := range sealed.MaxPerOwner {
		_, err := k.records.PutRecord(t.Context(), task.Record{Kind: sealed.Kind, Key: fmt.Sprintf("%s/N%d", team, i), Owner: team, Data: []byte("{}"), UpdatedAt: k.clock.now})
		assert.NilError(t, err)
	}
	_, err := k.Create(t.Context(), team, sealed.Creation{Name: "ONE_MORE", Value: sealed.Raw("good-value-4711")})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = k.Create(t.Context(), ann, sealed.Creation{Name: "ONE_MORE", Value: sealed.Raw("good-value-4711")})
	assert.NilError(t, err)
}

// TestSealedRefusesSwappedRecords plays somebody who can write the database: every way
// of passing one sealed value off as another has to fail, and to say nothing.
func TestSealedRefusesSwappedRecords(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tamper func(victim, donor, old *task.Record)
	}{
		{"another name's data", func(victim, donor, _ *task.Record) { victim.Data = donor.Data }},
		{"another name's ciphertext", func(victim, donor, _ *task.Record) { swapSealed(victim, donor) }},
		{"an old version's ciphertext", func(victim, _, old *task.Record) { swapSealed(victim, old) }},
		{"another version number", func(victim, _, _ *task.Record) { replace(victim, `"version":2`, `"version":3`) }},
		{"another type", func(victim, _, _ *task.Record) { replace(victim, `"raw_value"`, `"anthropic_api_key"`) }},
		{"another name within", func(victim, _, _ *task.Record) { replace(victim, `"VICTIM"`, `"DONOR_"`) }},
		{"another owner within", func(victim, _, _ *task.Record) { replace(victim, `"t1"`, `"t2"`) }},
		{"moved to another owner", func(victim, _, _ *task.Record) { move(victim, other); replace(victim, `"t1"`, `"t2"`) }},
		{"moved to a person", func(victim, _, _ *task.Record) { move(victim, ann) }},
		{"one bit", func(victim, _, _ *task.Record) {
			i := bytes.Index(victim.Data, []byte(`"sealed":"`)) + 40
			victim.Data[i] = map[bool]byte{true: 'B', false: 'A'}[victim.Data[i] == 'A']
		}},
		{"no ciphertext", func(victim, _, _ *task.Record) {
			victim.Data = append(victim.Data[:bytes.Index(victim.Data, []byte(`"sealed"`))], []byte(`"sealed":""}`)...)
		}},
		{"no JSON", func(victim, _, _ *task.Record) { victim.Data = []byte("canary") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, ctx := open(t), t.Context()
			for _, name := range []string{"VICTIM", "DONOR_"} {
				_, err := k.Create(ctx, team, sealed.Creation{Name: name, Value: sealed.Raw("canary-value-4711")})
				assert.NilError(t, err)
			}
			record := func(name string) task.Record {
				r, err := k.records.Record(ctx, sealed.Kind, team.String()+"/"+name)
				assert.NilError(t, err)
				return r
			}
			old := record("VICTIM")
			_, err := k.Update(ctx, team, "VICTIM", sealed.Change{Value: sealed.Raw("canary-value-4712")})
			assert.NilError(t, err)
			victim, donor := record("VICTIM"), record("DONOR_")
			tt.tamper(&victim, &donor, &old)
			_, err = k.records.PutRecord(ctx, victim)
			assert.NilError(t, err)
			if victim.Owner != team {
				assert.NilError(t, k.records.DeleteRecord(ctx, sealed.Kind, team.String()+"/VICTIM"))
			}
			_, err = k.Values(ctx, victim.Owner)
			assert.Equal(t, task.CodeOf(err), task.CodeInternal, "%v", err)
			assert.ErrorContains(t, err, "secret")
			assert.Assert(t, !strings.Contains(err.Error(), "canary"))
		})
	}
}

func replace(r *task.Record, from, to string) {
	changed := bytes.Replace(r.Data, []byte(from), []byte(to), 1)
	if bytes.Equal(changed, r.Data) {
		panic("nothing to replace: " + from)
	}
	r.Data = changed
}

// swapSealed puts the ciphertext of donor in place of victim's.
func swapSealed(victim, donor *task.Record) {
	const member = `"sealed":`
	victim.Data = append(bytes.Clone(victim.Data[:bytes.Index(victim.Data, []byte(member))]), donor.Data[bytes.Index(donor.Data, []byte(member)):]...)
}

func move(r *task.Record, to task.Scope) {
	r.Key = to.String() + "/VICTIM"
	r.Owner, r.Revision = to, 0
}

func TestNothingReadableAtRest(t *testing.T) {
	k, r := open(t), secrets.NewRedactor(nil)
	for i := range 5 {
		value := fmt.Sprintf("canary-%d-Kq42-Zx81", i)
		assert.NilError(t, r.Add("CANARY", value))
		_, err := k.Create(t.Context(), team, sealed.Creation{Name: fmt.Sprintf("S%d", i), Value: sealed.Raw(value), Description: "found-me"})
		assert.NilError(t, err)
	}
	described := false
	for _, file := range []string{k.data, k.data + "-wal", k.keyFile} {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		assert.NilError(t, err)
		assert.Equal(t, len(r.Contains(content)), 0, file)
		described = described || bytes.Contains(content, []byte("found-me"))
	}
	assert.Assert(t, described, "the test has to look where the records are")
}

func TestRotation(t *testing.T) {
	k, ctx := open(t), t.Context()
	_, err := k.Create(ctx, team, sealed.Creation{Name: "OLD", Value: sealed.Raw("sealed-before-4711")})
	assert.NilError(t, err)
	before, err := os.ReadFile(k.keyFile)
	assert.NilError(t, err)
	assert.NilError(t, k.keys.Rotate())
	_, err = k.Create(ctx, ann, sealed.Creation{Name: "NEW", Value: sealed.Raw("sealed-after-4712")})
	assert.NilError(t, err)

	again, err := sealed.OpenKeys(k.keyFile)
	assert.NilError(t, err)
	reopened := sealed.New(k.records, again, nil)
	assert.DeepEqual(t, plaintexts(t, reopened, team), []string{"OLD=sealed-before-4711"})
	assert.DeepEqual(t, plaintexts(t, reopened, ann), []string{"NEW=sealed-after-4712"})

	// The first key alone opens the old secret until it is sealed anew.
	oldFile := filepath.Join(t.TempDir(), "old.json")
	assert.NilError(t, os.WriteFile(oldFile, before, 0o600))
	oldKeys, err := sealed.OpenKeys(oldFile)
	assert.NilError(t, err)
	old := sealed.New(k.records, oldKeys, nil)
	assert.DeepEqual(t, plaintexts(t, old, team), []string{"OLD=sealed-before-4711"})
	count, err := k.Reseal(ctx)
	assert.NilError(t, err)
	assert.Equal(t, count, 2)
	_, err = old.Values(ctx, team)
	assert.ErrorContains(t, err, "does not open")
	assert.DeepEqual(t, plaintexts(t, k, team), []string{"OLD=sealed-before-4711"})
	list, err := k.List(ctx, team)
	assert.NilError(t, err)
	assert.Equal(t, list[0].Version, int64(1), "the value is the same one")
}

func TestKeyFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "keys")
	path := filepath.Join(dir, "secrets.json")
	keys, err := sealed.OpenKeys(path)
	assert.NilError(t, err)
	mode := func(path string) os.FileMode {
		info, err := os.Stat(path)
		assert.NilError(t, err)
		return info.Mode().Perm()
	}
	assert.Equal(t, mode(path), os.FileMode(0o600))
	assert.Equal(t, mode(dir), os.FileMode(0o700))
	entries, err := os.ReadDir(dir)
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1, "no temporary file is left")
	content, err := os.ReadFile(path)
	assert.NilError(t, err)
	material := content[bytes.Index(content, []byte(`"value":"`))+9:][:20]
	assert.Assert(t, !strings.Contains(fmt.Sprintf("%v %+v %#v", keys, keys, keys), string(material)))

	assert.NilError(t, keys.Rotate())
	assert.Equal(t, mode(path), os.FileMode(0o600))

	for _, bits := range []os.FileMode{0o640, 0o604, 0o660} {
		assert.NilError(t, os.Chmod(path, bits))
		_, err = sealed.OpenKeys(path)
		assert.ErrorContains(t, err, "chmod 600")
		assert.Assert(t, keys.Rotate() != nil)
	}
	assert.NilError(t, os.Chmod(path, 0o600))
	assert.NilError(t, os.Chmod(dir, 0o777))
	_, err = sealed.OpenKeys(path)
	assert.ErrorContains(t, err, "chmod 700")
	assert.NilError(t, os.Chmod(dir, 0o700))

	link := filepath.Join(dir, "link.json")
	assert.NilError(t, os.Symlink(path, link))
	_, err = sealed.OpenKeys(link)
	assert.ErrorContains(t, err, "not a link")
	_, err = sealed.OpenKeys(dir)
	assert.ErrorContains(t, err, "regular file")

	for _, damaged := range []string{"", "{}", "canary-4711", string(content[:len(content)/2])} {
		assert.NilError(t, os.WriteFile(path, []byte(damaged), 0o600))
		_, err = sealed.OpenKeys(path)
		assert.Assert(t, err != nil)
		assert.Assert(t, !strings.Contains(err.Error(), "canary") && !strings.Contains(err.Error(), string(material)), "%v", err)
		left, readErr := os.ReadFile(path)
		assert.NilError(t, readErr)
		assert.Equal(t, string(left), damaged, "a damaged file is left alone")
	}
}

// TestKeyFileRace holds that starters at the same time agree on one key.
func TestKeyFileRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "secrets.json")
	k := open(t)
	const starters = 8
	stores := make(chan *sealed.Store, starters)
	for range starters {
		go func() {
			keys, err := sealed.OpenKeys(path)
			assert.Check(t, err)
			stores <- sealed.New(k.records, keys, nil)
		}()
	}
	first := <-stores
	_, err := first.Create(t.Context(), team, sealed.Creation{Name: "A", Value: sealed.Raw("good-value-4711")})
	assert.NilError(t, err)
	for range starters - 1 {
		assert.DeepEqual(t, plaintexts(t, <-stores, team), []string{"A=good-value-4711"})
	}
}

func TestConcurrentUpdates(t *testing.T) {
	k := open(t)
	_, err := k.Create(t.Context(), team, sealed.Creation{Name: "A", Value: sealed.Raw("good-value-4711")})
	assert.NilError(t, err)
	const writers = 8
	results := make(chan error, writers)
	for i := range writers {
		go func() {
			_, err := k.Update(t.Context(), team, "A", sealed.Change{Value: sealed.Raw(fmt.Sprintf("good-value-472%d", i))})
			results <- err
		}()
	}
	won := int64(0)
	for range writers {
		if err := <-results; err == nil {
			won++
		} else {
			assert.Check(t, errors.Is(err, task.ErrConflict), "%v", err)
		}
	}
	list, err := k.List(t.Context(), team)
	assert.NilError(t, err)
	assert.Equal(t, list[0].Version, 1+won)
	assert.Equal(t, len(plaintexts(t, k, team)), 1)
}
