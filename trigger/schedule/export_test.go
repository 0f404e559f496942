package schedule

import (
	"context"
	"time"
)

// Bounds that tests look at.
const (
	KeptLines  = keptLines
	ChunkLines = chunkLines
	TailLines  = tailLines
)

// Pass does what is due at the clock's time, and says when there is more, so
// that a test can move the clock to that moment.
func (s *Scheduler) Pass(ctx context.Context) time.Time { return s.pass(ctx) }
