package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// FinishLogin is not served yet.
func (o operations) FinishLogin(context.Context, api.FinishLoginRequestObject) (api.FinishLoginResponseObject, error) {
	return nil, errNotServed()
}

// GetAuthConfig is not served yet.
func (o operations) GetAuthConfig(context.Context, api.GetAuthConfigRequestObject) (api.GetAuthConfigResponseObject, error) {
	return nil, errNotServed()
}

// StartDeviceLogin is not served yet.
func (o operations) StartDeviceLogin(context.Context, api.StartDeviceLoginRequestObject) (api.StartDeviceLoginResponseObject, error) {
	return nil, errNotServed()
}

// ApproveDeviceLogin is not served yet.
func (o operations) ApproveDeviceLogin(context.Context, api.ApproveDeviceLoginRequestObject) (api.ApproveDeviceLoginResponseObject, error) {
	return nil, errNotServed()
}

// PollDeviceLogin is not served yet.
func (o operations) PollDeviceLogin(context.Context, api.PollDeviceLoginRequestObject) (api.PollDeviceLoginResponseObject, error) {
	return nil, errNotServed()
}

// StartLogin is not served yet.
func (o operations) StartLogin(context.Context, api.StartLoginRequestObject) (api.StartLoginResponseObject, error) {
	return nil, errNotServed()
}

// Logout is not served yet.
func (o operations) Logout(context.Context, api.LogoutRequestObject) (api.LogoutResponseObject, error) {
	return nil, errNotServed()
}
