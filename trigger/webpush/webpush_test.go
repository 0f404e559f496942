package webpush_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// browser is the other end: its push service, which checks who sends, and its
// keys, which open what arrives.
type browser struct {
	*httptest.Server
	t       *testing.T
	private *ecdh.PrivateKey
	auth    []byte
	server  string // the key that may send

	mu     sync.Mutex
	got    []string
	salts  map[string]bool
	answer func(n int) (int, http.Header)
	asked  int
}

func newBrowser(t *testing.T) *browser {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	assert.NilError(t, err)
	b := &browser{t: t, private: private, auth: make([]byte, 16), salts: map[string]bool{}, answer: func(int) (int, http.Header) { return http.StatusCreated, nil }}
	_, err = rand.Read(b.auth)
	assert.NilError(t, err)
	b.Server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(b.Close)
	return b
}

func (b *browser) spec() webpush.Spec {
	return webpush.Spec{Endpoint: b.URL + "/push/a-secret-address", P256dh: base64.RawURLEncoding.EncodeToString(b.private.PublicKey().Bytes()),
		Auth: base64.URLEncoding.EncodeToString(b.auth)}
}

func (b *browser) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	assert.Check(b.t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	status, header := b.answer(b.asked)
	for k, v := range header {
		w.Header()[k] = v
	}
	b.checkSender(r.Header.Get("Authorization"))
	assert.Check(b.t, r.Header.Get("Content-Encoding") == "aes128gcm" && r.Header.Get("TTL") != "", "%v", r.Header)
	if status < 300 {
		b.got = append(b.got, string(b.open(body)))
	}
	w.WriteHeader(status)
}

// checkSender verifies the token as RFC 8292 has it.
func (b *browser) checkSender(header string) {
	parts := strings.Split(strings.TrimPrefix(header, "vapid t="), ", k=")
	if !assert.Check(b.t, len(parts) == 2, header) {
		return
	}
	assert.Check(b.t, parts[1] == b.server, "another key")
	point, err := base64.RawURLEncoding.DecodeString(parts[1])
	assert.Check(b.t, err)
	x, y := new(big.Int).SetBytes(point[1:33]), new(big.Int).SetBytes(point[33:])
	key := &ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y}
	token := strings.Split(parts[0], ".")
	digest := sha256.Sum256([]byte(token[0] + "." + token[1]))
	signature, err := base64.RawURLEncoding.DecodeString(token[2])
	assert.Check(b.t, err)
	assert.Check(b.t, len(signature) == 64 && ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])), "the signature is wrong")
	claims, err := base64.RawURLEncoding.DecodeString(token[1])
	assert.Check(b.t, err)
	var c struct {
		Aud, Sub string
		Exp      int64
	}
	assert.Check(b.t, json.Unmarshal(claims, &c))
	assert.Check(b.t, c.Aud == b.URL && c.Sub == "mailto:ops@example.com", "%s", claims)
	left := time.Until(time.Unix(c.Exp, 0))
	assert.Check(b.t, left > 0 && left <= 24*time.Hour, "%s", claims)
}

// open decrypts as RFC 8188 and 8291 have it.
func (b *browser) open(body []byte) []byte {
	salt, size, idLen := body[:16], binary.BigEndian.Uint32(body[16:20]), int(body[20])
	assert.Check(b.t, !b.salts[string(salt)], "a salt is used again")
	b.salts[string(salt)] = true
	assert.Check(b.t, size == 4096 && len(body) <= 4096)
	id, sealed := body[21:21+idLen], body[21+idLen:]
	sender, err := ecdh.P256().NewPublicKey(id)
	assert.Check(b.t, err)
	plain, err := openWith(b.private, sender, b.auth, salt, sealed)
	assert.Check(b.t, err)
	return plain
}

func openWith(private *ecdh.PrivateKey, sender *ecdh.PublicKey, auth, salt, sealed []byte) ([]byte, error) {
	shared, err := private.ECDH(sender)
	if err != nil {
		return nil, err
	}
	prk, err := hkdf.Extract(sha256.New, shared, auth)
	if err != nil {
		return nil, err
	}
	ikm, _ := hkdf.Expand(sha256.New, prk, "WebPush: info\x00"+string(private.PublicKey().Bytes())+string(sender.Bytes()), 32)
	prk, _ = hkdf.Extract(sha256.New, ikm, salt)
	key, _ := hkdf.Expand(sha256.New, prk, "Content-Encoding: aes128gcm\x00", 16)
	nonce, _ := hkdf.Expand(sha256.New, prk, "Content-Encoding: nonce\x00", 12)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, err
	}
	end := len(plain) - 1
	for end >= 0 && plain[end] == 0 {
		end--
	}
	if end < 0 || plain[end] != 2 {
		return nil, errors.New("it is not the last record")
	}
	return plain[:end], nil
}

