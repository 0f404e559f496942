//go:build linux

package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// rlimitLocks is RLIMIT_LOCKS of <asm-generic/resource.h>, the number on every architecture. See the package comment.
const rlimitLocks = 10

// minMark keeps marks away from values that someone might set by hand.
const minMark = 1 << 32

// setMark gives the calling process, and all that will descend from it, a mark of its own. It returns 0 if the system
// refuses.
func setMark() uint64 {
	var limit unix.Rlimit
	if unix.Prlimit(0, rlimitLocks, nil, &limit) != nil || limit.Max <= minMark {
		return 0
	}
	// Below the present limit, because a sandbox in a sandbox may lower its limits only. The top bit stays clear: all
	// ones would be "unlimited".
	var random [8]byte
	rand.Read(random[:])
	mark := minMark + binary.NativeEndian.Uint64(random[:])%(min(limit.Max, 1<<62)-minMark)
	if unix.Prlimit(0, rlimitLocks, &unix.Rlimit{Cur: mark, Max: mark}, nil) != nil {
		return 0
	}
	return mark
}

// hasMark reports whether a process carries the mark.
func hasMark(pid int, mark uint64) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return false
	}
	return parseMark(data) == mark
}

// parseMark reads the hard limit in the line "Max file locks  SOFT  HARD  locks"; 0 if there is none.
func parseMark(limits []byte) uint64 {
	for line := range bytes.Lines(limits) {
		rest, found := bytes.CutPrefix(line, []byte("Max file locks"))
		if !found {
			continue
		}
		if fields := bytes.Fields(rest); len(fields) >= 2 {
			mark, _ := strconv.ParseUint(string(fields[1]), 10, 64) // "unlimited" is no mark
			return mark
		}
	}
	return 0
}

// killDescendants sends SIGKILL to every process that descends from the caller.
//
// A number could only be reused between reading it and killing it if the system went through all its numbers in these
// microseconds, and not at all for children of the caller, which stay zombies until the caller waits for them.
func killDescendants() error {
	tree := map[int]bool{os.Getpid(): true}
	return eachProcess(func(pid int) {
		stat, err := readStat(pid)
		if err != nil || !tree[stat.parent] {
			return
		}
		// Parents mostly have the smaller number and come first. Where not, the process becomes our own child when its
		// parent dies, and the next call finds it.
		tree[pid] = true
		if stat.state != 'Z' {
			unix.Kill(pid, unix.SIGKILL)
		}
	})
}

// killMarked kills processes that carry the mark until none is left. It is for sandboxes whose supervisor is gone.
func killMarked(ctx context.Context, mark uint64) error {
	if mark == 0 {
		return nil
	}
	// Twice nothing: a process that forked while we passed by has its child's number behind us.
	for clean := 0; clean < 2; {
		left := 0
		err := eachProcess(func(pid int) {
			if !hasMark(pid, mark) {
				return
			}
			if stat, err := readStat(pid); err == nil && stat.state != 'Z' && stat.state != 'X' {
				unix.Kill(pid, unix.SIGKILL)
				left++
			}
		})
		if err != nil {
			return fmt.Errorf("find processes left over: %w", err)
		}
		if left == 0 {
			clean++
			continue
		}
		clean = 0
		if err := pause(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("%d processes left over: %w", left, err)
		}
	}
	return nil
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
