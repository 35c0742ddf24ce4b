package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/membership"
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

// blockEC is how a key is marked that is not PKCS#8: those of roots are Docker's.
const blockEC = "EC PRIVATE KEY"

// pemBytesMax is how large a certificate, or a request for one, may be.
const pemBytesMax = 16 << 10

// A Subject is whom a certificate is for. Version is that of the swarm's store when
// this was so: it is the last half of the certificate's serial number, whose rest is
// random.
type Subject struct {
	Node    state.NodeID
	Cluster state.ClusterID
	Manager bool
	Version uint64
}

const (
	serialRandomBytes  = 11
	serialVersionBytes = 8
)

// serial is a serial number with a version in it.
func serial(version uint64) (*big.Int, error) {
	b := make([]byte, 1+serialRandomBytes, 1+serialRandomBytes+serialVersionBytes)
	b[0] = 1 // never negative, never short
	if _, err := rand.Read(b[1:]); err != nil {
		return nil, err
	}
	return new(big.Int).SetBytes(binary.BigEndian.AppendUint64(b, version)), nil
}

// versionOf is the version in a serial number.
func versionOf(serial *big.Int) uint64 {
	b := serial.Bytes()
	if len(b) != 1+serialRandomBytes+serialVersionBytes {
		return 0
	}
	return binary.BigEndian.Uint64(b[1+serialRandomBytes:])
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
	signer, err := decodeSigner(rootKey)
	if err != nil {
		return nil, fmt.Errorf("the key of the swarm's root certificate: %w", err)
	}
	number, err := serial(subject.Version)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of node %s: %w", subject.Node, err)
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
		SerialNumber: number,
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
// Behind the certificate may be roots that others sign, behind the root another
// that is to be trusted too.
func NewCredentials(cert, key, root []byte) (*Credentials, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the node's certificate and its key do not belong together: %w", err)
	}
	anchors, err := decodeCertificates(root)
	if err != nil {
		return nil, fmt.Errorf("the swarm's root certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("the node's certificate: %w", err)
	}
	c := &Credentials{
		Cert: cert, Key: key, Root: root, TLS: pair, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, roots: x509.NewCertPool(),
	}
	c.TLS.Leaf = leaf
	for _, anchor := range anchors {
		c.TLS.Certificate = append(c.TLS.Certificate, anchor.Raw)
		c.roots.AddCert(anchor)
	}
	chain := []*x509.Certificate{leaf}
	for _, der := range pair.Certificate[1:] {
		between, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("what is behind the node's certificate: %w", err)
		}
		chain = append(chain, between)
	}
	then := leaf.NotBefore // a time at which all are good, if there is one
	for _, signer := range append(chain[1:], anchors...) {
		if signer.NotBefore.After(then) && signer.NotBefore.Before(leaf.NotAfter) {
			then = signer.NotBefore
		}
	}
	if c.Subject, err = verify(chain, c.roots, then); err != nil {
		return nil, fmt.Errorf("the node's certificate is not of the swarm's root: %w", err)
	}
	return c, nil
}

// Digest is the SHA-256 of the node's public key.
func (c *Credentials) Digest() []byte { return keyDigest(c.TLS.Leaf) }

func keyDigest(cert *x509.Certificate) []byte {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return sum[:]
}

// Certificate is what the engine knows of the certificate.
func (c *Credentials) Certificate() membership.Certificate {
	return membership.Certificate{
		Version: c.Version, From: state.Wall(c.NotBefore.Add(nodeBackdate).UnixNano()), Until: state.Wall(c.NotAfter.UnixNano()),
	}
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

// Claimed says whom a certificate would be for if it were good, and the digest of
// its key. Nothing of it is checked but its form: that the other end has the key is
// all that is known.
func Claimed(chain []*x509.Certificate) (Subject, []byte, error) {
	if len(chain) == 0 {
		return Subject{}, nil, errors.New("no certificate was shown")
	}
	subject, err := subjectOf(chain[0])
	return subject, keyDigest(chain[0]), err
}

// VerifyExpired is Verify for a certificate that may have expired, but was good.
func (c *Credentials) VerifyExpired(chain []*x509.Certificate, now time.Time) (Subject, error) {
	if len(chain) > 0 && now.After(chain[0].NotAfter) {
		now = chain[0].NotAfter
	}
	return c.Verify(chain, now)
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
	at := slices.IndexFunc(chain[1:], func(c *x509.Certificate) bool {
		return Digest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})) == digest
	})
	if at < 0 {
		return &FingerprintError{fingerprint(digest)}
	}
	roots := x509.NewCertPool()
	roots.AddCert(chain[1+at])
	subject, err := verify(chain, roots, now)
	if err == nil && !subject.Manager {
		err = fmt.Errorf("node %s is no manager", subject.Node)
	}
	return err
}

// HasRoot reports whether one of the roots, PEM, has a token's digest.
func HasRoot(roots []byte, digest string) bool {
	certs, err := decodeCertificates(roots)
	return err == nil && slices.ContainsFunc(certs, func(c *x509.Certificate) bool {
		return Digest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})) == digest
	})
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
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return Subject{}, err
	}
	return subjectOf(chain[0])
}

// subjectOf is whom a certificate names.
func subjectOf(leaf *x509.Certificate) (Subject, error) {
	name := leaf.Subject
	if name.CommonName == "" || len(name.Organization) != 1 || len(name.OrganizationalUnit) != 1 || leaf.IsCA {
		return Subject{}, fmt.Errorf("the certificate of %q names no node of a swarm", name)
	}
	subject := Subject{Node: state.NodeID(name.CommonName), Cluster: state.ClusterID(name.Organization[0]), Version: versionOf(leaf.SerialNumber)}
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

// decodeCertificates reads one certificate or more.
func decodeCertificates(text []byte) ([]*x509.Certificate, error) {
	if len(text) > pemBytesMax {
		return nil, fmt.Errorf("%d bytes are too many for certificates", len(text))
	}
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if text = rest; block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a %s is no certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("that is no PEM of a certificate")
	}
	return certs, nil
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
