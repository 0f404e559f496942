package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/oz-platform/cloudagents/internal/containers"
	"github.com/oz-platform/cloudagents/internal/yamlfile"
)

// Names of the back-ends. The last two are the official worker's, and are not
// driven here.
const (
	backendDirect     = "direct"
	backendLocal      = "local"
	backendCommand    = "command"
	backendContainerd = "containerd"
	backendDocker     = "docker"
	backendKubernetes = "kubernetes"
)

// backendNames are all that a file or a flag may name.
var backendNames = []string{backendDirect, backendLocal, backendContainerd, backendCommand, backendDocker, backendKubernetes}

// backendConfig holds at most one back-end.
type backendConfig struct {
	Direct     *directConfig     `yaml:"direct"`
	Local      *localConfig      `yaml:"local"`
	Containerd *containerdConfig `yaml:"containerd"`
	Command    *commandConfig    `yaml:"command"`
	Docker     *dockerConfig     `yaml:"docker"`
	Kubernetes *kubernetesConfig `yaml:"kubernetes"`
}

// variable is one entry of an environment list: without a value it is passed on
// from the worker's own environment.
type variable struct {
	Name  string  `yaml:"name"`
	Value *string `yaml:"value"`
}

// directConfig runs agents as processes of this host (Oz worker protocol, 11.2).
type directConfig struct {
	// WorkspaceRoot holds a directory of this worker's own, and nothing else
	// in it is touched.
	WorkspaceRoot string `yaml:"workspace_root"`
	// TargetDir is where all agents work instead.
	TargetDir string `yaml:"target_dir"`
	// OzPath is the program oz; default this one, which is its own runner.
	OzPath string `yaml:"oz_path"`
	// SetupCommand and TeardownCommand are around each agent.
	SetupCommand    string `yaml:"setup_command"`
	TeardownCommand string `yaml:"teardown_command"`
	// TeardownTimeout is how long a teardown command may take; 0 is 5 min.
	TeardownTimeout time.Duration `yaml:"teardown_timeout"`
	// Isolation says whether agents get namespaces of their own: auto, the
	// default, require or off.
	Isolation   string     `yaml:"isolation"`
	Environment []variable `yaml:"environment"`
}

// localConfig is direct without hooks, and with limits.
type localConfig struct {
	// Root holds sandboxes and workspaces.
	Root string `yaml:"root"`
	// Isolation is as in directConfig.
	Isolation string `yaml:"isolation"`
	// Cgroup is a cgroup v2 directory that this worker may manage.
	Cgroup string `yaml:"cgroup"`
	// MemoryGB, CPUs and Processes bound each agent; 0 is no limit.
	MemoryGB    float64    `yaml:"memory_gb"`
	CPUs        float64    `yaml:"cpus"`
	Processes   int        `yaml:"processes"`
	Environment []variable `yaml:"environment"`
}

// containerdConfig runs each agent in a container of this host's containerd.
type containerdConfig struct {
	// Root holds sandboxes and workspaces.
	Root string `yaml:"root"`
	// MemoryGB, CPUs, Processes and DiskGB bound each agent; 0 is no limit.
	MemoryGB    float64           `yaml:"memory_gb"`
	CPUs        float64           `yaml:"cpus"`
	Processes   int               `yaml:"processes"`
	DiskGB      float64           `yaml:"disk_gb"`
	Environment []variable        `yaml:"environment"`
	Containers  containers.Config `yaml:",inline"`
}

// commandConfig hands runs over (Oz worker protocol, 11.1).
type commandConfig struct {
	DispatchCommand string        `yaml:"dispatch_command"`
	CancelCommand   string        `yaml:"cancel_command"`
	DispatchTimeout time.Duration `yaml:"dispatch_timeout"`
	// CancelTimeout is how long a cancel command may take; 0 is 10 s.
	CancelTimeout time.Duration `yaml:"cancel_timeout"`
	// Lifetime is after how long a hand-over that nobody ends counts as lost; 0
	// is 24 h.
	Lifetime    time.Duration `yaml:"lifetime"`
	Environment []variable    `yaml:"environment"`
}

// dockerConfig is read so that mistakes in it have a line, and refused.
type dockerConfig struct {
	Volumes     []string   `yaml:"volumes"`
	Environment []variable `yaml:"environment"`
}

// kubernetesConfig is read so that mistakes in it have a line, and refused.
type kubernetesConfig struct {
	Namespace             string            `yaml:"namespace"`
	Kubeconfig            string            `yaml:"kubeconfig"`
	DefaultImage          string            `yaml:"default_image"`
	PreflightImage        string            `yaml:"preflight_image"`
	SidecarImage          string            `yaml:"sidecar_image"`
	ImagePullPolicy       string            `yaml:"image_pull_policy"`
	UseImageVolumes       bool              `yaml:"use_image_volumes"`
	SetupCommand          string            `yaml:"setup_command"`
	TeardownCommand       string            `yaml:"teardown_command"`
	ExtraLabels           map[string]string `yaml:"extra_labels"`
	ExtraAnnotations      map[string]string `yaml:"extra_annotations"`
	ActiveDeadlineSeconds int               `yaml:"active_deadline_seconds"`
	TTLSeconds            int               `yaml:"ttl_seconds_after_finished"`
	WorkspaceSizeLimit    string            `yaml:"workspace_size_limit"`
	UnschedulableTimeout  time.Duration     `yaml:"unschedulable_timeout"`
	CodingCLISidecars     map[string]string `yaml:"coding_cli_sidecars"`
	PodTemplate           map[string]any    `yaml:"pod_template"`
	PreflightResources    map[string]any    `yaml:"preflight_resources"`
}

// readFile adds what the file says. Unknown keys are errors that name their line.
func (c *config) readFile(path string) error {
	path, err := expandHome(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := yamlfile.Unmarshal(raw, c); err != nil {
		return fmt.Errorf("configuration %s:\n%w", path, err)
	}
	if err := c.nameBackend(raw); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// nameBackend notes which back-end the file names: also one without settings,
// which a decoder cannot tell from one that is not there.
func (c *config) nameBackend(raw []byte) error {
	var keys struct {
		Backend map[string]any `yaml:"backend"`
	}
	if err := yaml.Unmarshal(raw, &keys); err != nil {
		return err
	}
	var named []string
	for _, name := range backendNames {
		if _, ok := keys.Backend[name]; ok {
			named = append(named, name)
		}
	}
	if len(named) > 1 {
		return fmt.Errorf("backend: at most one may be named, and these are: %s", strings.Join(named, ", "))
	}
	if len(named) == 1 {
		c.fileBackend = named[0]
	}
	return nil
}

// expandHome puts the user's home in place of a leading ~.
func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok || rest != "" && rest[0] != '/' {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("~ cannot be resolved: HOME is not set")
	}
	return filepath.Join(home, rest), nil
}
