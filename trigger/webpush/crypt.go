package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"time"

	"github.com/oz-platform/cloudagents/internal/es256"
	"github.com/oz-platform/cloudagents/task"
)

// Sizes of a message (RFC 8291, section 4; RFC 8188).
const (
	// MaxMessage is how many bytes a message may have: what every push service
	// takes, less what the encryption adds.
	MaxMessage = recordSize - 1 - tagSize
	recordSize = 4096 - saltSize - 4 - 1 - pointSize
	saltSize   = 16
	authSize   = 16
	tagSize    = 16
	pointSize  = 65
)

// keys are those of a browser's subscription.
type keys struct {
	P256dh string `json:"p256dh"` // its public key, an uncompressed point of P-256
	Auth   string `json:"auth"`   // what it shares with the server
}

// parse reads the keys; base64 may be padded, and of either alphabet.
func (k keys) parse() (public *ecdh.PublicKey, auth []byte, err error) {
	point, err := decode64(k.P256dh)
	if err == nil {
		public, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return nil, nil, task.Invalid("keys.p256dh", "must be a public key of P-256, as base64url")
	}
	if auth, err = decode64(k.Auth); err != nil || len(auth) != authSize {
		return nil, nil, task.Invalid("keys.auth", "must have %d bytes, as base64url", authSize)
	}
	return public, auth, nil
}

// encrypt makes the body of a request that only the browser can read: content
// coding aes128gcm with one record. own and salt must be fresh for each message.
func encrypt(to *ecdh.PublicKey, auth []byte, own *ecdh.PrivateKey, salt, message []byte) ([]byte, error) {
	if len(message) > MaxMessage {
		return nil, task.Invalid("message", "has %d bytes, at most %d are allowed", len(message), MaxMessage)
	}
	shared, err := own.ECDH(to)
	if err != nil {
		return nil, err
	}
	key, nonce, err := contentKeys(shared, auth, to.Bytes(), own.PublicKey().Bytes(), salt)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	body := append([]byte(nil), salt...)
	body = binary.BigEndian.AppendUint32(body, 4096)
	body = append(body, pointSize)
	body = append(body, own.PublicKey().Bytes()...)
	return seal.Seal(body, nonce, append(append([]byte(nil), message...), 2), nil), nil // 2 ends the last record
}

// contentKeys derives what one message is encrypted with.
func contentKeys(shared, auth, browser, server, salt []byte) (key, nonce []byte, err error) {
	info := "WebPush: info\x00" + string(browser) + string(server)
	secret, err := hkdf.Key(sha256.New, shared, auth, info, 32)
	if err != nil {
		return nil, nil, err
	}
	if key, err = hkdf.Key(sha256.New, secret, salt, "Content-Encoding: aes128gcm\x00", 16); err != nil {
		return nil, nil, err
	}
	nonce, err = hkdf.Key(sha256.New, secret, salt, "Content-Encoding: nonce\x00", 12)
	return key, nonce, err
}

// vapidTime is how long a signature holds; push services refuse more than a day.
const vapidTime = 12 * time.Hour

// authorization is the header that says who sends to an endpoint (RFC 8292):
// a signed token for the endpoint's origin.
func authorization(key *ecdsa.PrivateKey, endpoint, subject string, now time.Time) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("the address is none")
	}
	token, err := es256.Sign(key, "", map[string]any{"aud": u.Scheme + "://" + u.Host, "exp": now.Add(vapidTime).Unix(), "sub": subject})
	if err != nil {
		return "", err
	}
	public, err := key.PublicKey.ECDH()
	if err != nil {
		return "", err
	}
	return "vapid t=" + token + ", k=" + base64.RawURLEncoding.EncodeToString(public.Bytes()), nil
}
