package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/internal/testca"
)

func TestARenewedPairIsUsedWithoutARestart(t *testing.T) {
	s := newSite(t)
	first := s.renew(t)
	var c told
	f := load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: soon, OnReload: c.add})
	server, client := f.Server(), s.client(t, nil)
	client.ClientSessionCache = nil
	assertServed(t, meet(t, server, client), first)
	second := s.renew(t)
	for served := false; !served; {
		m := meet(t, server, client)
		require.False(t, m.failed(), "a connection never meets half of a pair: %v, %v", m.server, m.client)
		served = m.seen.PeerCertificates[0].SerialNumber.String() == serial(second)
	}
	// Between the two renames the pair did not fit: that may have been told before.
	require.Eventually(t, func() bool {
		all := c.now()
		return len(all) > 0 && all[len(all)-1] == nil
	}, patience, time.Millisecond)
}

func TestAHalfWrittenPairIsToldOnceAndUsedWhenItIsWhole(t *testing.T) {
	s := newSite(t)
	first := s.renew(t)
	var c told
	f := load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: soon, OnReload: c.add})
	second := s.servers.Server(t, "localhost")
	cert, key := testca.Files(t, t.TempDir(), second)
	for n, half := range []string{contents(t, cert)[:200], contents(t, cert)} {
		put(t, s.dir, "cert.pem", half)
		err := c.await(t, n+1)
		require.ErrorContains(t, err, s.cert)
		for range 20 { // the same again
			require.Error(t, f.Reload())
			runtime.Gosched()
		}
		assertServed(t, meet(t, f.Server(), s.client(t, nil)), first)
	}
	require.Len(t, c.now(), 2)
	require.ErrorContains(t, c.now()[1], "does not match")
	put(t, s.dir, "key.pem", contents(t, key))
	require.NoError(t, c.await(t, 3))
	assertServed(t, meet(t, f.Server(), s.client(t, nil)), second)
}

// watchedSite returns a site whose pair is followed, and what OnReload is told of it.
func watchedSite(t *testing.T) (*site, *told) {
	t.Helper()
	s := newSite(t)
	c := &told{}
	load(t, certs.Config{Cert: s.cert, Key: s.key, OnReload: c.add})
	return s, c
}

func TestAFaultThatComesAgainIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := watchedSite(t)
		key := contents(t, s.key)
		for n := range 3 {
			require.NoError(t, os.Remove(s.key))
			time.Sleep(5 * certs.DefaultInterval / 2)
			require.Len(t, c.now(), n+1)
			put(t, s.dir, "key.pem", key)
			time.Sleep(5 * certs.DefaultInterval / 2)
			require.Len(t, c.now(), n+1, "what is used has not changed")
		}
	})
}

// A program that renews a pair writes one file after the other.
func TestAFaultBetweenTwoWritesIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := watchedSite(t)
		cert, key := testca.Files(t, t.TempDir(), s.servers.Server(t, "localhost"))
		time.Sleep(certs.DefaultInterval / 2)
		put(t, s.dir, "cert.pem", contents(t, cert))
		time.Sleep(certs.DefaultInterval)
		put(t, s.dir, "key.pem", contents(t, key))
		time.Sleep(certs.DefaultInterval)
		require.Equal(t, []error{nil}, c.now())
	})
}

// Twice in a row is twice in a row: what was well in between begins anew.
func TestAFaultThatIsFoundOnceAndOnceAgainIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := watchedSite(t)
		key := contents(t, s.key)
		time.Sleep(certs.DefaultInterval / 2)
		for range 3 {
			require.NoError(t, os.Remove(s.key))
			time.Sleep(certs.DefaultInterval)
			put(t, s.dir, "key.pem", key)
			time.Sleep(certs.DefaultInterval)
		}
		require.Empty(t, c.now())
	})
}

func TestFilesAreFollowedThoughNobodyIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		f := load(t, certs.Config{Cert: s.cert, Key: s.key})
		second := s.renew(t)
		time.Sleep(2 * certs.DefaultInterval)
		synctest.Wait()
		c, err := f.Server().GetConfigForClient(nil)
		require.NoError(t, err)
		require.Equal(t, second.Certificate, c.Certificates[0].Certificate)
	})
}

func TestACertificateThatExpiresIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var c told
		f := load(t, certs.Config{Cert: s.cert, Key: s.key, OnReload: c.add})
		time.Sleep(3 * time.Hour) // testca's last for two
		require.Len(t, c.now(), 1)
		require.ErrorContains(t, c.now()[0], s.cert+`: the certificate of "localhost" has expired`)
		m := meetInMemory(f.Server(), s.client(t, nil))
		var invalid x509.CertificateInvalidError
		require.ErrorAs(t, m.client, &invalid)
	})
}

