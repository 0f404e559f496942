package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListSignals is not served yet.
func (o operations) ListSignals(context.Context, api.ListSignalsRequestObject) (api.ListSignalsResponseObject, error) {
	return nil, errNotServed()
}

// ReportSignal is not served yet.
func (o operations) ReportSignal(context.Context, api.ReportSignalRequestObject) (api.ReportSignalResponseObject, error) {
	return nil, errNotServed()
}

// SendMessages is not served yet.
func (o operations) SendMessages(context.Context, api.SendMessagesRequestObject) (api.SendMessagesResponseObject, error) {
	return nil, errNotServed()
}

// MarkMessageDelivered is not served yet.
func (o operations) MarkMessageDelivered(context.Context, api.MarkMessageDeliveredRequestObject) (api.MarkMessageDeliveredResponseObject, error) {
	return nil, errNotServed()
}

// ReadMessage is not served yet.
func (o operations) ReadMessage(context.Context, api.ReadMessageRequestObject) (api.ReadMessageResponseObject, error) {
	return nil, errNotServed()
}

// ListMessages is not served yet.
func (o operations) ListMessages(context.Context, api.ListMessagesRequestObject) (api.ListMessagesResponseObject, error) {
	return nil, errNotServed()
}
