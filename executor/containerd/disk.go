//go:build linux

package containerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// measureShare is how much of the time may go into measuring: one part in so many.
const measureShare = 20

// measure kills the sandbox when it has written too much, and ends with ctx.
func (s *sandbox) measure(ctx context.Context) {
	log := s.e.opts.Logger.With(zap.String("sandbox", s.id))
	for wait := s.e.opts.DiskPeriod; pause(ctx, wait) == nil; {
		began := time.Now()
		used, err := s.used(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			log.Warn("measure a sandbox", zap.Error(err))
		case used > s.state.Enforced.Disk:
			log.Info("the sandbox has written too much", zap.Int64("bytes", used), zap.Int64("limit", s.state.Enforced.Disk))
			// The mark first: without it nobody would know why.
			if err := os.WriteFile(filepath.Join(s.e.sandboxDir(s.id), fullFile), nil, 0o600); err != nil {
				log.Warn("mark a sandbox", zap.Error(err))
			}
			if err := s.kill(ctx, syscall.SIGKILL); err != nil {
				log.Warn("kill a sandbox", zap.Error(err))
			}
		}
		wait = max(s.e.opts.DiskPeriod, measureShare*time.Since(began))
	}
}

// used is what the sandbox has added to its image, and what is in its workspace.
func (s *sandbox) used(ctx context.Context) (int64, error) {
	return s.e.usage(ctx, s.state.Box, s.e.workspaceDir(s.state.Workspace))
}

// diskUsage counts the blocks below dir, those of a file with several names once for each. It follows no link. What
// vanishes meanwhile is not counted.
func diskUsage(ctx context.Context, dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}
