package cliagent

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// killRounds bounds the search for a tree that forks while it is being killed.
const killRounds = 100

// ownGroup makes the program lead a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// interrupt asks the program itself to end its work. What it has started, it
// ends itself, or the tree is killed.
func interrupt(pid int) { _ = syscall.Kill(pid, syscall.SIGINT) }

// tree is a process with all that descends from it. Safe for concurrent use.
type tree struct {
	root int
	want []byte

	mu    sync.Mutex
	known map[int]string // start times of descendants that were seen, by pid
}

func newTree(pid int, mark string) *tree {
	return &tree{root: pid, want: []byte(markName + "=" + mark), known: map[int]string{}}
}

// look notes the descendants as they are now. A number that was given to
// another process since has another start time.
func (t *tree) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.find()
}

// find is look with mu held.
func (t *tree) find() {
	parents, starts := map[int]int{}, map[int]string{}
	for _, pid := range pids() {
		if parent, started, ok := stat(pid); ok {
			parents[pid], starts[pid] = parent, started
		}
	}
	for pid := range parents {
		for at, n := pid, 0; at > 1 && n < len(parents); at, n = parents[at], n+1 {
			if _, seen := t.known[parents[at]]; seen || parents[at] == t.root {
				t.known[pid] = starts[pid]
				break
			}
		}
	}
}

// kill kills the process group, every descendant that was seen and every
// process that has the mark, until none is left.
func (t *tree) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = syscall.Kill(-t.root, syscall.SIGKILL) // it may be gone
	for range killRounds {
		left := maps.Clone(t.known)
		for _, pid := range pids() {
			if env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); err == nil && bytes.Contains(env, t.want) {
				_, started, _ := stat(pid)
				left[pid] = started
			}
		}
		alive := 0
		for pid, started := range left {
			if _, now, ok := stat(pid); !ok || now != started || pid == os.Getpid() {
				delete(t.known, pid)
				continue
			}
			alive++
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
		if alive == 0 {
			return
		}
		t.find()
		time.Sleep(time.Millisecond) // the kernel takes killed processes apart
	}
}

func pids() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	out := make([]int, 0, len(dirs))
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// stat reads parent and start time of a process; ok is false for one that is
// gone, though nobody has waited for it.
func stat(pid int) (parent int, started string, ok bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, "", false
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err == nil
}
