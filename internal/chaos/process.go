package chaos

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sandbox is a running sandbox of a server.
type sandbox struct {
	dir        string
	run        string // also the name of the workspace
	supervisor int    // process number
}

// sandboxes lists those whose supervisor has said what it is.
func (r *rig) sandboxes() []sandbox {
	var list []sandbox
	for _, dir := range r.sandboxDirs() {
		data, err := os.ReadFile(filepath.Join(dir, "state.json"))
		if err != nil {
			continue
		}
		var state struct {
			Workspace  string
			Supervisor struct{ PID int }
		}
		if json.Unmarshal(data, &state) == nil && state.Supervisor.PID > 1 {
			list = append(list, sandbox{dir, state.Workspace, state.Supervisor.PID})
		}
	}
	return list
}

func (r *rig) sandboxDirs() []string { return r.below("run", "sandboxes") }

func (r *rig) workspaceDirs() []string { return r.below("run", "workspaces") }

// below lists what is in a directory of all servers' data.
func (r *rig) below(path ...string) []string {
	var all []string
	for i := range r.servers {
		found, _ := filepath.Glob(filepath.Join(append(append([]string{r.dataDir(i)}, path...), "*")...))
		all = append(all, found...)
	}
	return all
}

// children lists the processes that a process has started.
func children(pid int) []int {
	var list []int
	for _, p := range processes() {
		if parent(p) == pid {
			list = append(list, p)
		}
	}
	return list
}

func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var list []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// parent reads field 4 of proc_pid_stat(5); 0 when the process is gone.
func parent(pid int) int {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // the name may have anything in it
	if len(fields) < 2 || fields[0] == "Z" {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// leftProcesses lists the processes that belong to the rig's servers, the
// servers themselves when they run included.
func (r *rig) leftProcesses() []string {
	var left []string
	for _, pid := range processes() {
		if pid == os.Getpid() || parent(pid) == 0 {
			continue
		}
		dir := "/proc/" + strconv.Itoa(pid)
		exe, _ := os.Readlink(dir + "/exe")
		args, _ := os.ReadFile(dir + "/cmdline")
		env, _ := os.ReadFile(dir + "/environ")
		if strings.HasPrefix(exe, r.config.Server) || bytes.Contains(args, []byte(r.dir+"/")) || bytes.Contains(env, []byte(r.dir+"/")) {
			left = append(left, strconv.Itoa(pid)+" "+strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " ")))
		}
	}
	return left
}
