//go:build linux

package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/oz-platform/cloudagents/executor"
)

const (
	stateFile = "state.json"
	exitFile  = "exit"

	stateVersion = 1
)

// state is what the next worker must know of a sandbox. The supervisor writes it once, before it starts the main
// command: a sandbox without one never ran.
type state struct {
	Version    int             `json:"version"`
	ID         string          `json:"id"`
	Workspace  string          `json:"workspace"`
	Supervisor process         `json:"supervisor"`
	Mark       uint64          `json:"mark"`             // 0: none
	Output     int64           `json:"output"`           // limit, in bytes
	Cgroup     string          `json:"cgroup,omitempty"` // path of the sandbox's own group
	Enforced   executor.Limits `json:"enforced"`
	Isolation  string          `json:"isolation,omitempty"` // empty: none, or of an older release, which had none
}

// errBadState says that a state is not readable. The one way to get there is a machine that lost power, so what the
// state was about has ended.
var errBadState = errors.New("unreadable state of a sandbox")

func readState(dir string) (state, error) {
	var st state
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(data, &st); err != nil {
		return state{}, fmt.Errorf("%w: %s: %w", errBadState, filepath.Join(dir, stateFile), err)
	}
	if st.Version != stateVersion {
		return st, fmt.Errorf("%s: version %d, this program knows %d", filepath.Join(dir, stateFile), st.Version, stateVersion)
	}
	return st, nil
}

// exitRecord is executor.Exit as it is stored.
type exitRecord struct {
	Code    int            `json:"code"`
	Signal  syscall.Signal `json:"signal,omitempty"`
	OOM     bool           `json:"oom,omitempty"`
	Disk    bool           `json:"disk,omitempty"`
	Unknown bool           `json:"unknown,omitempty"`
}

// unknownExit stands for a status that is lost.
var unknownExit = executor.Exit{Code: -1, Unknown: true}

// readExit returns os.ErrNotExist while the sandbox has not ended. An unreadable record, as a power loss leaves it, is
// an unknown status.
func readExit(dir string) (executor.Exit, error) {
	data, err := os.ReadFile(filepath.Join(dir, exitFile))
	if err != nil {
		return executor.Exit{}, err
	}
	var record exitRecord
	if json.Unmarshal(data, &record) != nil {
		return unknownExit, nil
	}
	return executor.Exit(record), nil
}

// exitSize is more than any exitRecord takes.
const exitSize = 256

// reserveExit takes the room on disk that writeExit needs, before the sandbox can fill the disk.
func reserveExit(dir string) error {
	return os.WriteFile(filepath.Join(dir, exitFile+".new"), bytes.Repeat([]byte{' '}, exitSize), 0o600)
}

// writeExit records how the sandbox ended, in the room that reserveExit has taken.
func writeExit(dir string, exit executor.Exit) error {
	data, err := json.Marshal(exitRecord(exit))
	if err != nil {
		return err
	}
	path := filepath.Join(dir, exitFile)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, bytes.Repeat([]byte{' '}, exitSize-len(data))...))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// writeJSON replaces a file in one step. It does not sync: these files matter to processes that a crash of the machine
// ends too.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
