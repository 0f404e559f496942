package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListBudgets is not served yet.
func (o operations) ListBudgets(context.Context, api.ListBudgetsRequestObject) (api.ListBudgetsResponseObject, error) {
	return nil, errNotServed()
}

// DeleteBudget is not served yet.
func (o operations) DeleteBudget(context.Context, api.DeleteBudgetRequestObject) (api.DeleteBudgetResponseObject, error) {
	return nil, errNotServed()
}

// PutBudget is not served yet.
func (o operations) PutBudget(context.Context, api.PutBudgetRequestObject) (api.PutBudgetResponseObject, error) {
	return nil, errNotServed()
}

// ReserveBudget is not served yet.
func (o operations) ReserveBudget(context.Context, api.ReserveBudgetRequestObject) (api.ReserveBudgetResponseObject, error) {
	return nil, errNotServed()
}

// GetUsage is not served yet.
func (o operations) GetUsage(context.Context, api.GetUsageRequestObject) (api.GetUsageResponseObject, error) {
	return nil, errNotServed()
}
