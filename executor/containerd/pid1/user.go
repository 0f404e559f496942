//go:build linux

package pid1

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The user who runs agents in images that would run them as root.
const (
	agentName = "agent"
	agentID   = 1000
	agentHome = "/home/agent"
	shell     = "/bin/sh"
)

const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// account is who the main command runs as.
type account struct {
	name     string
	uid, gid uint32
	groups   []uint32
	home     string
}

// passwd is a line of /etc/passwd.
type passwd struct {
	name     string
	uid, gid uint32
	home     string
}

// group is a line of /etc/group.
type group struct {
	name    string
	gid     uint32
	members []string
}

// id parses a user or group number.
func id(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1 // -1 means "leave it" to the kernel
}

// parsePasswd reads what makes sense and skips the rest.
func parsePasswd(data string) []passwd {
	var list []passwd
	for s := bufio.NewScanner(strings.NewReader(data)); s.Scan(); {
		f := strings.Split(s.Text(), ":")
		if len(f) < 6 || f[0] == "" {
			continue
		}
		uid, ok := id(f[2])
		gid, ok2 := id(f[3])
		if ok && ok2 {
			list = append(list, passwd{name: f[0], uid: uid, gid: gid, home: f[5]})
		}
	}
	return list
}

// parseGroup reads what makes sense and skips the rest.
func parseGroup(data string) []group {
	var list []group
	for s := bufio.NewScanner(strings.NewReader(data)); s.Scan(); {
		f := strings.Split(s.Text(), ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		if gid, ok := id(f[2]); ok {
			list = append(list, group{name: f[0], gid: gid, members: strings.Split(f[3], ",")})
		}
	}
	return list
}

// resolve finds a user of the image. want is "user" or "user:group".
func resolve(want string, users []passwd, groups []group) (account, error) {
	name, groupName, withGroup := strings.Cut(want, ":")
	var a account
	number, isNumber := id(name)
	found := false
	for _, u := range users {
		if u.name == name || isNumber && u.uid == number {
			a, found = account{name: u.name, uid: u.uid, gid: u.gid, home: u.home}, true
			break
		}
	}
	switch {
	case found:
	case isNumber:
		a = account{uid: number}
	default:
		return a, fmt.Errorf("the image has no user %q", name)
	}
	if withGroup {
		gid, ok := id(groupName)
		for _, g := range groups {
			if g.name == groupName {
				gid, ok = g.gid, true
			}
		}
		if !ok {
			return a, fmt.Errorf("the image has no group %q", groupName)
		}
		a.gid = gid
	}
	for _, g := range groups {
		for _, m := range g.members {
			if found && m == a.name && g.gid != a.gid {
				a.groups = append(a.groups, g.gid)
			}
		}
	}
	if a.home == "" || a.home == "/" || !filepath.IsAbs(a.home) {
		a.home = agentHome
		if a.uid == 0 {
			a.home = "/root"
		}
	}
	a.home = filepath.Clean(a.home)
	return a, nil
}

// admit finds or makes the user, and its home.
func admit(want string) (account, error) {
	users, err := os.ReadFile(passwdFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return account{}, err
	}
	groups, err := os.ReadFile(groupFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return account{}, err
	}
	known := parsePasswd(string(users))
	a, err := resolve(cmp.Or(want, strconv.Itoa(agentID)), known, parseGroup(string(groups)))
	if err != nil {
		return a, err
	}
	if a.name == "" {
		if want == "" || want == strconv.Itoa(agentID) {
			a.gid = agentID
		}
		a.name = agentName
		for _, u := range known {
			if u.name == agentName {
				a.name = agentName + strconv.Itoa(int(a.uid))
			}
		}
		// Programs such as ssh refuse to work for users without a name. An image whose /etc is read-only has to do
		// without.
		_ = appendLine(passwdFile, string(users), fmt.Sprintf("%s:x:%d:%d::%s:%s", a.name, a.uid, a.gid, a.home, shell))
		_ = appendLine(groupFile, string(groups), fmt.Sprintf("%s:x:%d:", a.name, a.gid))
	}
	return a, makeHome(a)
}

// appendLine adds a line to a small file of the image.
func appendLine(path, content, line string) error {
	if content != "" && !strings.HasSuffix(content, "\n") {
		line = "\n" + line
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// makeHome makes the home directory if the image has none, and the directory for temporary files.
func makeHome(a account) error {
	if err := os.MkdirAll(filepath.Dir(a.home), 0o755); err != nil {
		return fmt.Errorf("make the home directory: %w", err)
	}
	switch err := os.Mkdir(a.home, 0o700); {
	case err == nil:
		if err := os.Lchown(a.home, int(a.uid), int(a.gid)); err != nil {
			return fmt.Errorf("make the home directory: %w", err)
		}
	case !errors.Is(err, os.ErrExist):
		return fmt.Errorf("make the home directory: %w", err)
	}
	if err := os.MkdirAll(tempDir, 0o777); err != nil {
		return fmt.Errorf("make %s: %w", tempDir, err)
	}
	// An image may have it with a mode of its own, and mkdir(2) obeys the umask.
	if err := os.Chmod(tempDir, 0o777|os.ModeSticky); err != nil && !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("make %s: %w", tempDir, err)
	}
	return nil
}

// give makes the working directory the user's if it still is the worker's, who made it.
func give(dir string, a account) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || a.uid == 0 {
		return nil
	}
	return os.Lchown(dir, int(a.uid), int(a.gid))
}
