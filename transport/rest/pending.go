package rest

import "github.com/oz-platform/cloudagents/task"

// errNotServed answers for operations of the contract that this server does
// not have yet.
func errNotServed() error {
	return task.Errorf(task.CodeFeatureNotAvailable, "this server does not have this yet")
}
