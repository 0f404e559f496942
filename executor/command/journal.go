package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// state is how far an entry is.
type state string

const (
	dispatching state = "dispatching" // the dispatch command runs, or its status was not read yet
	accepted    state = "accepted"    // somebody has the work
	ended       state = "ended"
)

// entry is what is known of one sandbox. It holds no secret.
type entry struct {
	ID        string        `json:"id"`
	Workspace string        `json:"workspace"`
	RunID     task.ID       `json:"run_id"`
	State     state         `json:"state"`
	Exit      executor.Exit `json:"exit"` // once ended
	// Owed says that the cancel command must still confirm that nothing runs.
	Owed bool `json:"owed"`
	// Deadline is when the dispatch command must have ended.
	Deadline time.Time `json:"deadline"`
	// Expires is when the entry counts as lost.
	Expires time.Time `json:"expires"`
}

const (
	entryFile  = "entry.json"
	outputFile = "output"
	statusFile = "status" // exit status of the dispatch command, written by the shell around it
)

// load reads the entry in a sandbox's directory. It fails with executor.ErrNotFound if there is none.
func load(dir string) (entry, error) {
	var e entry
	raw, err := os.ReadFile(filepath.Join(dir, entryFile))
	if errors.Is(err, os.ErrNotExist) {
		return e, executor.ErrNotFound
	}
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, fmt.Errorf("read %s: %w", filepath.Join(dir, entryFile), err)
	}
	return e, nil
}

// save replaces the entry in a sandbox's directory; what was there stays if the machine stops meanwhile.
func (e entry) save(dir string) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, entryFile+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, entryFile))
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write down sandbox %s: %w", e.ID, err)
	}
	return syncDir(dir)
}

// syncDir makes names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// status reads what the shell around a dispatch command has left; ok is false while there is nothing.
func status(dir string) (code int, ok bool) {
	raw, err := os.ReadFile(filepath.Join(dir, statusFile))
	if err != nil {
		return 0, false
	}
	code, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	return code, err == nil && code >= 0 && code <= 255
}
