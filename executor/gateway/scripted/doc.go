// Package scripted is a model server that plays a script instead of thinking.
//
// It speaks the real wires, streaming and not: Anthropic Messages (and
// count_tokens), OpenAI Responses and Chat Completions, and Gemini. Agents, SDKs and the
// model gateway cannot tell it from a provider, so tests run whole agents
// without a key and without chance. It also checks each request as strictly as
// the real APIs do and answers 400 in their shape, which makes it a conformance
// test for whoever talks to it.
//
//	server, err := scripted.New(scripted.Script{Steps: []scripted.Step{
//		{Text: "Let me look.", ToolCalls: []scripted.ToolCall{{Name: "run_command", Input: map[string]any{"command": "ls"}}}},
//		{Text: "There is one file."},
//	}}, nil)
//	...
//	at, err := server.Start()
//	defer at.Close()
//	// ANTHROPIC_BASE_URL = at.AnthropicURL, OPENAI_BASE_URL = at.OpenAIURL,
//	// GOOGLE_GEMINI_BASE_URL = at.GeminiURL
//
// # Which step is played
//
// The server keeps no place in the script. The step is found anew for each
// request: its number is the number of assistant turns in the request's own
// conversation. An agent that was killed and resumed, or a server that was
// restarted, goes on where the conversation stands. [Script.Order] can make it
// the order of arrival instead.
//
// A step with a condition ([Step.When], [Step.Match]) has no number: it is
// played whenever its condition holds, in place of the numbered one, and the
// first such step wins. The turn it made counts as a turn all the same.
//
// A request for a step that the script does not have is answered 400, so that a
// test fails at once and says why.
//
// # Faults
//
// A step can go wrong on purpose before it goes well: an error status, a stream
// cut after some events, silence, nonsense, nothing at all. Each fault is used
// up by one request for the step (or [Fault.Times]), so that a retry meets the
// next fault or the step itself.
//
// # Files
//
// [Load] reads a script from YAML or JSON. The fields are those of [Script]
// with their yaml names; unknown ones are errors.
//
//	steps:
//	  - text: Let me look.
//	    tool_calls:
//	      - name: run_command
//	        input: {command: ls}
//	    faults:
//	      - status: 529
//	        retry_after: 20ms
//	  - when: {last_tool_result_contains: "FAIL"}
//	    text: The tests fail.
//	  - text: There is one file.
//	    usage: {input: 120, cache_read: 1000, output: 9}
//
// # What is checked
//
// On the Anthropic wire: content type, anthropic-version, model, max_tokens,
// roles (the first is the user's, then they take turns), no empty text, unique
// ids of tool uses, each tool_use answered by a tool_result at the start of the
// next message and no result without its use, signed thinking, tools' names and
// schemas, at most four cache breakpoints. On the OpenAI wire: model, input,
// roles, tools, arguments as text, each call answered and no answer without its
// call. On the Gemini wire: contents, roles, parts with exactly one kind of
// data, functions' names and schemas, each turn's calls answered together by the
// turn after it.
//
// # Concurrency
//
// A Server is safe for concurrent use.
//
// # Limits
//
// Bodies 32 MiB. The last 4096 requests are kept. The content of pictures and
// documents is not looked at. The Responses API is served without its memory:
// previous_response_id is refused.
package scripted
