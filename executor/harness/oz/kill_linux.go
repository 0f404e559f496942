package ozagent

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// killRounds bounds the search for a tree that forks while it is being killed.
const killRounds = 50

// killTree kills the process group of pid and every process whose environment
// has the mark. One that was killed but not reaped by its parent is gone, too.
func killTree(pid int, mark string) {
	_ = syscall.Kill(-pid, syscall.SIGKILL) // it may be gone
	want := []byte(markName + "=" + mark)
	for range killRounds {
		found := marked(want)
		if len(found) == 0 {
			return
		}
		for _, p := range found {
			_ = syscall.Kill(p, syscall.SIGKILL) // it may be gone
		}
		time.Sleep(time.Millisecond) // the kernel takes killed processes apart
	}
}

// marked lists processes that have want in their environment. A zombie has none.
func marked(want []byte) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
	var pids []int
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(env, want) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
