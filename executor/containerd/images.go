//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
)

// image is what a container needs to know of one.
type image struct {
	name  string
	chain string // snapshot with all its layers
	env   []string
	user  string
}

// images finds, pulls and unpacks.
type images struct {
	client *ctd.Client
	http   *http.Client
	lock   string // a file, locked by each process that pulls or unpacks
	opts   *Options

	mu   sync.Mutex
	byID map[string]*image    // by digest: an image never changes
	used map[string]time.Time // by name: when it was last asked for

	minUnused time.Duration            // see the constant
	pulling   map[string]chan struct{} // by name: closed when that is over
}

// get returns an image that is here and unpacked, after pulling it if the policy says so.
func (i *images) get(ctx context.Context, want executor.Image) (*image, error) {
	named, err := reference.ParseNormalizedNamed(want.Reference)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no image name: %w", executor.ErrImage, want.Reference, err)
	}
	name := reference.TagNameOnly(named).String()
	i.touch(name)
	defer i.touch(name) // it may have taken long
	if p := want.Platform; p != "" && p != "linux/"+runtime.GOARCH {
		return nil, fmt.Errorf("%w: %s is wanted for %s, but this host runs linux/%s; leave the platform out or choose another worker",
			executor.ErrImage, name, p, runtime.GOARCH)
	}
	done, err := i.alone(ctx, name)
	if err != nil {
		return nil, err
	}
	defer done()
	if want.Pull != executor.PullAlways {
		found, err := i.client.GetImage(ctx, name)
		switch {
		case err == nil:
			i.stamp(ctx, found)
			return i.use(ctx, found)
		case !errdefs.IsNotFound(err):
			return nil, fmt.Errorf("look for image %s: %w", name, err)
		case want.Pull == executor.PullNever:
			return nil, fmt.Errorf("%w: %s is not on this host, and the pull policy is never; import it, or allow pulling", executor.ErrImage, name)
		}
	}
	pulled, err := i.pull(ctx, name, reference.Domain(named))
	if err != nil {
		return nil, err
	}
	i.stamp(ctx, pulled)
	return i.use(ctx, pulled)
}

// fullName completes the name of an image.
func fullName(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", err
	}
	return reference.TagNameOnly(named).String(), nil
}

// alone keeps other calls for the same image waiting: the second one finds what the first has pulled.
func (i *images) alone(ctx context.Context, name string) (done func(), err error) {
	for {
		i.mu.Lock()
		other := i.pulling[name]
		if other == nil {
			break
		}
		i.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer i.mu.Unlock()
	if i.pulling == nil {
		i.pulling = map[string]chan struct{}{}
	}
	ours := make(chan struct{})
	i.pulling[name] = ours
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.pulling, name)
		close(ours)
	}, nil
}

