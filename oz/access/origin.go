package access

import "context"

// Origin says where a request came from, for the audit log.
type Origin struct {
	RequestID string // as the answer and the server's log call it
	Remote    string // the address of the peer, which may be a proxy
}

// originKey is the context key of an Origin.
type originKey struct{}

// WithOrigin gives a context whose calls come from o.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf is what WithOrigin has given; zero for the embedding program's own
// calls.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	return o
}
