// Package skill knows what skills are: instructions in a repository, each a
// file SKILL.md in a directory of its own, that agents carry out by name.
//
//	spec, err := skill.ParseSpec("acme/app:deploy")
//	...
//	list, err := source.Skills(ctx, skill.Repository{Owner: "acme", Name: "app", URL: url}, false)
//	...
//	found, ok := spec.Find(list)
//	text, err := skill.Expand(found.Body, "staging now", task.MaxInputBytes)
//
// Package skillmd reads such files, and package gitskills finds them in
// repositories; they stand apart so that a platform without skills links
// neither.
package skill
