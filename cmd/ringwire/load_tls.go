package main

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/internal/netaddr"
	"github.com/ringwire/ringwire/load"
	"github.com/spf13/pflag"
)

// targetTLS are the flags of targets with tls://.
type targetTLS struct {
	tlsFlags
	insecure, resume bool
}

func (f *targetTLS) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.ca, flagCA, "", "trust these certificate authorities, a PEM file (default the system's)")
	flags.StringVar(&f.cert, flagCert, "", "show this certificate to the peer, a PEM file")
	flags.StringVar(&f.key, flagKey, "", "its private key, a PEM file")
	flags.StringVar(&f.serverName, flagServerName, "", "name that the peer's certificate must have (default the target's host)")
	flags.BoolVar(&f.insecure, "tls-insecure", false, "do not check the peer's certificate")
	flags.BoolVar(&f.resume, "tls-resume", false, "resume TLS sessions when a connection is made again")
}

func (f *targetTLS) config(targets []load.Target) (*tls.Config, error) {
	if *f == (targetTLS{}) {
		return nil, nil
	}
	if !slices.ContainsFunc(targets, func(t load.Target) bool { return t.TLS }) {
		return nil, errors.New("--tls-ca, --tls-cert, --tls-key, --tls-server-name, --tls-insecure and --tls-resume " +
			"are for targets with tls:// in front")
	}
	cfg, err := f.client()
	if err != nil {
		return nil, err
	}
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.InsecureSkipVerify = f.insecure
	cfg.ClientSessionCache = nil // nothing is resumed that is not asked for
	if f.resume {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return cfg, nil
}

// listen makes the listener for a backend that connects, and may be old. With --tls-ca it must
// show a certificate of that authority's.
func (f *targetTLS) listen(addr string) (net.Listener, error) {
	addr, secured := strings.CutPrefix(addr, "tls://")
	network, address, err := netaddr.Split(addr)
	if err != nil {
		return nil, err
	}
	switch {
	case f.serverName != "" || f.insecure || f.resume:
		return nil, errors.New("--tls-server-name, --tls-insecure and --tls-resume are for who connects")
	case !secured && *f != (targetTLS{}):
		return nil, errors.New("--tls-ca, --tls-cert and --tls-key are for an address with tls:// in front")
	case secured && f.cert == "":
		return nil, errors.New("tls:// needs --tls-cert and --tls-key")
	}
	files, err := f.load(flagCA, certs.Config{Interval: -1, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen(network, address)
	if err == nil && secured {
		l = tls.NewListener(l, files.Server())
	}
	return l, err
}
