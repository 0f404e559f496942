package executortest

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
)

var treeCases = map[string]func(*testing.T, Harness){
	"TreeKilledByStop":   treeKilledByStop,
	"TreeKilledByRemove": treeKilledByRemove,
	"TreeEndsWithMain":   treeEndsWithMain,
}

// trees are scripts that leave processes with $1 among their arguments behind which are hard to find or to kill. Each
// makes the file "grown" when they are there.
var trees = map[string]string{
	"Children": `for i in 1 2 3; do sh -c 'sleep 1000; :' "$1" & done; : > grown`,
	"Ignoring": `sh -c 'trap "" TERM HUP INT QUIT; : > grown; while :; do sleep 1000; done' "$1" &`,
	"Stopped":  `sh -c ': > grown; kill -STOP $$' "$1" &`,
	"Daemon":   `(setsid sh -c '(setsid sh -c ": > grown; sleep 1000; :" "$0" &) &' "$1" &)`,
	// A daemon by all rules: new sessions, orphaned twice, nothing in the environment, all descriptors elsewhere.
	"CleanDaemon": `(env -i PATH="$PATH" setsid sh -c '
		(env -i PATH="$PATH" setsid sh -c "exec <&- >/dev/null 2>&1; : > grown; cd /; sleep 1000; :" "$0" &) &
	' "$1" &)`,
	// Each process starts the next one in a session of its own and ends.
	"Comet": `cat > comet <<'END'
setsid sh ./comet "$1" &
: > grown
END
setsid sh ./comet "$1" &`,
	// Two that start others all the time.
	"Phoenix": `cat > phoenix <<'END'
trap '' TERM
while :; do sh -c 'sleep 0.05; :' "$1" & sh -c 'sleep 0.05; :' "$1"; : > grown; done
END
sh phoenix "$1" & sh phoenix "$1" &`,
}

// grown waits for the tree, and says so.
const grown = "\nwhile ! test -e grown; do sleep 0.01; done; echo grown\n"

// eachTree runs end on a sandbox for each script, and expects no process after it.
func eachTree(t *testing.T, h Harness, main string, end func(*testing.T, executor.Sandbox)) {
	e := h.Open(t)
	for name, tree := range trees {
		t.Run(name, func(t *testing.T) {
			mark := marker()
			s := start(t, e, script("x", tree+grown+main, mark))
			assert.Equal(t, follow(t, s).next(), "grown")
			end(t, s)
			assert.Equal(t, h.marked(t, mark), 0, "processes are left over")
			wait(t, s)
		})
	}
}

func treeKilledByStop(t *testing.T, h Harness) {
	eachTree(t, h, "while :; do sleep 1000; done", func(t *testing.T, s executor.Sandbox) {
		assert.NilError(t, s.Stop(newContext(t), 10*time.Millisecond))
	})
}

func treeKilledByRemove(t *testing.T, h Harness) {
	eachTree(t, h, "while :; do sleep 1000; done", func(t *testing.T, s executor.Sandbox) {
		assert.NilError(t, s.Remove(newContext(t)))
	})
}

// treeEndsWithMain: the main command takes all others with it, and its own status counts.
func treeEndsWithMain(t *testing.T, h Harness) {
	eachTree(t, h, "exit 3", func(t *testing.T, s executor.Sandbox) {
		assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
	})
}
