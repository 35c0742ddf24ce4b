package ca

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
)

// An encrypted key is what openssl pkcs8 reads and swarmkit writes: RFC 8018's
// PBES2 with PBKDF2 and AES-256-CBC. The password is an unlock key, of 256 random
// bits, which makes guessing hopeless whatever the number of iterations and the
// hash; both are swarmkit's.
const (
	pbkdf2Iterations    = 2048
	pbkdf2IterationsMax = 1 << 20
	pbkdf2SaltBytes     = 8
	aesKeyBytes         = 32
)

// errDecrypt says that a key cannot be decrypted with the password given.
var errDecrypt = errors.New("the key cannot be decrypted")

// The object identifiers of RFC 8018, appendix C, and of NIST for AES.
func oidPBES2() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13} }

func oidPBKDF2() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12} }

func oidHMACSHA1() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7} }

func oidHMACSHA256() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9} }

func oidAES256CBC() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
}

type encryptedKey struct {
	Scheme pkix.AlgorithmIdentifier
	Data   []byte
}

type pbes2 struct{ Derivation, Encryption pkix.AlgorithmIdentifier }

type pbkdf2Parameters struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// encryptPKCS8 encrypts a PKCS#8 key, DER, under a password.
func encryptPKCS8(key, password []byte) ([]byte, error) {
	random := make([]byte, pbkdf2SaltBytes+aes.BlockSize)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("encrypt the node's key: %w", err)
	}
	salt, iv := random[:pbkdf2SaltBytes], random[pbkdf2SaltBytes:]
	block, err := passwordCipher(sha1.New, password, salt, pbkdf2Iterations)
	if err != nil {
		return nil, fmt.Errorf("encrypt the node's key: %w", err)
	}
	padding := aes.BlockSize - len(key)%aes.BlockSize
	data := append(bytes.Clone(key), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	derivation, err := identified(oidPBKDF2(), pbkdf2Parameters{Salt: salt, Iterations: pbkdf2Iterations})
	if err != nil {
		return nil, err
	}
	encryption, err := identified(oidAES256CBC(), iv)
	if err != nil {
		return nil, err
	}
	scheme, err := identified(oidPBES2(), pbes2{derivation, encryption})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(encryptedKey{scheme, data})
}

func identified(oid asn1.ObjectIdentifier, parameters any) (pkix.AlgorithmIdentifier, error) {
	der, err := asn1.Marshal(parameters)
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: der}}, err
}

// decryptPKCS8 returns the key that [encryptPKCS8] has encrypted. A password that
// is not the right one gives errDecrypt, or now and then bytes that are no key.
func decryptPKCS8(der, password []byte) ([]byte, error) {
	var outer encryptedKey
	var scheme pbes2
	var derivation pbkdf2Parameters
	var iv []byte
	read := func(der []byte, into any) bool {
		rest, err := asn1.Unmarshal(der, into)
		return err == nil && len(rest) == 0
	}
	if !read(der, &outer) || !read(outer.Scheme.Parameters.FullBytes, &scheme) ||
		!read(scheme.Derivation.Parameters.FullBytes, &derivation) || !read(scheme.Encryption.Parameters.FullBytes, &iv) {
		return nil, errors.New("that is no key encrypted with PBES2, PBKDF2 and AES")
	}
	prf := sha1.New
	switch oid := derivation.PRF.Algorithm; {
	case len(oid) == 0, oid.Equal(oidHMACSHA1()):
	case oid.Equal(oidHMACSHA256()):
		prf = sha256.New
	default:
		return nil, fmt.Errorf("the key is derived with %v, which is not known", oid)
	}
	switch {
	case !outer.Scheme.Algorithm.Equal(oidPBES2()), !scheme.Derivation.Algorithm.Equal(oidPBKDF2()), !scheme.Encryption.Algorithm.Equal(oidAES256CBC()):
		return nil, errors.New("that is no key encrypted with PBES2, PBKDF2 and AES-256-CBC")
	case derivation.Iterations < 1 || derivation.Iterations > pbkdf2IterationsMax || derivation.KeyLength != 0 && derivation.KeyLength != aesKeyBytes:
		return nil, errors.New("the key's derivation is out of bounds")
	case len(iv) != aes.BlockSize || len(outer.Data) == 0 || len(outer.Data)%aes.BlockSize != 0:
		return nil, errors.New("the encrypted key is cut short")
	}
	block, err := passwordCipher(prf, password, derivation.Salt, derivation.Iterations)
	if err != nil {
		return nil, err
	}
	data := bytes.Clone(outer.Data)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	return unpadded(data)
}

func unpadded(data []byte) ([]byte, error) {
	padding := int(data[len(data)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, errDecrypt
	}
	at := len(data) - padding
	if subtle.ConstantTimeCompare(data[at:], bytes.Repeat([]byte{byte(padding)}, padding)) != 1 {
		return nil, errDecrypt
	}
	return data[:at], nil
}

func passwordCipher(prf func() hash.Hash, password, salt []byte, iterations int) (cipher.Block, error) {
	key, err := pbkdf2.Key(prf, string(password), salt, iterations, aesKeyBytes)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}
