package linear

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// node is anything that Linear tells by its ID.
type node struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	// Type is "user" for people, and else what kind of program it is. In
	// webhooks' actors only.
	Type string `json:"type"`
}

func (n *node) id() string {
	if n == nil {
		return ""
	}
	return n.ID
}

func (n *node) name() string {
	switch {
	case n == nil:
		return ""
	case n.DisplayName != "":
		return n.DisplayName
	}
	return n.Name
}

// issue is one as webhooks and the API tell it: each leaves something out.
type issue struct {
	ID          string   `json:"id"`
	Identifier  string   `json:"identifier"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	URL         string   `json:"url"`
	UpdatedAt   string   `json:"updatedAt"`
	Team        *node    `json:"team"`
	Project     *node    `json:"project"`
	State       *node    `json:"state"`
	Assignee    *node    `json:"assignee"`
	Delegate    *node    `json:"delegate"`
	TeamID      string   `json:"teamId"`
	ProjectID   string   `json:"projectId"`
	StateID     string   `json:"stateId"`
	AssigneeID  string   `json:"assigneeId"`
	DelegateID  string   `json:"delegateId"`
	LabelIDs    []string `json:"labelIds"`
	Labels      labels   `json:"labels"`
	Comments    struct {
		Nodes []comment `json:"nodes"`
	} `json:"comments"`
}

// labels come as a list in webhooks, and as a connection from the API.
type labels []node

// UnmarshalJSON implements json.Unmarshaler.
func (l *labels) UnmarshalJSON(data []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		var c struct {
			Nodes []node `json:"nodes"`
		}
		err := json.Unmarshal(data, &c)
		*l = c.Nodes
		return err
	}
	return json.Unmarshal(data, (*[]node)(l))
}

func (i issue) team() string     { return first(i.TeamID, i.Team.id()) }
func (i issue) project() string  { return first(i.ProjectID, i.Project.id()) }
func (i issue) state() string    { return first(i.StateID, i.State.id()) }
func (i issue) assignee() string { return first(i.AssigneeID, i.Assignee.id()) }
func (i issue) delegate() string { return first(i.DelegateID, i.Delegate.id()) }

func (i issue) labelIDs() []string {
	ids := slices.Clone(i.LabelIDs)
	for _, l := range i.Labels {
		ids = append(ids, l.ID)
	}
	return ids
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// comment is one as webhooks and the API tell it.
type comment struct {
	ID        string          `json:"id"`
	Body      string          `json:"body"`
	UserID    string          `json:"userId"`
	User      *node           `json:"user"`
	BotActor  json.RawMessage `json:"botActor"` // an object, or a text that holds one
	IssueID   string          `json:"issueId"`
	Issue     *issue          `json:"issue"`
	ParentID  string          `json:"parentId"`
	CreatedAt time.Time       `json:"createdAt"`
}

func (c comment) bot() bool {
	return len(c.BotActor) > 0 && string(c.BotActor) != "null" && string(c.BotActor) != `""`
}

// payload is the body of a webhook.
type payload struct {
	Type        string                     `json:"type"`
	Action      string                     `json:"action"`
	URL         string                     `json:"url"`
	Actor       *node                      `json:"actor"`
	Data        json.RawMessage            `json:"data"`
	UpdatedFrom map[string]json.RawMessage `json:"updatedFrom"`

	AgentSession  *session  `json:"agentSession"`
	AgentActivity *activity `json:"agentActivity"`
	PromptContext string    `json:"promptContext"`
}

type session struct {
	ID        string   `json:"id"`
	IssueID   string   `json:"issueId"`
	Issue     *issue   `json:"issue"`
	Comment   *comment `json:"comment"`
	CreatorID string   `json:"creatorId"`
	Creator   *node    `json:"creator"`
	URL       string   `json:"url"`
}

type activity struct {
	ID      string `json:"id"`
	Body    string `json:"body"`
	Content struct {
		Type string `json:"type"`
		Body string `json:"body"`
	} `json:"content"`
	Signal string `json:"signal"`
	UserID string `json:"userId"`
	User   *node  `json:"user"`
}

// event is what a webhook tells, if it counts at all.
type event struct {
	kinds []Kind
	issue issue
	added []string // labels
	// text is what somebody wrote, who.
	text    string
	account string
	name    string
	bot     bool
	// session is where to answer, or else the comment that the answer belongs
	// below.
	session, thread string
	follow          bool // goes on with a session
	stop            bool // asks to stop
	url             string
}

// parse reads a webhook's body. reason says why it does not count; it fails
// when it is not one of Linear's.
func parse(body []byte) (e event, reason string, err error) {
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return e, "", task.Invalid("body", "is not what Linear sends: %w", err)
	}
	if p.Type == "" || p.Action == "" {
		return e, "", task.Invalid("body", "is not what Linear sends: it has no type or no action")
	}
	switch {
	case p.Type == "AgentSessionEvent":
		return p.session()
	case p.Type == "Issue" && (p.Action == "create" || p.Action == "update"):
		return p.issue()
	case p.Type == "Comment" && p.Action == "create":
		return p.comment()
	}
	return e, "nothing starts at " + label(p.Type, p.Action), nil
}

func label(kind, action string) string {
	return task.CutReason(strings.ToValidUTF8(kind+"."+action, ""), task.MaxDeliveryEvent)
}

func (p payload) session() (e event, reason string, err error) {
	s := p.AgentSession
	if s == nil || s.ID == "" {
		return e, "", task.Invalid("body.agentSession", "is missing")
	}
	e = event{kinds: []Kind{AgentSession}, session: s.ID, account: first(s.CreatorID, s.Creator.id()), name: s.Creator.name(), url: s.URL}
	if s.Issue != nil {
		e.issue = *s.Issue
	}
	e.issue.ID = first(e.issue.ID, s.IssueID)
	if e.issue.ID == "" {
		return e, "the agent session is about no issue", nil
	}
	switch p.Action {
	case "created":
		e.text = e.issue.Description
		if s.Comment != nil && s.Comment.Body != "" {
			e.text = s.Comment.Body
		}
	case "prompted":
		a := p.AgentActivity
		if a == nil {
			return e, "", task.Invalid("body.agentActivity", "is missing")
		}
		e.follow, e.stop, e.text = true, a.Signal == "stop", first(a.Content.Body, a.Body)
		if id := first(a.UserID, a.User.id()); id != "" {
			e.account, e.name = id, a.User.name()
		}
	default:
		return e, "nothing starts at " + label(p.Type, p.Action), nil
	}
	e.url = first(e.url, e.issue.URL)
	return e, "", nil
}

func (p payload) issue() (e event, reason string, err error) {
	if err := json.Unmarshal(p.Data, &e.issue); err != nil || e.issue.ID == "" {
		return e, "", task.Invalid("body.data", "is no issue")
	}
	e.text, e.url = e.issue.Description, first(p.URL, e.issue.URL)
	e.actor(p.Actor)
	if p.Action == "create" {
		e.kinds, e.added = []Kind{IssueCreated}, e.issue.labelIDs()
		if e.issue.assignee() != "" || e.issue.delegate() != "" {
			e.kinds = append(e.kinds, IssueAssigned)
		}
		if len(e.added) > 0 {
			e.kinds = append(e.kinds, IssueLabeled)
		}
		return e, "", nil
	}
	if e.added = p.addedLabels(e.issue); len(e.added) > 0 {
		e.kinds = append(e.kinds, IssueLabeled)
	}
	if p.changed("stateId") {
		e.kinds = append(e.kinds, IssueStateChanged)
	}
	if p.changed("assigneeId") && e.issue.assignee() != "" || p.changed("delegateId") && e.issue.delegate() != "" {
		e.kinds = append(e.kinds, IssueAssigned)
		e.issue = p.onlyNew(e.issue)
	}
	if len(e.kinds) == 0 {
		return e, "nothing starts at this change of an issue", nil
	}
	return e, "", nil
}

func (p payload) changed(field string) bool { _, ok := p.UpdatedFrom[field]; return ok }

// onlyNew forgets who had the issue before: they did not get it now.
func (p payload) onlyNew(i issue) issue {
	if !p.changed("assigneeId") {
		i.AssigneeID, i.Assignee = "", nil
	}
	if !p.changed("delegateId") {
		i.DelegateID, i.Delegate = "", nil
	}
	return i
}

// addedLabels are those that the issue did not have before.
func (p payload) addedLabels(i issue) (added []string) {
	raw, ok := p.UpdatedFrom["labelIds"]
	if !ok {
		return nil
	}
	var before []string
	if json.Unmarshal(raw, &before) != nil {
		return nil
	}
	for _, id := range i.labelIDs() {
		if !slices.Contains(before, id) && !slices.Contains(added, id) {
			added = append(added, id)
		}
	}
	return added
}

func (p payload) comment() (e event, reason string, err error) {
	var c comment
	if err := json.Unmarshal(p.Data, &c); err != nil || c.ID == "" {
		return e, "", task.Invalid("body.data", "is no comment")
	}
	if c.Issue != nil {
		e.issue = *c.Issue
	}
	if e.issue.ID = first(e.issue.ID, c.IssueID); e.issue.ID == "" {
		return e, "the comment is not about an issue", nil
	}
	e.kinds, e.text, e.url, e.thread = []Kind{CommentCreated}, c.Body, first(p.URL, e.issue.URL), first(c.ParentID, c.ID)
	e.actor(p.Actor)
	if c.UserID != "" {
		e.account = c.UserID
	}
	if n := c.User.name(); n != "" {
		e.name = n
	}
	e.bot = e.bot || c.bot() || e.account == ""
	return e, "", nil
}

// actor is who did it: without a person it was a program.
func (e *event) actor(a *node) {
	e.account, e.name = a.id(), a.name()
	e.bot = a == nil || a.ID == "" || a.Type != "" && !strings.EqualFold(a.Type, "user")
}

// keyOf names an event by what Linear signs: its headers can be changed by
// whoever sends a body again.
func keyOf(body []byte) string {
	var p payload
	var d struct {
		ID        string `json:"id"`
		UpdatedAt string `json:"updatedAt"`
	}
	if json.Unmarshal(body, &p) == nil {
		_ = json.Unmarshal(p.Data, &d)
	}
	parts := []string{p.Type, p.Action, d.ID}
	switch {
	case p.Action == "update" && d.ID != "" && len(p.UpdatedFrom) > 0:
		from, err := json.Marshal(p.UpdatedFrom)
		if err == nil {
			parts = append(parts, d.UpdatedAt, string(from))
		}
	case p.Action == "create" && d.ID != "":
	case p.AgentActivity != nil && p.AgentActivity.ID != "":
		parts = append(parts, p.AgentActivity.ID)
	case p.Action == "created" && p.AgentSession != nil && p.AgentSession.ID != "":
		parts = append(parts, p.AgentSession.ID)
	default:
		parts = append(parts, string(body))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// code is what is not said but shown: names in it call nobody (Oz platform,
// AUT-3).
var code = regexp.MustCompile("(?s)(?:```.*?(?:```|$)|~~~.*?(?:~~~|$)|``.*?``|`[^`\n]*`)")

// names reports whether a text mentions somebody by the name that Linear gives
// them, as @name or with the address of their profile.
func names(text, displayName string) bool {
	if displayName == "" {
		return false
	}
	text = code.ReplaceAllString(text, " ")
	name := regexp.QuoteMeta(displayName)
	re, err := regexp.Compile(`(?i)(?:^|[^\pL\pN_@./-])@` + name + `(?:$|[^\pL\pN_@-])|/profiles/` + name + `(?:$|[^\pL\pN_@.-])`)
	return err == nil && re.MatchString(text)
}

// eventName is the kind of an event, for people.
func eventName(body []byte, e event) string {
	if len(e.kinds) > 0 && e.kinds[0] != AgentSession && e.kinds[0] != CommentCreated {
		return string(e.kinds[0])
	}
	var p payload
	if json.Unmarshal(body, &p) != nil {
		return ""
	}
	return label(p.Type, p.Action)
}
