package ozagent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	// headBytes and tailBytes are what the model sees of a command's output at once.
	headBytes, tailBytes = 8 << 10, 16 << 10
	// maxSpoolBytes bounds the file that has the whole output of one command.
	maxSpoolBytes = 64 << 20
	// maxLiveBytes bounds what one command adds to the log while it runs.
	maxLiveBytes = 512 << 10
)

// spoolDir is where whole outputs are kept, below the workspace's root. Git
// does not see it.
const spoolDir = ".oz/output"

// capture keeps redacted output: its beginning, its end, and all of it in a
// file when it is long.
type capture struct {
	dir, name string // where the file goes when it is needed

	mu     sync.Mutex
	head   []byte
	tail   []byte
	total  int64
	unread int64 // of total, not given out by fresh
	file   *os.File
	err    error // of the file
}

func (a *agent) newCapture(callID string) *capture {
	return &capture{dir: filepath.Join(a.files.path, spoolDir), name: callID + ".log"}
}

func (c *capture) write(text string) {
	if text == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil && c.err == nil && c.total+int64(len(text)) > headBytes+tailBytes {
		c.spill()
	}
	if c.file != nil && c.total < maxSpoolBytes {
		if _, err := c.file.WriteString(text); err != nil {
			c.err = err
		}
	}
	c.total += int64(len(text))
	c.unread += int64(len(text))
	room := min(headBytes-len(c.head), len(text))
	c.head = append(c.head, text[:room]...)
	c.tail = append(c.tail, text[room:]...)
	if over := len(c.tail) - tailBytes; over > tailBytes {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
}

// spill moves what is there into a file. Without one the middle is lost, and
// text says so. c.mu is held.
func (c *capture) spill() {
	if c.err = os.MkdirAll(c.dir, 0o755); c.err != nil {
		return
	}
	if c.err = os.WriteFile(filepath.Join(c.dir, ".gitignore"), []byte("*\n"), 0o644); c.err != nil {
		return
	}
	if c.file, c.err = os.Create(filepath.Join(c.dir, c.name)); c.err != nil {
		c.file = nil
		return
	}
	_, c.err = c.file.Write(append(append([]byte(nil), c.head...), c.tail...))
}

// close closes the file.
func (c *capture) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		_ = c.file.Close() // what is missing in it was said
		c.file = nil
	}
}

// path is the file with the whole output; empty when text has it all.
func (c *capture) path() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total <= headBytes+tailBytes || c.err != nil {
		return ""
	}
	return spoolDir + "/" + c.name
}

// text is the output, without its middle when it is long.
func (c *capture) text() string {
	path := c.path()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unread = 0
	return c.render(c.head, c.tail, path)
}

// fresh is what came since the last call, without its middle when it is long.
func (c *capture) fresh() string {
	path := c.path()
	c.mu.Lock()
	defer c.mu.Unlock()
	unread := c.unread
	c.unread = 0
	if unread >= c.total {
		return c.render(c.head, c.tail, path)
	}
	all := c.tail
	if c.total <= int64(len(c.head)+len(c.tail)) {
		all = append(append([]byte(nil), c.head...), c.tail...)
	}
	if unread <= int64(len(all)) && unread <= tailBytes {
		return strings.ToValidUTF8(string(all[int64(len(all))-unread:]), "")
	}
	return c.render(nil, all, path)
}

// render joins the parts. c.mu is held.
func (c *capture) render(head, tail []byte, path string) string {
	if over := len(tail) - tailBytes; over > 0 && c.total > headBytes+tailBytes {
		tail = tail[over:]
	}
	missing := c.total - int64(len(head)+len(tail))
	if missing <= 0 {
		return string(head) + string(tail)
	}
	where := "they were not kept"
	if path != "" {
		where = fmt.Sprintf("the whole output is in %s below the workspace: use read_files or grep on it", path)
		if c.total > maxSpoolBytes {
			where += fmt.Sprintf("; its first %d MiB, that is", maxSpoolBytes>>20)
		}
	}
	return fmt.Sprintf("%s\n[... %d bytes left out; %s ...]\n%s",
		strings.ToValidUTF8(string(head), ""), missing, where, strings.ToValidUTF8(string(tail), ""))
}

// size is how many bytes came.
func (c *capture) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}
