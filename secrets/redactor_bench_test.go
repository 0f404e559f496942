//go:build unix

package secrets_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// BenchmarkRedactor streams logs in pieces of 32 KiB, as io.Copy does, past 100 secrets
// in all their forms. It reports MiB/s, and MiB per second of processor time, which tells
// more on a busy machine.
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
			used := cpuTime(b)
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
			size := float64(text.Len()) * float64(b.N) / (1 << 20)
			b.ReportMetric(size/b.Elapsed().Seconds(), "MiB/s")
			b.ReportMetric(size/(cpuTime(b)-used).Seconds(), "MiB/cpu-s")
		})
	}
}

// cpuTime is the processor time this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	assert.NilError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRedactorCompile measures what the first write after adding secrets costs.
func BenchmarkRedactorCompile(b *testing.B) {
	all := generated(100)
	for b.Loop() {
		redactor(b, all...).String("x")
	}
}