func TestAnotherAuthorityRefusesTheClientsOfTheOldOne(t *testing.T) {
	s := newSite(t)
	f := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1})
	server, old := f.Server(), s.client(t, s.clients)
	require.False(t, meet(t, server, old).failed())
	require.True(t, meet(t, server, old).resumed)
	other := testca.New(t)
	other.File(t, s.dir)
	require.NoError(t, f.Reload())

	m := meet(t, server, old)
	require.Error(t, m.server, "it has a ticket, which is worth nothing")
	require.Error(t, m.client)
	m = meet(t, server, s.client(t, other))
	assert.False(t, m.failed(), "%v, %v", m.server, m.client)
	require.Error(t, meet(t, server, s.client(t, nil)).server, "no certificate")
}

// Where the old authority is still trusted its clients come in, but not by a ticket.
func TestAnotherAuthorityEndsAllSessions(t *testing.T) {
	s := newSite(t)
	f := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1})
	server, client := f.Server(), s.client(t, s.clients)
	require.False(t, meet(t, server, client).failed())
	require.True(t, meet(t, server, client).resumed)
	put(t, s.dir, "ca.pem", contents(t, s.ca)+contents(t, testca.New(t).File(t, t.TempDir())))
	require.NoError(t, f.Reload())
	m := meet(t, server, client)
	require.False(t, m.failed(), "%v, %v", m.server, m.client)
	require.False(t, m.resumed)
	require.True(t, meet(t, server, client).resumed)
}

func TestARenewedCertificateKeepsSessions(t *testing.T) {
	s := newSite(t)
	f := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1})
	server, client := f.Server(), s.client(t, s.clients)
	require.False(t, meet(t, server, client).failed())
	s.renew(t)
	require.NoError(t, f.Reload())
	m := meet(t, server, client)
	require.False(t, m.failed(), "%v, %v", m.server, m.client)
	assert.True(t, m.resumed)
}

// Keys of tickets are renewed although the files are never read again.
func TestTicketsAreWorthSomethingForHalfADayToADay(t *testing.T) {
	const hour = time.Hour
	for _, tc := range []struct {
		gaps    []time.Duration // between the handshakes of one client
		resumed []bool
	}{
		{[]time.Duration{0, 11 * hour, 2 * hour}, []bool{false, true, true}},
		{[]time.Duration{0, 25 * hour}, []bool{false, false}},
		{[]time.Duration{0, 100 * hour, 1 * hour}, []bool{false, false, true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			lasting := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(1000 * hour) }
			s.renew(t, lasting)
			s.servers = testca.New(t, lasting)
			s.renew(t, lasting)
			f := load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: -1})
			server, client := f.Server(), s.client(t, nil)
			for i, gap := range tc.gaps {
				time.Sleep(gap)
				m := meetInMemory(server, client)
				require.False(t, m.failed(), "%v, %v", m.server, m.client)
				assert.Equal(t, tc.resumed[i], m.resumed, "%v, %d", tc.gaps, i)
			}
		})
	}
}

// A ticket made with the last key is taken, one made with the key before is not.
func TestTheKeyBeforeTheLastIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		lasting := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(1000 * time.Hour) }
		s.servers = testca.New(t, lasting)
		s.renew(t, lasting)
		f := load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: -1})
		server := f.Server()
		first, second := s.client(t, nil), s.client(t, nil)
		meetInMemory(server, first)
		time.Sleep(12 * time.Hour)
		meetInMemory(server, second)
		time.Sleep(12 * time.Hour)
		meetInMemory(server, s.client(t, nil)) // makes the third key
		assert.False(t, meetInMemory(server, first).resumed)
		assert.True(t, meetInMemory(server, second).resumed)
	})
}

func TestTheUsersHookMayRefuse(t *testing.T) {
	s := newSite(t)
	revoked := errors.New("revoked")
	var refuse atomic.Bool
	hook := func(cs tls.ConnectionState) error {
		if refuse.Load() && len(cs.PeerCertificates) > 0 {
			return revoked
		}
		return nil
	}
	f := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1, VerifyConnection: hook})
	client := s.client(t, s.clients)
	require.False(t, meet(t, f.Server(), client).failed())
	refuse.Store(true)
	require.ErrorIs(t, meet(t, f.Server(), client).server, revoked, "also with a ticket")

	trusting := load(t, certs.Config{CA: s.servers.File(t, t.TempDir()), Interval: -1, VerifyConnection: hook})
	plain := newSite(t)
	plain.servers = s.servers
	plain.renew(t)
	only := load(t, certs.Config{Cert: plain.cert, Key: plain.key, Interval: -1})
	require.ErrorIs(t, meet(t, only.Server(), trusting.Client("localhost")).client, revoked)
}

// The renewed certificate of a client is shown at its next handshake.
func TestAClientsCertificateFollowsItsFiles(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	cert, key := testca.Files(t, dir, s.clients.Client(t, "first"))
	server := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1})
	files := load(t, certs.Config{Cert: cert, Key: key, CA: s.servers.File(t, t.TempDir()), Interval: -1})
	client := files.Client("localhost")
	for _, name := range []string{"first", "second"} {
		testca.Files(t, dir, s.clients.Client(t, name))
		require.NoError(t, files.Reload())
		m := meet(t, server.Server(), client)
		require.False(t, m.failed(), "%v, %v", m.server, m.client)
		assert.Equal(t, name, m.by.PeerCertificates[0].Subject.CommonName)
	}
}