// use unpacks an image and reads its configuration.
func (i *images) use(ctx context.Context, found ctd.Image) (*image, error) {
	id := found.Target().Digest.String() + " " + found.Name()
	i.mu.Lock()
	known := i.byID[id]
	i.mu.Unlock()
	if known != nil {
		return known, nil
	}
	lock, err := i.exclude(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	err = i.leased(ctx, func(ctx context.Context) error { return found.Unpack(ctx, i.opts.Snapshotter) })
	_ = lock.Close()
	if err != nil {
		return nil, imageError(ctx, found.Name(), "", "unpack", err)
	}
	img := &image{name: found.Name()}
	if img.chain, err = chainOf(ctx, found); err != nil {
		return nil, imageError(ctx, found.Name(), "", "read", err)
	}
	desc, err := found.Config(ctx)
	if err != nil {
		return nil, imageError(ctx, found.Name(), "", "read", err)
	}
	data, err := content.ReadBlob(ctx, found.ContentStore(), desc)
	if err != nil {
		return nil, imageError(ctx, found.Name(), "", "read", err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("%w: %s has an unreadable configuration: %w", executor.ErrImage, found.Name(), err)
	}
	if a := config.Architecture; a != "" && a != runtime.GOARCH || config.OS != "" && config.OS != "linux" {
		return nil, noVariant(found.Name())
	}
	img.env, img.user = config.Config.Env, config.Config.User
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.byID == nil {
		i.byID = map[string]*image{}
	}
	i.byID[id] = img
	return img, nil
}

// pull fetches an image from its registry.
func (i *images) pull(ctx context.Context, name, host string) (ctd.Image, error) {
	lock, err := i.exclude(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: i.hosts})
	var img ctd.Image
	err = i.leased(ctx, func(ctx context.Context) (err error) {
		img, err = i.client.Pull(ctx, name, ctd.WithResolver(resolver), ctd.WithPullUnpack,
			ctd.WithPullSnapshotter(i.opts.Snapshotter), ctd.WithPlatformMatcher(platforms.Only(platforms.DefaultSpec())))
		return err
	})
	if err != nil {
		return nil, imageError(ctx, name, host, "pull", err)
	}
	return img, nil
}

// exclude takes a lock that says that a pull may be under way (unix.LOCK_SH), or that none is (unix.LOCK_EX, which fails
// with EWOULDBLOCK if one is).
func (i *images) exclude(how int) (*os.File, error) {
	f, err := os.OpenFile(i.lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if how == unix.LOCK_EX {
		how |= unix.LOCK_NB
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil { // the exclusive one is held for milliseconds
		f.Close()
		return nil, err
	}
	return f, nil
}

// load imports an archive.
func (i *images) load(ctx context.Context, archive io.Reader) ([]string, error) {
	lock, err := i.exclude(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	var list []coreimages.Image
	err = i.leased(ctx, func(ctx context.Context) (err error) {
		list, err = i.client.Import(ctx, archive, ctd.WithImportPlatform(platforms.Only(platforms.DefaultSpec())))
		return err
	})
	if err != nil {
		return nil, spaceError(err)
	}
	var names []string
	for _, img := range list {
		if _, err := reference.ParseNamed(img.Name); err != nil {
			return names, fmt.Errorf("the archive names an image %q, which is no full name such as docker.io/library/name:tag", img.Name)
		}
		if err := i.label(ctx, img.Name, labelImported, "true"); err != nil {
			return names, err
		}
		names = append(names, img.Name)
	}
	if len(names) == 0 {
		return nil, errors.New("the archive names no image: an OCI layout needs the annotation io.containerd.image.name in its index")
	}
	return names, nil
}

// hosts says where and how a registry's content is fetched: mirrors first.
func (i *images) hosts(host string) ([]docker.RegistryHost, error) {
	auth := docker.NewDockerAuthorizer(docker.WithAuthCreds(i.credentials))
	var list []docker.RegistryHost
	for _, m := range i.opts.Registries[host].Mirrors {
		u, err := parseMirror(m)
		if err != nil {
			return nil, err
		}
		list = append(list, docker.RegistryHost{Client: i.http, Authorizer: auth, Host: u.Host, Scheme: u.Scheme,
			Path: strings.TrimSuffix(u.Path, "/") + "/v2", Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve})
	}
	own, err := docker.ConfigureDefaultRegistries(docker.WithAuthorizer(auth), docker.WithClient(i.http), docker.WithPlainHTTP(i.plain))(host)
	return append(list, own...), err
}

func (i *images) plain(host string) (bool, error) {
	if r, ok := i.opts.Registries[host]; ok && r.PlainHTTP {
		return true, nil
	}
	return docker.MatchLocalhost(host)
}

// credentials gives what a host may see: what the operator has for this host and for no other.
func (i *images) credentials(host string) (user, password string, err error) {
	if host == "registry-1.docker.io" {
		host = "docker.io"
	}
	r := i.opts.Registries[host]
	return r.Username, r.Password, nil
}

func parseMirror(m string) (*url.URL, error) {
	u, err := url.Parse(m)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("must have the form https://host/prefix")
	}
	return u, nil
}

// query is the part of an address that may hold the signature of a download.
var query = regexp.MustCompile(`\?[^\s":]+`)

// imageError says what went wrong, and for errors that a user can mend, how. Others may go away by themselves.
func imageError(ctx context.Context, name, host, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s image %s: %w", doing, name, context.Cause(ctx))
	}
	if contextEnd(err) != nil {
		return fmt.Errorf("%s image %s: %w", doing, name, plainError(err))
	}
	text := query.ReplaceAllString(err.Error(), "")
	switch {
	case strings.Contains(text, noSpace):
		return fmt.Errorf("%s image %s: %w", doing, name, errNoSpace)
	case strings.Contains(text, "no match for platform"):
		return noVariant(name)
	case strings.Contains(text, "401 Unauthorized"), strings.Contains(text, "403 Forbidden"),
		strings.Contains(text, "pull access denied"), strings.Contains(text, "authorization failed"), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		return fmt.Errorf("%w: the registry %s does not give us %s; the name may be wrong, or credentials missing or wrong", executor.ErrImage, host, name)
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%w: there is no image %s; check name and tag", executor.ErrImage, name)
	case strings.Contains(text, "connection refused"), strings.Contains(text, "no such host"), strings.Contains(text, "i/o timeout"),
		strings.Contains(text, "network is unreachable"):
		return fmt.Errorf("%s image %s: the registry %s cannot be reached: %s", doing, name, host, text)
	}
	return fmt.Errorf("%s image %s: %s", doing, name, text)
}

func noVariant(name string) error {
	return fmt.Errorf("%w: %s has no variant for linux/%s, which this host runs; build one, or choose another worker",
		executor.ErrImage, name, runtime.GOARCH)
}
