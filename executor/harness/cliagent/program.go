package cliagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// versionTimeout bounds `PROGRAM --version`. A first start may unpack itself.
	versionTimeout = 30 * time.Second
	// installTimeout bounds fetching a program of some 400 MB.
	installTimeout = 10 * time.Minute
)

// found is a program that can be started.
type found struct{ path, version string }

// programs finds programs, each once, and fetches one at a time.
type programs struct {
	mu    sync.Mutex
	known map[string]found // by path
}

// locate finds the program for a session's environment.
func (h *Harness) locate(ctx context.Context, env []string) (found, error) {
	h.programs.mu.Lock()
	defer h.programs.mu.Unlock()
	path, err := h.pathOf(ctx, env)
	if err != nil {
		return found{}, err
	}
	if f, ok := h.programs.known[path]; ok {
		return f, nil
	}
	p := h.agent.Program()
	version, err := versionOf(ctx, path, env)
	if err != nil {
		return found{}, task.Errorf(task.CodeEnvironmentSetupFailed, "%s at %s does not answer --version: %w", p.Title, path, err)
	}
	if want := h.opts.Version; want != "" && version != want {
		return found{}, task.Errorf(task.CodeEnvironmentSetupFailed, "%s at %s is version %s, and %s is asked for: install that one, or ask for no version", p.Title, path, version, want)
	}
	f := found{path, version}
	h.programs.known[path] = f
	return f, nil
}

// pathOf looks for the program: the option, the environment's PATH, the cache.
func (h *Harness) pathOf(ctx context.Context, env []string) (string, error) {
	p := h.agent.Program()
	if h.opts.Path != "" {
		if !executable(h.opts.Path) {
			return "", task.Errorf(task.CodeEnvironmentSetupFailed, "%s is not at %s, where it was said to be", p.Title, h.opts.Path)
		}
		return h.opts.Path, nil
	}
	for _, dir := range filepath.SplitList(variable(env, "PATH")) {
		if path := filepath.Join(dir, p.Name); filepath.IsAbs(dir) && executable(path) {
			return path, nil
		}
	}
	version := h.opts.Version
	if version == "" {
		version = p.Version
	}
	spec, file, ok := p.Install(version)
	if h.opts.Cache != "" {
		at := filepath.Join(h.opts.Cache, p.Name, version, p.Name)
		if executable(at) {
			return at, nil
		}
		if h.opts.Install && ok {
			return at, h.install(ctx, env, spec, file, at)
		}
	}
	advice := "install it in the environment's image or with a setup command"
	if ok {
		advice += ", for example: npm install -g " + strings.TrimSpace(spec)
	}
	return "", task.Errorf(task.CodeEnvironmentSetupFailed, "%s is not installed: there is no %q in the PATH of the run's environment; %s", p.Title, p.Name, advice)
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// variable gives the last value of name in env.
func variable(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// versionNumber is the first number of three parts that a program prints.
var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+[-+.\w]*`)

func versionOf(ctx context.Context, path string, env []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env, cmd.WaitDelay = env, time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	v := versionNumber.Find(out)
	if v == nil {
		return "", fmt.Errorf("it prints no version number: %q", bounded(string(bytes.TrimSpace(out)), 100))
	}
	return string(v), nil
}

// install fetches an npm package and puts it in place whole or not at all.
// Install scripts are not run: the package has the executable itself.
func (h *Harness) install(ctx context.Context, env []string, spec, file, at string) (err error) {
	title := h.agent.Program().Title
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = task.Errorf(task.CodeEnvironmentSetupFailed, "install %s (%s): %w", title, spec, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	if err := os.MkdirAll(h.opts.Cache, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(h.opts.Cache, ".fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	packed, err := quiet(ctx, tmp, env, "npm", "pack", "--silent", spec)
	if err != nil {
		return err
	}
	lines := strings.Fields(packed)
	if len(lines) == 0 {
		return errors.New("npm pack names no file")
	}
	if _, err := quiet(ctx, tmp, env, "tar", "-xzf", filepath.Base(lines[len(lines)-1])); err != nil {
		return err
	}
	inside := filepath.Join("package", filepath.FromSlash(file))
	if err := os.Chmod(filepath.Join(tmp, inside), 0o755); err != nil {
		return err
	}
	dir := filepath.Dir(at)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "package")); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(tmp, "package"), filepath.Join(dir, "package")); err != nil {
		return err
	}
	_ = os.Remove(at) // it may point to what is gone
	return os.Symlink(inside, at)
}

// quiet runs a helper program and gives what it printed.
func quiet(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, bounded(strings.TrimSpace(stderr.String()), 500))
	}
	return string(out), nil
}
