//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"go.uber.org/zap"
)

const (
	// pruneRound is how often images are looked through.
	pruneRound = 10 * time.Minute
	// minUnused is how long no Start must have asked for an image that is removed: one under way may be about to use it.
	minUnused = 2 * time.Hour
	// stampPeriod is how often it is written down that an image is used.
	stampPeriod = time.Hour

	labelUsed     = "oz.used"     // when an image was last asked for
	labelImported = "oz.imported" // taken from an archive: no registry may have it
)

// touch notes that an image is asked for.
func (i *images) touch(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.used == nil {
		i.used = map[string]time.Time{}
	}
	i.used[name] = time.Now()
}

// stamp writes down that an image was asked for, for later processes. Without that it only looks older than it is.
func (i *images) stamp(ctx context.Context, found ctd.Image) {
	if i.opts.ImageAge == 0 && i.opts.ImageDisk == 0 {
		return
	}
	now := time.Now()
	if last, err := time.Parse(time.RFC3339, found.Labels()[labelUsed]); err == nil && now.Sub(last) < stampPeriod {
		return
	}
	if err := i.label(ctx, found.Name(), labelUsed, now.UTC().Format(time.RFC3339)); err != nil {
		i.opts.Logger.Warn("note that an image is used", zap.String("image", found.Name()), zap.Error(err))
	}
}

func (i *images) label(ctx context.Context, name, label, value string) error {
	_, err := i.client.ImageService().Update(ctx, coreimages.Image{Name: name, Labels: map[string]string{label: value}}, "labels."+label)
	return err
}

// keepPruned removes images that are not used, until the Executor is closed.
func (e *Executor) keepPruned() {
	for {
		if err := e.pruneImages(e.ctx, time.Now()); err != nil && e.ctx.Err() == nil {
			e.opts.Logger.Warn("remove unused images", zap.Error(err))
		}
		if pause(e.ctx, pruneRound) != nil {
			return
		}
	}
}

// stored is an image, and what it takes.
type stored struct {
	image ctd.Image
	used  time.Time
	bytes int64
}

// pruneImages removes the images that nobody has asked for since Options.ImageAge, and then those least recently asked for
// until the rest takes no more than Options.ImageDisk. What stands on one of them keeps its files until it is gone.
func (e *Executor) pruneImages(ctx context.Context, now time.Time) error {
	list, err := e.storedImages(ctx)
	if err != nil {
		return err
	}
	keep, err := e.imagesInUse(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b stored) int { return b.used.Compare(a.used) })
	var total int64
	var errs []error
	for _, s := range list {
		total += s.bytes
		old := e.opts.ImageAge > 0 && now.Sub(s.used) > e.opts.ImageAge
		over := e.opts.ImageDisk > 0 && total > e.opts.ImageDisk
		if !old && !over || keep[s.image.Name()] || s.image.Labels()[labelImported] != "" {
			continue
		}
		removed, err := e.images.remove(ctx, s.image.Name(), now)
		errs = append(errs, err)
		if removed {
			total -= s.bytes
			e.opts.Logger.Info("removed an unused image", zap.String("image", s.image.Name()), zap.Int64("bytes", s.bytes), zap.Time("used", s.used))
		}
	}
	return errors.Join(errs...)
}

// storedImages lists the images, with their sizes: packed and unpacked. What several share counts for each.
func (e *Executor) storedImages(ctx context.Context) ([]stored, error) {
	found, err := e.client.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	list := make([]stored, 0, len(found))
	for _, img := range found {
		s := stored{image: img, used: img.Metadata().UpdatedAt}
		if at, err := time.Parse(time.RFC3339, img.Labels()[labelUsed]); err == nil {
			s.used = at
		}
		if at := e.images.usedAt(img.Name()); at.After(s.used) {
			s.used = at
		}
		// One that is only here in part has the size of what is.
		if s.bytes, err = img.Usage(ctx, ctd.WithSnapshotUsage()); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("measure image %s: %w", img.Name(), err)
		}
		list = append(list, s)
	}
	return list, nil
}

func (i *images) usedAt(name string) time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.used[name]
}

// imagesInUse names the images that containers have, that sandboxes stand ready from, and the one of runs that name none.
func (e *Executor) imagesInUse(ctx context.Context) (map[string]bool, error) {
	keep := map[string]bool{}
	if name, err := fullName(e.opts.Image); err == nil {
		keep[name] = true
	}
	list, err := e.client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range list {
		keep[c.Image] = true
	}
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	for _, k := range e.pool.kinds {
		keep[k.plan.image.name] = true
	}
	return keep, nil
}

// remove forgets an image, unless it was asked for lately or is being pulled. containerd removes what was only its own.
func (i *images) remove(ctx context.Context, name string, now time.Time) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pulling[name] != nil || now.Sub(i.used[name]) < i.minUnused {
		return false, nil
	}
	if err := i.client.ImageService().Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return false, fmt.Errorf("remove image %s: %w", name, err)
	}
	for id, known := range i.byID {
		if known.name == name {
			delete(i.byID, id)
		}
	}
	delete(i.used, name)
	return true, nil
}
