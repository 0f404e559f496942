package webpush

import (
	"crypto/ecdh"
	"encoding/base64"
	"testing"

	"gotest.tools/v3/assert"
)

// TestExampleOfTheStandard: the keys, salt and message of RFC 8291, section 5,
// give the request there.
func TestExampleOfTheStandard(t *testing.T) {
	decode := func(s string) []byte {
		b, err := decode64(s)
		assert.NilError(t, err)
		return b
	}
	own, err := ecdh.P256().NewPrivateKey(decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	assert.NilError(t, err)
	browser, auth, err := keys{P256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", Auth: "BTBZMqHH6r4Tts7J_aSIgg"}.parse()
	assert.NilError(t, err)
	body, err := encrypt(browser, auth, own, decode("DGv6ra1nlYgDCS1FRnbzlw"), []byte("When I grow up, I want to be a watermelon"))
	assert.NilError(t, err)
	assert.Equal(t, base64.RawURLEncoding.EncodeToString(body), "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
}

// FuzzKeys reads what browsers give.
func FuzzKeys(f *testing.F) {
	f.Add("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg")
	f.Add("", "==")
	f.Fuzz(func(t *testing.T, p256dh, auth string) {
		public, secret, err := keys{p256dh, auth}.parse()
		if err == nil && (len(public.Bytes()) != pointSize || len(secret) != authSize) {
			t.Fatal("keys of a wrong size")
		}
	})
}
