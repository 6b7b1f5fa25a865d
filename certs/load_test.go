package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/internal/testca"
)

func TestLoadNamesTheFileAndTheFault(t *testing.T) {
	s := newSite(t)
	other := t.TempDir()
	otherCert, otherKey := testca.Files(t, other, s.servers.Server(t, "other"))
	pairOf := func(options ...testca.Option) (cert, key string) {
		return testca.Files(t, t.TempDir(), s.servers.Server(t, "shop", options...))
	}
	oldCert, oldKey := pairOf(testca.Expired)
	newCert, newKey := pairOf(testca.NotYet)
	oldCA := testca.New(t, testca.Expired).File(t, t.TempDir())
	empty, text := put(t, other, "empty.pem", ""), put(t, other, "text.pem", "no certificate")
	broken := put(t, other, "broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	large := put(t, other, "large.pem", strings.Repeat("#", 5<<20))
	missing := filepath.Join(other, "missing.pem")
	for name, tc := range map[string]struct {
		cfg  certs.Config
		want []string
	}{
		"nothing":            {certs.Config{}, []string{"names no file", "Cert and Key, or CA"}},
		"a key alone":        {certs.Config{Key: s.key}, []string{"names no file"}},
		"cert without key":   {certs.Config{Cert: s.cert}, []string{"one of Cert and Key; set both"}},
		"key without cert":   {certs.Config{Key: s.key, CA: s.ca}, []string{"one of Cert and Key; set both"}},
		"cert is not there":  {certs.Config{Cert: missing, Key: s.key}, []string{missing, "no such file"}},
		"key is not there":   {certs.Config{Cert: s.cert, Key: missing}, []string{missing, "no such file"}},
		"CA is not there":    {certs.Config{CA: missing}, []string{missing, "no such file"}},
		"CA is a directory":  {certs.Config{CA: other}, []string{other, "directory"}},
		"another's key":      {certs.Config{Cert: s.cert, Key: otherKey}, []string{s.cert, otherKey, "does not match"}},
		"swapped":            {certs.Config{Cert: otherKey, Key: otherCert}, []string{otherKey, otherCert, "switched"}},
		"cert is empty":      {certs.Config{Cert: empty, Key: s.key}, []string{empty, "BEGIN CERTIFICATE"}},
		"key is empty":       {certs.Config{Cert: s.cert, Key: empty}, []string{empty, "BEGIN PRIVATE KEY"}},
		"cert is text":       {certs.Config{Cert: text, Key: s.key}, []string{text, "BEGIN CERTIFICATE"}},
		"cert is broken":     {certs.Config{Cert: broken, Key: s.key}, []string{broken, "x509"}},
		"expired":            {certs.Config{Cert: oldCert, Key: oldKey}, []string{oldCert, `"shop" has expired on`}},
		"not valid yet":      {certs.Config{Cert: newCert, Key: newKey}, []string{newCert, `"shop" is not valid before`}},
		"CA is empty":        {certs.Config{CA: empty}, []string{empty, "contains no certificate"}},
		"CA is text":         {certs.Config{CA: text}, []string{text, "contains no certificate"}},
		"CA is a key":        {certs.Config{CA: s.key}, []string{s.key, "contains no certificate"}},
		"CA is broken":       {certs.Config{CA: broken}, []string{broken, "certificate 1", "x509"}},
		"CA has expired":     {certs.Config{CA: oldCA}, []string{oldCA, "all of its authorities have expired"}},
		"CA without an end":  {certs.Config{CA: large}, []string{large, "more than 4194304 bytes"}},
		"a fault in the 2nd": {certs.Config{Cert: s.cert, Key: s.key, CA: empty}, []string{empty, "contains no certificate"}},
	} {
		f, err := certs.Load(tc.cfg)
		if !assert.Error(t, err, name) {
			f.Close()
			continue
		}
		assert.True(t, strings.HasPrefix(err.Error(), "certs: "), "%s: %v", name, err)
		for _, want := range tc.want {
			assert.ErrorContains(t, err, want, name)
		}
		secret := strings.Split(contents(t, s.key), "\n")[1]
		assert.NotContains(t, err.Error(), secret, name)
	}
}

func TestLoadTakesABundleOfWhichOneHasExpired(t *testing.T) {
	s := newSite(t)
	expired := testca.New(t, testca.Expired).File(t, t.TempDir())
	for name, text := range map[string]string{
		"the first": contents(t, expired) + contents(t, s.ca),
		"the last":  contents(t, s.ca) + contents(t, expired),
	} {
		f := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: put(t, s.dir, "bundle.pem", text), Interval: -1})
		m := meet(t, f.Server(), s.client(t, s.clients))
		assert.False(t, m.failed(), "%s: %v, %v", name, m.server, m.client)
	}
}

func TestAServerSpeaksOldTLSOnlyIfItIsToldTo(t *testing.T) {
	s := newSite(t)
	old := s.client(t, s.clients)
	old.MaxVersion = tls.VersionTLS12
	for least, speaks := range map[uint16]bool{0: false, tls.VersionTLS12: true, tls.VersionTLS13: false} {
		f := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1, MinVersion: least})
		m := meet(t, f.Server(), old)
		assert.Equal(t, speaks, !m.failed(), "%x: %v, %v", least, m.server, m.client)
		m = meet(t, f.Server(), s.client(t, s.clients))
		assert.False(t, m.failed(), "%x", least)
		assert.EqualValues(t, tls.VersionTLS13, m.seen.Version)
	}
	_, err := certs.Load(certs.Config{Cert: s.cert, Key: s.key, MinVersion: tls.VersionTLS11})
	assert.EqualError(t, err, "certs: MinVersion is TLS 1.1; set tls.VersionTLS12 or tls.VersionTLS13")
}

func TestServerPanicsWithoutACertificate(t *testing.T) {
	s := newSite(t)
	f := load(t, certs.Config{CA: s.ca, Interval: -1})
	assert.PanicsWithValue(t, "certs: a server needs a certificate; set Config.Cert and Config.Key", func() { f.Server() })
}

// Both ends by files: each shows its certificate and trusts the other's authority.
func TestBothEndsByFiles(t *testing.T) {
	s := newSite(t)
	cert, key := testca.Files(t, t.TempDir(), s.clients.Client(t, "caller"))
	server := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1})
	client := load(t, certs.Config{Cert: cert, Key: key, CA: s.servers.File(t, t.TempDir()), Interval: -1})
	m := meet(t, server.Server(), client.Client("localhost"))
	require.False(t, m.failed(), "%v, %v", m.server, m.client)
	require.Len(t, m.by.VerifiedChains, 1)
	assert.Equal(t, "caller", m.by.VerifiedChains[0][0].Subject.CommonName)

	m = meet(t, server.Server(), client.Client("elsewhere"))
	var name x509.HostnameError
	assert.ErrorAs(t, m.client, &name)
}

func TestWhatDoesNotChangeIsNotTold(t *testing.T) {
	s := newSite(t)
	var c told
	f := load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: -1, OnReload: c.add})
	require.NoError(t, f.Reload())
	require.NoError(t, os.Remove(s.key))
	assert.ErrorContains(t, f.Reload(), s.key)
	f.Close()
	assert.Empty(t, c.now(), "Reload returns its error")
}
