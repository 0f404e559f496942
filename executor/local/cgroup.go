//go:build linux

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
)

// cpuPeriod is the kernel's default accounting period for cpu.max, in microseconds.
const cpuPeriod = 100_000

// checkCgroup refuses a path that is not in a cgroup v2 hierarchy.
func checkCgroup(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("%s is not a cgroup v2 directory", path)
	}
	return nil
}

// makeCgroup makes the group path with the limits that the controllers there can hold, and returns which those are.
func makeCgroup(path string, want executor.Limits) (executor.Limits, error) {
	var enforced executor.Limits
	// Each controller by itself: one that is missing must not keep the others away.
	for _, controller := range []string{"+memory", "+pids", "+cpu"} {
		_ = writeFile(filepath.Join(filepath.Dir(path), "cgroup.subtree_control"), controller)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return enforced, err
	}
	set := func(name string, value int64) bool {
		return value > 0 && writeFile(filepath.Join(path, name), strconv.FormatInt(value, 10)) == nil
	}
	if set("memory.max", want.Memory) {
		enforced.Memory = want.Memory
		_ = writeFile(filepath.Join(path, "memory.swap.max"), "0") // there may be no swap accounting
	}
	if set("pids.max", int64(want.Processes)) {
		enforced.Processes = want.Processes
	}
	if quota := int64(want.CPUs * cpuPeriod); quota > 0 {
		// The kernel takes no less than a millisecond.
		quota = max(quota, 1000)
		if writeFile(filepath.Join(path, "cpu.max"), fmt.Sprintf("%d %d", quota, cpuPeriod)) == nil {
			enforced.CPUs = want.CPUs
		}
	}
	return enforced, nil
}

// killCgroup kills every process in the group at once. No path and no group are no error.
func killCgroup(path string) error {
	if path == "" {
		return nil
	}
	if err := writeFile(filepath.Join(path, "cgroup.kill"), "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// emptyCgroup kills every process in the group and waits until they are gone.
func emptyCgroup(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	for {
		if err := killCgroup(path); err != nil {
			return err
		}
		events, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
		if errors.Is(err, os.ErrNotExist) || err == nil && !bytes.Contains(events, []byte("populated 1")) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// removeCgroup removes the group, with the groups that its processes made below it, after killing what is in it.
func removeCgroup(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	if err := emptyCgroup(ctx, path); err != nil {
		return err
	}
	for {
		err := removeCgroupTree(path)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		// The kernel counts the dead until they are reaped.
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
}

func removeCgroupTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroupTree(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

// oomKilled reports whether the kernel has killed a process of the group for its memory limit.
func oomKilled(path string) bool {
	data, err := os.ReadFile(filepath.Join(path, "memory.events"))
	return path != "" && err == nil && parseOOMKill(data) > 0
}

// parseOOMKill reads the line "oom_kill N" of memory.events.
func parseOOMKill(events []byte) int {
	for line := range bytes.Lines(events) {
		if value, found := bytes.CutPrefix(line, []byte("oom_kill ")); found {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(value)))
			return n
		}
	}
	return 0
}

// writeFile writes to a file of the kernel's, which exists already.
func writeFile(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close())
}
