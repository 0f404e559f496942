package rules

import (
	"fmt"
	"slices"
	"strings"
)

// minPart is the least of a rule that is worth telling, in bytes.
const minPart = 1 << 10

// Compose writes what an agent is told of rules, and gives those of which it
// is told, as far as it is. Rules come in the order of their strength, the
// weakest first; for want of room the weakest give way. It is "" for none.
func Compose(list []Rule) (text string, used []Rule) {
	left := MaxTotalBytes
	for _, r := range slices.Backward(list) {
		if r.Text == "" {
			continue
		}
		if len(r.Text) > left {
			if left < minPart {
				break
			}
			r.Text, r.Cut = strings.ToValidUTF8(r.Text[:left], ""), true
		}
		left -= len(r.Text)
		used = append(used, r)
	}
	if len(used) == 0 {
		return "", nil
	}
	slices.Reverse(used)
	var out strings.Builder
	out.WriteString("Rules that your work must follow. Where two disagree, the later one counts. The rules of a directory are for the files below it.\n")
	for _, r := range used {
		out.WriteByte('\n')
		out.WriteString(r.Section())
	}
	return out.String(), used
}

// Section is what an agent is told of one rule.
func (r Rule) Section() string {
	head := "Project rules from " + r.Path
	if r.Path == "" {
		head = "Rule " + r.Name
	}
	if r.Cut {
		return fmt.Sprintf("%s\n%s\n[The rest is left out: it has %d bytes.]\n", head, r.Text, r.SizeBytes)
	}
	return head + "\n" + r.Text + "\n"
}
