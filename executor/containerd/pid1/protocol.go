package pid1

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/oz-platform/cloudagents/executor"
)

// Places in the container. All are below one directory, which no image has.
const (
	// Dir is the directory that belongs to the executor.
	Dir = "/.oz"
	// Binary is where the program is mounted, which is also the agent runner.
	Binary = Dir + "/bin/oz"
	// Box is where the directory is mounted that the worker and this process share. Only root can look into it.
	Box = Dir + "/box"
)

// Names in the shared directory.
const (
	// Socket is where the worker gives the job.
	Socket = "ctl"
	// Log is the directory of the output.
	Log = "log"
	// started is there from the moment on that the main command may run.
	started = "started"
	exit    = "exit"
)

// Invocation is the first argument of this process; the shared directory is the second.
const Invocation = "oz-sandbox-init"

// maxJobLen bounds a job: command, environment and standard input at their limits, in JSON.
const maxJobLen = 2*(executor.MaxExecLen+executor.MaxStdinLen) + 1<<20

// Job is what the worker wants done.
type Job struct {
	// ID of the sandbox.
	ID string `json:"id"`
	// Command is the main command; see executor.Spec.
	Command []string `json:"command"`
	// Env is the whole environment but for HOME, TMPDIR and OZ_SANDBOX_ID.
	Env []string `json:"env"`
	// Dir is the working directory. It is given to the user, unless someone else has it already.
	Dir string `json:"dir"`
	// User is "user" or "user:group", names or numbers of the image. Empty means the ordinary user "agent".
	User string `json:"user"`
	// Stdin is what the main command reads.
	Stdin []byte `json:"stdin"`
	// Output is the limit of the log, in bytes.
	Output int64 `json:"output"`
}

// Answer says whether the main command runs.
type Answer struct {
	// Error is empty if it does.
	Error string `json:"error"`
}

// WriteJob sends a job.
func WriteJob(w io.Writer, j Job) error {
	data, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode the job: %w", err)
	}
	// The length first: a job that was cut short must not run.
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

// readJob reads a job as a whole.
func readJob(r io.Reader) (Job, error) {
	var (
		head [4]byte
		j    Job
	)
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return j, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxJobLen {
		return j, fmt.Errorf("the job has %d bytes, at most %d are taken", n, maxJobLen)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return j, err
	}
	defer clear(data)
	return j, json.Unmarshal(data, &j)
}

// status is how the main command ended.
type status struct {
	Code   int            `json:"code"`
	Signal syscall.Signal `json:"signal,omitempty"`
}

// Started reports, from the shared directory, whether the main command may have been started.
func Started(box string) bool {
	_, err := os.Lstat(filepath.Join(box, started))
	return err == nil
}

// ReadExit reads from the shared directory how the main command ended. It fails with os.ErrNotExist if this process
// could not write it down.
func ReadExit(box string) (executor.Exit, error) {
	data, err := os.ReadFile(filepath.Join(box, exit))
	if err != nil {
		return executor.Exit{}, err
	}
	var s status
	if err := json.Unmarshal(data, &s); err != nil {
		return executor.Exit{}, fmt.Errorf("read %s: %w", filepath.Join(box, exit), err)
	}
	if s.Code < 0 || s.Code > 255 || s.Signal < 0 || s.Signal > 64 {
		return executor.Exit{}, errors.New("read exit status: out of range")
	}
	return executor.Exit{Code: s.Code, Signal: s.Signal}, nil
}

// writeExit replaces the file as a whole.
func writeExit(box string, s status) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(box, exit)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
