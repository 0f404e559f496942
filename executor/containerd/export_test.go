//go:build linux

package containerd

// NamespaceOf is the default namespace of an Executor.
func NamespaceOf(root string) string { return namespaceOf(root) }

// Unprepared reports that a preparation has failed, and none is under way.
func (e *Executor) Unprepared() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.preparing.under) == 0 && len(e.preparing.failed) > 0
}
