//go:build linux

package containerd

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

const cgroupRoot = "/sys/fs/cgroup"

// oomKills counts the processes of a control group that the kernel killed for its memory limit. The group is there
// until the task is deleted.
func oomKills(path string) int {
	for _, file := range []string{
		filepath.Join(cgroupRoot, path, "memory.events"),                // version 2
		filepath.Join(cgroupRoot, "memory", path, "memory.oom_control"), // version 1
	} {
		if data, err := os.ReadFile(file); err == nil {
			return parseOOMKill(data)
		}
	}
	return 0
}

// parseOOMKill reads the line "oom_kill N", which both versions have.
func parseOOMKill(data []byte) int {
	for line := range bytes.Lines(data) {
		if value, found := bytes.CutPrefix(line, []byte("oom_kill ")); found {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil || n < 0 {
				return 0
			}
			return n
		}
	}
	return 0
}
