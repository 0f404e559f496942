//go:build linux

package local

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
)

func TestParseStat(t *testing.T) {
	const line = "4711 (a) R 7 (b (c) S 23 4711 4711 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 998877 10 11 12"
	got, err := parseStat([]byte(line))
	assert.NilError(t, err)
	assert.Equal(t, got, stat{state: 'S', parent: 23, start: 998877})

	own, err := readStat(os.Getpid())
	assert.NilError(t, err)
	assert.Equal(t, own.parent, os.Getppid())
	for _, bad := range []string{"", "1 (a", "1 (a)", "1 (a) S 1", strings.Replace(line, "998877", "-1", 1), strings.Replace(line, " 23 ", " x ", 1)} {
		_, err := parseStat([]byte(bad))
		assert.Assert(t, err != nil, "%q", bad)
	}
}

func TestParseMark(t *testing.T) {
	const limits = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max cpu time              unlimited            unlimited            seconds   \n" +
		"Max file locks            17                   42                   locks     \n"
	assert.Equal(t, parseMark([]byte(limits)), uint64(42))
	for _, none := range []string{"", "Max file locks\n", "Max file locks 1", strings.Replace(limits, "42", "unlimited", 1)} {
		assert.Equal(t, parseMark([]byte(none)), uint64(0), "%q", none)
	}
}

func TestParseOOMKill(t *testing.T) {
	assert.Equal(t, parseOOMKill([]byte("low 0\noom 3\noom_kill 2\noom_group_kill 1\n")), 2)
	assert.Equal(t, parseOOMKill([]byte("low 0\n")), 0)
	assert.Equal(t, parseOOMKill([]byte("oom_kill x\n")), 0)
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("4711 (a) R 7 (b (c) S 23 4711 4711 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 998877 10 11 12"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseStat(data)
		assert.Assert(t, err != nil || got.state != 0)
	})
}

func FuzzParseLines(f *testing.F) {
	f.Add([]byte("Max file locks            17                   42                   locks     \n"))
	f.Add([]byte("oom_kill 2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if parseMark(data) != 0 {
			assert.Assert(t, strings.Contains(string(data), "Max file locks"))
		}
		if parseOOMKill(data) != 0 {
			assert.Assert(t, strings.Contains(string(data), "oom_kill"))
		}
	})
}

// FuzzReadRecords: whatever a crash has left in the files of a sandbox, reading them says so or makes sense.
func FuzzReadRecords(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"x","workspace":"w","supervisor":{"pid":1,"start":2,"boot":"b"},"mark":3,"output":65536,"enforced":{"Memory":0}}`))
	f.Add([]byte(`{"code":137,"signal":9,"oom":true}   `))
	f.Add([]byte(`{"code":"x"}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{stateFile, exitFile} {
			assert.NilError(t, os.WriteFile(dir+"/"+name, data, 0o600))
		}
		st, err := readState(dir)
		assert.Assert(t, err != nil || st.Version == stateVersion)
		_, err = readExit(dir)
		assert.NilError(t, err)
	})
}

func TestParseIDMap(t *testing.T) {
	got := parseIDMap([]byte("         0     100000      65536\n     70000       1000          1\n"))
	assert.DeepEqual(t, got, []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}, {ContainerID: 70000, HostID: 70000, Size: 1}})
	for _, bad := range []string{"", "\n", "0 0\n", "0 0 0\n", "-1 0 1\n", "a b c\n"} {
		assert.Equal(t, len(parseIDMap([]byte(bad))), 0, "%q", bad)
	}
}

func FuzzParseIDMap(f *testing.F) {
	f.Add([]byte("         0          0 4294967295\n"))
	f.Add([]byte("0 1000 1\n1 100000 65536\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range parseIDMap(data) {
			assert.Assert(t, m.Size > 0 && m.ContainerID >= 0 && m.HostID == m.ContainerID)
		}
	})
}
