// Package harnesstest holds what every harness must do as tests, and the lab
// to run one in: a real git repository with a bare remote, real processes, a
// real model gateway, and a scripted model behind it. Third parties run it on
// their own harness:
//
//	func TestConformance(t *testing.T) {
//		harnesstest.Run(t, harnesstest.Harness{
//			New:   func() harness.Harness { return mine.New() },
//			Wires: []string{"anthropic"},
//			Tools: myTools{},
//		})
//	}
//
// A script calls an agent's tools by the names and inputs that this agent
// knows; Tools says them.
package harnesstest
