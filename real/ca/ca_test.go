package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine"
)

// A root that dockerd 28.2.2 made, and the tokens that it gave out for it.
const (
	dockerRoot = `-----BEGIN CERTIFICATE-----
MIIBajCCARCgAwIBAgIUQcEkZKEXTmUXQpws0uktOi/rYFgwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAxMIc3dhcm0tY2EwHhcNMjYxMTIzMTQ0MDAwWhcNNDYxMTE4MTQ0
MDAwWjATMREwDwYDVQQDEwhzd2FybS1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABOfbMybfpZcEXX/oO36SW05o6dwwh494/kAGb48NzqEKYDLo3ZalPxlBFfvp
3DNJPCkY/IqUfuRx9hHfdQIaImWjQjBAMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMB
Af8EBTADAQH/MB0GA1UdDgQWBBSWRLttpWu3rvvD5oFypw+KllAJKTAKBggqhkjO
PQQDAgNIADBFAiEA/JCkpkccjuU+phah+HjS/KDHMsyFZ1gLGeBZw+mSqhsCIBDr
CuVcXIdO6jbOhZgfSV9wfZ+ths380R+SgxvSrU93
-----END CERTIFICATE-----
`
	dockerDigest = "2sdovxr6w77r29tr3et91rny57wdl428uxti0m45polt7zzed4"
)

// The digest is the one that docker puts into join tokens.
func TestDigest(t *testing.T) {
	if got := Digest([]byte(dockerRoot)); got != dockerDigest {
		t.Errorf("got %s, docker says %s", got, dockerDigest)
	}
	// Whatever the certificate, there are 50 digits: small sums get zeros.
	for i := range 2000 {
		if got := Digest([]byte{byte(i), byte(i >> 8)}); len(got) != 50 {
			t.Fatalf("%d digits: %s", len(got), got)
		}
	}
}

// What is made differs from docker's in nothing but serial, key and dates.
func TestRootIsLikeDockers(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 45, 28, 0, time.UTC)
	made, err := newRoot(now)
	if err != nil {
		t.Fatal(err)
	}
	got, want := parse(t, made.cert), parse(t, []byte(dockerRoot))
	if got.Subject.String() != want.Subject.String() || got.Issuer.String() != want.Issuer.String() {
		t.Errorf("subject %v, issuer %v", got.Subject, got.Issuer)
	}
	if got.KeyUsage != want.KeyUsage || got.IsCA != want.IsCA || got.MaxPathLen != want.MaxPathLen ||
		got.SignatureAlgorithm != want.SignatureAlgorithm || len(got.SubjectKeyId) != len(want.SubjectKeyId) {
		t.Errorf("got %+v", got)
	}
	if !got.NotBefore.Equal(want.NotBefore) || !got.NotAfter.Equal(want.NotAfter) {
		t.Errorf("good from %v to %v, docker's from %v to %v", got.NotBefore, got.NotAfter, want.NotBefore, want.NotAfter)
	}
	if len(got.Extensions) != len(want.Extensions) {
		t.Fatalf("%d extensions, docker's has %d", len(got.Extensions), len(want.Extensions))
	}
	for i, extension := range got.Extensions {
		if !extension.Id.Equal(want.Extensions[i].Id) || extension.Critical != want.Extensions[i].Critical {
			t.Errorf("extension %v, critical %v; docker's %v, %v", extension.Id, extension.Critical, want.Extensions[i].Id, want.Extensions[i].Critical)
		}
	}
	if got.SerialNumber.Sign() <= 0 || len(got.SerialNumber.Bytes()) > 20 {
		t.Errorf("serial number %v", got.SerialNumber)
	}
}

// An authority is asked for two swarms and answers twice. What it made can sign
// a node's certificate that others then believe.
func TestAuthority(t *testing.T) {
	posted := make(chan engine.Event, 2)
	a := New(func(e engine.Event) { posted <- e })
	a.CreateAuthority("alpha")
	a.CreateAuthority("beta")
	a.Close()
	made := map[string]engine.AuthorityCreated{}
	for range 2 {
		e := (<-posted).(engine.AuthorityCreated)
		made[string(e.Cluster)] = e
	}
	alpha, beta := made["alpha"], made["beta"]
	if alpha.Err != nil || beta.Err != nil || alpha.Digest == beta.Digest || string(alpha.Key) == string(beta.Key) {
		t.Fatalf("%+v and %+v", alpha, beta)
	}
	if alpha.Digest != Digest(alpha.Cert) {
		t.Errorf("digest %s is not of the certificate", alpha.Digest)
	}
	pair, err := tls.X509KeyPair(alpha.Cert, alpha.Key)
	if err != nil {
		t.Fatalf("the key is not the certificate's: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	node := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, node, parse(t, alpha.Cert), key.Public(), pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for swarm, believed := range map[string]bool{"alpha": true, "beta": false} {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(made[swarm].Cert)
		if _, err := signed.Verify(x509.VerifyOptions{Roots: roots}); (err == nil) != believed {
			t.Errorf("%s: %v", swarm, err)
		}
	}
}

// CreateAuthority returns before anybody takes what is posted.
func TestCreateAuthorityDoesNotBlock(t *testing.T) {
	posted := make(chan engine.Event)
	a := New(func(e engine.Event) { posted <- e })
	a.CreateAuthority("alpha")
	if e := (<-posted).(engine.AuthorityCreated); e.Err != nil {
		t.Error(e.Err)
	}
	a.Close()
}

func parse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Fatalf("not one certificate: %s", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
