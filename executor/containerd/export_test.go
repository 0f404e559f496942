//go:build linux

package containerd

// NamespaceOf is the default namespace of an Executor.
func NamespaceOf(root string) string { return namespaceOf(root) }
