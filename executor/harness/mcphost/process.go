package mcphost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/internal/proc"
)

const (
	// markName is the variable by which a server's descendants are found again,
	// whatever session or group they moved to.
	markName = "OZ_MCP_SERVER_ID"
	// stopGrace is how long a server may take to end after its input has ended.
	stopGrace = 500 * time.Millisecond
	// keptErrors bounds what is kept of a server's standard error, in bytes.
	keptErrors = 2 << 10
)

// process is a server that runs here.
type process struct {
	v       *server
	mark    string
	in, out *os.File // our ends of its standard input and output
	kill    context.CancelFunc
	once    sync.Once
	exited  chan struct{} // closed when it has ended and its descendants are killed
	err     error         // how it ended; valid once exited is closed

	mu     sync.Mutex
	stderr proc.Tail
}

// startProcess starts the server's command.
func (v *server) startProcess() (*process, error) {
	dir := cmp.Or(v.h.s.Dir, v.h.s.Root)
	if w := v.config.WorkingDirectory; w != "" {
		if !filepath.IsAbs(w) {
			w = filepath.Join(dir, w)
		}
		dir = w
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("its working directory %s does not exist", dir)
	}
	path, err := lookPath(v.config.Command, dir, variable(v.h.s.Env, "PATH"))
	if err != nil {
		return nil, err
	}
	p := &process{v: v, mark: uuid.NewString(), exited: make(chan struct{}), stderr: proc.Tail{Limit: keptErrors}}
	ctx, kill := context.WithCancel(context.Background())
	p.kill = kill
	cmd := exec.CommandContext(ctx, path, v.config.Args...)
	cmd.Dir = dir
	cmd.Env = slices.Clone(v.h.s.Env)
	for _, name := range slices.Sorted(maps.Keys(v.config.Env)) {
		cmd.Env = append(cmd.Env, name+"="+v.config.Env[name])
	}
	cmd.Env = append(cmd.Env, markName+"="+p.mark)
	if err := p.run(cmd); err != nil {
		kill()
		return nil, err
	}
	return p, nil
}

// run starts cmd between two pipes and looks after it.
func (p *process) run(cmd *exec.Cmd) error {
	from, in, err := os.Pipe()
	if err != nil {
		return err
	}
	out, to, err := os.Pipe()
	if err != nil {
		return errors.Join(err, from.Close(), in.Close())
	}
	p.in, p.out = in, out
	cmd.Stdin, cmd.Stdout, cmd.Stderr = from, to, stderr{p}
	proc.Group(cmd)
	go func() {
		defer close(p.exited)
		p.err = proc.RunBound(cmd)
		_ = from.Close() // the child had its own
		_ = to.Close()
		_ = proc.KillGroup(cmd) // what it has left behind
		proc.KillMarked(markName, p.mark)
	}()
	return nil
}

// stderr keeps the last words of a server.
type stderr struct{ p *process }

func (w stderr) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.p.stderr.Write(b)
}

// stop ends the server: its input ends, and after a grace it is killed with all
// its descendants.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.in.Close()
		select {
		case <-p.exited:
		case <-time.After(stopGrace): // real time: it is about a real process
		}
		p.kill()
		<-p.exited
		_ = p.out.Close()
	})
}

// explain adds to an error what the server has said last, if it has ended. p may
// be nil.
func (p *process) explain(err error) error {
	if p == nil {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(stopGrace): // real time: it is about a real process
		return err
	}
	p.mu.Lock()
	said := strings.TrimSpace(strings.ToValidUTF8(p.stderr.String(), ""))
	p.mu.Unlock()
	how := "it ended by itself"
	if p.err != nil {
		how = "it ended: " + p.err.Error()
	}
	if said != "" {
		how += "; its last words: " + said
	}
	return fmt.Errorf("%s (%w)", how, err)
}

// lookPath finds a program as a shell in dir with this PATH would. The runner's
// own PATH does not count.
func lookPath(name, dir, path string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		at := name
		if !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		if executable(at) {
			return at, nil
		}
		return "", fmt.Errorf("%s is no program that can be started", at)
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		if at := filepath.Join(d, name); executable(at) {
			return at, nil
		}
	}
	return "", fmt.Errorf("there is no program %q in the PATH of the agent; install it with a setup command or in the environment's image", name)
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && (info.Mode().Perm()&0o111 != 0 || filepath.Ext(path) == ".exe")
}

// variable gives the last value of a variable in env.
func variable(env []string, name string) string {
	for _, v := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}
