// Package ca makes and keeps the swarm's certificates.
//
// An [Authority] is the driver's port: it makes the root certificate of a new
// swarm beside the driver's loop and posts it. What it makes is what Docker
// makes: a self-signed ECDSA P-256 certificate for "swarm-ca" that is good for
// twenty years, and a digest of it by which those who join recognise the swarm.
//
// Nodes have [Credentials]: a key that stays with them for as long as they are
// members, a certificate of it that [Sign] makes and that names node, swarm and
// role, and the root. They are kept in the files that Docker has.
//
// Not guaranteed: that a clock which runs ahead of the others by more than
// [backdated] makes certificates that the others take at once.
package ca

import (
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// An Authority makes certificates. Make one with [New].
type Authority struct {
	post   func(engine.Event)
	making sync.WaitGroup
}

// New returns an authority that posts what it has made. post may block.
func New(post func(engine.Event)) *Authority {
	return &Authority{post: post}
}

// CreateAuthority makes a root certificate for a new swarm. It does not block;
// AuthorityCreated answers, once.
func (a *Authority) CreateAuthority(cluster state.ClusterID) {
	a.making.Go(func() {
		root, err := newRoot(time.Now())
		if err != nil {
			a.post(engine.AuthorityCreated{Cluster: cluster, Err: err})
			return
		}
		key, digest, err := newNodeKey()
		a.post(engine.AuthorityCreated{
			Cluster: cluster, Cert: root.cert, Key: root.key, Digest: Digest(root.cert), NodeKey: key, NodeDigest: digest, Err: err,
		})
	})
}

// MakeRoot makes another root, or looks at the one that is given, and has the old
// one sign it. It does not block; RootMade answers, once.
func (a *Authority) MakeRoot(f engine.MakeRoot) {
	a.making.Go(func() {
		made, failed := makeRoot(f.Root, time.Now())
		a.post(engine.RootMade{Request: f.Request, Root: made, Failed: failed})
	})
}

// newNodeKey makes the key of the node that founds a swarm.
func newNodeKey() (key, digest []byte, err error) {
	if key, err = NewKey(); err != nil {
		return nil, nil, err
	}
	request, err := NewRequest(key)
	if err != nil {
		return nil, nil, err
	}
	digest, err = KeyDigest(request)
	return key, digest, err
}

// Close returns when everything asked for has been posted.
func (a *Authority) Close() { a.making.Wait() }
