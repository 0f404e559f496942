package oz

import "context"

// Load is how busy the platform is, over all replicas.
type Load struct {
	// Waiting counts the runs that wait for a worker; 65,536 stands for more.
	Waiting int
	// Live counts the executions that have not ended.
	Live int
}

// Load reads how busy the platform is, for the operator's monitoring.
func (p *Platform) Load(ctx context.Context) (Load, error) {
	waiting, err := p.store.Waiting(ctx, p.opts.Clock.Now().Add(century), lastWindow)
	if err != nil {
		return Load{}, err
	}
	live, err := p.store.Live(ctx)
	return Load{Waiting: len(waiting), Live: len(live)}, err
}
