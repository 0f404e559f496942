// Package opencode drives OpenCode, the open coding agent:
//
//	harnesses["opencode"] = opencode.New(nil)
//
// The program speaks the Agent Client Protocol on its standard input and output
// (opencode acp): one process takes messages as long as the run works, those
// that come while the model is at work, too.
//
// The program asks the run's gateway for the model, over the wire that the model
// is served on, with the run's token. It sends nothing else anywhere: sharing,
// updates, its list of models and its plugins are off, and the package that it
// would fetch for plugins is asked of an address where nobody answers. Its
// commands find the environment of the run as it was, without the token.
//
// Settings, plugins and commands of its own in the repository (opencode.json,
// .opencode) are not read: they could send the model's calls elsewhere. Rules
// and skills come from the run, as for every agent.
//
// OpenCode does not say where an answer of the model ends. A turn is counted for
// each tool call and for the last words.
package opencode
