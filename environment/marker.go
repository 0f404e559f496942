package environment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// stateDir, below Options.Dir, holds what Prepare remembers.
const stateDir = ".oz"

// marker says how far the preparation of a workspace has come.
type marker struct {
	path string

	// Key identifies the configuration that the rest is about.
	Key string `json:"key"`
	// Cloned are the checkouts as they were when they were put in place: what
	// is restored and set up later moves branches.
	Cloned []Checkout `json:"cloned,omitempty"`
	// Restoring is set while Options.Restore may be at work, and Restored when
	// it has had its turn.
	Restoring bool `json:"restoring,omitempty"`
	Restored  bool `json:"restored,omitempty"`
	// SetupDone counts the finished setup commands.
	SetupDone int `json:"setup_done"`
	// Running tags the processes of the setup command that was started last
	// and has not finished.
	Running string `json:"running,omitempty"`
	// Warm says that this is the workspace of a kept state, in which no run has
	// worked; Updating, that one has begun to bring it up to date.
	Warm     bool `json:"warm,omitempty"`
	Updating bool `json:"updating,omitempty"`
	// Workspace is set when all is done.
	Workspace *Workspace `json:"workspace,omitempty"`
}

// configKey changes whenever the preparation would be another one.
func configKey(o Options, forge string) (string, error) {
	data, err := json.Marshal(struct {
		Repos      []Repo
		Commands   []string
		Dir        string
		WorkingDir string
		Forge      string
		Strip      bool
	}{o.Config.Repos, o.Config.SetupCommands, o.Dir, o.WorkingDir, forge, o.StripRemotes})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// loadMarker reads the marker of dir. One of another configuration keeps only
// what must still be cleaned up; one that cannot be read counts as none.
func loadMarker(dir, key string) (*marker, error) {
	m := &marker{path: filepath.Join(dir, stateDir, "prepared.json"), Key: key}
	data, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	var found marker
	if json.Unmarshal(data, &found) != nil {
		return m, nil
	}
	m.Running, m.Warm = found.Running, found.Warm
	if found.Key == key {
		found.path, found.SetupDone = m.path, max(found.SetupDone, 0)
		return &found, nil
	}
	return m, nil
}

// trust reports whether the marker says of the workspace what this preparation
// would: processes in the sandbox may write to it, and what is pushed goes to
// the address that a Checkout has.
func (r *preparation) trust(ws *Workspace) bool {
	if ws.Dir != r.o.Dir || ws.WorkingDir != r.workingDir(ws) || len(ws.Checkouts) != len(r.o.Config.Repos) {
		return false
	}
	for i, repo := range r.o.Config.Repos {
		c, want := ws.Checkouts[i], r.checkout(repo)
		if c.Repo != want.Repo || c.URL != want.URL || c.Dir != want.Dir {
			return false
		}
	}
	return true
}

// cloned gives a checkout as it was put in place by an earlier attempt.
func (m *marker) cloned(c Checkout) (Checkout, bool) {
	i := slices.IndexFunc(m.Cloned, func(k Checkout) bool { return k.Repo == c.Repo && k.URL == c.URL && k.Dir == c.Dir })
	if i < 0 {
		return Checkout{}, false
	}
	return m.Cloned[i], true
}

// save replaces the marker as a whole: a kill leaves the old or the new one.
func (m *marker) save() error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(m.path), "marker-*")
	if err != nil {
		return fmt.Errorf("remember the preparation: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("remember the preparation: %w", err)
	}
	return os.Rename(tmp.Name(), m.path)
}
