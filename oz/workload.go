package oz

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access/workload"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of identity tokens; ours.
const (
	maxAudience = 1024 // bytes
	// maxIdentityTokens bounds what one execution may ask one server for: each is
	// a secret that its redactor has to know, beside the run's own (see
	// secrets.Options). Two clouds for five days are 480.
	maxIdentityTokens = 500
)

// IdentityPath is where below the API the issuer of identity tokens is, when
// Options.IdentityIssuer names no other address.
const IdentityPath = "/oz/identity"

// subjectParts are what a subject can be made of (oz federate issue-token).
var subjectParts = []string{"principal", "scoped_principal", "email", "teams", "environment", "agent_name", "skill_spec", "run_id", "host"}

// IdentityIssuer is the address of the issuer of identity tokens, which clouds
// are told to trust. It is empty where the platform cannot be one.
func (p *Platform) IdentityIssuer() string {
	switch {
	case p.issuer == nil:
		return ""
	case p.opts.IdentityIssuer != "":
		return strings.TrimRight(p.opts.IdentityIssuer, "/")
	case p.opts.PublicURL != "":
		return strings.TrimRight(p.opts.PublicURL, "/") + "/api/v1" + IdentityPath
	}
	return ""
}

// IdentityKeys are the public keys of the identity tokens. It fails with
// task.CodeFeatureNotAvailable where the platform issues none.
func (p *Platform) IdentityKeys(ctx context.Context) (workload.KeySet, error) {
	if err := p.issues(); err != nil {
		return workload.KeySet{}, err
	}
	return p.issuer.Keys(ctx)
}

// issues fails unless the platform issues identity tokens.
func (p *Platform) issues() error {
	switch {
	case p.issuer == nil:
		return notBuilt("", "a store for secrets, so that it could keep keys for identity tokens", "give it one (Options.Sealed)")
	case p.IdentityIssuer() == "":
		return notBuilt("", "an address at which others fetch the keys of identity tokens", "set its public URL (public_url of ozd, Options.PublicURL)")
	}
	return nil
}

// claims are what an identity token says (Oz platform, cloud providers).
type claims struct {
	Issuer      string   `json:"iss"`
	Audience    string   `json:"aud"`
	Subject     string   `json:"sub"`
	IssuedAt    int64    `json:"iat"`
	NotBefore   int64    `json:"nbf"`
	ExpiresAt   int64    `json:"exp"`
	ID          string   `json:"jti"`
	Teams       []string `json:"teams"`
	Email       string   `json:"email,omitempty"`
	RunID       task.ID  `json:"run_id"`
	Environment string   `json:"environment,omitempty"`
	AgentName   string   `json:"agent_name,omitempty"`
	SkillSpec   string   `json:"skill_spec,omitempty"`
	Host        string   `json:"host"`
	// One of them is the uid of whom the run acts as.
	User           string `json:"user,omitempty"`
	ServiceAccount string `json:"service_account,omitempty"`
}

var _ executor.Identifier = (*link)(nil)

// IdentityToken implements executor.Identifier. What is issued stands in the
// run's log, but for the token.
func (l *link) IdentityToken(ctx context.Context, r executor.IdentityRequest) (executor.IdentityToken, error) {
	none := executor.IdentityToken{}
	e, err := l.execution(ctx)
	if err != nil {
		return none, err
	}
	if err := l.p.issues(); err != nil {
		return none, err
	}
	life, err := checkIdentity(r)
	if err != nil {
		return none, err
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil {
		return none, err
	}
	if t.Untrusted {
		return none, task.Errorf(task.CodeNotAuthorized, "nobody vouches for what made this run, so that it gets no identity token")
	}
	c := l.p.claims(t, e)
	c.Audience = r.Audience
	if c.Subject, err = c.subject(t, r.Subject); err != nil {
		return none, err
	}
	redactor, err := l.p.redactor(ctx, e)
	if err != nil {
		return none, err
	}
	if names := redactor.Contains([]byte(r.Audience)); len(names) > 0 { // the token and the log would show it
		return none, task.Invalid("audience", "contains the value of the secret %s", strings.Join(names, ", "))
	}
	now := l.p.opts.Clock.Now().UTC().Truncate(time.Second)
	until := now.Add(life)
	c.IssuedAt, c.NotBefore, c.ExpiresAt = now.Unix(), now.Unix(), until.Unix()
	if !l.p.fences.issue(e.ID) {
		return none, task.Errorf(task.CodeResourceUnavailable, "the run has asked for %d identity tokens: keep one until it is over", maxIdentityTokens)
	}
	token, err := l.p.issuer.Sign(ctx, c)
	if err != nil {
		return none, err
	}
	if err := redactor.Add("identity-token", token); err != nil {
		return none, err
	}
	notice := fmt.Sprintf("An identity token for %s was issued, as %s, until %s.", r.Audience, c.Subject, until.Format(time.RFC3339))
	if _, err := l.p.store.Do(ctx, l.id, task.Log{Payloads: []task.Payload{&task.Notice{Text: redactor.String(notice)}}}); err != nil {
		return none, err
	}
	return executor.IdentityToken{Token: executor.Sensitive(token), Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ExpiresAt: until}, nil
}

// checkIdentity judges what is asked for.
func checkIdentity(r executor.IdentityRequest) (life time.Duration, err error) {
	odd := func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) }
	switch {
	case r.Audience == "":
		return 0, task.Invalid("audience", "must name the service that the token is for")
	case len(r.Audience) > maxAudience:
		return 0, task.Invalid("audience", "has %d bytes, at most %d are allowed", len(r.Audience), maxAudience)
	case !utf8.ValidString(r.Audience) || strings.ContainsFunc(r.Audience, odd):
		return 0, task.Invalid("audience", "must be UTF-8 without spaces and control characters")
	}
	least, most := int(workload.MinLife/time.Second), int(workload.MaxLife/time.Second)
	if r.DurationSeconds != 0 && (r.DurationSeconds < least || r.DurationSeconds > most) {
		return 0, task.Invalid("duration_seconds", "is %d, it must be between %d (5 minutes) and %d (3 hours)", r.DurationSeconds, least, most)
	}
	for i, part := range r.Subject {
		switch {
		case !slices.Contains(subjectParts, part):
			return 0, task.Invalid(fmt.Sprintf("subject_template[%d]", i), "%.50q is none of %s", part, strings.Join(subjectParts, ", "))
		case slices.Index(r.Subject, part) != i:
			return 0, task.Invalid(fmt.Sprintf("subject_template[%d]", i), "%q stands there twice", part)
		}
	}
	return cmp.Or(time.Duration(r.DurationSeconds)*time.Second, workload.DefaultLife), nil
}

