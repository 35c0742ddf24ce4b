package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// What Docker's roots are.
const (
	rootName     = "swarm-ca"
	rootLifetime = 20 * 365 * 24 * time.Hour // 630,720,000 s
	backdated    = 5 * time.Minute           // for clocks that run behind
	digestDigits = 50                        // of 256 bits in base 36
	digestBase   = 36
)

// A root is a certificate that signs itself and others, and its key.
type root struct {
	cert, key []byte // PEM
}

// newRoot makes a root that is good from shortly before now. Serial number and
// key identifier are left to crypto/x509, whose rules are RFC 5280's and RFC 7093's.
func newRoot(now time.Time) (root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return root{}, fmt.Errorf("make the key of the swarm's root certificate: %w", err)
	}
	from := now.Add(-backdated).UTC().Truncate(time.Minute)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: rootName},
		NotBefore:             from,
		NotAfter:              from.Add(rootLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return root{}, fmt.Errorf("sign the swarm's root certificate: %w", err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return root{}, fmt.Errorf("encode the key of the swarm's root certificate: %w", err)
	}
	return root{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}),
	}, nil
}

// Digest is the part of a join token that names a swarm: SHA-256 of its root
// certificate as PEM, in base 36, with leading zeros to 50 digits.
func Digest(certPEM []byte) string {
	sum := sha256.Sum256(certPEM)
	text := new(big.Int).SetBytes(sum[:]).Text(digestBase)
	return strings.Repeat("0", digestDigits-len(text)) + text
}
