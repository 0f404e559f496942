// Package forge is what the services have in common that keep repositories and
// talk about them: who is mentioned, who may start what, and what is said there
// of a run.
package forge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// MarkStart begins every comment of ours. People do not see it.
const MarkStart = "<!-- oz:"

// Mark is how a comment is found again.
func Mark(key string) string {
	sum := sha256.Sum256([]byte(key))
	return MarkStart + hex.EncodeToString(sum[:16]) + " -->"
}

// Stamp is the first line of a status comment: its mark, and as of which event
// of the run it tells, so that what is told late does not replace what is newer.
func Stamp(mark string, event int64) string { return fmt.Sprintf("%s<!-- %d -->", mark, event) }

// Newer reports that a comment of ours with a mark tells of a later event.
func Newer(body, mark string, event int64) bool {
	line, _, _ := strings.Cut(body, "\n")
	var has int64
	_, err := fmt.Sscanf(strings.TrimPrefix(line, mark), "<!-- %d -->", &has)
	return err == nil && has > event
}

// Words are what is told of some news.
type Words struct {
	// Nod says that somebody was heard.
	Nod bool
	// Status replaces what the one comment about the run said; Comment is one
	// that stays. Empty for none. Both are Markdown.
	Status, Comment string
	// State is what the run does now; empty when the news tell nothing of it.
	State task.State
}

// Tell gives the words for news of a run with a page, "" for none; request is
// what the forge calls a pull request.
func Tell(n trigger.News, page, request string) Words {
	var w Words
	switch n.Type {
	case trigger.NewsStarted:
		w = Words{Nod: true, Status: "**Started.** The agent begins as soon as there is room for it.", State: task.StateQueued}
	case trigger.NewsContinued:
		w = Words{Nod: true, Status: "**Working on it.** The agent was told what was written last.", State: task.StateQueued}
	case trigger.NewsSignal:
		w = ofSignal(n, page, request)
	case trigger.NewsNote:
		return Words{Comment: joined("A note from the run:", Quoted(Harmless(n.Note)))}
	case trigger.NewsProgress:
		if n.Task.State == task.StateInProgress { // else the status says what has happened since
			w = Words{Status: "**Working on it.**"}
		}
	}
	if late := n.Type == trigger.NewsStarted && n.Task.State == task.StateInProgress || n.Type != trigger.NewsSignal && n.Task.State.Ended(); late {
		w = Words{Nod: w.Nod} // who decided it died before this could be told, and the signals have told more since
	}
	if w.Status != "" && page != "" {
		w.Status += fmt.Sprintf(" [Follow the run](%s).", page)
	}
	if w.Status != "" {
		w.Status = joined(w.Status, checklist(n.Progress))
	}
	return w
}

// ofSignal tells how a run goes on.
func ofSignal(n trigger.News, page, request string) Words {
	t := n.Task
	state, ok := n.Signal.Type.State()
	if !ok {
		return Words{}
	}
	var st task.Status
	if t.State == state { // else the run is elsewhere by now, and what it says is of that
		st = t.Status
	}
	w, link := Words{State: state}, ""
	if page != "" {
		link = fmt.Sprintf("[The run](%s)", page)
	}
	switch state {
	case task.StateInProgress:
		w.Status = "**Working on it.**"
	case task.StateSucceeded:
		w.Status = "**Done.**"
		w.Comment = joined(orElse(Harmless(st.Message), "The run succeeded."), results(t, request), link)
	case task.StateBlocked:
		w.Status = "**Waiting for an answer.**"
		w.Comment = joined("The agent needs an answer before it goes on. Write it here, and mention me.", question(st), results(t, request), link)
	case task.StateFailed, task.StateError:
		code, advice := "", ""
		if st.ErrorCode != "" {
			code = fmt.Sprintf(" (`%s`)", st.ErrorCode)
		}
		if st.Retryable {
			advice = "The same may work later: mention me again."
		}
		w.Status = "**Failed**" + code + "."
		w.Comment = joined("The run failed"+code+".", Quoted(Harmless(st.Message)), advice, results(t, request), link)
	case task.StateCancelled:
		w.Status = "**Cancelled.**"
	}
	return w
}

// checklist is the task list of a run; empty when it has none.
func checklist(p trigger.Progress) string {
	if p.All == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d done:\n", p.Done, p.All)
	for _, t := range p.Items {
		box := "[ ]"
		if t.Done {
			box = "[x]"
		}
		fmt.Fprintf(&b, "\n- %s %s", box, Harmless(t.Title))
	}
	if more := p.All - len(p.Items); more > 0 {
		fmt.Fprintf(&b, "\n- and %d more", more)
	}
	return b.String()
}

// results lists the pull requests and branches that a run has made.
func results(t task.Task, request string) string {
	var b strings.Builder
	for _, a := range t.Artifacts {
		switch {
		case a.Type == task.ArtifactPullRequest:
			fmt.Fprintf(&b, "- %s: %s\n", request, a.URL)
		case a.Type == task.ArtifactReference && a.ReferenceType == "git_branch":
			fmt.Fprintf(&b, "- Branch: %s\n", orElse(a.URL, a.Branch))
		}
	}
	return b.String()
}

func question(st task.Status) string {
	if st.Question == nil {
		return Quoted(Harmless(st.Message))
	}
	text := Quoted(Harmless(st.Question.Text))
	for _, c := range st.Question.Choices {
		text += "\n- " + Harmless(c)
	}
	return text
}

// Quoted is a text as a quotation in Markdown.
func Quoted(text string) string {
	if text == "" {
		return ""
	}
	return "> " + strings.ReplaceAll(text, "\n", "\n> ")
}

func orElse(text, other string) string {
	if strings.TrimSpace(text) == "" {
		return other
	}
	return text
}

// joined makes paragraphs of what there is.
func joined(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "\n\n")
}

// Harmless keeps what an agent says from calling people: it may have read their
// names anywhere. It also takes its comments away, among which ours would hide.
func Harmless(text string) string {
	text = strings.ReplaceAll(text, "<!--", "&lt;!--")
	return strings.ReplaceAll(text, "@", "@\u2060")
}

// MaxTitle bounds the title of a run.
const MaxTitle = 200 // bytes

// Title makes what is written at a forge the title of a run: one line, cut.
func Title(text string) string {
	blank := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	return task.CutReason(strings.Join(strings.FieldsFunc(text, blank), " "), MaxTitle)
}

// Cut shortens a text to so many bytes and says so.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const note = "\n[... cut here]"
	return task.CutReason(s, most-len(note)) + note
}

// Unlinked is what somebody is told whose account nobody here has linked. link
// is empty where strangers would read it.
func Unlinked(forge, name, link string) string {
	text := fmt.Sprintf("@%s, your %s account is not linked to a member of the team that I work for, so I may start nothing for you.", name, forge)
	if link == "" {
		return text + " Ask an administrator of the team for a link, and then ask again."
	}
	return text + fmt.Sprintf(" [Link it here](%s) within a day, and ask again. The link is for @%s alone: nobody else should open it.", link, name)
}
