package proc

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// killRounds bounds the sweeps of KillMarked: a process that forks while it
// is being looked for is caught by the next one.
const killRounds = 20

// KillMarked kills every process of this user, other than this one, whose
// environment holds the variable name with exactly this value, and reports
// how many it found. It reaches descendants that left their group or session.
// A process that cleared its environment escapes; the end of the sandbox gets
// that one.
func KillMarked(name, value string) int {
	killed := map[int]bool{}
	for range killRounds {
		pids := Marked(name, value)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			killed[pid] = true
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
		time.Sleep(time.Millisecond) // the kernel takes killed processes out of /proc
	}
	return len(killed)
}

// Marked lists every process of this user, other than this one, whose
// environment holds the variable name with exactly this value.
func Marked(name, value string) []int {
	want := []byte(name + "=" + value)
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var pids []int
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(file)
		if err != nil { // gone, or another user's
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(v, want) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}
