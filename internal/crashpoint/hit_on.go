//go:build crashpoints

package crashpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled reports whether this build can crash on purpose.
const Enabled = true

// hits counts those of the point that the environment names. There is one per
// process, as there is one environment.
var hits atomic.Int64

// Hit kills the process when the environment asks for it here.
func Hit(n Name) {
	name, at, _ := strings.Cut(os.Getenv("OZ_CRASH_AT"), "@")
	if name != string(n) {
		return
	}
	nth, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		nth = 1
	}
	if hits.Add(1) != nth || !mark(os.Getenv("OZ_CRASH_MARK")) {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

// mark creates the file; false means that it was there.
func mark(path string) bool {
	if path == "" {
		return true
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	_ = f.Sync()
	return f.Close() == nil
}

// Env gives the variables that a child process needs to crash as asked.
func Env() []string {
	var env []string
	for _, name := range []string{"OZ_CRASH_AT", "OZ_CRASH_MARK"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
