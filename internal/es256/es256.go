// Package es256 signs JSON web tokens with ECDSA on P-256 (RFC 7515, RFC 7518
// section 3.4), for those who sign with one kind of key only.
package es256

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
)

type header struct {
	Type      string `json:"typ"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid,omitempty"`
}

// Sign makes the compact form of a token with these claims, which are encoded as
// JSON. keyID may be empty.
func Sign(key *ecdsa.PrivateKey, keyID string, claims any) (string, error) {
	head, err := json.Marshal(header{Type: "JWT", Algorithm: "ES256", KeyID: keyID})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64) // the two numbers, 32 bytes each
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
