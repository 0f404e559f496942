package oz

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

func testSeal(t testing.TB) cipher.AEAD {
	block, err := aes.NewCipher(make([]byte, 32))
	assert.NilError(t, err)
	seal, err := cipher.NewGCM(block)
	assert.NilError(t, err)
	return seal
}

// alone makes what speaks to others, on a store that has none.
func alone(t testing.TB) *replicas {
	store, err := sqlitestore.Open(context.Background(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	p, err := New(store, nil)
	assert.NilError(t, err)
	assert.Assert(t, p.replicas.bus == nil)
	return p.replicas
}

// silentBus takes what is said, and nobody hears it.
type silentBus struct{ said int }

func (b *silentBus) Say(_ context.Context, messages ...[]byte) error {
	b.said += len(messages)
	return nil
}
func (b *silentBus) Hear(func([]byte)) (cancel func()) { return func() {} }

func TestWordsOfOthersAreSealed(t *testing.T) {
	seal := testSeal(t)
	want := farWord{Kind: farFrame, From: "a", To: "b", Conn: "c", Number: 7, Data: []byte("s3cret")}
	message, err := sealWord(seal, want)
	assert.NilError(t, err)
	assert.Assert(t, !bytes.Contains(message, []byte("s3cret")))
	got, ok := openWord(seal, message)
	assert.Assert(t, ok)
	assert.DeepEqual(t, got, want)
	for i := range message { // whatever is changed
		message[i] ^= 1
		_, ok = openWord(seal, message)
		assert.Assert(t, !ok, "byte %d", i)
		message[i] ^= 1
	}
	r := alone(t)
	r.self, r.seal = "b", seal
	r.hear(message[1:])
	assert.Equal(t, len(r.inbox), 0)
	r.hear(message)
	assert.Equal(t, len(r.inbox), 1)
	for _, w := range []farWord{{Kind: farWho, From: "b"}, {Kind: farWho, From: "a", To: "another"}} { // our own, and another's
		message, err = sealWord(seal, w)
		assert.NilError(t, err)
		r.hear(message)
	}
	assert.Equal(t, len(r.inbox), 1)
}

// TestSilentEndsAreGivenUp moves time on: an end of which nothing is heard is
// over, and so are asks and crowds that are not told again.
func TestSilentEndsAreGivenUp(t *testing.T) {
	r := alone(t)
	bus := &silentBus{}
	r.bus, r.seal = bus, testSeal(t)
	now := r.p.opts.Clock.Now()
	e, other := r.newEnd("1", "far"), r.newEnd("2", "far")
	assert.Assert(t, r.newEnd("1", "far") == nil)
	r.handle(t.Context(), farWord{Kind: farOpen, From: "far", Exec: "x", Terminal: "t", Size: &executor.TerminalSize{Cols: 1, Rows: 1}})
	r.handle(t.Context(), farWord{Kind: farPeople, From: "far", Run: "run", People: []farPerson{{UID: "ann", Streams: 1}}})
	assert.Equal(t, r.p.terminals.where("x", "t"), "far")
	crowd, _ := r.p.presences.look("run")
	assert.Equal(t, len(crowd.Participants), 1)
	e.heard = now.Add(-farSilent - time.Second)
	r.beat(t.Context())
	_, err := e.Receive(t.Context())
	assert.ErrorContains(t, err, "EOF")
	assert.ErrorContains(t, e.Send(t.Context(), executor.TerminalFrame{}), "EOF")
	assert.Equal(t, bus.said, 1, "a sign of life for the other end")
	assert.Assert(t, other.hear(farWord{Kind: farFrame, Number: 1, Data: []byte("x")}, now))
	assert.Assert(t, !other.hear(farWord{Kind: farFrame, Number: 3}, now), "the second was lost")
	f, err := other.Receive(t.Context())
	assert.NilError(t, err, "what came before arrives")
	assert.Equal(t, string(f.Data), "x")
	_, err = other.Receive(t.Context())
	assert.ErrorContains(t, err, "EOF")
	r.p.terminals.expire(now.Add(time.Hour))
	r.p.presences.expire(now.Add(time.Hour))
	assert.Equal(t, r.p.terminals.where("x", "t"), "")
	assert.Equal(t, len(r.p.terminals.m)+len(r.p.presences.far)+len(r.ends), 0)
}

// TestLargeCrowdsComeInParts tells of more people than fit into one message.
func TestLargeCrowdsComeInParts(t *testing.T) {
	r := alone(t)
	var people []farPerson
	for i := range MaxParticipants + 1 {
		people = append(people, farPerson{UID: string(task.NewExecutionID()), Name: string(bytes.Repeat([]byte("n"), i)), Streams: 1})
	}
	words := crowdWords("run", people)
	assert.Assert(t, len(words) > 2)
	for i, w := range words {
		w.From = "far"
		message, err := sealWord(testSeal(t), w)
		assert.NilError(t, err)
		assert.Assert(t, len(message) <= task.MaxSaid)
		r.handle(t.Context(), w)
		crowd, _ := r.p.presences.look("run")
		assert.Equal(t, len(crowd.Participants) == MaxParticipants && crowd.More == 1, i == len(words)-1)
	}
	r.handle(t.Context(), farWord{Kind: farPeople, From: "far", Run: "run"})
	crowd, _ := r.p.presences.look("run")
	assert.Equal(t, len(crowd.Participants)+len(r.p.presences.far), 0)
}

// FuzzWords handles whatever a platform of another version may say: it breaks
// nothing, and remembers no more than it may.
func FuzzWords(f *testing.F) {
	for _, header := range []string{`{"k":"open","f":"a","x":"e","i":"t","s":{"cols":1,"rows":2}}`, `{"k":"frame","f":"a","c":"known","n":1}`,
		`{"k":"ack","f":"a","c":"known","n":9}`, `{"k":"join","f":"a","c":"new","x":"e","i":"t"}`, `{"k":"end","f":"a","c":"known"}`,
		`{"k":"crowd","f":"a","r":"run","p":[{"t":"user","u":"ann"}],"m":true}`, `{"k":"who","f":"a","r":"run"}`, `{}`, ``} {
		f.Add([]byte(header), []byte("data"))
	}
	f.Fuzz(func(t *testing.T, header, data []byte) {
		seal := testSeal(t)
		r := alone(t)
		r.bus, r.seal = &silentBus{}, seal
		assert.Assert(t, r.newEnd("known", "a") != nil)
		plain := append([]byte{byte(len(header) >> 8), byte(len(header))}, append(header, data...)...)
		nonce := make([]byte, seal.NonceSize())
		w, ok := openWord(seal, seal.Seal(nonce, nonce, plain, []byte(kindReplicas)))
		if !ok {
			return
		}
		for range 3 * farWindow {
			r.handle(t.Context(), w)
		}
		if e := r.ends["known"]; e != nil && len(e.in) > farWindow {
			t.Fatalf("%d frames wait", len(e.in))
		}
		assert.Assert(t, len(r.ends) <= 1 && len(r.p.terminals.m) <= 1 && len(r.p.presences.far) <= 1)
	})
}
