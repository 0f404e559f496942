package deploy_test

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/task"
)

// enclave is a network namespace behind a firewall.
type enclave struct {
	name   string
	inside string // address of its only device
	host   string // address of the host at the other end
}

// sh runs a line of shell, which must succeed.
func sh(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("/bin/sh", "-ec", line).CombinedOutput()
	assert.NilError(t, err, "%s\n%s", line, out)
	return string(out)
}

// newEnclave makes one with a device to this host and nothing else.
func newEnclave(t *testing.T) enclave {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	for _, p := range []string{"ip", "iptables", "ss"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("OZ_TEST_REQUIRE") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	n := os.Getpid() % 16384
	e := enclave{name: fmt.Sprintf("oz-fw-%d", os.Getpid()), host: fmt.Sprintf("10.213.%d.%d", n/64, n%64*4+1), inside: fmt.Sprintf("10.213.%d.%d", n/64, n%64*4+2)}
	sh(t, "ip netns add "+e.name)
	t.Cleanup(func() { sh(t, "ip netns del "+e.name) }) // the devices go with it
	sh(t, fmt.Sprintf(`ip link add ozfw%[1]d type veth peer name inside netns %[2]s
ip addr add %[3]s/30 dev ozfw%[1]d
ip link set ozfw%[1]d up
ip -n %[2]s addr add %[4]s/30 dev inside
ip -n %[2]s link set inside up
ip -n %[2]s link set lo up`, n, e.name, e.host, e.inside))
	return e
}

// wall lets connections out to these ports of the host, and nothing in.
func (e enclave) wall(t *testing.T, ports ...string) {
	t.Helper()
	sh(t, fmt.Sprintf(`run="ip netns exec %s iptables -w"
$run -P INPUT DROP; $run -P OUTPUT DROP; $run -P FORWARD DROP
$run -A INPUT -i lo -j ACCEPT; $run -A OUTPUT -o lo -j ACCEPT
$run -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
$run -A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
$run -A OUTPUT -p tcp -d %s -m multiport --dports %s -j ACCEPT`, e.name, e.host, strings.Join(ports, ",")))
}

// forward passes connections to an address of the host on to another one, and
// gives the port.
func forward(t *testing.T, host, to string) string {
	t.Helper()
	ln, err := net.Listen("tcp", host+":0")
	assert.NilError(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); all.Wait() })
	all.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() }()
				_, _ = io.Copy(in, out)
			})
		}
	})
	_, port, err := net.SplitHostPort(ln.Addr().String())
	assert.NilError(t, err)
	return port
}

// TestBehindAFirewall runs a worker where nothing comes in, and nothing goes out
// but to the server and the model: its agents work, and it listens nowhere.
func TestBehindAFirewall(t *testing.T) {
	e := newEnclave(t)
	s := servertest.New(t, filepath.Join(bin, "ozd"), servertest.Talker(""))
	model, server := throughHost(t, s, e.host)
	s.Start()
	e.wall(t, server, model)
	startWorker(t, s, "pool/oz-worker.yaml", nil, []string{"ip", "netns", "exec", e.name}, "--listen", "")
	run := carriesOut(t, s, task.Config{WorkerHost: "build-1"})
	executions, err := s.Client().Executions(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, len(executions), 1)
	assert.Equal(t, strings.TrimSpace(sh(t, "ip netns exec "+e.name+" ss -Hltn")), "", "the worker listens")
	links := sh(t, "ip netns exec "+e.name+" ss -Htn state established")
	for line := range strings.Lines(links) {
		assert.Assert(t, strings.Contains(line, e.host+":"+server) || strings.Contains(line, e.host+":"+model), line)
	}
	assert.Assert(t, strings.Contains(links, e.host+":"+server), "no link: %s", links)
}

// throughHost makes the server listen at an address of the host, and its model
// answer there, too.
func throughHost(t *testing.T, s *servertest.Server, host string) (model, server string) {
	t.Helper()
	file := filepath.Join(s.Dir, "ozd.yaml")
	raw, err := os.ReadFile(file)
	assert.NilError(t, err)
	u, err := url.Parse(s.URL)
	assert.NilError(t, err)
	old := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(string(raw))
	assert.Assert(t, old != "", "%s", raw)
	model = forward(t, host, strings.TrimPrefix(old, "http://"))
	text := strings.Replace(string(raw), old, "http://"+host+":"+model, 1)
	address := net.JoinHostPort(host, u.Port())
	text = strings.Replace(text, u.Host, address, 1)
	assert.NilError(t, os.WriteFile(file, []byte(text), 0o600))
	s.URL = "http://" + address
	return model, u.Port()
}