// rig is a server's side, on a real store with real seals.
type rig struct {
	db     *sqlitestore.Store
	vault  *sealed.Store
	store  *webpush.Store
	sender *webpush.Sender
}

func newRig(t *testing.T, private bool) *rig {
	db, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, db.Close()) })
	keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys"))
	assert.NilError(t, err)
	vault := sealed.New(db, keys, nil)
	r := &rig{db: db, vault: vault}
	r.store = webpush.NewStore(db, vault, &webpush.Options{AllowPrivate: private, Subject: "mailto:ops@example.com"})
	r.sender = webpush.NewSender(r.store)
	t.Cleanup(r.sender.Close)
	return r
}

func (r *rig) subscribe(t *testing.T, b *browser, person string) webpush.Subscription {
	t.Helper()
	key, err := r.store.PublicKey(t.Context())
	assert.NilError(t, err)
	b.server = key
	sub, err := r.store.Subscribe(t.Context(), person, b.spec())
	assert.NilError(t, err)
	return sub
}

func (r *rig) send(t *testing.T, person, key, message string) error {
	t.Helper()
	out, err := r.sender.Outgoing(t.Context(), person, key, []byte(message))
	assert.NilError(t, err)
	for _, o := range out {
		if _, err := r.sender.Send(t.Context(), o); err != nil {
			return err
		}
	}
	return nil
}

// TestBrowserReadsWhatIsSent: a real receiver of RFC 8291 and 8292 opens it,
// whatever its length; and nobody else's browser gets it.
func TestBrowserReadsWhatIsSent(t *testing.T) {
	r, ada, bob := newRig(t, true), newBrowser(t), newBrowser(t)
	r.subscribe(t, ada, "ada")
	r.subscribe(t, bob, "bob")
	messages := []string{"", "When I grow up, I want to be a watermelon", `{"title":"Grüße"}`, strings.Repeat("x", webpush.MaxMessage)}
	for _, m := range messages {
		assert.NilError(t, r.send(t, "ada", m[:min(len(m), 5)], m))
	}
	assert.DeepEqual(t, ada.got, messages)
	assert.Equal(t, len(bob.got), 0)
	var gaveUp *trigger.GiveUp
	assert.Assert(t, errors.As(r.send(t, "ada", "k", strings.Repeat("x", webpush.MaxMessage+1)), &gaveUp))
}

// TestGoneBrowserIsForgotten, and one that is busy is asked later.
func TestGoneBrowserIsForgotten(t *testing.T) {
	for _, status := range []int{http.StatusGone, http.StatusNotFound} {
		r, b := newRig(t, true), newBrowser(t)
		sub := r.subscribe(t, b, "ada")
		var gaveUp *trigger.GiveUp
		var later *trigger.Later
		b.answer = func(n int) (int, http.Header) {
			if n == 1 {
				return http.StatusTooManyRequests, http.Header{"Retry-After": {"7"}}
			}
			return status, nil
		}
		assert.Assert(t, errors.As(r.send(t, "ada", "a", "x"), &later))
		assert.Equal(t, later.After, 7*time.Second)
		assert.Assert(t, errors.As(r.send(t, "ada", "b", "x"), &gaveUp))
		_, err := r.store.Get(t.Context(), sub.UID)
		assert.ErrorIs(t, err, task.ErrNotFound)
		_, err = r.vault.Kept(t.Context(), task.Scope{Type: task.ScopeUser, UID: "ada"}, "push-"+sub.UID)
		assert.ErrorIs(t, err, task.ErrNotFound)
		assert.NilError(t, r.send(t, "ada", "c", "x")) // there is nobody left
	}
	r, b := newRig(t, true), newBrowser(t)
	r.subscribe(t, b, "ada")
	b.answer = func(int) (int, http.Header) { return http.StatusInternalServerError, nil }
	err := r.send(t, "ada", "a", "x")
	var gaveUp *trigger.GiveUp
	assert.Assert(t, err != nil && !errors.As(err, &gaveUp))
	b.Close()
	err = r.send(t, "ada", "b", "x")
	assert.ErrorContains(t, err, "no answer")
	assert.Assert(t, !strings.Contains(err.Error(), "secret-address"), err.Error())
}

