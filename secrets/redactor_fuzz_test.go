package secrets_test

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
)

// FuzzRedactor puts a secret, in one of the forms, into arbitrary text, writes it in
// pieces of arbitrary length, and expects that the output holds the secret in no form,
// that the pieces make no difference, and that text without it passes unchanged.
func FuzzRedactor(f *testing.F) {
	for i, s := range specials() {
		f.Add(s, "before ", "\nafter", byte(i*5), []byte{1, byte(i), 3})
	}
	f.Add("ends in\\ backslash\\", "\\", "\\\\n%", byte(13), []byte{1})
	f.Add("aabaabaab-xyzq-aab", "aabaab", "aabaabaab-xyzq-aa", byte(0), []byte{3})
	encoders := forms()
	f.Fuzz(func(t *testing.T, secret, before, after string, which byte, cuts []byte) {
		r := secrets.NewRedactor(nil)
		if len(secret) > 512 || len(before)+len(after) > 4096 || r.Add("S0", secret) != nil {
			t.Skip()
		}
		assert.Equal(t, stream(t, r, pieces(before, cuts)...), r.String(before))
		if r.Contains([]byte(before)) == nil {
			assert.Equal(t, r.String(before), before)
		}
		encoder := encoders[int(which)%len(encoders)]
		if lossy(secret, encoder.name) {
			t.Skip()
		}
		text := before + "\n\"" + encoder.encode(secret) + "\"\n" + after
		out := stream(t, r, pieces(text, cuts)...)
		assert.Equal(t, out, r.String(text), "pieces make a difference to %q", text)
		for _, form := range encoders {
			encoded := strings.TrimSpace(form.encode(secret))
			if len(encoded) >= secrets.MinValueBytes && !lossy(secret, form.name) && strings.Contains(out, encoded) {
				t.Errorf("%s of %q leaks as %s: %q becomes %q", encoder.name, secret, form.name, text, out)
			}
		}
		assert.Assert(t, strings.Contains(out, "[redacted:S0]"), "%s of %q in %q", encoder.name, secret, text)
		checkJSON(t, r, text)
	})
}

// lossy reports forms that do not carry every value: those that a terminal's own
// sequences in it confuse, and those for text that get bytes.
func lossy(secret, form string) bool {
	for i := range len(secret) {
		if c := secret[i]; c < 0x20 && c != '\n' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return strings.ToValidUTF8(secret, "") != secret || strings.ContainsRune(secret, 0xfffd) ||
		strings.TrimSpace(secret) != secret || strings.Contains(form, "title") && strings.ContainsAny(secret, "\\\"'%&")
}

func checkJSON(t *testing.T, r *secrets.Redactor, text string) {
	t.Helper()
	doc, err := json.Marshal(map[string]any{"a": []string{text}, text: 1})
	assert.NilError(t, err)
	redacted, err := r.JSON(doc)
	assert.NilError(t, err)
	assert.Assert(t, json.Valid(redacted), "%s", redacted)
	assert.Assert(t, strings.Contains(string(redacted), "[redacted:S0]"))
}

// pieces cuts text into pieces whose lengths follow cuts, over and over.
func pieces(text string, cuts []byte) []string {
	var all []string
	for i := 0; len(text) > 0 && len(cuts) > 0; i++ {
		n := min(int(cuts[i%len(cuts)])%37+1, len(text))
		all = append(all, text[:n])
		text = text[n:]
	}
	return append(all, text)
}
