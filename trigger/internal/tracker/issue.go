package tracker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// IssueFile is the name under which an agent finds the issue.
const IssueFile = "issue.md"

// Bounds of the file, in bytes.
const (
	maxDescription = 128 << 10
	maxComment     = 16 << 10
	maxComments    = 256 << 10
)

// Issue is one as the agent reads it.
type Issue struct {
	Key, Title, URL string
	State           string
	Labels          []string
	Text            string // Markdown
	Comments        []Comment
}

// Comment is what somebody said about an issue.
type Comment struct {
	Author string
	At     time.Time
	Text   string
}

// File writes the issue down. Of too many comments the newest stay.
func (i Issue) File() trigger.File {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n", line(i.Key), line(i.Title))
	for _, field := range [][2]string{{"Address", i.URL}, {"State", i.State}, {"Labels", strings.Join(i.Labels, ", ")}} {
		if field[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", field[0], line(field[1]))
		}
	}
	fmt.Fprintf(&b, "\n## Description\n\n%s\n", limited(i.Text, maxDescription))
	parts, left := i.comments()
	if left > 0 {
		fmt.Fprintf(&b, "\n%d older comments are left out.\n", left)
	}
	for _, p := range parts {
		b.WriteString(p)
	}
	return trigger.File{Name: IssueFile, MIMEType: "text/markdown", Data: []byte(b.String())}
}

// comments gives the newest, the oldest of them first, and how many are missing.
func (i Issue) comments() (parts []string, left int) {
	sorted := slices.Clone(i.Comments)
	slices.SortStableFunc(sorted, func(a, b Comment) int { return a.At.Compare(b.At) })
	size := 0
	for n := len(sorted) - 1; n >= 0; n-- {
		c := sorted[n]
		part := fmt.Sprintf("\n## Comment of %s at %s\n\n%s\n", orElse(line(c.Author), "somebody"), c.At.UTC().Format(time.RFC3339),
			limited(c.Text, maxComment))
		if size += len(part); size > maxComments {
			left = n + 1
			break
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	return parts, left
}

// line keeps a text on one line.
func line(s string) string { return strings.Join(strings.Fields(s), " ") }

func limited(s string, most int) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= most {
		return s
	}
	return task.CutReason(s, most) + "\n\n(The rest is left out.)"
}
