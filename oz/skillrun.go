package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxRunSkills is how many skills a run may name.
	maxRunSkills = 20
	// maxNamed is how many skills an error names.
	maxNamed = 20
)

// layerSkill is what Spec.Origins calls settings that come from a skill.
const layerSkill = "skill"

// checkSkills judges the skills of a request by themselves.
func (r Request) checkSkills() error {
	if r.Config.SkillSpec != "" && len(r.Config.Skills) > 0 {
		return task.Invalid("config.skill_spec", "cannot stand together with config.skills; put it first in that list")
	}
	if len(r.Config.Skills) > maxRunSkills {
		return task.Invalid("config.skills", "has %d skills, at most %d are allowed", len(r.Config.Skills), maxRunSkills)
	}
	check := func(field, spec string) error {
		if _, err := skill.ParseSpec(spec); err != nil {
			return task.Invalid(field, "%w", err)
		}
		return nil
	}
	for i, spec := range r.Config.Skills {
		if err := check(fmt.Sprintf("config.skills[%d]", i), spec); err != nil {
			return err
		}
	}
	if r.Config.SkillSpec != "" {
		if err := check("config.skill_spec", r.Config.SkillSpec); err != nil {
			return err
		}
	}
	if r.Skill != "" {
		return check("skill", r.Skill)
	}
	return nil
}

// wanted is a skill that a run names, and the field that does.
type wanted struct{ field, spec string }

// wantedSkills gives the skills of a run: that of the request before all
// others (Oz API, choice on skill together with config.skills).
func wantedSkills(r Request, c task.Config) []wanted {
	var list []wanted
	switch {
	case r.Skill != "":
		list = append(list, wanted{"skill", r.Skill})
	case c.SkillSpec != "":
		list = append(list, wanted{"config.skill_spec", c.SkillSpec})
	}
	for i, s := range c.Skills {
		list = append(list, wanted{fmt.Sprintf("config.skills[%d]", i), s})
	}
	return list
}

// located is a skill and where it was found.
type located struct {
	repo  skill.Repository
	skill skill.Skill
}

func (l located) id() string { return l.repo.ID(l.skill) }

// bundled is where the platform's own skills are said to be. It is no
// repository that could be cloned: it has no URL.
var bundled = skill.Repository{Owner: "oz", Name: "bundled"}

func (l located) bundled() bool { return l.repo == bundled }

// configureSkills looks up the skills of a run and makes their texts part of
// what its agent is told, so that the run keeps them as they are now. A run
// that its caller carries out works where the caller is: nothing is cloned
// there that was not asked for.
func (c *Client) configureSkills(ctx context.Context, a access.Action, r Request, spec *task.Spec) error {
	list := wantedSkills(r, spec.Config)
	if len(list) == 0 {
		return nil
	}
	repos, err := c.p.runRepositories(spec)
	if err != nil {
		return err
	}
	var found []located
	for _, w := range list {
		l, err := c.locate(ctx, w, repos, spec.Owner)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(found, func(o located) bool { return o.id() == l.id() }) {
			found = append(found, l)
		}
	}
	if r.Title == "" && strings.TrimSpace(r.Prompt) == "" {
		spec.Title = title(found[0].skill.Name + ": " + found[0].skill.Description)
	}
	if err := applySkills(found, spec); err != nil || a == access.RunExecute {
		return err
	}
	return addRepositories(found, repos, spec)
}

// runRepositories are those of the run's environment.
func (p *Platform) runRepositories(spec *task.Spec) ([]skill.Repository, error) {
	var e environment.Config
	if len(spec.Environment) > 0 {
		if err := json.Unmarshal(spec.Environment, &e); err != nil {
			return nil, fmt.Errorf("decode environment: %w", err)
		}
	}
	var repos []skill.Repository
	for _, r := range e.Repos {
		repos = append(repos, p.skillRepository(r, spec.Owner))
	}
	return repos, nil
}

// locate finds one skill: in the run's repositories, or, if it names another
// one with its owner, there.
func (c *Client) locate(ctx context.Context, w wanted, repos []skill.Repository, owner task.Scope) (located, error) {
	spec, err := skill.ParseSpec(w.spec)
	if err != nil {
		return located{}, task.Invalid(w.field, "%w", err)
	}
	among := slices.DeleteFunc(slices.Clone(repos), func(r skill.Repository) bool { return !spec.In(r) })
	own := c.p.suggested(spec)
	switch {
	case own != nil && (len(among) == 0 || c.p.opts.Skills == nil):
		return *own, nil
	case c.p.opts.Skills == nil:
		return located{}, notBuilt(w.field, "skills in repositories", "put the instructions into the prompt or config.base_prompt")
	}
	if len(among) == 0 && spec.Owner != "" {
		repo, err := environment.ParseRepo(spec.Owner + "/" + spec.Repo)
		if err != nil {
			return located{}, task.Invalid(w.field, "%q is no repository: write owner/repo", spec.Owner+"/"+spec.Repo)
		}
		among = append(among, c.p.skillRepository(repo, owner))
	}
	var hits []located
	var names []string
	for _, repo := range among {
		list, err := c.p.opts.Skills.Skills(ctx, repo, false)
		if err != nil {
			return located{}, inField(w.field, err)
		}
		if s, ok := spec.Find(list); ok {
			hits = append(hits, located{repo, s})
		}
		for _, s := range list {
			if s.Malformed == "" {
				names = append(names, repo.String()+":"+s.Name)
			}
		}
	}
	if len(hits) == 0 && own != nil {
		return *own, nil
	}
	return chooseSkill(w, hits, among, names)
}

