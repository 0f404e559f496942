package oz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of the list of skills.
const (
	// maxSkillRepositories is how many repositories are looked into for one
	// list, parallelLooks how many at once.
	maxSkillRepositories, parallelLooks = 100, 4
	// listTime bounds one list: the wire's clients wait a minute.
	listTime = 50 * time.Second
	// maxLastRuns is for how many variants the last run is looked up.
	maxLastRuns = 200
)

// SkillQuery says which skills are wanted.
type SkillQuery struct {
	// Repo, as "owner/repo", asks for that repository alone; "" asks for those
	// of the caller's environments.
	Repo string
	// Refresh looks into the repositories again.
	Refresh bool
	// ByLastRun lists the skill that ran last first; default by name.
	ByLastRun bool
	// Malformed asks also for skills that cannot be read.
	Malformed bool
}

// SkillList is what was found.
type SkillList struct {
	Skills []SkillItem
	// Unreachable are repositories that could not be looked into.
	Unreachable []UnreachableRepository
}

// SkillItem is a skill by its name (Oz API, AgentListItem).
type SkillItem struct {
	Name     string
	Variants []SkillVariant
}

// SkillVariant is a skill in one repository (Oz API, AgentListVariant).
type SkillVariant struct {
	// ID is "owner/repo:skill_path".
	ID          string
	Description string
	BasePrompt  string
	// Owner, Repo and Path say where it is.
	Owner, Repo, Path string
	// Environments are those of the caller that have the repository.
	Environments []EnvironmentRef
	// LastRunAt is when its newest run was created; zero when it never ran.
	LastRunAt time.Time
	// Error says why it cannot be read.
	Error string
	// Suggested says that it came with the platform and is in no repository.
	Suggested bool
}

// EnvironmentRef names an environment.
type EnvironmentRef struct{ UID, Name string }

// UnreachableRepository is one that could not be looked into.
type UnreachableRepository struct {
	Repository string
	Code       task.Code
	Message    string
}

// Skills lists the skills that the caller may run. With Repo it fails when that
// repository cannot be looked into; without, the list says which could not.
func (c *Client) Skills(ctx context.Context, q SkillQuery) (SkillList, error) {
	if err := c.allow(ctx, access.SkillView, access.Object{}); err != nil {
		return SkillList{}, err
	}
	places, err := c.skillPlaces(ctx, q.Repo)
	if err != nil {
		return SkillList{}, err
	}
	if c.p.opts.Skills == nil {
		places = nil
	}
	found, list := c.lookInto(ctx, places, q)
	if q.Repo != "" && len(places) > 0 && !slices.ContainsFunc(found, func(f looked) bool { return f.err == nil }) {
		return SkillList{}, inField("repo", found[0].err)
	}
	if q.Repo == "" && len(c.p.opts.Suggested) > 0 {
		found = append(found, looked{place: skillPlace{Repository: bundled}, skills: c.p.opts.Suggested})
	}
	if err := c.group(ctx, found, q, &list); err != nil {
		return SkillList{}, err
	}
	list.sort(q.ByLastRun)
	return list, nil
}

// group puts the skills that were found together by name.
func (c *Client) group(ctx context.Context, found []looked, q SkillQuery, list *SkillList) (err error) {
	variants := 0
	byName := map[string]int{}
	for _, f := range found {
		for _, s := range f.skills {
			if s.Malformed != "" && !q.Malformed {
				continue
			}
			v := f.place.variant(s)
			if variants++; variants <= maxLastRuns {
				if v.LastRunAt, err = c.lastRun(ctx, v.ID); err != nil {
					return err
				}
			}
			i, ok := byName[s.Name]
			if !ok {
				i = len(list.Skills)
				byName[s.Name] = i
				list.Skills = append(list.Skills, SkillItem{Name: s.Name})
			}
			list.Skills[i].Variants = append(list.Skills[i].Variants, v)
		}
	}
	return nil
}

// skillPlace is a repository to look into, and whose environments have it.
type skillPlace struct {
	skill.Repository
	environments []EnvironmentRef
}

func (p skillPlace) variant(s skill.Skill) SkillVariant {
	return SkillVariant{ID: p.ID(s), Description: s.Description, BasePrompt: s.Body, Owner: p.Owner, Repo: p.Name, Path: s.Path,
		Environments: p.environments, Error: s.Malformed, Suggested: p.Repository == bundled}
}

// skillPlaces gives the repositories of the caller's environments, or the one
// that is asked for.
func (c *Client) skillPlaces(ctx context.Context, only string) ([]skillPlace, error) {
	var want environment.Repo
	if only != "" {
		var err error
		if want, err = environment.ParseRepo(only); err != nil || want.URL != "" {
			return nil, task.Invalid("repo", "must be owner/repo")
		}
	}
	envs, err := c.p.environments.List(ctx, c.owners()...)
	if err != nil {
		return nil, err
	}
	var places []skillPlace
	for _, e := range envs {
		for _, r := range e.Config.Repos {
			if only == "" || strings.EqualFold(r.Owner, want.Owner) && strings.EqualFold(r.Name, want.Name) {
				places = c.p.addPlace(places, r, e)
			}
		}
	}
	if only != "" && len(places) == 0 {
		places = []skillPlace{{Repository: c.p.skillRepository(want, firstScope(c.owners()))}}
	}
	return places, nil
}