// A client without a certificate of its own resumes. A session is of the configuration, and so of its
// authorities.
func TestAClientResumesItsSessions(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newSite(t)
		server := load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: -1, MinVersion: version}).Server()
		dir := t.TempDir()
		files := load(t, certs.Config{CA: s.servers.File(t, dir), Interval: -1})
		client := files.Client("localhost")
		client.MaxVersion = version
		for n := range 3 {
			m := meet(t, server, client.Clone()) // as dialers do
			require.False(t, m.failed(), "%v, %v", m.server, m.client)
			assert.Equal(t, n > 0, m.resumed, n)
		}
		m := meet(t, server, files.Client("localhost"))
		require.False(t, m.failed(), "%v, %v", m.server, m.client)
		assert.False(t, m.resumed, "a session of another configuration")

		testca.New(t).File(t, dir)
		require.NoError(t, files.Reload())
		m = meet(t, server, files.Client("localhost"))
		var unknown x509.UnknownAuthorityError
		require.ErrorAs(t, m.client, &unknown, "the session is of an authority that is not trusted any more")
	}
}

// A server that was revoked gets no further by a session from before.
func TestAClientsHookSeesResumedSessions(t *testing.T) {
	s := newSite(t)
	revoked := errors.New("revoked")
	var refuse atomic.Bool
	files := load(t, certs.Config{CA: s.servers.File(t, t.TempDir()), Interval: -1, VerifyConnection: func(cs tls.ConnectionState) error {
		if refuse.Load() && cs.DidResume {
			return revoked
		}
		return nil
	}})
	server, client := load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: -1}).Server(), files.Client("localhost")
	require.False(t, meet(t, server, client).failed())
	refuse.Store(true)
	require.ErrorIs(t, meet(t, server, client).client, revoked)
}

// Who has a certificate shows it at each handshake, so a renewed one counts at once.
func TestAClientWithACertificateResumesNoSession(t *testing.T) {
	s := newSite(t)
	server := load(t, certs.Config{Cert: s.cert, Key: s.key, CA: s.ca, Interval: -1}).Server()
	cert, key := testca.Files(t, t.TempDir(), s.clients.Client(t, "caller"))
	client := load(t, certs.Config{Cert: cert, Key: key, CA: s.servers.File(t, t.TempDir()), Interval: -1}).Client("localhost")
	for range 2 {
		m := meet(t, server, client)
		require.False(t, m.failed(), "%v, %v", m.server, m.client)
		assert.False(t, m.resumed)
	}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	require.False(t, meet(t, server, client).failed())
	assert.True(t, meet(t, server, client).resumed, "where it is asked for")
}

// An OnReload that blocks, or ends its goroutine, keeps no certificate from being used.
func TestOnReloadHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		release := make(chan struct{})
		var c told
		f := load(t, certs.Config{Cert: s.cert, Key: s.key, OnReload: func(err error) {
			c.add(err)
			<-release
			runtime.Goexit()
		}})
		s.renew(t)
		time.Sleep(5 * certs.DefaultInterval / 2)
		require.Len(t, c.now(), 1)
		require.NoError(t, os.Remove(s.key)) // is not told: something else has happened since
		time.Sleep(5 * certs.DefaultInterval / 2)
		last := s.renew(t)
		time.Sleep(5 * certs.DefaultInterval / 2)
		assertServed(t, meetInMemory(f.Server(), s.client(t, nil)), last)
		require.Len(t, c.now(), 1)
		close(release)
		synctest.Wait()
		require.Equal(t, []error{nil, nil}, c.now())
	})
}

func TestCloseWaitsForOnReloadAndEndsTheFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var over atomic.Bool
		f := load(t, certs.Config{Cert: s.cert, Key: s.key, OnReload: func(error) {
			time.Sleep(time.Hour)
			over.Store(true)
		}})
		first := s.renew(t)
		time.Sleep(5 * certs.DefaultInterval / 2)
		f.Close()
		require.True(t, over.Load())
		f.Close()
		s.renew(t)
		time.Sleep(time.Minute)
		assertServed(t, meetInMemory(f.Server(), s.client(t, nil)), first)
		require.NoError(t, f.Reload(), "by hand it still can be")
	})
}

func TestNoFaultTellsOfAKey(t *testing.T) {
	s := newSite(t)
	var c told
	load(t, certs.Config{Cert: s.cert, Key: s.key, Interval: soon, OnReload: c.add})
	secret := contents(t, s.key)
	put(t, s.dir, "key.pem", strings.Replace(secret, "\nM", "\nA", 1))
	require.Error(t, c.await(t, 1))
	assert.NotContains(t, c.now()[0].Error(), strings.Split(secret, "\n")[2])
}
