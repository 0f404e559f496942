package measure

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is processor time in clock ticks (proc(5)).
type ticks struct {
	idle, busy int64 // of the machine
	own        int64 // of this process and all below it
}

// foreign is the share of the machine's time since earlier that was used
// neither by this process nor by its children, such as a database server.
func (t ticks) foreign(earlier ticks) float64 {
	busy, own := t.busy-earlier.busy, t.own-earlier.own
	total := busy + t.idle - earlier.idle
	if total <= 0 {
		return 0
	}
	return max(0, float64(busy-own)/float64(total))
}

// processorTime reads what the machine and this process have used so far. Time
// that the hypervisor took away counts as busy.
func processorTime() (ticks, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}, fmt.Errorf("read the machine's load: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var t ticks
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return ticks{}, fmt.Errorf("read the machine's load: %w", err)
		}
		switch {
		case i == 3 || i == 4: // idle, and waiting for a disk
			t.idle += n
		case i < 8: // the rest is guests' time, which user time includes
			t.busy += n
		}
	}
	t.own = familyTime(os.Getpid())
	return t, nil
}

// familyTime sums the time of a process and all below it, ended children that
// were waited for included. Processes that end while it looks do not count.
func familyTime(root int) int64 {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	used, children := map[int]int64{}, map[int][]int{}
	for _, path := range paths {
		if pid, parent, time, ok := processStat(path); ok {
			used[pid] = time
			children[parent] = append(children[parent], pid)
		}
	}
	var sum func(pid int) int64
	sum = func(pid int) int64 {
		total := used[pid]
		for _, c := range children[pid] {
			total += sum(c)
		}
		return total
	}
	return sum(root)
}

// processStat reads one process. The name, in parentheses, may hold anything.
func processStat(path string) (pid, parent int, time int64, ok bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, 0, false
	}
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0, 0, 0, false
	}
	fields := strings.Fields(string(data[end+1:]))
	const state, times = 0, 11 // positions of state, and of utime, stime, cutime, cstime
	if len(fields) < times+4 {
		return 0, 0, 0, false
	}
	pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path)))
	if err != nil {
		return 0, 0, 0, false
	}
	parent, _ = strconv.Atoi(fields[state+1])
	for _, f := range fields[times : times+4] {
		n, _ := strconv.ParseInt(f, 10, 64)
		time += n
	}
	return pid, parent, time, true
}
