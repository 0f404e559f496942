package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

const (
	privateKey = "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\r\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\r\nshort\r\n-----END PRIVATE KEY-----\r\n"
	account    = `{"type": "service_account", "project_id": "p1", "private_key_id": "a1b2c3d4e5f60718",
		"private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END PRIVATE KEY-----\n",
		"nested": "{\"token\": [\"inner-Token-4711\", 12345678901]}"}`
)

func TestRedactorParts(t *testing.T) {
	for _, tt := range []struct{ name, secret, in, want string }{
		{"a line of a key", privateKey, "x MIIEvQIBADANBgkqhkiG9w0BAQEFAASC y", "x [redacted:S0] y"},
		{"a line of a key in base64", privateKey, base64.StdEncoding.EncodeToString([]byte("BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj")), "[redacted:S0]"},
		{"a key with other line ends", privateKey, strings.ReplaceAll(privateKey, "\r", ""), "[redacted:S0]\n"},
		{"a whole key in base64", privateKey, base64.StdEncoding.EncodeToString([]byte(privateKey)), "[redacted:S0]DQo="},
		{"a key's armour", privateKey, "-----BEGIN PRIVATE KEY-----\nother\n", "-----BEGIN PRIVATE KEY-----\nother\n"},
		{"a line too short to be secret", privateKey, "a short line", "a short line"},
		{"a string in JSON", account, "id a1b2c3d4e5f60718.", "id [redacted:S0]."},
		{"a line of a string in JSON", account, "BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj", "[redacted:S0]"},
		{"a string in JSON in JSON", account, "inner-Token-4711", "[redacted:S0]"},
		{"a key of JSON", account, "private_key_id nested", "private_key_id nested"},
		{"the whole of JSON, compact", account, compact(account), compact(`{"type":"[redacted:S0]","project_id":"p1","private_key_id":"[redacted:S0]","private_key":"[redacted:S0]\n","nested":"[redacted:S0]"}`)},
		{"the password of a URL", "postgres://app:p%40ss-W0rd-4711@db:5432/x", "password=p@ss-W0rd-4711", "password=[redacted:S0]"},
		{"a URL's host", "postgres://app:p%40ss-W0rd-4711@db.internal:5432/x", "db.internal:5432/x", "db.internal:5432/x"},
		{"blanks around the value", "  token-4711-Kq\n", "<token-4711-Kq>", "<[redacted:S0]>"},
		{"a value with terminal control", "ab4711\x1b]0;hidden-part-Kq\acd4712", "ab4711\x1b]0;hidden-part-Kq\acd4712", "[redacted:S0]"},
		{"the same, shown", "ab4711\x1b]0;hidden-part-Kq\acd4712", "ab4711cd4712", "[redacted:S0]"},
		{"the same, in base64", "ab4711\x1b]0;hidden-part-Kq\acd4712", base64.StdEncoding.EncodeToString([]byte("ab4711\x1b]0;hidden-part-Kq\acd4712")), "[redacted:S0]"},
		{"not UTF-8", "key-\xff\xfe-4711-Kq", "key-\xff\xfe-4711-Kq", "[redacted:S0]"},
		{"not UTF-8, in JSON", "key-\xff\xfe-4711-Kq", encodeJSON("key-\xff\xfe-4711-Kq"), `"[redacted:S0]"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := redactor(t, tt.secret)
			assert.Equal(t, r.String(tt.in), tt.want)
			assert.Equal(t, stream(t, r, strings.Split(tt.in, "")...), tt.want)
		})
	}
}

func compact(doc string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(doc)); err != nil {
		panic(err)
	}
	return b.String()
}

// TestRedactorLongValues holds that a value is found whatever its length, and that the
// output does not tell it.
func TestRedactorLongValues(t *testing.T) {
	long := strings.Join(generated(4000), "~")[:secrets.MaxVariableBytes-10]
	for _, n := range []int{1023, 1024, 1025, 2047, 2048, 2049, 3000, len(long)} {
		value := strings.TrimSpace(long[:n])
		r := redactor(t, value)
		for _, encode := range []func(string) string{
			func(s string) string { return s },
			func(s string) string { return base64.StdEncoding.EncodeToString([]byte("uv" + s)) },
			func(s string) string { return wrap(base64.URLEncoding.EncodeToString([]byte(s)), 76, "\n") },
			encodeJSON,
		} {
			text := "<" + encode(value) + ">"
			want := r.String(text)
			assert.Assert(t, len(want) < 40, "%d bytes: %.200q", n, want)
			if n > 4096 {
				assert.Equal(t, stream(t, r, text[:n/3], text[n/3:n/2], text[n/2:]), want)
			} else {
				assert.Equal(t, stream(t, r, pieces(text, []byte{36, 11, 30})...), want)
			}
		}
	}
}

func TestRedactorJSON(t *testing.T) {
	r := redactor(t, `to"ken\4711<Kq>`, "9307415826641", "plain-4711-Kq")
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", ` {"a" : [1, -2.5e+3, true, null, "x\u0041"], "": {}} `, ` {"a" : [1, -2.5e+3, true, null, "x\u0041"], "": {}} `},
		{"a value", `{"a": "x to\"ken\\4711\u003cKq\u003e y", "b": 1}`, `{"a": "x [redacted:S0] y", "b": 1}`},
		{"a key", `{"plain-4711-Kq": 1, "b\n": 2}`, `{"[redacted:S2]": 1, "b\n": 2}`},
		{"a number", `[9307415826641, 93074158266415, 1]`, `["[redacted:S1]", "[redacted:S1]5", 1]`},
		{"deeper", encodeJSON(encodeJSON(encodeJSON(`to"ken\4711<Kq>`))), encodeJSON(encodeJSON(`"[redacted:S0]"`))},
		{"a bare string", `"plain-4711-Kq"`, `"[redacted:S2]"`},
		{"not UTF-8", "\"\xff plain-4711-Kq\"", `"` + "\ufffd" + ` [redacted:S2]"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := r.JSON([]byte(tt.in))
			assert.NilError(t, err)
			assert.Equal(t, string(got), tt.want)
			assert.Assert(t, json.Valid(got))
		})
	}
	for _, invalid := range []string{"", "{", `{"a": plain-4711-Kq}`, "[1] 2"} {
		_, err := r.JSON([]byte(invalid))
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.Assert(t, !strings.Contains(err.Error(), "4711"))
	}
}

func TestRedactorScan(t *testing.T) {
	r := redactor(t, "first-4711-Kq", "second-4712-Kq", "third-4713-Kq")
	text := strings.Repeat("nothing here\n", 10000) + "second-4712-Kq" + strings.Repeat("\n", 1<<17) + "a=first%2D4711%2DKq and third-4713-K"
	names, err := r.Scan(iotest.HalfReader(strings.NewReader(text)))
	assert.NilError(t, err)
	assert.DeepEqual(t, names, []string{"S0", "S1", "S2"}) // of S2 more than half
	assert.DeepEqual(t, r.Contains([]byte(text)), names)

	names, err = r.Scan(strings.NewReader("nothing"))
	assert.NilError(t, err)
	assert.Equal(t, len(names), 0)

	broken := errors.New("disk on fire")
	_, err = r.Scan(io.MultiReader(strings.NewReader("first-"), iotest.ErrReader(broken)))
	assert.ErrorIs(t, err, broken)
}

// failing is a destination that takes so many bytes.
type failing struct {
	room int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	if n < len(p) {
		return n, f.err
	}
	return n, nil
}

func TestRedactWriterErrors(t *testing.T) {
	r := redactor(t, "first-4711-Kq")
	broken := errors.New("pipe is broken")
	for _, want := range []error{broken, nil} {
		w := r.Writer(&failing{room: 10, err: want})
		if want == nil {
			want = io.ErrShortWrite
		}
		n, err := w.Write([]byte("0123456789"))
		assert.NilError(t, err)
		assert.Equal(t, n, 10)
		n, err = w.Write([]byte("more\n"))
		assert.ErrorIs(t, err, want)
		assert.Equal(t, n, 0)
		_, err = w.Write([]byte("again\n"))
		assert.ErrorIs(t, err, want, "an error lasts")
		assert.ErrorIs(t, w.Flush(), want)
		assert.ErrorIs(t, w.Close(), want)
		assert.ErrorIs(t, w.Close(), want)
	}

	var out strings.Builder
	w := r.Writer(&out)
	_, err := w.Write([]byte("fir"))
	assert.NilError(t, err)
	assert.NilError(t, w.Flush())
	assert.Equal(t, out.String(), "", "Flush does not publish the beginning of a secret")
	assert.NilError(t, w.Close())
	assert.Equal(t, out.String(), "fir")
	assert.NilError(t, w.Close())
	assert.NilError(t, w.Flush())
	_, err = w.Write([]byte("late"))
	assert.ErrorContains(t, err, "closed")
	assert.Equal(t, out.String(), "fir")

	w = r.Writer(&failing{err: broken})
	_, err = w.Write([]byte("fir"))
	assert.NilError(t, err)
	assert.ErrorIs(t, w.Close(), broken)
}

// TestRedactWriterLaziness writes a long secret byte by byte: what Write leaves for
// later, Flush settles.
func TestRedactWriterLaziness(t *testing.T) {
	value := strings.ReplaceAll(strings.Join(generated(1000), "~"), "\n", "~")[:60000]
	r := redactor(t, value)
	var out strings.Builder
	w := r.Writer(&out)
	encoded := each(value[:1000], func(c byte) string { return fmt.Sprintf(`\\x%02x`, c) })
	for _, piece := range strings.Split(encoded, "") {
		_, err := w.Write([]byte(piece))
		assert.NilError(t, err)
	}
	assert.Equal(t, out.String(), "")
	_, err := w.Write([]byte("!"))
	assert.NilError(t, err)
	assert.NilError(t, w.Flush())
	assert.Equal(t, out.String(), encoded+"!")
	assert.NilError(t, w.Close())
}
