package membership

import (
	"bytes"
	"slices"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// crossedBytesMax is how much is kept of the roots that there have been.
const crossedBytesMax = 8 << 10

// A Rotation watches for the end of a rotation of the swarm's root. It belongs to
// a leader; the zero value has everything looked at.
type Rotation struct{ looked bool }

// Observe takes in changes that were made to the draft or the store, by anybody.
func (r *Rotation) Observe(delta *state.Delta) {
	if len(delta.Clusters) > 0 {
		r.looked = false
	}
	for _, n := range delta.Nodes {
		if n.After == nil || n.Before == nil || n.Before.Certificate != n.After.Certificate || n.Before.State != n.After.State {
			r.looked = false
		}
	}
}

// Pending reports whether Finish has anything to look at.
func (r *Rotation) Pending() bool { return !r.looked }

// Finish ends a rotation that is under way once every node that is not Down has a
// certificate of the new root. That becomes the only one: nodes renew once more,
// and trust nothing else, and join tokens name it, with secrets of their own.
func (r *Rotation) Finish(d *state.Draft, mint *entropy.Source, wall state.Wall) {
	r.looked = true
	old := d.Cluster()
	if old == nil || old.NextCert == nil {
		return
	}
	for n := range d.Nodes() {
		if n.State != state.NodeDown && n.Certificate < old.CertVersion {
			return
		}
	}
	c := *old
	c.Version, c.Updated = d.Version(), wall
	c.FormerCert = old.RootCert
	c.RootCert, c.RootKey, c.RootDigest = old.NextCert, old.NextKey, old.NextDigest
	c.Crossed = crossed(old.NextCross, old.Crossed)
	c.NextCert, c.NextKey, c.NextCross, c.NextDigest = nil, nil, nil, ""
	c.WorkerSecret, c.ManagerSecret = mint.Secret(), mint.Secret()
	c.CertVersion = d.Version()
	d.PutCluster(&c)
}

// crossed is the roots that there have been with one more, as many as are kept.
func crossed(newest, older []byte) []byte {
	if len(newest)+len(older) > crossedBytesMax {
		const end = "-----END CERTIFICATE-----\n"
		if at := bytes.LastIndex(older[:max(0, len(older)-1)], []byte(end)); at >= 0 {
			return crossed(newest, older[:at+len(end)])
		}
		return slices.Clone(newest)
	}
	return append(slices.Clone(newest), older...)
}