// claims are those of a run, but for what its request says.
func (p *Platform) claims(t task.Task, e task.Execution) claims {
	c := claims{Issuer: p.IdentityIssuer(), ID: uuid.NewString(), RunID: t.ID, Environment: t.Config.EnvironmentID, AgentName: t.Config.Name,
		Host: e.Worker, Teams: []string{}}
	if _, id, joined := strings.Cut(e.Worker, "/"); joined { // the team that it serves, its id, and which of that id it is
		c.Host, _, _ = strings.Cut(id, "/")
	}
	if t.Owner.Type == task.ScopeTeam {
		c.Teams = append(c.Teams, t.Owner.UID)
	}
	if t.Skill != nil {
		c.SkillSpec = cmp.Or(t.Skill.Path, t.Skill.Name)
	}
	who := principalOf(t)
	if who.IsPerson() {
		c.User, c.Email = who.UID, who.Email
	} else {
		c.ServiceAccount = who.UID
	}
	return c
}

// principalOf is whom a run acts as.
func principalOf(t task.Task) task.Principal {
	if t.Executor.UID != "" {
		return t.Executor
	}
	return t.Creator
}

// subject puts the parts of a subject together. It fails when the run has not
// got one of them: what is left out could make it that of another run.
func (c claims) subject(t task.Task, parts []string) (string, error) {
	if len(parts) == 0 {
		parts = []string{"principal"}
	}
	out := make([]string, len(parts))
	for i, part := range parts {
		value := c.part(part)
		if value == "" {
			return "", task.Invalid(fmt.Sprintf("subject_template[%d]", i), "run %s has no %s", t.ID, part)
		}
		out[i] = value
	}
	return strings.Join(out, ","), nil
}

// part is one part of a subject, with its name; "" when the run has none of it.
func (c claims) part(name string) string {
	who := "user:" + plain(c.User)
	if c.User == "" {
		if c.ServiceAccount == "" {
			who = ""
		} else {
			who = "service_account:" + plain(c.ServiceAccount)
		}
	}
	named := func(value string) string {
		if value == "" {
			return ""
		}
		return name + ":" + plain(value)
	}
	switch name {
	case "principal":
		return who
	case "scoped_principal":
		if who != "" && len(c.Teams) > 0 {
			who = plain(c.Teams[0]) + "/" + who
		}
		if who == "" {
			return ""
		}
		return name + ":" + who
	case "email":
		return named(c.Email)
	case "teams":
		return named(strings.Join(c.Teams, "/"))
	case "environment":
		return named(c.Environment)
	case "agent_name":
		return named(c.AgentName)
	case "skill_spec":
		return named(c.SkillSpec)
	case "run_id":
		return named(string(c.RunID))
	case "host":
		return named(c.Host)
	}
	return ""
}

// plain keeps what separates the parts of a subject out of a value, and what
// could be taken for something else by who reads it.
func plain(value string) string {
	return strings.Map(func(c rune) rune {
		if c == ':' || c == ',' || unicode.IsControl(c) || unicode.IsSpace(c) {
			return '_'
		}
		return c
	}, value)
}