func firstScope(owners []task.Scope) task.Scope {
	if len(owners) == 0 {
		return task.Scope{}
	}
	return owners[0]
}

// addPlace adds a repository of an environment, once for each owner and
// address. Where environments differ in the branch, the default one is shown.
func (p *Platform) addPlace(places []skillPlace, r environment.Repo, e environment.Environment) []skillPlace {
	at := p.skillRepository(r, e.Owner)
	ref := EnvironmentRef{UID: e.UID, Name: e.Config.Name}
	i := slices.IndexFunc(places, func(o skillPlace) bool { return o.URL == at.URL && o.For == at.For })
	if i < 0 {
		return append(places, skillPlace{Repository: at, environments: []EnvironmentRef{ref}})
	}
	if places[i].Ref != at.Ref {
		places[i].Ref = ""
	}
	places[i].environments = append(places[i].environments, ref)
	return places
}

func (p *Platform) skillRepository(r environment.Repo, owner task.Scope) skill.Repository {
	return skill.Repository{Owner: r.Owner, Name: r.Name, URL: r.Address(p.opts.RepositoryBase), Ref: r.Ref, For: owner}
}

// looked is what a look into one repository brought.
type looked struct {
	place  skillPlace
	skills []skill.Skill
	err    error
}

// lookInto reads the repositories, several at once.
func (c *Client) lookInto(ctx context.Context, places []skillPlace, q SkillQuery) ([]looked, SkillList) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	list := SkillList{Skills: []SkillItem{}}
	for _, p := range places[min(len(places), maxSkillRepositories):] {
		list.Unreachable = append(list.Unreachable, UnreachableRepository{Repository: p.String(), Code: task.CodeInvalidRequest,
			Message: fmt.Sprintf("not looked into: a list covers %d repositories; ask for this one with repo", maxSkillRepositories)})
	}
	places = places[:min(len(places), maxSkillRepositories)]
	found := make([]looked, len(places))
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(parallelLooks)
	for i, p := range places {
		group.Go(func() error {
			skills, err := c.p.opts.Skills.Skills(ctx, p.Repository, q.Refresh)
			found[i] = looked{place: p, skills: skills, err: err}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				list.Unreachable = append(list.Unreachable, c.p.unreachable(p, err))
			}
			return nil
		})
	}
	_ = group.Wait() // no look returns an error
	slices.SortFunc(list.Unreachable, func(a, b UnreachableRepository) int { return strings.Compare(a.Repository, b.Repository) })
	return found, list
}

// unreachable tells people why. What is not meant for them is logged.
func (p *Platform) unreachable(at skillPlace, err error) UnreachableRepository {
	u := UnreachableRepository{Repository: cmp.Or(at.String(), at.URL), Code: task.CodeOf(err)}
	var known *task.Error
	switch {
	case errors.As(err, &known):
		u.Message = known.Message
	case errors.Is(err, context.DeadlineExceeded):
		u.Code, u.Message = task.CodeResourceUnavailable, "the look into it took too long; try again"
	default:
		u.Message = "it could not be looked into; the server's log says why"
	}
	p.opts.Logger.Warn("look for skills", zap.String("repository", u.Repository), zap.Error(err))
	return u
}

// lastRun gives when the newest run of a skill that the caller may see was
// created.
func (c *Client) lastRun(ctx context.Context, id string) (time.Time, error) {
	page, err := c.List(ctx, task.Query{Skill: id, Sort: task.SortCreatedAt, Limit: 1})
	if err != nil || len(page.Tasks) == 0 {
		return time.Time{}, err
	}
	return page.Tasks[0].CreatedAt, nil
}

func (l SkillList) sort(byLastRun bool) {
	newest := func(i SkillItem) time.Time {
		return slices.MaxFunc(i.Variants, func(a, b SkillVariant) int { return a.LastRunAt.Compare(b.LastRunAt) }).LastRunAt
	}
	for _, i := range l.Skills {
		slices.SortFunc(i.Variants, func(a, b SkillVariant) int {
			order := 0
			if byLastRun {
				order = b.LastRunAt.Compare(a.LastRunAt)
			}
			return cmp.Or(order, strings.Compare(a.ID, b.ID))
		})
	}
	slices.SortFunc(l.Skills, func(a, b SkillItem) int {
		order := 0
		if byLastRun {
			order = newest(b).Compare(newest(a))
		}
		return cmp.Or(order, strings.Compare(a.Name, b.Name))
	})
}
