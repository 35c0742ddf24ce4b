package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// What Docker's node certificates are.
const (
	unitManager  = "swarm-manager"
	unitWorker   = "swarm-worker"
	unitRoot     = "swarm-ca" // a name that managers' certificates have too
	nodeBackdate = time.Hour  // for clocks that run behind
)

// ExpiryDefault is how long a node's certificate is good unless the swarm's spec
// says otherwise.
const ExpiryDefault = 90 * 24 * time.Hour

// A certificate is renewed somewhere between these parts of its life, so that the
// nodes of a swarm do not all come at once.
const (
	renewFrom = 0.5
	renewTo   = 0.8
)

// blockEC is how a key is marked that is not PKCS#8: those of roots are Docker's.
const blockEC = "EC PRIVATE KEY"

// pemBytesMax is how large a certificate, or a request for one, may be.
const pemBytesMax = 16 << 10

// A Subject is whom a certificate is for.
type Subject struct {
	Node    state.NodeID
	Cluster state.ClusterID
	Manager bool
}

// NewKey makes a node's key, as PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	return encodeKey(key)
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPlain, Bytes: der}), nil
}

// NewRequest asks for a certificate for a key; both are PEM. What the certificate
// says is for the swarm to decide.
func NewRequest(key []byte) ([]byte, error) {
	private, err := decodeKey(key)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// KeyDigest is the SHA-256 of the public key that a request is for: by it the
// swarm knows a node that asks twice.
func KeyDigest(request []byte) ([]byte, error) {
	r, err := decodeRequest(request)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(r.RawSubjectPublicKeyInfo)
	return sum[:], nil
}

// Sign answers a request with a certificate, as PEM, that is good for so long from
// now and, for the sake of clocks that run behind, from an hour before.
func Sign(request []byte, subject Subject, expiry time.Duration, rootCert, rootKey []byte, now time.Time) ([]byte, error) {
	r, err := decodeRequest(request)
	if err != nil {
		return nil, err
	}
	issuer, err := decodeCertificate(rootCert)
	if err != nil {
		return nil, fmt.Errorf("the swarm's root certificate: %w", err)
	}
	signer, err := decodeKey(rootKey)
	if err != nil {
		return nil, fmt.Errorf("the key of the swarm's root certificate: %w", err)
	}
	if expiry <= 0 {
		expiry = ExpiryDefault
	}
	unit := unitWorker
	names := []string{unitWorker, string(subject.Node)}
	if subject.Manager {
		unit = unitManager
		names = []string{unitManager, string(subject.Node), unitRoot}
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{string(subject.Cluster)}, OrganizationalUnit: []string{unit}, CommonName: string(subject.Node),
		},
		DNSNames:              names,
		NotBefore:             now.Add(-nodeBackdate).UTC().Truncate(time.Second),
		NotAfter:              now.Add(expiry).UTC().Truncate(time.Second),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, issuer, r.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of node %s: %w", subject.Node, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// Credentials are a node's certificate with its key, and the root that it goes
// back to. They do not change; a renewal makes others.
type Credentials struct {
	Subject
	Cert, Key, Root     []byte // PEM
	NotBefore, NotAfter time.Time
	// TLS is the certificate as TLS shows it, with the root behind it: who joins
	// compares that with its token.
	TLS tls.Certificate

	roots *x509.CertPool
}

// NewCredentials checks that certificate, key and root, all PEM, belong together.
func NewCredentials(cert, key, root []byte) (*Credentials, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the node's certificate and its key do not belong together: %w", err)
	}
	anchor, err := decodeCertificate(root)
	if err != nil {
		return nil, fmt.Errorf("the swarm's root certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("the node's certificate: %w", err)
	}
	pair.Leaf = leaf
	pair.Certificate = [][]byte{leaf.Raw, anchor.Raw}
	c := &Credentials{
		Cert: cert, Key: key, Root: root, TLS: pair, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, roots: x509.NewCertPool(),
	}
	c.roots.AddCert(anchor)
	then := leaf.NotBefore // a time at which both are good, if there is one
	if anchor.NotBefore.After(then) {
		then = anchor.NotBefore
	}
	c.Subject, err = verify([]*x509.Certificate{leaf}, c.roots, then)
	if err != nil {
		return nil, fmt.Errorf("the node's certificate: %w", err)
	}
	return c, nil
}

// Verify says whom a certificate is for that another node has shown, if it is one
// of this swarm's and good at the time given.
func (c *Credentials) Verify(chain []*x509.Certificate, now time.Time) (Subject, error) {
	subject, err := verify(chain, c.roots, now)
	if err == nil && subject.Cluster != c.Cluster {
		return Subject{}, fmt.Errorf("the certificate is of swarm %q, this node is in %q", subject.Cluster, c.Cluster)
	}
	return subject, err
}

// RenewAt is when the certificate should be renewed; part, from 0 to 1, spreads
// the nodes of a swarm.
func (c *Credentials) RenewAt(part float64) time.Time {
	issued := c.NotBefore.Add(nodeBackdate)
	life := float64(c.NotAfter.Sub(issued))
	return issued.Add(time.Duration(life * (renewFrom + (renewTo-renewFrom)*part)))
}

// A FingerprintError says that a swarm is not the one that a token names. The
// text is Docker's.
type FingerprintError struct{ Expected string }

// Error says which root certificate the token wants.
func (e *FingerprintError) Error() string {
	return "remote CA does not match fingerprint. Expected: " + e.Expected
}

// VerifyServer checks what a manager shows to somebody who has nothing but a
// token: a root certificate with the token's digest, and behind it a manager.
func VerifyServer(digest string, chain []*x509.Certificate, now time.Time) error {
	if len(chain) < 2 {
		return errors.New("the manager has shown no root certificate")
	}
	root := chain[len(chain)-1]
	if Digest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})) != digest {
		return &FingerprintError{fingerprint(digest)}
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	subject, err := verify(chain, roots, now)
	if err == nil && !subject.Manager {
		err = fmt.Errorf("node %s is no manager", subject.Node)
	}
	return err
}

