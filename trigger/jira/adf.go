package jira

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// Bounds of a document that is read.
const (
	maxDepth = 60
	maxRead  = 512 << 10 // bytes of text
)

// node is one of the Atlassian Document Format.
type node struct {
	Type    string          `json:"type"`
	Text    string          `json:"text,omitempty"`
	Attrs   json.RawMessage `json:"attrs,omitempty"`
	Marks   []node          `json:"marks,omitempty"`
	Content []node          `json:"content,omitempty"`
	Version int             `json:"version,omitempty"` // of the outermost
}

// Text reads a document as Markdown. A text in quotes is itself; what cannot be
// read is nothing.
func Text(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n node
	if json.Unmarshal(raw, &n) != nil {
		return ""
	}
	var r reader
	r.blocks(n.Content, "", 0)
	return strings.ToValidUTF8(strings.TrimSpace(r.b.String()), "")
}

// reader writes Markdown.
type reader struct{ b strings.Builder }

func (r *reader) full(depth int) bool { return depth > maxDepth || r.b.Len() > maxRead }

// blocks writes nodes that stand below each other. indent begins each line but
// the first of each.
func (r *reader) blocks(list []node, indent string, depth int) {
	for i, n := range list {
		if r.full(depth) {
			return
		}
		if i > 0 {
			r.b.WriteString("\n" + indent)
			if depth == 0 || n.Type != "bulletList" && n.Type != "orderedList" { // lists within lists stand close
				r.b.WriteString("\n" + indent)
			}
		}
		r.block(n, indent, depth)
	}
}

func (r *reader) block(n node, indent string, depth int) {
	var a struct {
		Level    int    `json:"level"`
		Language string `json:"language"`
		Title    string `json:"title"`
	}
	_ = json.Unmarshal(n.Attrs, &a) // what is missing has a default
	switch n.Type {
	case "heading":
		r.b.WriteString(strings.Repeat("#", min(max(a.Level, 1), 6)) + " ")
		r.inline(n.Content, depth)
	case "codeBlock":
		r.b.WriteString("```" + strings.Join(strings.Fields(a.Language), "") + "\n" + indent)
		for _, c := range n.Content {
			r.b.WriteString(strings.ReplaceAll(c.Text, "\n", "\n"+indent))
		}
		r.b.WriteString("\n" + indent + "```")
	case "bulletList", "orderedList", "taskList", "decisionList":
		r.list(n, indent, depth)
	case "blockquote":
		r.b.WriteString("> ")
		r.blocks(n.Content, indent+"> ", depth+1)
	case "rule":
		r.b.WriteString("---")
	case "table":
		r.table(n, indent, depth)
	case "paragraph", "caption":
		r.inline(n.Content, depth)
	case "expand", "nestedExpand":
		r.b.WriteString(a.Title + "\n" + indent)
		r.blocks(n.Content, indent, depth+1)
	case "text", "hardBreak", "mention", "emoji", "inlineCard", "date", "status", "media", "blockCard", "embedCard", "mediaInline":
		r.inline([]node{n}, depth)
	default: // panels, layouts and what comes after this was written
		r.blocks(n.Content, indent, depth+1)
	}
}

func (r *reader) list(n node, indent string, depth int) {
	for i, item := range n.Content {
		if r.full(depth) {
			return
		}
		if i > 0 {
			r.b.WriteString("\n" + indent)
		}
		mark := "- "
		switch n.Type {
		case "orderedList":
			mark = fmt.Sprintf("%d. ", i+1)
		case "taskList":
			var a struct {
				State string `json:"state"`
			}
			_ = json.Unmarshal(item.Attrs, &a)
			if mark = "- [ ] "; a.State == "DONE" {
				mark = "- [x] "
			}
		}
		r.b.WriteString(mark)
		if n.Type == "taskList" || n.Type == "decisionList" {
			r.inline(item.Content, depth+1)
			continue
		}
		r.blocks(item.Content, indent+strings.Repeat(" ", len(mark)), depth+1)
	}
}

