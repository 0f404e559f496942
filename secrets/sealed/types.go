package sealed

import (
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Type says what a secret is, and so which variables it becomes.
type Type string

// The types of secrets (Oz platform, secrets). A raw value becomes the variable of its
// own name; the others become those that the agents of their provider read.
const (
	TypeRawValue         Type = "raw_value"
	TypeAnthropicAPIKey  Type = "anthropic_api_key"
	TypeBedrockAPIKey    Type = "anthropic_bedrock_api_key"
	TypeBedrockAccessKey Type = "anthropic_bedrock_access_key"
	TypeOpenAIAPIKey     Type = "openai_api_key"
)

// Plaintext is a secret on its way in: its type, and its parts by name. It does not
// print.
type Plaintext struct {
	typ    Type
	reveal func() map[string]string // a closure, so that reflection finds nothing
}

// The parts of secrets, as a sealed record names them.
const (
	partValue           = "value"
	partBaseURL         = "base_url"
	partRegion          = "region"
	partAccessKeyID     = "access_key_id"
	partSecretAccessKey = "secret_access_key"
	partSessionToken    = "session_token"
)

// Raw is a value for the variable named like the secret.
func Raw(value string) Plaintext { return plaintext(TypeRawValue, partValue, value) }

// AnthropicAPIKey is a key of the Anthropic API.
func AnthropicAPIKey(key string) Plaintext { return plaintext(TypeAnthropicAPIKey, partValue, key) }

// OpenAIAPIKey is a key of the OpenAI API, or of the compatible one at baseURL, if that
// is not empty.
func OpenAIAPIKey(key, baseURL string) Plaintext {
	return plaintext(TypeOpenAIAPIKey, partValue, key, partBaseURL, baseURL)
}

// BedrockAPIKey is a key for Anthropic's models on Amazon Bedrock.
func BedrockAPIKey(key, region string) Plaintext {
	return plaintext(TypeBedrockAPIKey, partValue, key, partRegion, region)
}

// BedrockAccessKey is an AWS access key for Anthropic's models on Amazon Bedrock.
// sessionToken may be empty.
func BedrockAccessKey(id, secret, sessionToken, region string) Plaintext {
	return plaintext(TypeBedrockAccessKey, partAccessKeyID, id, partSecretAccessKey, secret, partSessionToken, sessionToken, partRegion, region)
}

func plaintext(typ Type, pairs ...string) Plaintext {
	parts := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			parts[pair[0]] = pair[1]
		}
	}
	return Plaintext{typ: typ, reveal: func() map[string]string { return parts }}
}

// IsZero reports that there is no value at all.
func (p Plaintext) IsZero() bool { return p.reveal == nil }

// String tells the type only.
func (p Plaintext) String() string { return string(p.typ) + " (hidden)" }

// GoString is String.
func (p Plaintext) GoString() string { return p.String() }

// rule is how one part of a type becomes a variable.
type rule struct {
	part     string
	variable string // "" is the name of the secret
	constant string // the value of a variable that needs no part
	optional bool
	public   bool
}

// rules returns the variables of a type; none for an unknown one.
func rules(typ Type) []rule {
	bedrock := []rule{
		{part: partRegion, variable: "AWS_REGION", public: true},
		{variable: "CLAUDE_CODE_USE_BEDROCK", constant: "1", public: true},
	}
	switch typ {
	case TypeRawValue:
		return []rule{{part: partValue}}
	case TypeAnthropicAPIKey:
		return []rule{{part: partValue, variable: "ANTHROPIC_API_KEY"}}
	case TypeOpenAIAPIKey:
		return []rule{
			{part: partValue, variable: "OPENAI_API_KEY"},
			{part: partBaseURL, variable: "OPENAI_BASE_URL", optional: true, public: true},
		}
	case TypeBedrockAPIKey:
		return append(bedrock, rule{part: partValue, variable: "AWS_BEARER_TOKEN_BEDROCK"})
	case TypeBedrockAccessKey:
		return append(bedrock,
			rule{part: partAccessKeyID, variable: "AWS_ACCESS_KEY_ID"},
			rule{part: partSecretAccessKey, variable: "AWS_SECRET_ACCESS_KEY"},
			rule{part: partSessionToken, variable: "AWS_SESSION_TOKEN", optional: true})
	}
	return nil
}

// expand returns the variables of the secret described by meta.
func expand(meta Secret, parts map[string]string) []secrets.Value {
	var values []secrets.Value
	for _, r := range rules(meta.Type) {
		text := r.constant
		if r.part != "" {
			text = parts[r.part]
		}
		if text == "" {
			continue
		}
		v := secrets.Value{Name: r.variable, Secret: meta.Name, Scope: meta.Scope, Version: meta.Version, Public: r.public}
		if v.Name == "" {
			v.Name, v.Secret = meta.Name, ""
		}
		values = append(values, v.With(text))
	}
	return values
}

// check refuses a plaintext that lacks a part or has one that cannot be a secret.
func (p Plaintext) check(name string) error {
	all := rules(p.typ)
	if all == nil || p.IsZero() {
		return task.Invalid("value", "the secret has no value; give one")
	}
	parts := p.reveal()
	for _, r := range all {
		if r.part != "" && parts[r.part] == "" && !r.optional {
			return task.Invalid(r.part, "a secret of type %s needs a %s", p.typ, strings.ReplaceAll(r.part, "_", " "))
		}
	}
	for _, v := range expand(Secret{Name: name, Type: p.typ}, parts) {
		if err := checkPart(v); err != nil {
			return err
		}
	}
	return nil
}

func checkPart(v secrets.Value) error {
	if !v.Public {
		return secrets.CheckVariable(v.Name, v.Plaintext())
	}
	if strings.ContainsAny(v.Plaintext(), "\x00\r\n") {
		return task.Invalid("value", "%s has to be one line of text", v.Name)
	}
	return secrets.CheckSize(v.Name, v.Plaintext())
}
