// Package rules reads what a project tells its agents: WARP.md and AGENTS.md
// (Oz platform, RUL-1 to RUL-3).
//
//	tree, err := rules.Open(workspace)
//	...
//	defer tree.Close()
//	rule, err := tree.In("app")
//	...
//	text, used := rules.Compose(global, []rules.Rule{rule})
//
// In one directory WARP.md wins over AGENTS.md. A directory that has neither
// may have the rule file of another agent, such as CLAUDE.md, which counts
// then. A link counts when it stays in the tree.
//
// # Limits
//
// Of one file MaxFileBytes are told, of all together MaxTotalBytes. What is
// cut says so, to the agent and in Rule.Cut, so that a rule file of 10 MiB
// costs no more than one of 32 KiB.
package rules
