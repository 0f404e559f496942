package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// redactor returns a Redactor that knows values as S0, S1 ...
func redactor(t testing.TB, values ...string) *secrets.Redactor {
	t.Helper()
	r := secrets.NewRedactor(nil)
	for i, v := range values {
		assert.NilError(t, r.Add(fmt.Sprintf("S%d", i), v))
	}
	return r
}

// stream writes the pieces through a writer and returns what comes out.
func stream(t testing.TB, r *secrets.Redactor, pieces ...string) string {
	t.Helper()
	var out strings.Builder
	w := r.Writer(&out)
	for _, p := range pieces {
		n, err := w.Write([]byte(p))
		assert.NilError(t, err)
		assert.Equal(t, n, len(p))
	}
	assert.NilError(t, w.Close())
	return out.String()
}

// form is one way in which a secret may appear in text.
type form struct {
	name   string
	encode func(secret string) string
	around int // most bytes of the encoded text that do not tell of the secret
}

// forms are encoders other than the redactor's own code, where there are any.
func forms() []form {
	all := []form{
		{"raw", func(s string) string { return s }, 0},
		{"hex lower", func(s string) string { return hex.EncodeToString([]byte(s)) }, 0},
		{"hex upper", func(s string) string { return fmt.Sprintf("%X", s) }, 0},
		{"hex with spaces", func(s string) string { return fmt.Sprintf("% x", s) }, 0},
		{"hex with colons", func(s string) string { return strings.ReplaceAll(fmt.Sprintf("% X", s), " ", ":") }, 0},
		{"hex, wrapped", func(s string) string { return wrap(fmt.Sprintf("%x", s), 60, "\n") }, 0},
		{"C hex escapes", func(s string) string { return strings.ReplaceAll(fmt.Sprintf(" % x", s), " ", `\x`) }, 0},
		{"C octal escapes", func(s string) string { return each(s, func(c byte) string { return fmt.Sprintf(`\%03o`, c) }) }, 0},
		{"URL query", url.QueryEscape, 0},
		{"URL path", url.PathEscape, 0},
		{"URL, every byte, lower", func(s string) string { return each(s, func(c byte) string { return fmt.Sprintf("%%%02x", c) }) }, 0},
		{"URL, every byte, upper", func(s string) string { return each(s, func(c byte) string { return fmt.Sprintf("%%%02X", c) }) }, 0},
		{"URL, twice", func(s string) string { return url.QueryEscape(url.QueryEscape(s)) }, 0},
		{"JSON", encodeJSON, 2},
		{"JSON, HTML not escaped", func(s string) string {
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			_ = e.Encode(s)
			return b.String()
		}, 3},
		{"JSON in JSON", func(s string) string { return encodeJSON(`{"arguments":` + encodeJSON(s) + `}`) }, 22},
		{"JSON, slashes escaped", func(s string) string { return strings.ReplaceAll(encodeJSON(s), "/", `\/`) }, 2},
		{"JSON, every unit as \\u", func(s string) string { return escapeUnits(s, `\u%04x`) }, 0},
		{"JSON, every unit as \\u, upper", func(s string) string { return escapeUnits(s, `\u%04X`) }, 0},
		{"JavaScript code points", func(s string) string { return eachRune(s, `\u{%x}`) }, 0},
		{"Go quote", strconv.Quote, 2},
		{"Go quote to ASCII", strconv.QuoteToASCII, 2},
		{"Python runes", func(s string) string { return eachRune(s, `\U%08x`) }, 0},
		{"shell single quotes", func(s string) string { return `'` + strings.ReplaceAll(s, `'`, `'\''`) + `'` }, 2},
		{"Python shlex.quote", func(s string) string { return `'` + strings.ReplaceAll(s, `'`, `'"'"'`) + `'` }, 2},
		{"shell double quotes", func(s string) string {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(s) + `"`
		}, 2},
		{"shell backslashes", func(s string) string {
			return each(s, func(c byte) string {
				if c == '\n' || c >= 0x80 || c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
					return string([]byte{c})
				}
				return `\` + string(rune(c))
			})
		}, 0},
		{"bash $'...'", func(s string) string {
			return `$'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\t", `\t`).Replace(s) + `'`
		}, 3},
		{"HTML", html.EscapeString, 0},
		{"HTML, decimal", func(s string) string { return eachRune(s, "&#%d;") }, 0},
		{"HTML, hexadecimal", func(s string) string { return eachRune(s, "&#x%X;") }, 0},
		{"HTML, named", func(s string) string {
			return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "/", "&sol;", "+", "&plus;").Replace(s)
		}, 0},
		{"HTML in JSON", func(s string) string { return encodeJSON(html.EscapeString(s)) }, 2},
		{"SQL and YAML quotes", func(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }, 2},
		{"CSV", func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }, 2},
		{"CRLF", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }, 0},
		{"UTF-16", func(s string) string { return each(s, func(c byte) string { return string([]byte{c, 0}) }) }, 1},
		{"ANSI colour around each byte", func(s string) string {
			return each(s, func(c byte) string { return "\x1b[1;31m" + string([]byte{c}) + "\x1b[0m" })
		}, 11},
		{"ANSI title between bytes", func(s string) string {
			return each(s, func(c byte) string { return string([]byte{c}) + "\x1b]0;working\a" })
		}, 12},
		{"in a terminal link", func(s string) string { return "\x1b]8;;https://x/" + s + "\x1b\\here\x1b]8;;\x1b\\" }, 50},
		{"after an unfinished sequence", func(s string) string { return "\x1b[" + s }, 2},
		{"after an unfinished title", func(s string) string { return "\x1b]0;" + s }, 4},
		{"ANSI within JSON", func(s string) string {
			return strings.ReplaceAll(escapeUnits(s, "\\u\x1b[0m%04x"), "m", "m\x1b[K")
		}, 0},
		{"ANSI, then JSON", func(s string) string {
			return encodeJSON(eachRune(s, "%c\x1b[0m"))
		}, 11},
	}
	for prefix := range 3 {
		pad := strings.Repeat("u", prefix)
		lead := (8*prefix + 5) / 6
		for name, e := range map[string]*base64.Encoding{"std": base64.StdEncoding, "raw std": base64.RawStdEncoding,
			"url": base64.URLEncoding, "raw url": base64.RawURLEncoding} {
			for _, suffix := range []string{"", "v", "vw"} {
				all = append(all, form{fmt.Sprintf("base64 %s, %d before, %d after", name, prefix, len(suffix)),
					func(s string) string { return e.EncodeToString([]byte(pad + s + suffix)) }, lead + 4*len(suffix)})
			}
		}
		all = append(all,
			form{fmt.Sprintf("base64, %d before, MIME lines", prefix), func(s string) string {
				return wrap(base64.StdEncoding.EncodeToString([]byte(pad+s+"and so on")), 76, "\r\n")
			}, lead + 18},
			form{fmt.Sprintf("base64, %d before, indented lines", prefix), func(s string) string {
				return wrap(base64.StdEncoding.EncodeToString([]byte(pad+strings.Repeat("abc", 10)+s)), 64, "\n    ")
			}, lead + 48},
			form{fmt.Sprintf("base64, %d before, in a query", prefix), func(s string) string {
				return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(pad + s)))
			}, lead})
	}
	return all
}

func encodeJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func each(s string, f func(byte) string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString(f(s[i]))
	}
	return b.String()
}

func eachRune(s, format string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

// escapeUnits writes every UTF-16 unit of s, as encoders for ASCII do.
func escapeUnits(s, format string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 0xffff {
			fmt.Fprintf(&b, format+format, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		} else {
			fmt.Fprintf(&b, format, r)
		}
	}
	return b.String()
}

func wrap(s string, width int, newline string) string {
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + newline)
		s = s[width:]
	}
	return b.String() + s
}

// specials are values that need escaping in one language or the other.
func specials() []string {
	return []string{
		"ghp_16C7e42F292c6912E7710c838347Ae178B4a",
		"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		`p@ss'w"o\rd <&> $HOME 100%!`,
		`it's "quoted" \ and/or +plus+ {x}`,
		"pässwörd-für-Ωmega-😀-Zugang",
		"tab\there 7f3kz",
		"first line 4dk3\nsecond line 9sk2\n\nlast 7ej2",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
		"8 bytes!",
		"~~//++==??>>x1y2z3",
	}
}

// TestRedactorForms holds that no form of a secret passes: of the text, only what the
// form puts around the secret remains.
func TestRedactorForms(t *testing.T) {
	for _, secret := range specials() {
		r := redactor(t, secret)
		for _, f := range forms() {
			encoded := f.encode(secret)
			for _, context := range [][2]string{{"", ""}, {"token=", "\n"}, {`{"key": "`, `", "next": 1}`}, {"x: ", " y"}} {
				in := context[0] + encoded + context[1]
				out := r.String(in)
				rest, marked := strings.CutPrefix(out, context[0])
				rest, closed := strings.CutSuffix(rest, context[1])
				remains := strings.ReplaceAll(rest, "[redacted:S0]", "")
				if !marked || !closed || remains == rest || len(remains) > f.around {
					t.Errorf("%s of %q: %q becomes %q", f.name, secret, in, out)
				}
				assert.Equal(t, stream(t, r, in), out)
			}
		}
	}
}

// TestRedactorShell lets the real shell quote.
func TestRedactorShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	for _, secret := range specials() {
		r := redactor(t, secret)
		for _, script := range []string{`printf %q "$1"`, `printf '%s\n' "${1@Q}"`, `set -x; : "$1"`, `declare -p 1 2>/dev/null || V=$1; declare -p V`} {
			out, err := exec.Command(bash, "-c", script, "bash", secret).CombinedOutput()
			assert.NilError(t, err)
			redacted := r.String(string(out))
			assert.Assert(t, strings.Contains(redacted, "[redacted:S0]"), "%s: %q stays %q", script, out, redacted)
		}
	}
}

func TestRedactorKeepsOtherText(t *testing.T) {
	r := redactor(t, specials()...)
	for _, text := range []string{
		"", "a", "\n", "100%", "50%25", "\\", "C:\\new\\table\\x", "it's", "it'\\''s", "a && b & c &amp; &#65; &bogus;", "\x1b", "\x1b[", "\x1b[31mred\x1b[0m\r\n",
		"\x1b]0;title\a", "\x1bP", "ends with ghp_16C7e42F", "first l", "\xff\xfe\x00", "aGVsbG8gd29ybGQ=\nYWdhaW4=\n", `\ud83d`, `\ud83d\u`, `\u{12`,
	} {
		assert.Equal(t, r.String(text), text)
		assert.Equal(t, stream(t, r, text), text)
		assert.Equal(t, stream(t, r, strings.Split(text, "")...), text)
		assert.Equal(t, len(r.Contains([]byte(text))), 0)
	}
}

func TestRedactorOutput(t *testing.T) {
	const a, b = "alpha-secret-11", "secret-11-beta-22"
	r := redactor(t, a, b, "alpha-secret-11-and-more")
	for _, tt := range []struct{ name, in, want string }{
		{"one", "x " + a + " y", "x [redacted:S0] y"},
		{"twice in a row", a + a, "[redacted:S0]"},
		{"two in a row", a + b, "[redacted:S0][redacted:S1]"},
		{"overlapping", "<alpha-secret-11-beta-22>", "<[redacted:S0][redacted:S1]>"},
		{"prefix of another", "<alpha-secret-11-and-more>", "<[redacted:S2]>"},
		{"prefix, then not the other", "<alpha-secret-11-and-mor>", "<[redacted:S0]-and-mor>"},
		{"whole base64", base64.StdEncoding.EncodeToString([]byte("user:" + a + ":x")), "dXNlcjp[redacted:S0]6eA=="},
		{"cut off in the second half", "x " + a[:10], "x [redacted:S0]"},
		{"cut off at half", "x " + a[:8], "x [redacted:S0]"},
		{"cut off in the first half", "x " + a[:7], "x " + a[:7]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, r.String(tt.in), tt.want)
			assert.Equal(t, stream(t, r, strings.Split(tt.in, "")...), tt.want)
		})
	}
}

