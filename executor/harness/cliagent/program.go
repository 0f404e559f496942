package cliagent

import (
	"bytes"
	"cmp"
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

// locate finds the program for a session's environment. Which version must be
// there, and whether it may be fetched, the environment can say, too: by
// variables such as OZ_CLAUDE_VERSION, OZ_HARNESS_DIR and OZ_HARNESS_INSTALL.
func (h *Harness) locate(ctx context.Context, env []string) (found, error) {
	h.programs.mu.Lock()
	defer h.programs.mu.Unlock()
	p := h.agent.Program()
	pinned := variable(env, "OZ_"+strings.ToUpper(p.Name)+"_VERSION")
	if pinned != "" && versionNumber.FindString(pinned) != pinned {
		return found{}, task.Errorf(task.CodeEnvironmentSetupFailed, "OZ_%s_VERSION is %q, which is no version such as %s", strings.ToUpper(p.Name), bounded(pinned, 50), p.Version)
	}
	want := cmp.Or(h.opts.Version, pinned)
	if h.opts.Path != "" {
		if !executable(h.opts.Path) {
			return found{}, task.Errorf(task.CodeEnvironmentSetupFailed, "%s is not at %s, where it was said to be", p.Title, h.opts.Path)
		}
		return h.judged(ctx, h.opts.Path, want, env)
	}
	for _, dir := range filepath.SplitList(variable(env, "PATH")) {
		path := filepath.Join(dir, p.Name)
		if !filepath.IsAbs(dir) || !executable(path) {
			continue
		}
		f, err := h.judged(ctx, path, want, env)
		if err != nil && ctx.Err() == nil {
			if kept, keptErr := h.kept(ctx, want, env); keptErr == nil {
				return kept, nil
			}
		}
		return f, err
	}
	return h.kept(ctx, want, env)
}

// kept finds the program in the cache, or fetches it.
func (h *Harness) kept(ctx context.Context, want string, env []string) (found, error) {
	p := h.agent.Program()
	version := cmp.Or(want, p.Version)
	spec, file, ok := p.Install(version)
	cache := cmp.Or(h.opts.Cache, variable(env, "OZ_HARNESS_DIR"))
	install := h.opts.Install || variable(env, "OZ_HARNESS_INSTALL") == "1"
	if home := variable(env, "HOME"); cache == "" && install && home != "" {
		cache = filepath.Join(home, ".cache", "oz-harnesses")
	}
	if filepath.IsAbs(cache) {
		at := filepath.Join(cache, p.Name, version, p.Name)
		if executable(at) {
			return h.judged(ctx, at, want, env)
		}
		if install && ok {
			if err := h.install(ctx, env, cache, spec, file, at); err != nil {
				return found{}, err
			}
			return h.judged(ctx, at, want, env)
		}
	}
	advice := "install it in the environment's image or with a setup command"
	if ok {
		advice += ", for example: npm install -g " + spec + "; or set OZ_HARNESS_INSTALL=1 to have it fetched from npm"
	}
	return found{}, task.Errorf(task.CodeEnvironmentSetupFailed, "%s is not installed: there is no %q in the PATH of the run's environment; %s", p.Title, p.Name, advice)
}

// judged asks a program for its version.
func (h *Harness) judged(ctx context.Context, path, want string, env []string) (found, error) {
	p := h.agent.Program()
	f, ok := h.programs.known[path]
	if !ok {
		version, err := versionOf(ctx, path, env)
		if err != nil {
			return found{}, task.Errorf(task.CodeEnvironmentSetupFailed, "%s at %s does not answer --version: %w", p.Title, path, err)
		}
		f = found{path, version}
		h.programs.known[path] = f
	}
	if want != "" && f.version != want {
		return found{}, task.Errorf(task.CodeEnvironmentSetupFailed, "%s at %s is version %s, and %s is asked for: install that one, or ask for no version", p.Title, path, f.version, want)
	}
	return f, nil
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
func (h *Harness) install(ctx context.Context, env []string, cache, spec, file, at string) (err error) {
	title := h.agent.Program().Title
	stopped := ctx.Err
	defer func() {
		if err != nil && stopped() == nil {
			err = task.Errorf(task.CodeEnvironmentSetupFailed, "install %s (%s): %w", title, spec, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(cache, ".fetch-")
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
