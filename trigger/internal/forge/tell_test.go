package forge_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

func news(n trigger.NewsType, s task.State, sig task.SignalType) trigger.News {
	out := trigger.News{Type: n, Signal: task.Signal{Type: sig}}
	out.Task.State = s
	return out
}

// TestLateNews: what could not be told in time does not hide how a run ended.
func TestLateNews(t *testing.T) {
	w := forge.Tell(news(trigger.NewsStarted, task.StateQueued, ""), "p", "Pull request")
	assert.Assert(t, w.Nod && w.Status != "" && w.State == task.StateQueued)
	for _, n := range []trigger.News{news(trigger.NewsStarted, task.StateInProgress, ""), news(trigger.NewsStarted, task.StateSucceeded, ""),
		news(trigger.NewsContinued, task.StateFailed, "")} {
		assert.DeepEqual(t, forge.Tell(n, "p", "Pull request"), forge.Words{Nod: true})
	}
	mark := forge.Mark("run 1")
	body := forge.Stamp(mark, 70) + "\n**Done.**"
	assert.Assert(t, forge.Newer(body, mark, 69))
	assert.Assert(t, !forge.Newer(body, mark, 70))
	assert.Assert(t, !forge.Newer(mark+"\n**Done.**", mark, 1), "one of an older version")
}

// TestNote: what an agent says before its end is a comment, and not a word about
// how the run is.
func TestNote(t *testing.T) {
	n := news(trigger.NewsNote, task.StateInProgress, "")
	n.Note = "Half is **done**, @ann\n<!-- oz:x -->"
	assert.DeepEqual(t, forge.Tell(n, "p", "Pull request"), forge.Words{Comment: "A note from the run:\n\n> Half is **done**, @\u2060ann\n> &lt;!-- oz:x -->"})
}

// TestTitle is one line, whatever is written, and has a limit.
func TestTitle(t *testing.T) {
	assert.Equal(t, forge.Title(" a/b#7:\tmend\n\x00the\x1b parser "), "a/b#7: mend the parser")
	long := forge.Title(strings.Repeat("é", 200))
	assert.Assert(t, len(long) <= 200 && utf8.ValidString(long), "%d bytes", len(long))
}