// suggested finds a skill that comes with the platform; nil if there is none.
func (p *Platform) suggested(spec skill.Spec) *located {
	if !spec.In(bundled) {
		return nil
	}
	if s, ok := spec.Find(p.opts.Suggested); ok {
		return &located{bundled, s}
	}
	return nil
}

// inField names the input that an error is about.
func inField(field string, err error) error {
	var known *task.Error
	if !errors.As(err, &known) {
		return err
	}
	named := *known
	named.Field = field
	return &named
}

// chooseSkill judges what was found for one spec.
func chooseSkill(w wanted, hits []located, among []skill.Repository, names []string) (located, error) {
	if len(hits) > 1 {
		sound := slices.DeleteFunc(slices.Clone(hits), func(l located) bool { return l.skill.Malformed != "" })
		if len(sound) > 0 {
			hits = sound
		}
	}
	switch {
	case len(hits) > 1:
		var ids []string
		for _, l := range hits {
			ids = append(ids, l.id())
		}
		return located{}, task.Invalid(w.field, "%q means several skills, say which: %s", w.spec, strings.Join(ids, ", "))
	case len(hits) == 1 && hits[0].skill.Malformed != "":
		return located{}, task.Invalid(w.field, "skill %s cannot be read: %s", hits[0].id(), hits[0].skill.Malformed)
	case len(hits) == 1:
		return hits[0], nil
	}
	e := task.Errorf(task.CodeNotFound, "there is no skill %q %s", w.spec, whereLooked(among, names))
	e.Field = w.field
	return located{}, e
}

// whereLooked says what there is instead.
func whereLooked(among []skill.Repository, names []string) string {
	switch {
	case len(among) == 0:
		return "in the repositories of the run's environment: name an environment that has it, or write owner/repo:skill_name"
	case len(names) == 0:
		return fmt.Sprintf("in %s, which has none: skills are files like %s/<name>/%s", among[0], skill.Folders()[0], skill.FileName)
	}
	slices.Sort(names)
	more := ""
	if len(names) > maxNamed {
		names, more = names[:maxNamed], " and more"
	}
	return "; there are " + strings.Join(names, ", ") + more
}

// applySkills writes the skills into the run. The first is the one that the run
// carries out, and gets the prompt as its arguments.
func applySkills(found []located, spec *task.Spec) error {
	first := found[0]
	var text strings.Builder
	var ids []string
	for i, l := range found {
		body := l.skill.Body
		if i == 0 {
			var err error
			if body, err = skill.Expand(body, spec.Prompt, task.MaxInputBytes); err != nil {
				return task.Invalid("skill", "%s: %w", l.id(), err)
			}
		}
		from := ""
		if !l.bundled() {
			from = fmt.Sprintf(", from %s in repository %s; paths in it start at that file's directory", l.skill.Path, l.repo)
		}
		fmt.Fprintf(&text, "Skill %s (%s%s):\n\n%s\n\n", l.skill.Name, l.skill.Description, from, body)
		ids = append(ids, l.id())
	}
	spec.Config.BasePrompt = strings.TrimSpace(text.String() + spec.Config.BasePrompt)
	if err := task.ValidateText("config.skills", spec.Config.BasePrompt); err != nil {
		return err
	}
	spec.Config.SkillSpec, spec.Config.Skills = ids[0], ids
	spec.Skill = &task.Skill{Name: first.skill.Name, Description: first.skill.Description}
	if first.bundled() {
		spec.Skill.BundledID = first.skill.Name
	} else {
		spec.Skill.Path = first.repo.String() + "/" + first.skill.Path
	}
	spec.Origins["base_prompt"] = layerSkill
	if spec.Config.Name == "" {
		spec.Config.Name, spec.Origins["name"] = first.skill.Name, layerSkill
	}
	return nil
}

// addRepositories has the repositories of skills cloned which the environment
// has not: a skill may come with files beside its text.
func addRepositories(found []located, repos []skill.Repository, spec *task.Spec) error {
	for _, l := range found {
		if l.bundled() || slices.ContainsFunc(repos, func(r skill.Repository) bool { return r.URL == l.repo.URL }) {
			continue
		}
		repos = append(repos, l.repo)
		err := changeEnvironment(spec, func(e *environment.Config) error {
			for _, r := range e.Repos {
				if strings.EqualFold(r.Dir(), l.repo.Name) {
					return task.Invalid("config.skills", "skill %s needs repository %s, which would be cloned to the same directory as %s", l.id(), l.repo, r)
				}
			}
			if len(e.Repos) >= environment.MaxRepos {
				return task.Invalid("config.skills", "skill %s needs repository %s, and the environment has %d already", l.id(), l.repo, len(e.Repos))
			}
			e.Repos = append(e.Repos, environment.Repo{Owner: l.repo.Owner, Name: l.repo.Name})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