// fingerprint is a token's digest as people compare it: in base 16.
func fingerprint(digest string) string {
	n, ok := new(big.Int).SetString(digest, digestBase)
	if !ok || n.BitLen() > 8*sha256.Size {
		return digest
	}
	return hex.EncodeToString(n.FillBytes(make([]byte, sha256.Size)))
}

func verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (Subject, error) {
	if len(chain) == 0 {
		return Subject{}, errors.New("no certificate was shown")
	}
	leaf := chain[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return Subject{}, err
	}
	name := leaf.Subject
	if name.CommonName == "" || len(name.Organization) != 1 || len(name.OrganizationalUnit) != 1 || leaf.IsCA {
		return Subject{}, fmt.Errorf("the certificate of %q names no node of a swarm", name)
	}
	subject := Subject{Node: state.NodeID(name.CommonName), Cluster: state.ClusterID(name.Organization[0])}
	switch name.OrganizationalUnit[0] {
	case unitManager:
		subject.Manager = true
	case unitWorker:
	default:
		return Subject{}, fmt.Errorf("the certificate of node %s has the role %q, which is none", subject.Node, name.OrganizationalUnit[0])
	}
	return subject, nil
}

func decodeKey(text []byte) (*ecdsa.PrivateKey, error) {
	if len(text) > pemBytesMax {
		return nil, fmt.Errorf("%d bytes are too many for a key", len(text))
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("that is no PEM of a key")
	}
	return parseKey(block.Type, block.Bytes)
}

func decodeCertificate(text []byte) (*x509.Certificate, error) {
	block, err := decodePEM(text, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(block)
}

// decodeRequest reads a request and checks that who has made it has the key.
func decodeRequest(text []byte) (*x509.CertificateRequest, error) {
	block, err := decodePEM(text, "CERTIFICATE REQUEST")
	if err != nil {
		return nil, err
	}
	r, err := x509.ParseCertificateRequest(block)
	if err != nil {
		return nil, fmt.Errorf("the certificate request cannot be read: %w", err)
	}
	if key, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request is for a key that is not of the kind ECDSA P-256")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request is not signed with its own key: %w", err)
	}
	return r, nil
}

func decodePEM(text []byte, kind string) ([]byte, error) {
	if len(text) > pemBytesMax {
		return nil, fmt.Errorf("%d bytes are too many for a %s", len(text), kind)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("that is no PEM of a %s", kind)
	}
	return block.Bytes, nil
}