func (r *reader) table(n node, indent string, depth int) {
	for i, row := range n.Content {
		if i > 0 {
			r.b.WriteString("\n" + indent)
		}
		for _, cell := range row.Content {
			if r.full(depth) {
				return
			}
			var c reader
			c.blocks(cell.Content, "", depth+2)
			r.b.WriteString("| " + strings.Join(strings.Fields(c.b.String()), " ") + " ")
		}
		r.b.WriteString("|")
	}
}

// inline writes nodes that stand beside each other.
func (r *reader) inline(list []node, depth int) {
	for _, n := range list {
		if r.full(depth) {
			return
		}
		var a struct {
			Text      string `json:"text"`
			ShortName string `json:"shortName"`
			URL       string `json:"url"`
			Alt       string `json:"alt"`
			Timestamp string `json:"timestamp"`
		}
		_ = json.Unmarshal(n.Attrs, &a)
		switch n.Type {
		case "text":
			r.b.WriteString(marked(n))
		case "hardBreak":
			r.b.WriteString("\n")
		case "mention", "status":
			r.b.WriteString(a.Text)
		case "emoji":
			r.b.WriteString(orElse(a.Text, a.ShortName))
		case "inlineCard", "blockCard", "embedCard":
			r.b.WriteString(a.URL)
		case "media", "mediaInline":
			r.b.WriteString("[image " + orElse(a.Alt, "without a name") + "]")
		case "date":
			r.b.WriteString(a.Timestamp)
		default:
			r.inline(n.Content, depth+1)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func marked(n node) string {
	text := n.Text
	for _, m := range n.Marks {
		switch m.Type {
		case "code":
			text = "`" + text + "`"
		case "strong":
			text = "**" + text + "**"
		case "em":
			text = "*" + text + "*"
		case "strike":
			text = "~~" + text + "~~"
		case "link":
			var a struct {
				Href string `json:"href"`
			}
			_ = json.Unmarshal(m.Attrs, &a)
			if a.Href != text {
				text = "[" + text + "](" + a.Href + ")"
			}
		}
	}
	return text
}

// document writes an answer.
func document(a tracker.Answer) node {
	doc := node{Type: "doc", Version: 1, Content: textBlocks(a.Text)}
	if len(a.Choices) > 0 {
		doc.Content = append(doc.Content, bullets(a.Choices))
	}
	if head, lines := a.Checklist(); len(lines) > 0 {
		doc.Content = append(doc.Content, paragraph(head), bullets(lines))
	}
	for _, p := range a.Pulls {
		doc.Content = append(doc.Content, node{Type: "paragraph", Content: []node{{Type: "text", Text: "Pull request: "}, link(p, p)}})
	}
	if a.Page != "" {
		doc.Content = append(doc.Content, node{Type: "paragraph", Content: []node{link("Open the run", a.Page)}})
	}
	return doc
}

func bullets(lines []string) node {
	list := node{Type: "bulletList"}
	for _, l := range lines {
		list.Content = append(list.Content, node{Type: "listItem", Content: []node{paragraph(orElse(strings.TrimSpace(l), "-"))}})
	}
	return list
}

func link(text, href string) node {
	attrs, err := json.Marshal(map[string]string{"href": href})
	if err != nil {
		return node{Type: "text", Text: text}
	}
	return node{Type: "text", Text: text, Marks: []node{{Type: "link", Attrs: attrs}}}
}

// textBlocks keeps paragraphs, lines and fenced code of a text; the rest of its
// Markdown stands as it is.
func textBlocks(s string) (list []node) {
	var lines []string
	fenced := false
	flush := func() {
		text := strings.Join(lines, "\n")
		lines = nil
		switch {
		case strings.TrimSpace(text) == "":
		case fenced:
			list = append(list, node{Type: "codeBlock", Content: []node{{Type: "text", Text: text}}})
		default:
			list = append(list, paragraph(text))
		}
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			flush()
			fenced = !fenced
		case !fenced && strings.TrimSpace(line) == "":
			flush()
		default:
			lines = append(lines, line)
		}
	}
	flush()
	if len(list) == 0 {
		list = []node{paragraph("-")}
	}
	return list
}

func paragraph(text string) node {
	p := node{Type: "paragraph"}
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			p.Content = append(p.Content, node{Type: "hardBreak"})
		}
		if line != "" {
			p.Content = append(p.Content, node{Type: "text", Text: line})
		}
	}
	return p
}
