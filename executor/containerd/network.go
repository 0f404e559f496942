//go:build linux

package containerd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

// bridge connects containers to a network of this Executor, by the plugins of the Container Network Interface. The device
// and the rule that masquerades what leaves it are there for as long as a container is.
type bridge struct {
	dir  string
	ns   string
	opts *Options
	cni  *libcni.CNIConfig
}

func newBridge(dir, ns string, opts *Options) *bridge {
	return &bridge{dir: dir, ns: ns, opts: opts, cni: libcni.NewCNIConfigWithCacheDir([]string{opts.PluginDir}, filepath.Join(dir, "cache"), nil)}
}

// device is the name of the bridge. Interfaces have at most 15 characters.
func (b *bridge) device() string {
	name := strings.TrimPrefix(b.ns, "oz-")
	return "oz" + name[:min(len(name), 12)]
}

func (b *bridge) config() (*libcni.NetworkConfigList, error) {
	conf := map[string]any{
		"cniVersion": "0.4.0", "name": b.ns,
		"plugins": []any{map[string]any{
			"type": "bridge", "bridge": b.device(), "isGateway": true, "hairpinMode": true,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": b.addresses(),
				"ranges": []any{[]any{map[string]any{"subnet": b.opts.Subnet}}},
				"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
			},
		}},
	}
	data, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(data)
}

func (b *bridge) runtime(box, netns string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: box, NetNS: netns, IfName: "eth0"}
}

// connect gives a container that was made, and not yet started, its network.
func (b *bridge) connect(ctx context.Context, box string, pid uint32) error {
	if plugin := b.missing(); plugin != "" {
		return fmt.Errorf("network bridge: the CNI plugin %s is missing in %s; install containernetworking-plugins, or choose the network host",
			plugin, b.opts.PluginDir)
	}
	lock, err := b.lock(ctx)
	if err != nil {
		return fmt.Errorf("network bridge: %w", err)
	}
	defer lock.Close()
	if err := b.checkFree(); err != nil {
		return fmt.Errorf("network bridge: %w", err)
	}
	conf, err := b.config()
	if err != nil {
		return fmt.Errorf("network bridge: %w", err)
	}
	if _, err := b.cni.AddNetworkList(ctx, conf, b.runtime(box, fmt.Sprintf("/proc/%d/ns/net", pid))); err != nil {
		return fmt.Errorf("network bridge: %w", err)
	}
	if err := b.masquerade(ctx, true); err != nil {
		return fmt.Errorf("network bridge: %w", err)
	}
	return nil
}

