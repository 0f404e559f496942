package wire

import (
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

func profile(p task.Principal) *api.UserProfile {
	if p == (task.Principal{}) {
		return nil
	}
	return &api.UserProfile{Type: api.UserProfileType(p.Type), Uid: p.UID, DisplayName: p.DisplayName, Email: p.Email}
}

func principal(p *api.UserProfile) task.Principal {
	if p == nil {
		return task.Principal{}
	}
	return task.Principal{Type: task.PrincipalType(p.Type), UID: p.Uid, DisplayName: p.DisplayName, Email: p.Email}
}

func scope(s task.Scope) api.Scope { return api.Scope{Type: api.ScopeType(s.Type), Uid: s.UID} }

func optionalScope(s task.Scope) *api.Scope {
	if s.IsZero() {
		return nil
	}
	out := scope(s)
	return &out
}

func scopeOf(s *api.Scope) task.Scope {
	if s == nil {
		return task.Scope{}
	}
	return task.Scope{Type: task.ScopeType(s.Type), UID: s.Uid}
}

// optionalTime gives nil for the zero time, and UTC otherwise (Oz API, timestamps).
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// Duration writes d in ISO 8601, such as "PT2M30S", to the millisecond.
func Duration(d time.Duration) string {
	d = max(d, 0).Truncate(time.Millisecond)
	hours, minutes, rest := d/time.Hour, d%time.Hour/time.Minute, d%time.Minute
	var b strings.Builder
	b.WriteString("PT")
	if hours > 0 {
		b.WriteString(strconv.FormatInt(int64(hours), 10) + "H")
	}
	if minutes > 0 {
		b.WriteString(strconv.FormatInt(int64(minutes), 10) + "M")
	}
	if rest > 0 || b.Len() == len("PT") {
		b.WriteString(strconv.FormatFloat(rest.Seconds(), 'f', -1, 64) + "S")
	}
	return b.String()
}

// profileOrNone is profile where the wire leaves an empty one out.
func profileOrNone(p task.Principal) api.UserProfile {
	if out := profile(p); out != nil {
		return *out
	}
	return api.UserProfile{}
}