// TestPrivateAddressesAreRefused when they are dialed, whatever was checked.
func TestPrivateAddressesAreRefused(t *testing.T) {
	lax, b := newRig(t, true), newBrowser(t)
	lax.subscribe(t, b, "ada")
	strict := webpush.NewSender(webpush.NewStore(lax.db, lax.vault, nil))
	t.Cleanup(strict.Close)
	out, err := strict.Outgoing(t.Context(), "ada", "k", []byte("x"))
	assert.NilError(t, err)
	_, err = strict.Send(t.Context(), out[0])
	var gaveUp *trigger.GiveUp
	assert.Assert(t, errors.As(err, &gaveUp), "%v", err)
	assert.ErrorContains(t, err, "private network")
	assert.Equal(t, b.asked, 0)
}

func TestBadSubscriptionsNameTheirField(t *testing.T) {
	r, b := newRig(t, false), newBrowser(t)
	good := b.spec()
	good.Endpoint = "https://push.example.com/x"
	_, err := r.store.Subscribe(t.Context(), "ada", good)
	assert.NilError(t, err)
	for field, bad := range map[string][]webpush.Spec{
		"endpoint":    {{Endpoint: ""}, {Endpoint: "http://push.example.com/x"}, {Endpoint: "https://a:b@push.example.com/"}, {Endpoint: "https://" + strings.Repeat("x", 3000)}, {Endpoint: "javascript:1"}},
		"keys.p256dh": {{P256dh: ""}, {P256dh: "!"}, {P256dh: "AAAA"}, {P256dh: strings.Repeat("A", 87)}, {P256dh: strings.Repeat("A", 300)}},
		"keys.auth":   {{Auth: ""}, {Auth: "AAAA"}, {Auth: strings.Repeat("A", 300)}},
	} {
		for _, change := range bad {
			in := good
			switch field {
			case "endpoint":
				in.Endpoint = change.Endpoint
			case "keys.p256dh":
				in.P256dh = change.P256dh
			default:
				in.Auth = change.Auth
			}
			_, err := r.store.Subscribe(t.Context(), "ada", in)
			assert.ErrorIs(t, err, task.ErrInvalid, "%+v", in)
			assert.ErrorContains(t, err, field)
		}
	}
}

// TestSubscriptionsAreFewAndSecret: the same browser is there once, further
// ones take the place of the oldest, and no record holds an address.
func TestSubscriptionsAreFewAndSecret(t *testing.T) {
	r, b := newRig(t, true), newBrowser(t)
	first := r.subscribe(t, b, "ada")
	assert.Equal(t, r.subscribe(t, b, "ada").UID, first.UID)
	in := b.spec()
	for i := range webpush.MaxPerPerson {
		in.Endpoint = b.URL + "/push/a-secret-address" + string(rune('a'+i))
		_, err := r.store.Subscribe(t.Context(), "ada", in)
		assert.NilError(t, err)
	}
	list, err := r.store.Of(t.Context(), "ada")
	assert.NilError(t, err)
	assert.Equal(t, len(list), webpush.MaxPerPerson)
	recs, err := r.db.Records(t.Context(), "push.subscription", nil)
	assert.NilError(t, err)
	for _, rec := range recs {
		assert.Assert(t, !strings.Contains(string(rec.Data), "secret-address") && !strings.Contains(string(rec.Data), in.Auth), "%s", rec.Data)
	}
	assert.NilError(t, r.store.Remove(t.Context(), list[0].UID))
	assert.ErrorIs(t, r.store.Remove(t.Context(), list[0].UID), task.ErrNotFound)
	_, err = r.store.Get(t.Context(), "../x")
	assert.ErrorIs(t, err, task.ErrNotFound)
}

// TestReplicasShareOneKey that is made at once by several of them.
func TestReplicasShareOneKey(t *testing.T) {
	r := newRig(t, false)
	keys := make(chan string, 8)
	for range cap(keys) {
		go func() {
			key, err := webpush.NewStore(r.db, r.vault, nil).PublicKey(context.Background())
			assert.Check(t, err)
			keys <- key
		}()
	}
	first := <-keys
	for range cap(keys) - 1 {
		assert.Equal(t, <-keys, first)
	}
}
