package api

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// The render functions turn what the engine keeps into Docker's shapes. What
// they are given is frozen and shared: they copy what they change.

// metaOf is an object's metadata with the version that a client must present.
func metaOf(meta state.Meta, version uint64) swarm.Meta {
	return swarm.Meta{
		Version:   swarm.Version{Index: version},
		CreatedAt: meta.Created.Time(),
		UpdatedAt: meta.Updated.Time(),
	}
}

// labelsOf is labels as Docker prints them: {} rather than null.
func labelsOf(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}

// copied returns a pointer to a shallow copy of what p points to.
func copied[T any](p *T) *T {
	value := *p
	return &value
}
