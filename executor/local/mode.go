package local

// Isolation says how much sandboxes are kept apart from the host by namespaces of the kernel. See the package comment.
type Isolation string

// The values of Options.Isolation.
const (
	// IsolationAuto isolates sandboxes where the host can do it, which New finds out, and else runs them without.
	IsolationAuto Isolation = "auto"
	// IsolationRequire makes New fail where the host cannot do it, with what to mend.
	IsolationRequire Isolation = "require"
	// IsolationOff isolates nothing.
	IsolationOff Isolation = "off"
)

// valid reports whether i is one of the values.
func (i Isolation) valid() bool {
	return i == IsolationAuto || i == IsolationRequire || i == IsolationOff
}