// lock keeps other calls away, also those of other processes.
func (b *bridge) lock(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(b.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = pause(ctx, lockPoll)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
}

// checkFree refuses a subnet that another device of the host has.
func (b *bridge) checkFree() error {
	_, subnet, err := net.ParseCIDR(b.opts.Subnet)
	if err != nil {
		return err
	}
	devices, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, d := range devices {
		addrs, err := d.Addrs()
		if err != nil || d.Name == b.device() {
			continue
		}
		for _, a := range addrs {
			if ip, ok := a.(*net.IPNet); ok && (subnet.Contains(ip.IP) || ip.Contains(subnet.IP)) {
				return fmt.Errorf("the subnet %s is in use by the device %s (%s); choose another one for this executor", subnet, d.Name, ip)
			}
		}
	}
	return nil
}

// masquerade makes what leaves the subnet look as if it came from the host, by one rule for all containers, or removes
// the rule.
func (b *bridge) masquerade(ctx context.Context, on bool) error {
	if b.opts.NoMasquerade {
		return nil
	}
	rule := []string{"POSTROUTING", "-s", b.opts.Subnet, "!", "-d", b.opts.Subnet, "-m", "comment", "--comment", b.device(), "-j", "MASQUERADE"}
	iptables := func(op string) error {
		out, err := exec.CommandContext(ctx, "iptables", append([]string{"-w", "-t", "nat", op}, rule...)...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("iptables is not installed; install it, or set NoMasquerade and route the subnet yourself")
		}
		if err != nil {
			return fmt.Errorf("iptables %s: %w: %s", op, err, bytes.TrimSpace(out))
		}
		return nil
	}
	there := iptables("-C") == nil
	switch {
	case on && !there:
		return iptables("-A")
	case !on && there:
		return iptables("-D")
	}
	return nil
}

// missing names a plugin that is not there; empty if all are.
func (b *bridge) missing() string {
	for _, plugin := range []string{"bridge", "host-local"} {
		if _, err := os.Stat(filepath.Join(b.opts.PluginDir, plugin)); err != nil {
			return plugin
		}
	}
	return ""
}

// disconnect gives the address back and takes the rules away. The interface has gone with the container. One that was
// never connected is no error.
func (b *bridge) disconnect(ctx context.Context, box string) error {
	conf, err := b.config()
	if err != nil {
		return fmt.Errorf("network bridge: %w", err)
	}
	known, err := filepath.Glob(filepath.Join(b.dir, "cache", "results", "*"+box+"*"))
	if err != nil {
		return err
	}
	if b.missing() != "" && len(known) == 0 {
		return nil // it was never connected
	}
	if _, err := os.Lstat(b.addresses()); errors.Is(err, os.ErrNotExist) && len(known) == 0 {
		return nil // nobody ever was
	}
	lock, err := b.lock(ctx)
	if err != nil {
		return fmt.Errorf("leave the network bridge: %w", err)
	}
	defer lock.Close()
	if err := b.cni.DelNetworkList(ctx, conf, b.runtime(box, "")); err != nil {
		return fmt.Errorf("leave the network bridge: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(b.addresses(), b.ns, "[0-9]*"))
	if err != nil || len(left) > 0 {
		return err
	}
	if err := errors.Join(b.masquerade(ctx, false), removeDevice(b.device())); err != nil {
		return fmt.Errorf("remove the network bridge: %w", err)
	}
	return nil
}

// addresses is where the plugin host-local keeps what it has given out.
func (b *bridge) addresses() string { return filepath.Join(b.dir, "addresses") }

// removeDevice takes a bridge down and deletes it. One that is not there is no error.
func removeDevice(name string) error {
	if _, err := net.InterfaceByName(name); err != nil {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request := struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16 // none: down
		_     [22]byte
	}{}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	for _, op := range []uintptr{unix.SIOCSIFFLAGS, unix.SIOCBRDELBR} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), op, uintptr(unsafe.Pointer(&request))); errno != 0 && errno != unix.ENODEV && errno != unix.ENXIO {
			return os.NewSyscallError("ioctl", errno)
		}
	}
	return nil
}

// writeFiles makes the files by which a container resolves names.
func (b *bridge) writeFiles(dir, _ string) error {
	hosts := "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	resolv, err := usableResolvConf()
	if err != nil {
		return fmt.Errorf("network bridge: %w", err)
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644),
		os.WriteFile(filepath.Join(dir, "resolv.conf"), resolv, 0o644))
}

// usableResolvConf is the host's, without name servers that only the host can reach. Where none is left, systemd keeps
// the real ones in another file.
func usableResolvConf() ([]byte, error) {
	var last []byte
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		kept, servers := withoutLoopback(data)
		if servers > 0 {
			return kept, nil
		}
		last = kept
	}
	return last, nil
}

// withoutLoopback drops the name servers on loopback addresses, and counts the others.
func withoutLoopback(conf []byte) (kept []byte, servers int) {
	for s := bufio.NewScanner(bytes.NewReader(conf)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) >= 2 && f[0] == "nameserver" {
			if ip := net.ParseIP(f[1]); ip != nil && ip.IsLoopback() {
				continue
			}
			servers++
		}
		kept = append(append(kept, s.Bytes()...), '\n')
	}
	return kept, servers
}
