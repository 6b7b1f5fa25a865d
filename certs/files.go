package certs

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ticketTime is for how long tickets are made with one key. Those of the key before are taken,
// too, so a client resumes its session for at least as long, and for at most twice as long.
const ticketTime = 12 * time.Hour

// sessionsMax is how many servers' sessions a client keeps.
const sessionsMax = 64

// Files are the certificates of a Config, as the files were when they were last read.
type Files struct {
	cfg     Config
	current atomic.Pointer[configs]

	mu   sync.Mutex // held while the files are read
	used *material
	keys [][32]byte // of session tickets, the present one first

	// follow's: the faults that were found, and told, last.
	seen, told string

	telling sync.WaitGroup
	tellMu  sync.Mutex // guards what follows, held for a few instructions
	news    *error     // what OnReload is to be told next; nil: nothing
	busy    bool       // it is being told something

	stop  chan struct{}
	close sync.Once
	done  chan struct{}
}

// configs are what connections are made with from now on.
type configs struct {
	server *tls.Config
	cert   *tls.Certificate // nil: none
	keyAt  time.Time        // since when tickets are made with the present key
}

// Load reads the files, and reads them again from time to time until Close. The error names the
// file and what is wrong with it: it cannot be read, the key is not that of the certificate, the
// certificate has expired or is not valid yet, there is no authority in CA, or all have expired.
func Load(cfg Config) (*Files, error) {
	switch {
	case cfg.Cert == "" && cfg.CA == "":
		return nil, errors.New("certs: Config names no file; set Cert and Key, or CA")
	case (cfg.Cert == "") != (cfg.Key == ""):
		return nil, errors.New("certs: Config has one of Cert and Key; set both")
	case cfg.MinVersion == 0:
		cfg.MinVersion = tls.VersionTLS13
	case cfg.MinVersion != tls.VersionTLS12 && cfg.MinVersion != tls.VersionTLS13:
		return nil, fmt.Errorf("certs: MinVersion is %s; set tls.VersionTLS12 or tls.VersionTLS13", tls.VersionName(cfg.MinVersion))
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	f := &Files{cfg: cfg, stop: make(chan struct{}), done: make(chan struct{})}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	if cfg.Interval < 0 {
		close(f.done)
		return f, nil
	}
	go f.follow()
	return f, nil
}

// Close ends following the files. What was made of them remains usable. It waits for an OnReload
// that runs, so that must not call it.
func (f *Files) Close() {
	f.close.Do(func() { close(f.stop) })
	<-f.done
	f.telling.Wait()
}

// follow is the goroutine that reads the files again.
func (f *Files) follow() {
	defer close(f.done)
	ticker := time.NewTicker(f.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-ticker.C:
			f.look()
		}
	}
}

// look reads the files and has told what is new. A fault is told when it is found twice in a row:
// between the two writes of a program that renews a pair the files do not fit together.
func (f *Files) look() {
	changed, err := f.reload()
	if err == nil {
		f.seen, f.told = "", "" // whatever was wrong is not any more
		if changed {
			f.tell(nil)
		}
		return
	}
	again := f.seen == err.Error()
	if f.seen = err.Error(); again && f.told != f.seen {
		f.told = f.seen
		f.tell(err)
	}
}

// tell has OnReload told, in place of what it has not been told yet.
func (f *Files) tell(err error) {
	if f.cfg.OnReload == nil {
		return
	}
	f.tellMu.Lock()
	defer f.tellMu.Unlock()
	f.news = &err
	if !f.busy {
		f.busy = true
		f.telling.Add(1)
		go f.tellAll()
	}
}

// tellAll is the goroutine that calls OnReload, until there is no news.
func (f *Files) tellAll() {
	ended := true // by OnReload
	defer func() {
		if ended {
			f.telling.Add(1)
			go f.tellAll()
		}
		f.telling.Done()
	}()
	for news := f.next(); news != nil; news = f.next() {
		f.cfg.OnReload(*news)
	}
	ended = false
}

