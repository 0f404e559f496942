package slack

import (
	"regexp"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Slack's own marks in a text: <@user>, <#channel|name>, <!word>, <address|label>.
var (
	marks    = regexp.MustCompile(`<([^<>\n]*)>`)
	unescape = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")
	escape   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
)

// plain makes a text of Slack's readable; name gives a user's name.
func plain(s string, name func(user string) string) string {
	s = marks.ReplaceAllStringFunc(s, func(m string) string {
		target, label, labelled := strings.Cut(m[1:len(m)-1], "|")
		switch {
		case strings.HasPrefix(target, "@"):
			if labelled && label != "" {
				return "@" + strings.TrimPrefix(label, "@")
			}
			return "@" + name(target[1:])
		case strings.HasPrefix(target, "#"):
			if labelled && label != "" {
				return "#" + label
			}
			return target
		case strings.HasPrefix(target, "!"):
			if labelled && label != "" {
				return label
			}
			word, _, _ := strings.Cut(target[1:], "^")
			return "@" + word
		case labelled && label != "" && label != target:
			return label + " (" + target + ")"
		}
		return target
	})
	return unescape.Replace(s)
}

// mentions reports whether a text names a user.
func mentions(s, user string) bool {
	return user != "" && (strings.Contains(s, "<@"+user+">") || strings.Contains(s, "<@"+user+"|"))
}

// withoutMention takes the app's own name from where a text begins.
func withoutMention(s, bot string) string {
	s = strings.TrimSpace(s)
	if bot == "" || !strings.HasPrefix(s, "<@"+bot) {
		return s
	}
	if end := strings.IndexByte(s, '>'); end > 0 && mentions(s[:end+1], bot) {
		return strings.TrimSpace(strings.TrimLeft(s[end+1:], " \t,:"))
	}
	return s
}

// toSomebodyElse reports whether a text begins with another one's name.
func toSomebodyElse(s, bot string) bool {
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, "<@") && !strings.HasPrefix(s, "<@"+bot+">") && !strings.HasPrefix(s, "<@"+bot+"|")
}

// firstLine is a title for people.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	line = strings.Join(strings.FieldsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if short := task.CutReason(line, maxTitle); short != line {
		return short + "…"
	}
	return line
}

const maxTitle = 80 // bytes

// Markdown's marks that Slack writes otherwise.
var (
	heading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	bullet  = regexp.MustCompile(`^(\s*)[-*+]\s+`)
	bold    = regexp.MustCompile(`\*\*([^*\n]+)\*\*|__([^_\n]+)__`)
	link    = regexp.MustCompile(`!?\[([^\]\n]*)\]\((https?://[^\s()|&]*(?:&amp;[^\s()|&]*)*)\)`)
)

// mrkdwn writes Markdown as Slack reads it. What would name people or channels,
// or call everybody, is escaped: it is an agent's words.
func mrkdwn(s string) string {
	var out []string
	code := false
	for line := range strings.SplitSeq(escape.Replace(s), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			out = append(out, "```")
			continue
		}
		if !code {
			line = mrkdwnLine(line)
		}
		out = append(out, line)
	}
	if code {
		out = append(out, "```")
	}
	return strings.TrimSpace(strings.Join(out, "\n"))
}

func mrkdwnLine(line string) string {
	if m := heading.FindStringSubmatch(line); m != nil {
		return "*" + strings.Trim(m[1], "*_") + "*"
	}
	line = bullet.ReplaceAllString(line, "$1• ")
	line = bold.ReplaceAllString(line, "*$1$2*")
	return link.ReplaceAllStringFunc(line, func(m string) string {
		parts := link.FindStringSubmatch(m)
		return anchor(parts[2], parts[1])
	})
}

// anchor is a link; both parts are escaped already.
func anchor(address, label string) string {
	label = strings.NewReplacer("|", "¦", "\n", " ").Replace(strings.TrimSpace(label))
	if label == "" || strings.ContainsAny(address, "|> \n") {
		return address
	}
	return "<" + address + "|" + label + ">"
}

// Slack's limits of a message: 3,000 characters in a section, and here so many
// sections that it stays readable.
const (
	maxSection  = 2900 // bytes, so that it is safe
	maxSections = 8
)

// sections cuts a text where lines end.
func sections(s string) []string {
	var out []string
	for s != "" && len(out) < maxSections {
		part := s
		if len(part) > maxSection {
			part = task.CutReason(part, maxSection)
			if i := strings.LastIndexByte(part, '\n'); i > maxSection/2 {
				part = part[:i]
			}
		}
		s = s[len(part):]
		if strings.TrimSpace(part) != "" {
			out = append(out, strings.Trim(part, "\n"))
		}
	}
	if strings.TrimSpace(s) != "" && len(out) > 0 {
		out[len(out)-1] += "\n_… cut; the whole is with the run._"
	}
	return out
}
