package secrets_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"gotest.tools/v3/assert"
)

// BenchmarkRedactor streams logs in pieces of 32 KiB, as io.Copy does, past 100 secrets
// in all their forms. It reports MiB/s.
func BenchmarkRedactor(b *testing.B) {
	all := generated(100)
	r := redactor(b, all...)
	for _, log := range []struct {
		name string
		line func(i int) string
	}{
		{"build-log", buildLine},
		{"ansi", func(i int) string {
			return fmt.Sprintf("\x1b[2m12:%02d:%02d\x1b[0m \x1b[32mPASS\x1b[0m src/\x1b[1mcomponents/button_%d.test.ts\x1b[22m \x1b[90m(\x1b[33m%d ms\x1b[90m)\x1b[0m\r\n", i/60%60, i%60, i, i%700)
		}},
		{"json", func(i int) string {
			return fmt.Sprintf(`{"level":"info","ts":%d.25,"msg":"request \"GET /api/items?id=%d&q=a%%20b\" done\n","user":"\u00e4nne","path":"C:\\src\\x"}`+"\n", i, i)
		}},
		{"base64", func(i int) string {
			return "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
		}},
		{"leaking", func(i int) string { return buildLine(i) + "token: " + all[i%len(all)] + "\n" }},
	} {
		b.Run(log.name, func(b *testing.B) {
			var text bytes.Buffer
			for i := 0; text.Len() < 8<<20; i++ {
				text.WriteString(log.line(i))
			}
			b.SetBytes(int64(text.Len()))
			b.ReportAllocs()
			for b.Loop() {
				w := r.Writer(io.Discard)
				for rest := text.Bytes(); len(rest) > 0; {
					n := min(len(rest), 32<<10)
					_, err := w.Write(rest[:n])
					assert.NilError(b, err)
					rest = rest[n:]
				}
				assert.NilError(b, w.Close())
			}
			b.ReportMetric(float64(text.Len())*float64(b.N)/(1<<20)/b.Elapsed().Seconds(), "MiB/s")
		})
	}
}

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

// BenchmarkRedactorCompile measures what the first write after adding secrets costs.
func BenchmarkRedactorCompile(b *testing.B) {
	all := generated(100)
	for b.Loop() {
		redactor(b, all...).String("x")
	}
}
