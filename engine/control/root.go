package control

import (
	"bytes"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// Docker's words about roots.
const (
	textKeyAlone   = "if a signing CA key is provided, the signing CA cert must also be provided"
	textExternal   = "there must be at least one valid, reachable external CA corresponding to the desired CA certificate"
	textRootGone   = "the swarm's root certificate was not made; try again"
	textOtherRoot  = "the swarm's root certificate was changed meanwhile; try again"
	textFirstCACfg = "a root certificate of one's own for a new swarm"
)

// A NewRoot is a root certificate that a call asks for: one that the user gives,
// or, without, any.
type NewRoot struct {
	Cert, Key       []byte // PEM
	OldCert, OldKey []byte // PEM: those that are to sign it too
}

// Rotates reports whether a call asks for another root, which must be made before
// the call is admitted.
func Rotates(d *state.Draft, call Call) (NewRoot, bool) {
	update, ok := call.(SwarmUpdate)
	c := d.Cluster()
	if !ok || c == nil {
		return NewRoot{}, false
	}
	config := update.Spec.CAConfig
	made := NewRoot{Cert: []byte(config.SigningCACert), Key: []byte(config.SigningCAKey), OldCert: c.RootCert, OldKey: c.RootKey}
	if config.SigningCACert == "" {
		return made, config.SigningCAKey == "" && config.ForceRotate != c.Spec.CAConfig.ForceRotate
	}
	return made, config.SigningCAKey != ""
}

// rotateRoot begins to rotate the swarm's root, or gives a rotation up, if that is
// what a call asks for.
func (a *admission) rotateRoot(next, old *state.Cluster, call SwarmUpdate) *Failed {
	config := call.Spec.CAConfig
	next.Spec.CAConfig.SigningCACert, next.Spec.CAConfig.SigningCAKey = "", ""
	switch {
	case config.SigningCACert == "" && config.SigningCAKey != "":
		return invalid(textKeyAlone)
	case config.SigningCACert != "" && config.SigningCAKey == "":
		return invalid(textExternal)
	case config.SigningCACert == "" && config.ForceRotate == old.Spec.CAConfig.ForceRotate:
		return nil
	case call.Root == nil:
		return plain(Internal, textRootGone)
	case bytes.Equal(call.Root.Cert, old.NextCert):
		return nil // it is on its way
	case bytes.Equal(call.Root.Cert, old.RootCert):
		if old.NextCert != nil {
			next.NextCert, next.NextKey, next.NextCross, next.NextDigest = nil, nil, nil, ""
			next.CertVersion = a.d.Version()
		}
		return nil
	case !bytes.Equal(call.Root.Old, old.RootCert):
		return plain(Conflict, textOtherRoot)
	}
	next.NextCert, next.NextKey = call.Root.Cert, call.Root.Key
	next.NextCross, next.NextDigest = call.Root.Cross, call.Root.Digest
	next.CertVersion = a.d.Version()
	return nil
}

// ownRoot refuses what a founding cannot be given.
func ownRoot(s *swarm.Spec) *Failed {
	if s.CAConfig.SigningCACert != "" || s.CAConfig.SigningCAKey != "" {
		return unserved(textFirstCACfg, "found the swarm first, then use 'docker swarm ca --rotate'")
	}
	return nil
}
