// Package pid1 is the first process of a container that package containerd
// starts. A binary that is to run agents in containers calls [Main] before
// anything else:
//
//	func main() {
//		if code, ok := pid1.Main(); ok {
//			os.Exit(code)
//		}
//		...
//	}
//
// That binary is mounted into the container, so it must be static (built with
// CGO_ENABLED=0): then it works in every image.
//
// The process connects to the worker's socket and waits for its job. It makes
// the user and its home, starts the main command as that user, keeps its output
// in bounded files, forwards signals to it and reaps what is orphaned. When the
// main command ends it kills all others, writes down how the command ended, and
// ends itself. From the start of the main command on it needs no worker.
//
// It is root in the container, with the few capabilities that this takes, so
// that agents, who are not, can neither signal nor trace it nor write where it
// writes.
package pid1
