package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// apiKey is the admin's.
const apiKey = "chaos admin key, chosen"

// retryPause is how soon a person tries again what did not go.
const retryPause = 100 * time.Millisecond

// rig is the system under test and what is around it.
type rig struct {
	config      Config
	dir         string
	remote      string // the bare repository
	began       time.Time
	model       *model
	proxy       *proxy
	servers     []*server
	client      *client.Client
	environment string
	log         *os.File
}

// newRig makes everything and starts nothing but the model and the proxy.
func newRig(ctx context.Context, c Config, dir string) (*rig, error) {
	r := &rig{config: c, dir: dir, remote: filepath.Join(dir, "remote.git"), began: time.Now()}
	var err error
	if r.config.Server == "" {
		r.config.Server, err = Build(ctx, dir)
	} else {
		r.config.Server, err = ownName(r.config.Server, dir)
	}
	if err != nil {
		return r, err
	}
	if err := r.makeRemote(ctx); err != nil {
		return r, err
	}
	if r.log, err = os.Create(filepath.Join(dir, "servers.log")); err != nil {
		return r, err
	}
	if r.model, err = startModel(func(n int) *story { return newStory(c.Seed, n) }); err != nil {
		return r, err
	}
	if err := c.Store.Start(ctx); err != nil {
		return r, fmt.Errorf("start the store: %w", err)
	}
	addresses, err := freeAddresses(c.Replicas)
	if err != nil {
		return r, err
	}
	if r.proxy, err = startProxy(addresses); err != nil {
		return r, err
	}
	for i, address := range addresses {
		if err := r.addServer(i, address); err != nil {
			return r, err
		}
	}
	r.client, err = client.New(r.proxy.url(), &client.Options{APIKey: apiKey, Timeout: 20 * time.Second, StreamIdle: 30 * time.Second})
	return r, err
}

// ownName gives a program a name below dir, by which the rig knows its
// processes from those of others that run the same program.
func ownName(program, dir string) (string, error) {
	own := filepath.Join(dir, "ozd")
	if os.Link(program, own) == nil {
		return own, nil
	}
	data, err := os.ReadFile(program) // on another file system
	if err != nil {
		return "", err
	}
	return own, os.WriteFile(own, data, 0o700)
}

func (r *rig) dataDir(i int) string { return filepath.Join(r.dir, fmt.Sprintf("data-%d", i)) }

// addServer writes the configuration of a server. All connections to it go
// through the proxy, those of its own runners too.
func (r *rig) addServer(i int, address string) error {
	text := fmt.Sprintf(`
listen: %s
data: %s
model: %s
max_concurrent: %d
log_level: info
lease: %s
worker: {id: chaos-%d, server_url: %q}
models:
  - {name: one, wire: anthropic, base_url: %q, api_key_env: MODEL_KEY, models: [%s]}
  - {name: two, wire: openai, base_url: %q, api_key_env: MODEL_KEY, models: [%s]}
`, address, r.dataDir(i), modelAnthropic, r.config.People, r.config.Lease, i, r.proxy.url(),
		r.model.url, modelAnthropic, r.model.url+"/v1", modelOpenAI)
	if setting := r.config.Store.Setting(); setting != "" {
		text += fmt.Sprintf("store: %q\nsecrets_key: %s\n", setting, filepath.Join(r.dir, "secrets.key"))
		if err := r.shareBlobs(i); err != nil {
			return err
		}
	}
	path := filepath.Join(r.dir, fmt.Sprintf("ozd-%d.yaml", i))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	r.servers = append(r.servers, &server{binary: r.config.Server, config: path, log: r.log,
		env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "OZ_BOOTSTRAP_API_KEY=" + apiKey, "MODEL_KEY=" + modelKey}})
	return nil
}

// shareBlobs lets all servers keep files in one directory, as on a network
// file system.
func (r *rig) shareBlobs(i int) error {
	shared := filepath.Join(r.dir, "blobs")
	return errors.Join(os.MkdirAll(shared, 0o700), os.MkdirAll(r.dataDir(i), 0o700),
		os.Symlink(shared, filepath.Join(r.dataDir(i), "blobs")))
}

// start starts the servers and makes the environment of the runs.
func (r *rig) start(ctx context.Context) error {
	for _, s := range r.servers {
		s.start()
	}
	return r.insist(ctx, func() error {
		env, err := r.client.CreateEnvironment(ctx, environment.Config{Name: "chaos",
			Repos:         []environment.Repo{{Owner: "demo", Name: "project", URL: "file://" + r.remote}},
			SetupCommands: []string{"git log --oneline"}}, nil)
		r.environment = env.UID
		return err
	})
}

// insist repeats what fails because the servers, or the way to them, are away.
// It fails with a refusal and with ctx.
func (r *rig) insist(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || refusal(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-time.After(retryPause):
		}
	}
}

// refusal reports that the server has understood and said no.
func refusal(err error) bool {
	var e *task.Error
	return errors.As(err, &e) && !e.Code.Retryable() && e.Code.HTTPStatus() < 500
}

// stopServers ends the servers in an orderly way and gives what was wrong.
func (r *rig) stopServers() []error {
	var errs []error
	for _, s := range r.servers {
		if err := s.stop(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// close stops whatever runs.
func (r *rig) close() error {
	errs := r.stopServers()
	if r.proxy != nil {
		errs = append(errs, r.proxy.close())
	}
	if r.model != nil {
		errs = append(errs, r.model.close())
	}
	if r.log != nil {
		errs = append(errs, r.log.Close())
	}
	return errors.Join(append(errs, r.config.Store.Stop())...)
}

// freeAddresses names addresses that were free just now; the servers must be
// found at the same ones after each start. Each is its own in the loopback
// network, which outgoing connections leave as 127.0.0.1: one of those might
// take the port while the server is down.
func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		own := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: own})
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		all = append(all, ln.Addr().String())
	}
	return all, nil
}

// makeRemote makes a bare repository that keeps a record of each push.
func (r *rig) makeRemote(ctx context.Context) error {
	src, err := os.MkdirTemp(r.dir, "source-")
	if err != nil {
		return err
	}
	for i := range 20 {
		name := filepath.Join(src, fmt.Sprintf("file-%02d.txt", i))
		if err := os.WriteFile(name, []byte(strings.Repeat(name+"\n", 200)), 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "."},
		{"-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", "Start"},
		{"clone", "-q", "--bare", src, r.remote},
		{"-C", r.remote, "config", "core.logAllRefUpdates", "always"},
	} {
		if _, err := git(ctx, src, args...); err != nil {
			return err
		}
	}
	return os.RemoveAll(src)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
