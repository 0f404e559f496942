package workload_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access/workload"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// hand is a clock that is moved by hand.
type hand struct {
	task.Clock
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// replicas are issuers on one store, each as after a start.
func replicas(t *testing.T, n int, clock task.Clock) []*workload.Issuer {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlitestore.Open(t.Context(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, db.Close()) })
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys"))
	assert.NilError(t, err)
	out := make([]*workload.Issuer, n)
	for i := range out {
		out[i] = workload.NewIssuer(db, sealed.New(db, keys, nil), &workload.Options{Clock: clock})
	}
	return out
}

// verify checks a token with another library and the keys as others have them.
func verify(t *testing.T, token string, set workload.KeySet) (kid string, claims map[string]any) {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	assert.NilError(t, err)
	kid = parsed.Headers[0].KeyID
	i := slices.IndexFunc(set.Keys, func(k workload.Key) bool { return k.ID == kid })
	assert.Assert(t, i >= 0, "the key %s is not published", kid)
	assert.NilError(t, parsed.Claims(publicKey(t, set.Keys[i]), &claims))
	return kid, claims
}

// TestReplicasShareTheirKeys: servers that begin at once have one key, and each
// checks what the other has signed.
func TestReplicasShareTheirKeys(t *testing.T) {
	list := replicas(t, 4, &hand{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	tokens := make([]string, len(list))
	var group sync.WaitGroup
	for i, s := range list {
		group.Go(func() {
			var err error
			tokens[i], err = s.Sign(t.Context(), map[string]string{"sub": "user:ann"})
			assert.Check(t, err)
		})
	}
	group.Wait()
	set, err := list[0].Keys(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(set.Keys), 1)
	for _, token := range tokens {
		_, claims := verify(t, token, set)
		assert.DeepEqual(t, claims, map[string]any{"sub": "user:ann"})
	}
}

// TestKeysChange: over two years, whoever reads the keys once a day knows the key
// of every token, old keys stay until their last token has ended, and go.
func TestKeysChange(t *testing.T) {
	clock := &hand{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	list := replicas(t, 2, clock)
	read, err := list[0].Keys(t.Context())
	assert.NilError(t, err)
	signed := map[string]bool{}
	last := ""
	for hour := range 2 * 365 * 24 / 3 {
		if hour%8 == 0 {
			read, err = list[hour/8%2].Keys(t.Context())
			assert.NilError(t, err)
			assert.Assert(t, len(read.Keys) <= 3)
		}
		if last != "" { // of three hours ago
			verify(t, last, read)
		}
		last, err = list[hour%2].Sign(t.Context(), map[string]string{})
		assert.NilError(t, err)
		kid, _ := verify(t, last, read)
		signed[kid] = true
		clock.move(3 * time.Hour)
	}
	assert.Assert(t, len(signed) >= 8 && len(signed) <= 10, "%d keys in two years", len(signed))
}

// publicKey reads a key as other libraries do.
func publicKey(t *testing.T, k workload.Key) any {
	t.Helper()
	data, err := json.Marshal(k)
	assert.NilError(t, err)
	var out jose.JSONWebKey
	assert.NilError(t, out.UnmarshalJSON(data))
	assert.Assert(t, out.Valid() && out.IsPublic())
	return out.Key
}