// generated returns n secrets as services issue them, and in between multi-line and
// JSON ones.
func generated(n int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	text := func(length int, alphabet string) string {
		b := make([]byte, length)
		for i := range b {
			b[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(b)
	}
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	all := make([]string, n)
	for i := range all {
		switch i % 8 {
		case 0:
			all[i] = "ghp_" + text(36, alnum)
		case 1:
			all[i] = text(8+i%30, alnum+"-_")
		case 2:
			all[i] = text(40, alnum+"/+")
		case 3:
			all[i] = text(24, alnum+` !"#$%&'()*+,-./:;<=>?@[\]^{|}~`)
		case 4:
			all[i] = "postgres://app:" + text(16, alnum) + "@db.internal:5432/main?sslmode=require"
		case 5:
			all[i] = text(20, "äöüßéèΩ"[:0]+alnum) + "äöΩ😀" + text(6, alnum)
		case 6:
			all[i] = "-----BEGIN PRIVATE KEY-----\n" + wrap(text(150, alnum+"+/"), 64, "\n") + "\n-----END PRIVATE KEY-----\n"
		case 7:
			all[i] = fmt.Sprintf(`{"type": "service_account", "private_key_id": %q, "private_key": %q}`, text(40, "0123456789abcdef"), text(30, alnum)+"\n"+text(30, alnum))
		}
	}
	return all
}

// TestRedactorEverySplit writes each of 200 secrets in two parts, cut at every byte, and
// expects the output of one write. Forms of them, which can be long, are cut at a
// hundred places.
func TestRedactorEverySplit(t *testing.T) {
	all := generated(200)
	r := redactor(t, all...)
	encoders := forms()
	for i, secret := range all {
		checkSplits(t, r, secret, 1)
		encoded := encoders[(i*7+1)%len(encoders)].encode(secret)
		checkSplits(t, r, encoded, len(encoded)/100+1)
	}
}

func checkSplits(t *testing.T, r *secrets.Redactor, secret string, step int) {
	t.Helper()
	text := "Step 3/7 : export TOKEN=" + secret + "\nnext line\n"
	want := r.String(text)
	assert.Assert(t, strings.Contains(want, "[redacted:S") && !strings.Contains(want, secret), "%q becomes %q", text, want)
	for cut := 0; cut <= len(text); cut += step {
		if got := stream(t, r, text[:cut], text[cut:]); got != want {
			t.Fatalf("cut at %d of %q:\n got %q\nwant %q", cut, text, got, want)
		}
	}
	assert.Equal(t, stream(t, r, strings.Split(text, "")...), want)
}

func TestRedactorErrors(t *testing.T) {
	r := secrets.NewRedactor(&secrets.RedactorOptions{MaxValues: 2, MaxBytes: 64})
	for _, tt := range []struct{ name, key, value, want string }{
		{"short", "SHORT", "1234567", "fewer than 8"},
		{"weak", "WEAK", "aaaaaaaaaaaaaaaaaaaab", "different characters"},
		{"no name", "", "kJ3-long-enough", "no such name"},
		{"odd name", "a]b", "kJ3-long-enough", "no such name"},
		{"its own name", "MY_TOKEN_NAME", "TOKEN_NAME", "part of its own name"},
		{"too much", "BIG", strings.Repeat("kJ3-long-enough", 5) + "x", "exceed 64 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := r.Add(tt.key, tt.value)
			assert.ErrorContains(t, err, tt.want)
			assert.ErrorIs(t, err, task.ErrInvalid)
			assert.Assert(t, !strings.Contains(err.Error(), tt.value))
		})
	}
	assert.NilError(t, r.Add("A", "first-value-4711"))
	assert.NilError(t, r.Add("A", "first-value-4711")) // again is no second value
	assert.ErrorContains(t, r.Add("first-value-4711", "other-value-4712"), "part of the name of another")
	assert.NilError(t, r.Add("B", "other-value-4712"))
	assert.ErrorContains(t, r.Add("C", "third-value-4713"), "at most 2")
}
