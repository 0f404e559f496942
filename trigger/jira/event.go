package jira

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// account is one of Atlassian's.
type account struct {
	AccountID   string `json:"accountId"`
	AccountType string `json:"accountType"` // atlassian, app or customer
	DisplayName string `json:"displayName"`
}

// payload is the body of a webhook.
type payload struct {
	Event     string    `json:"webhookEvent"`
	Timestamp int64     `json:"timestamp"` // of the event, in milliseconds since 1970
	User      *account  `json:"user"`
	Issue     *wireItem `json:"issue"`
	Changelog *struct {
		ID    string `json:"id"`
		Items []struct {
			Field string `json:"field"`
			From  string `json:"fromString"`
			To    string `json:"toString"`
		} `json:"items"`
	} `json:"changelog"`
	Comment *struct {
		ID     string          `json:"id"`
		Body   json.RawMessage `json:"body"` // wiki markup in quotes, or a document
		Author *account        `json:"author"`
	} `json:"comment"`
}

// wireItem is an issue in webhooks.
type wireItem struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Fields struct {
		Labels  []string `json:"labels"`
		Project struct {
			Key string `json:"key"`
		} `json:"project"`
	} `json:"fields"`
}

func (i wireItem) project() string {
	if i.Fields.Project.Key != "" {
		return i.Fields.Project.Key
	}
	project, _, _ := strings.Cut(i.Key, "-")
	return project
}

// event is what a webhook tells.
type event struct {
	issue, key, project string
	labels              []string // that were added
	comment             string   // what was said
	who                 account
	at                  int64
}

// parse reads a webhook's body. reason says why it does not count; it fails
// when it is not one of Jira's.
func parse(body []byte) (e event, reason string, err error) {
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return e, "", task.Invalid("body", "is not what Jira sends: %w", err)
	}
	if p.Event == "" {
		return e, "", task.Invalid("body.webhookEvent", "is missing")
	}
	e.at = p.Timestamp
	switch p.Event {
	case "jira:issue_created", "jira:issue_updated", "comment_created":
	default:
		return e, "nothing starts at " + eventName(p.Event), nil
	}
	if p.Issue == nil || p.Issue.ID == "" || p.Issue.Key == "" || len(p.Issue.ID)+len(p.Issue.Key) > 200 {
		return e, "", task.Invalid("body.issue", "is missing, or has no id and key")
	}
	e.issue, e.key, e.project = p.Issue.ID, p.Issue.Key, p.Issue.project()
	if p.Event == "comment_created" {
		if p.Comment == nil || p.Comment.ID == "" {
			return e, "", task.Invalid("body.comment", "is missing")
		}
		e.comment = Text(p.Comment.Body)
		if mentions := mentionsIn(p.Comment.Body); mentions != "" {
			e.comment += "\n" + mentions
		}
		if p.Comment.Author != nil {
			e.who = *p.Comment.Author
		}
		return e, "", nil
	}
	if p.User != nil {
		e.who = *p.User
	}
	e.labels = p.added()
	if len(e.labels) == 0 {
		return e, "no label was added", nil
	}
	return e, "", nil
}

// added are the labels that the issue did not have before.
func (p payload) added() (added []string) {
	if p.Event == "jira:issue_created" {
		return p.Issue.Fields.Labels
	}
	if p.Changelog == nil {
		return nil
	}
	for _, item := range p.Changelog.Items {
		if item.Field != "labels" {
			continue
		}
		before := strings.Fields(item.From)
		for _, l := range strings.Fields(item.To) {
			if !slices.Contains(before, l) {
				added = append(added, l)
			}
		}
	}
	return added
}

// mentionsIn writes the mentions of a document as wiki markup does.
func mentionsIn(raw json.RawMessage) string {
	var n node
	if !strings.HasPrefix(strings.TrimSpace(string(raw)), "{") || json.Unmarshal(raw, &n) != nil {
		return ""
	}
	var b strings.Builder
	var walk func(n node, depth int)
	walk = func(n node, depth int) {
		var a struct {
			ID string `json:"id"`
		}
		if n.Type == "mention" && json.Unmarshal(n.Attrs, &a) == nil && a.ID != "" {
			b.WriteString(mention(a.ID))
		}
		for _, c := range n.Content {
			if depth < maxDepth {
				walk(c, depth+1)
			}
		}
	}
	walk(n, 0)
	return b.String()
}

// mention is how wiki markup names an account.
func mention(id string) string { return "[~accountid:" + id + "]" }

func (a account) bot() bool { return a.AccountID == "" || a.AccountType == "app" }

// keyOf names an event by what is signed.
func keyOf(body []byte) string {
	var p payload
	text := string(body)
	if json.Unmarshal(body, &p) == nil && p.Issue != nil && p.Issue.ID != "" {
		switch {
		case p.Event == "jira:issue_created":
			text = p.Event + "\x00" + p.Issue.ID
		case p.Event == "jira:issue_updated" && p.Changelog != nil && p.Changelog.ID != "":
			text = p.Event + "\x00" + p.Issue.ID + "\x00" + p.Changelog.ID
		case p.Event == "comment_created" && p.Comment != nil && p.Comment.ID != "":
			text = p.Event + "\x00" + p.Issue.ID + "\x00" + p.Comment.ID
		}
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func eventName(s string) string {
	return task.CutReason(strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", ""), task.MaxDeliveryEvent)
}
