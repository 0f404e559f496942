// Package hooks puts commands of the operator's around the sandboxes of another Executor, whose sandboxes are processes
// of this host: a setup command before the agent runner, and a teardown command when all is over.
//
//	func main() {
//		if code, ok := hooks.Main(); ok {
//			os.Exit(code)
//		}
//		...
//		exec, err := hooks.New(inner, "/var/lib/oz/hooks", &hooks.Options{Setup: "./fetch-caches", Teardown: "./save-caches"})
//
// # Setup
//
// The setup command runs in the sandbox, with its limits, and is killed with it; what it prints is the beginning of the
// sandbox's output. It has the sandbox's variables, and besides
//
//	OZ_WORKSPACE_ROOT     the directory in which the agent will work, which is its working directory, too
//	OZ_RUN_ID             the run
//	OZ_WORKER_BACKEND     Options.Backend
//	OZ_ENVIRONMENT_FILE   an empty file: lines NAME=value in it become variables of the agent, see ParseEnvironment
//
// It never sees the variables of the worker itself, of which one holds the worker's key, nor the token of the execution.
// When it fails, or leaves a file that cannot be parsed, the agent does not start, and the sandbox ends with its status.
//
// # Teardown
//
// The teardown command runs in the worker, once all processes of the sandbox are gone, in the same directory. It has the
// worker's variables but for keys, and OZ_WORKSPACE_ROOT, OZ_RUN_ID, OZ_WORKER_BACKEND and GIT_CONFIG_GLOBAL. It has its
// own time, Options.TeardownTimeout: neither the cancelling of a run nor the end of the worker shortens it by itself. That
// one is owed is written down before the sandbox starts. A worker that is killed meanwhile leaves it to the next one,
// so that it may run twice, but not never. A failure is logged and changes nothing.
//
// Linux only, as far as setup commands are used.
package hooks
