package executor

// IsolationNone says that the processes of a sandbox see the host's processes and all files that their user may read.
const IsolationNone = "none"

// Isolated is a Sandbox that knows by what it is kept apart from its host.
type Isolated interface {
	// Isolation names the means for people who read the run's record, such as "namespaces (user, mount, pid, ipc)", or is
	// IsolationNone. It is what this sandbox was started with, also after a restart of the worker.
	Isolation() string
}

// IsolationOf gives the isolation of s; empty for sandboxes of drivers that do not say.
func IsolationOf(s Sandbox) string {
	if s, ok := s.(Isolated); ok {
		return s.Isolation()
	}
	return ""
}
