package api

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// renderSwarm is the answer to GET /swarm.
func renderSwarm(cluster *state.Cluster) swarm.Swarm {
	return swarm.Swarm{
		ClusterInfo: renderCluster(cluster),
		JoinTokens: swarm.JoinTokens{
			Worker:  joinToken(cluster.RootDigest, cluster.WorkerSecret),
			Manager: joinToken(cluster.RootDigest, cluster.ManagerSecret),
		},
	}
}

func joinToken(digest, secret string) string { return "SWMTKN-1-" + digest + "-" + secret }

// renderCluster is the swarm without what would let a node join it.
func renderCluster(cluster *state.Cluster) swarm.ClusterInfo {
	spec := cluster.Spec
	spec.Labels = labelsOf(spec.Labels)
	spec.CAConfig.SigningCAKey = ""
	return swarm.ClusterInfo{
		ID:      string(cluster.ID),
		Meta:    metaOf(cluster.Meta, cluster.SpecVersion),
		Spec:    spec,
		TLSInfo: tlsInfoOf(cluster.RootCert, issuerOf(cluster)),

		RootRotationInProgress: cluster.NextCert != nil,

		DefaultAddrPool: prefixesOf(cluster.DefaultAddrPool),
		SubnetSize:      cluster.SubnetSize,
		DataPathPort:    cluster.DataPathPort,
	}
}

// issuerOf is the root that certificates are made of now.
func issuerOf(cluster *state.Cluster) []byte {
	if cluster.NextCert != nil {
		return cluster.NextCert
	}
	return cluster.RootCert
}

// tlsInfoOf describes a root certificate, and one that issues. Of one that cannot
// be read nothing is shown.
func tlsInfoOf(rootPEM, issuerPEM []byte) swarm.TLSInfo {
	info := swarm.TLSInfo{TrustRoot: string(rootPEM)}
	block, _ := pem.Decode(issuerPEM)
	if block == nil {
		return info
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return info
	}
	info.CertIssuerSubject = cert.RawSubject
	info.CertIssuerPublicKey = cert.RawSubjectPublicKeyInfo
	return info
}

func prefixesOf(pools []string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, pool := range pools {
		if prefix, err := netip.ParsePrefix(pool); err == nil {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

// renderInfo is the Swarm member of GET /info.
func renderInfo(info control.NodeInfo) swarm.Info {
	rendered := swarm.Info{
		NodeID:           info.NodeID,
		NodeAddr:         info.NodeAddr,
		LocalNodeState:   info.State,
		ControlAvailable: info.Manager,
		Error:            info.Error,
		RemoteManagers:   info.Managers,
	}
	if !info.Manager {
		return rendered
	}
	rendered.Nodes, rendered.Managers = info.NodeCount, info.ManagerCount
	if info.Cluster != nil {
		cluster := renderCluster(info.Cluster)
		rendered.Cluster = &cluster
	}
	return rendered
}
