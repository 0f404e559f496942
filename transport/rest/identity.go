package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// IssueIdentityToken implements POST /oz/executions/current/identity-token.
func (o operations) IssueIdentityToken(ctx context.Context, r api.IssueIdentityTokenRequestObject) (api.IssueIdentityTokenResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	i, ok := link.(executor.Identifier)
	if !ok {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server issues no identity tokens")
	}
	token, err := i.IdentityToken(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.IssueIdentityToken200JSONResponse(token), nil
}

// GetIdentityIssuer implements GET /oz/identity/.well-known/openid-configuration.
func (o operations) GetIdentityIssuer(ctx context.Context, _ api.GetIdentityIssuerRequestObject) (api.GetIdentityIssuerResponseObject, error) {
	if _, err := o.platform.IdentityKeys(ctx); err != nil { // whoever finds the issuer finds its keys
		return nil, err
	}
	issuer := o.platform.IdentityIssuer()
	return api.GetIdentityIssuer200JSONResponse{
		Issuer: issuer, JwksUri: issuer + "/jwks.json",
		ResponseTypesSupported: []string{"id_token"}, SubjectTypesSupported: []string{"public"}, IdTokenSigningAlgValuesSupported: []string{"ES256"},
		ClaimsSupported: []string{"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "teams", "email", "run_id", "environment", "agent_name", "skill_spec", "host", "user", "service_account"},
	}, nil
}

// GetIdentityKeys implements GET /oz/identity/jwks.json.
func (o operations) GetIdentityKeys(ctx context.Context, _ api.GetIdentityKeysRequestObject) (api.GetIdentityKeysResponseObject, error) {
	keys, err := o.platform.IdentityKeys(ctx)
	if err != nil {
		return nil, err
	}
	return api.GetIdentityKeys200JSONResponse(keys), nil
}
