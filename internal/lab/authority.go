package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// An Authority issues certificates that nobody outside the lab trusts.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// NewAuthority makes an authority with a key of its own.
func NewAuthority() *Authority {
	a := &Authority{next: 2}
	a.key = mustKey()
	a.cert = a.sign(&x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "ata-lab authority"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, &a.key.PublicKey)
	return a
}

// Roots is the set of roots in which the authority is the only one.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// PEM is the authority's certificate as a file holds it.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Issue makes a certificate for names and addresses.
func (a *Authority) Issue(names ...string) tls.Certificate {
	key := mustKey()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(a.next),
		Subject:      pkix.Name{CommonName: "ata-lab proxy"},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	a.next++
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	c := a.sign(t, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

func (a *Authority) sign(t *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	// testing/synctest begins in 2000.
	t.NotBefore = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	t.NotAfter = time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC)
	parent := a.cert
	if parent == nil {
		parent = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key, a.key)
	if err != nil {
		panic("lab: " + err.Error())
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic("lab: " + err.Error())
	}
	return c
}

func mustKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("lab: " + err.Error())
	}
	return key
}