// next returns what is to be told. If there is nothing the telling is over.
func (f *Files) next() *error {
	f.tellMu.Lock()
	defer f.tellMu.Unlock()
	news := f.news
	f.news, f.busy = nil, news != nil
	return news
}

// Reload reads the files now. With an error, which is that of Load, nothing changes.
func (f *Files) Reload() error {
	_, err := f.reload()
	return err
}

func (f *Files) reload() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	m, err := f.cfg.load(now)
	if err != nil {
		return false, err
	}
	if f.used != nil && f.used.bytes == m.bytes {
		return false, nil
	}
	// A client that has a ticket from before has been vouched for by authorities that may not
	// be trusted any more.
	anew := f.used == nil || f.used.bytes[2] != m.bytes[2]
	f.used = m
	if anew {
		f.renewKeysLocked(now, true)
	} else {
		f.publishLocked(f.current.Load().keyAt)
	}
	return true, nil
}

// latest returns what a connection is made with, and sees to it that no key is used for too long.
func (f *Files) latest() *configs {
	c := f.current.Load()
	now := time.Now()
	if now.Sub(c.keyAt) < ticketTime {
		return c
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if age := now.Sub(f.current.Load().keyAt); age >= ticketTime {
		f.renewKeysLocked(now, age >= 2*ticketTime)
	}
	return f.current.Load()
}

// renewKeysLocked makes a new key for tickets. anew drops all before it.
func (f *Files) renewKeysLocked(now time.Time, anew bool) {
	var key [32]byte
	_, _ = rand.Read(key[:]) // it never fails
	if anew {
		f.keys = nil
	}
	f.keys = append([][32]byte{key}, f.keys[:min(len(f.keys), 1)]...)
	f.publishLocked(now)
}

// publishLocked has what is loaded used by the connections that come.
func (f *Files) publishLocked(keyAt time.Time) {
	c := &configs{cert: f.used.cert, keyAt: keyAt}
	if c.cert != nil {
		c.server = &tls.Config{
			MinVersion: f.cfg.MinVersion, Certificates: []tls.Certificate{*c.cert},
			VerifyConnection:            f.cfg.VerifyConnection,
			DynamicRecordSizingDisabled: true, // what leaves together is read together
		}
		if f.used.pool != nil {
			c.server.ClientAuth, c.server.ClientCAs = tls.RequireAndVerifyClientCert, f.used.pool
		}
		c.server.SetSessionTicketKeys(f.keys)
	}
	f.current.Store(c)
}

// Server returns the configuration of a server, which follows the files: TLS from MinVersion on,
// with our certificate, and, if there is a CA, with clients of its authorities only. A client
// resumes its session for half a day, also when our certificate was renewed meanwhile, but not when
// the CA file was changed. It panics without Cert.
func (f *Files) Server() *tls.Config {
	if f.current.Load().server == nil {
		panic("certs: a server needs a certificate; set Config.Cert and Config.Key")
	}
	return &tls.Config{
		MinVersion: f.cfg.MinVersion,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return f.latest().server, nil
		},
	}
}

// Client returns the configuration of a client of the server of that name; empty is the host that
// is dialled. Its certificate follows the files, its authorities are those that were there when
// Client was called. Without Cert it resumes the sessions of its servers, up to 64 of them, and
// shares none with another configuration. With Cert it resumes none: who resumes remains whom the
// session knows, by the certificate from before. Where that does no harm, set a ClientSessionCache in
// what Client returns (tls.NewLRUClientSessionCache(0)).
func (f *Files) Client(serverName string) *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: serverName, RootCAs: f.used.pool,
		VerifyConnection: f.cfg.VerifyConnection,
	}
	if f.used.cert == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(sessionsMax)
		return c
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return f.current.Load().cert, nil
	}
	return c
}
