package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/swarmd/swarmd/engine/control"
)

// rootLifeMin is how long a root that is given must be good still. It is Docker's.
const rootLifeMin = 365 * 24 * time.Hour

// Docker's words about roots that are given.
const (
	textInvalid  = "rpc error: code = InvalidArgument desc = "
	textKeyForm  = textInvalid + "malformed private key: "
	textMismatch = textInvalid + "certificate key mismatch"
	textSoon     = textInvalid + "CA certificate expires too soon"
	textMany     = textInvalid + "the desired CA certificate cannot contain multiple certificates"
	textCross    = "rpc error: code = Internal desc = unable to generate a cross-signed certificate for root rotation"
)

// makeRoot makes a root, or takes the one that is given, and has the old one sign
// it, so that who trusts only that believes it too.
func makeRoot(wanted control.NewRoot, now time.Time) (control.Root, *control.Failed) {
	fresh := root{wanted.Cert, wanted.Key}
	if len(wanted.Cert) == 0 {
		var err error
		if fresh, err = newRoot(now); err != nil {
			return control.Root{}, &control.Failed{Kind: control.Internal, Message: err.Error()}
		}
	} else if failed := fresh.normalise(now); failed != nil {
		return control.Root{}, failed
	}
	cross, err := crossSign(fresh.cert, wanted.OldCert, wanted.OldKey)
	if err != nil {
		return control.Root{}, &control.Failed{Kind: control.Internal, Message: textCross + ": " + err.Error()}
	}
	return control.Root{Cert: fresh.cert, Key: fresh.key, Digest: Digest(fresh.cert), Old: wanted.OldCert, Cross: cross}, nil
}

// normalise checks a root that a person gives, and writes it as swarmd does.
func (r *root) normalise(now time.Time) *control.Failed {
	refuse := func(text string) *control.Failed { return &control.Failed{Kind: control.Invalid, Message: text} }
	signer, err := decodeSigner(r.key)
	if err != nil {
		return refuse(textKeyForm + err.Error())
	}
	certs, err := decodeCertificates(r.cert)
	switch {
	case err != nil:
		return refuse(textInvalid + err.Error())
	case len(certs) > 1:
		return refuse(textMany)
	}
	cert := certs[0]
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(signer.Public()):
		return refuse(textMismatch)
	case cert.NotAfter.Before(now.Add(rootLifeMin)):
		return refuse(textSoon)
	case !cert.IsCA || cert.CheckSignatureFrom(cert) != nil:
		return &control.Failed{Kind: control.Internal, Message: textCross}
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return refuse(textKeyForm + err.Error())
	}
	r.cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	r.key = pem.EncodeToMemory(&pem.Block{Type: blockPlain, Bytes: der})
	return nil
}

// crossSign is a root as an older one signs it: the same name and key.
func crossSign(cert, oldCert, oldKey []byte) ([]byte, error) {
	fresh, err := decodeCertificate(cert)
	if err != nil {
		return nil, err
	}
	old, err := decodeCertificate(oldCert)
	if err != nil {
		return nil, err
	}
	signer, err := decodeSigner(oldKey)
	if err != nil {
		return nil, err
	}
	number, err := serial(0)
	if err != nil {
		return nil, err
	}
	template := *fresh
	template.SerialNumber = number
	template.SignatureAlgorithm = x509.UnknownSignatureAlgorithm
	template.AuthorityKeyId, template.ExtraExtensions = nil, nil
	der, err := x509.CreateCertificate(rand.Reader, &template, old, fresh.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// decodeSigner reads the first private key of a PEM: openssl writes parameters
// before it.
func decodeSigner(text []byte) (crypto.Signer, error) {
	if len(text) > pemBytesMax {
		return nil, fmt.Errorf("%d bytes are too many for a key", len(text))
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("that is no PEM of a private key")
		}
		text = rest
		switch block.Type {
		case blockEC:
			return x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case blockPlain:
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if signer, ok := parsed.(crypto.Signer); ok {
				return signer, nil
			}
			return nil, fmt.Errorf("a %T does not sign", parsed)
		default: // such as EC PARAMETERS
		}
	}
}
