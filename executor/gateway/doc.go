// Package gateway is a run's one door to the models.
//
// It is an http.Handler that lives in the runner's process, listens on
// loopback (or a unix socket) for one run, and is what every harness gets as
// its provider's base URL. It speaks the providers' own wires: Anthropic
// Messages, OpenAI Responses and Chat Completions, Gemini, and whatever is
// compatible with one of them. Requests and replies pass through byte for byte; what the
// gateway does beside that is
//
//   - to hold the credentials: a harness has only a random token that is good
//     for this gateway, and no reply, error or record shows a provider's key;
//   - to route by model id, with aliases and fallbacks, which stand in while the
//     first choice is away: for 30 s after it failed, up to 5 min when it goes on
//     failing;
//   - to retry what is worth it, before the first byte was passed on;
//   - to count tokens and money in one way for all, to reserve from the run's
//     budget before a call and to settle after it;
//   - to say what happened: one [Call] per call.
//
// The shortest useful program:
//
//	gw, err := gateway.New([]gateway.Provider{{
//		Name: "anthropic", Wire: gateway.Anthropic, APIKey: gateway.NewKey(key), Models: []string{"claude-*"},
//	}}, &gateway.Options{Budget: gateway.Budget{MaxUSD: 5}, OnCall: record})
//	if err != nil {
//		return err
//	}
//	err = gw.Run(ctx, func(at gateway.Endpoint) { start(harness, at.AnthropicURL, at.Token) })
//
// # Paths
//
// A harness on the Anthropic wire uses Endpoint.AnthropicURL (without /v1, as
// ANTHROPIC_BASE_URL), one on the OpenAI wire Endpoint.OpenAIURL (with /v1, as
// OPENAI_BASE_URL), one on the Gemini wire Endpoint.GeminiURL (without /v1beta,
// as GOOGLE_GEMINI_BASE_URL). Behind them are
//
//	POST /anthropic/v1/messages, /anthropic/v1/messages/count_tokens
//	POST /openai/v1/responses, /openai/v1/chat/completions, /openai/v1/embeddings
//	POST /gemini/VERSION/models/MODEL:METHOD, where VERSION is v1beta, v1 or
//	     v1alpha and METHOD generateContent, streamGenerateContent or countTokens
//	GET  /anthropic/v1/models, /openai/v1/models, /gemini/VERSION/models: what
//	     the run can use, all of it or one with /MODEL behind
//
// The token is taken as "x-api-key", "x-goog-api-key" or "Authorization:
// Bearer"; on the Gemini wire also as "?key=", which goes no further.
//
// # What the gateway alters
//
// The body of a request is altered in two cases, and then nothing but the
// value named: "model" when it is an alias or a fallback is tried, and
// "stream_options" when a streaming chat completion does not have it, because
// the usage would be missing. On the Gemini wire the model is in the path, and
// altered there; of the query, what may carry a credential is dropped. Of
// headers, an allow-list passes in each direction.
//
// # Errors
//
// What the gateway itself refuses has the error shape of the wire, the header
// [ErrorHeader] with a [Class], and "x-should-retry: false": the gateway has
// done the retrying. A provider's own error passes through as it came, with
// the same two headers, except where its text would mislead: a rejected
// provider key, an empty account, an unknown model.
//
//   - 401: the run's token is missing or wrong
//   - 403 budget_exceeded: the remaining budget does not cover the call
//   - 403 provider_auth, provider_quota: the provider's key or account; names the provider
//   - 404 model_not_found: no provider for the model, or the provider has none of that name
//   - 400 context_too_long: the provider's body; the harness should compact
//   - 502 unreachable, 504 timeout: no attempt came through
//   - 429, 5xx: the provider's last answer, after all attempts
//
// # Concurrency
//
// All methods are safe for concurrent use. OnCall is called for one call at a time.
//
// # Limits
//
// Bodies of requests 32 MiB, whole replies 32 MiB, streamed replies 256 MiB,
// error bodies 1 MiB, 16 calls at once (more wait); see the constants and
// [Options]. Prices are those of the standard service tier: batch, priority,
// fast and regional surcharges are not known here.
package gateway
