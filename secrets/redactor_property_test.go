package secrets_test

import (
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/secrets"
)

// TestRedactorSplitProperty composes text of what decoders stumble over, and expects
// that neither pieces nor a second pass change anything.
func TestRedactorSplitProperty(t *testing.T) {
	const secret, second = `k\"7'%2&amp;x+ y9Z`, "7'%2&amp;x-other-Q4"
	r := redactor(t, secret, second)
	tokens := []string{`\`, `\\`, `\"`, `\u00`, `5c`, `\x2`, "%", "%25", "%5", "C", "&", "&#", "39;", "amp;", "'", `'\''`, `'"'`, `"'`, "+", " ", "\n", "\n  ",
		"\r", "\x00", "\x1b", "\x1b[", "31m", "\x1b]", "0;t", "\a", "\x1b\\", "x", "Zz09", secret, secret[:9], secret[9:], second, second[:5]}
	for _, f := range forms() {
		tokens = append(tokens, f.encode(secret))
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(tokens), 0, 30).Draw(t, "text"), "")
		want := r.String(text)
		for _, secret := range []string{secret, second} {
			if strings.Contains(want, secret) {
				t.Fatalf("%q becomes %q", text, want)
			}
		}
		if r.Contains([]byte(text)) == nil && want != text {
			t.Fatalf("%q changes to %q without a secret", text, want)
		}
		var out strings.Builder
		w := r.Writer(&out)
		for rest := text; len(rest) > 0; {
			n := min(rapid.IntRange(1, 40).Draw(t, "length"), len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Fatalf("%q in pieces:\n got %q\nwant %q", text, out.String(), want)
		}
	})
}

func TestRedactorHoldsBackLittle(t *testing.T) {
	r := redactor(t, generated(100)...)
	var out strings.Builder
	w := r.Writer(&out)
	text := ""
	for i := range 300 {
		line := buildLine(i)
		text += line
		_, err := w.Write([]byte(line))
		assert.NilError(t, err)
		assert.Equal(t, out.String(), text, "a whole line is passed on at once")
	}
	assert.NilError(t, w.Close())
}

// TestRedactorStretchedSecret holds that terminal control cannot make a writer hoard
// text: what goes on too long is decided.
func TestRedactorStretchedSecret(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	r := redactor(t, strings.Repeat("0123456789abcdefGHIJ", 2)+secret, secret)
	gap := "\x1b]0;" + strings.Repeat("t", 4000) + "\a"
	var out strings.Builder
	w := r.Writer(&out)
	for _, c := range secret + strings.Repeat("0123456789", 1) {
		_, err := w.Write([]byte(string(c) + gap))
		assert.NilError(t, err)
	}
	assert.NilError(t, w.Close())
	assert.Assert(t, strings.HasPrefix(out.String(), "[redacted:S1]"))

	long := redactor(t, strings.Join(generated(16)[:5], "-"))
	out.Reset()
	w = long.Writer(&out)
	value := strings.Join(generated(16)[:5], "-")
	sent := 0
	for i := range len(value) {
		for range 3 { // each gap is short enough, together they are too long
			n, err := w.Write([]byte("\x1b]0;" + strings.Repeat("t", 1000) + "\a"))
			assert.NilError(t, err)
			sent += n
		}
		_, err := w.Write([]byte{value[i]})
		assert.NilError(t, err)
	}
	_, err := w.Write([]byte(strings.Repeat(gap, 3)))
	assert.NilError(t, err)
	assert.NilError(t, w.Close())
	assert.Assert(t, !strings.Contains(out.String(), value))

	out.Reset()
	w = redactor(t, secret).Writer(&out)
	_, err = w.Write([]byte("wJalrXUtn" + strings.Repeat("\x1b[0m", 5000)))
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(out.String(), "wJalrXUtn\x1b"), "too long a gap ends a match")
	assert.NilError(t, w.Close())
	assert.Equal(t, out.Len(), len("wJalrXUtn")+4*5000)
}

func TestRedactorAddsMidStream(t *testing.T) {
	r := secrets.NewRedactor(nil)
	var out strings.Builder
	w := r.Writer(&out)
	write := func(s string) {
		_, err := w.Write([]byte(s))
		assert.NilError(t, err)
	}
	write("first late-value-4711 then ")
	assert.NilError(t, r.Add("LATE", "late-value-4711"))
	write("late-va")
	assert.Equal(t, out.String(), "first late-value-4711 then ")
	assert.NilError(t, r.Add("LATER", "late-value-4711-and-4712"))
	write("lue-4711")
	assert.NilError(t, w.Flush())
	assert.Equal(t, out.String(), "first late-value-4711 then ")
	write("-and-4712 end")
	write("\n")
	assert.Equal(t, out.String(), "first late-value-4711 then [redacted:LATER] end\n")
	assert.NilError(t, w.Close())
}

func TestRedactorConcurrency(t *testing.T) {
	r := secrets.NewRedactor(nil)
	all := generated(60)
	done := make(chan error)
	for g := range 4 {
		go func() {
			w := r.Writer(discard{})
			for i := range all {
				err := r.Add("S", all[(i+g*15)%len(all)])
				if err != nil {
					done <- err
					return
				}
				if _, err := w.Write([]byte("text " + all[i] + "\n")); err != nil {
					done <- err
					return
				}
				r.Contains([]byte(all[i]))
			}
			done <- w.Close()
		}()
	}
	for range 4 {
		assert.NilError(t, <-done)
	}
	for _, s := range all {
		assert.Assert(t, !strings.Contains(r.String("text "+s), s))
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// buildLine is one line of what compilers and package managers write.
func buildLine(i int) string {
	switch i % 6 {
	case 0:
		return fmt.Sprintf("#%d [build %d/9] RUN go build -trimpath -ldflags \"-s -w\" -o /out/app ./cmd/app\n", i%30, i%9)
	case 1:
		return fmt.Sprintf("go: downloading github.com/example/module-%d v1.%d.%d\n", i%97, i%20, i%7)
	case 2:
		return fmt.Sprintf("npm WARN deprecated core-js@2.6.%d: this version is no longer maintained & not recommended (%d%%)\n", i%12, i%100)
	case 3:
		return fmt.Sprintf("--- PASS: TestHandler/case_%d (0.%02ds)\n", i, i%100)
	case 4:
		return fmt.Sprintf("sha256:%064x: Pulling fs layer\n", i*7919)
	default:
		return fmt.Sprintf("src/server/handlers/user_%d.go:%d:%d: don't use 'printf' here; it's slower than 'print' (perf)\n", i%300, i%900, i%80)
	}
}
