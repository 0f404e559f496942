package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// maxBinaryMiB is the largest that ozd may be, stripped and static. What makes
// it jump is mostly a call of reflect.Method by name (text/template has one):
// the linker then keeps every method of every type. The client of containerd has
// some 20 MiB of it.
const maxBinaryMiB = 75

func TestBinaryIsSmall(t *testing.T) {
	info, err := os.Stat(program)
	assert.NilError(t, err)
	assert.Assert(t, info.Size() <= maxBinaryMiB<<20, "ozd has %d MiB, at most %d are allowed", info.Size()>>20, maxBinaryMiB)
}

// release builds a program as it is shipped.
func release(b *testing.B, path string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), "program")
	build := exec.Command("go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags=-s -w", "-o", out, path)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	assert.NilError(b, err, "%s", output)
	return out
}

// contender is a server to be started: ours, or the bare one.
type contender struct {
	program string
	args    func(address, dir string) []string
}

func contenders(b *testing.B) (ours, bare contender) {
	b.Helper()
	ours = contender{release(b, "."), func(address, dir string) []string { return []string{"--listen", address, "--data", dir} }}
	bare = contender{release(b, "./testdata/bareserver"), func(address, dir string) []string { return []string{address, filepath.Join(dir, "db")} }}
	return ours, bare
}

// start measures the time from exec to the first answer, and the memory then.
func (c contender) start(b *testing.B, dir string) (took time.Duration, residentMiB float64) {
	b.Helper()
	address := servertest.FreeAddress(b)
	cmd := exec.Command(c.program, c.args(address, dir)...)
	cmd.Env = servertest.Environ("HOME=" + dir)
	began := time.Now()
	assert.NilError(b, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	assert.NilError(b, firstAnswer(address))
	took = time.Since(began)
	return took, resident(b, cmd.Process.Pid)
}

// firstAnswer asks until there is one, on fresh connections, so that no
// client's own delays count.
func firstAnswer(address string) error {
	for deadline := time.Now().Add(servertest.Patience); ; time.Sleep(100 * time.Microsecond) {
		err := func() error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n"); err != nil {
				return err
			}
			answer, err := io.ReadAll(conn)
			if err == nil && !bytes.Contains(answer, []byte(strconv.Itoa(http.StatusOK))) {
				err = fmt.Errorf("%s", answer)
			}
			return err
		}()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// resident is the memory of a process that is in use, in MiB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	assert.NilError(b, err)
	pages, err := strconv.Atoi(string(bytes.Fields(statm)[1]))
	assert.NilError(b, err)
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkStart gives the time from exec to the first answer of /healthz, and
// the memory then, of ozd and of a bare server, one after the other, and the
// medians of their ratios (performance figure P9).
func BenchmarkStart(b *testing.B) {
	ours, bare := contenders(b)
	for _, fresh := range []bool{false, true} {
		name := map[bool]string{false: "existing", true: "new"}[fresh]
		b.Run(name, func(b *testing.B) {
			dirs := [2]string{b.TempDir(), b.TempDir()}
			ours.start(b, dirs[0]) // makes the databases, and warms the file cache
			bare.start(b, dirs[1])
			var ms, bareMS, ratios, memory []float64
			for b.Loop() {
				if fresh {
					dirs = [2]string{b.TempDir(), b.TempDir()}
				}
				a, aMiB := ours.start(b, dirs[0])
				z, zMiB := bare.start(b, dirs[1])
				ms, bareMS = append(ms, a.Seconds()*1000), append(bareMS, z.Seconds()*1000)
				ratios, memory = append(ratios, a.Seconds()/z.Seconds()), append(memory, aMiB/zMiB)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ms), "ozd-ms")
			b.ReportMetric(median(bareMS), "bare-ms")
			b.ReportMetric(median(ratios), "x-time")
			b.ReportMetric(median(memory), "x-memory")
		})
	}
}

// BenchmarkBinary gives the size of the shipped program.
func BenchmarkBinary(b *testing.B) {
	info, err := os.Stat(release(b, "."))
	assert.NilError(b, err)
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
}
