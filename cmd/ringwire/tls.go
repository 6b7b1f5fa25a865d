package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/ringwire/ringwire/certs"
	"github.com/spf13/cobra"
)

// tlsFlags are the flags about TLS. ca is --tls-client-ca for serve, --tls-ca for the others.
type tlsFlags struct {
	cert, key, ca, serverName string
}

// Names of flags.
const (
	flagCert, flagKey           = "tls-cert", "tls-key"
	flagCA, flagClientCA        = "tls-ca", "tls-client-ca"
	flagServerName              = "tls-server-name"
	aboutCert, aboutKey         = "PEM file of our certificate, with those that lead to its authority behind it", "PEM file of its private key"
	aboutOurCert, aboutSameCert = aboutCert + ", for a server that asks for one", "PEM file of the certificate that the server shows, and the client, too, with --tls-ca: it must be for both then"
)

// registerServer adds the flags of a server.
func (f *tlsFlags) registerServer(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.cert, flagCert, "", aboutCert+"; with it the server speaks TLS, and no less than 1.3")
	flags.StringVar(&f.key, flagKey, "", aboutKey)
	flags.StringVar(&f.ca, flagClientCA, "", "PEM file of authorities: only clients with a certificate of theirs are let in")
}

// registerClient adds the flags of a client; about says what --tls-cert is.
func (f *tlsFlags) registerClient(cmd *cobra.Command, about, name string) {
	flags := cmd.Flags()
	flags.StringVar(&f.cert, flagCert, "", about)
	flags.StringVar(&f.key, flagKey, "", aboutKey)
	flags.StringVar(&f.ca, flagCA, "", "PEM file of the authorities that are trusted")
	flags.StringVar(&f.serverName, flagServerName, "", name)
}

// load reads the files. caFlag is the name of the flag that ca comes from. Nil: TLS is not asked
// for.
func (f *tlsFlags) load(caFlag string, cfg certs.Config) (*certs.Files, error) {
	switch {
	case f.cert == "" && f.key == "" && f.ca == "":
		return nil, nil
	case f.cert == "" && f.key != "":
		return nil, usageError("--%s without --%s: name the certificate that the key belongs to", flagKey, flagCert)
	case f.cert != "" && f.key == "":
		return nil, usageError("--%s without --%s: name the file of its private key", flagCert, flagKey)
	}
	cfg.Cert, cfg.Key, cfg.CA = f.cert, f.key, f.ca
	files, err := certs.Load(cfg)
	if err != nil {
		return nil, usageError("%s: %w", f.blame(caFlag, err), err)
	}
	return files, nil
}

// blame names the flags whose files an error is about.
func (f *tlsFlags) blame(caFlag string, err error) string {
	var all []string
	for _, named := range []struct{ flag, file string }{{flagCert, f.cert}, {flagKey, f.key}, {caFlag, f.ca}} {
		if named.file != "" && strings.Contains(err.Error(), named.file) {
			all = append(all, "--"+named.flag)
		}
	}
	return strings.Join(all, ", ")
}

// server returns the configuration of "ringwire serve", nil for plain, which follows the files
// until stop. What becomes of them is told on w. They are read again every ten seconds, and at
// SIGHUP.
func (f *tlsFlags) server(w io.Writer) (cfg *tls.Config, stop func(), err error) {
	if f.cert == "" && f.key == "" && f.ca != "" {
		return nil, nil, usageError("--%s without --%s: clients are asked for a certificate by a server that has one", flagClientCA, flagCert)
	}
	tell := func(err error) {
		if err != nil {
			_, _ = fmt.Fprintf(w, "ringwire: certificates: those before stay in use: %v\n", err)
			return
		}
		_, _ = fmt.Fprintln(w, "ringwire: certificates: the files have changed and are in use")
	}
	files, err := f.load(flagClientCA, certs.Config{OnReload: tell})
	if err != nil || files == nil {
		return nil, func() {}, err
	}
	hangUp, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangUp, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range hangUp {
			tell(files.Reload())
		}
	}()
	return files.Server(), func() {
		signal.Stop(hangUp)
		close(hangUp)
		<-done
		files.Close()
	}, nil
}

// client returns the configuration of a client, "ringwire call" or "load", nil for plain.
func (f *tlsFlags) client() (*tls.Config, error) {
	files, err := f.load(flagCA, certs.Config{Interval: -1})
	switch {
	case err != nil:
		return nil, err
	case files != nil:
		return files.Client(f.serverName), nil
	case f.serverName != "":
		return &tls.Config{ServerName: f.serverName, MinVersion: tls.VersionTLS12}, nil
	}
	return nil, nil
}

// benchClient returns the configuration of the client of "ringwire bench", nil for plain. Without
// --tls-ca it trusts the very certificate that its server shows.
func (f *tlsFlags) benchClient() (*tls.Config, error) {
	if f.cert == "" && f.key == "" && (f.ca != "" || f.serverName != "") {
		return nil, usageError("--%s is missing: the server that is measured has to show a certificate", flagCert)
	}
	cfg, err := f.client()
	if err != nil || cfg == nil {
		return nil, err
	}
	leaf, err := firstCertificate(f.cert)
	if err != nil {
		return nil, usageError("--%s: %w", flagCert, err)
	}
	if err := f.checkUsage(leaf); err != nil {
		return nil, err
	}
	if f.ca == "" {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AddCert(leaf)
	}
	if cfg.ServerName == "" {
		if cfg.ServerName = firstName(leaf); cfg.ServerName == "" {
			return nil, usageError("--%s: the certificate has no name; give one by --%s", flagCert, flagServerName)
		}
	}
	if err := leaf.VerifyHostname(cfg.ServerName); err != nil {
		return nil, usageError("--%s: %w", flagServerName, err)
	}
	return cfg, nil
}

// checkUsage says what the certificate of a benchmark may not be used for and has to be: without it
// the servers would be started and each handshake fail.
func (f *tlsFlags) checkUsage(c *x509.Certificate) error {
	may := func(usage x509.ExtKeyUsage) bool {
		anything := len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0
		return anything || slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
	}
	switch {
	case !may(x509.ExtKeyUsageServerAuth):
		return usageError("--%s: the certificate is not for a server: its extended key usage lacks serverAuth", flagCert)
	case f.ca != "" && !may(x509.ExtKeyUsageClientAuth):
		return usageError("--%s: the certificate is not for a client, which shows it, too, with --%s: its extended key usage lacks clientAuth; "+
			"leave --%s out, or name a certificate for both", flagCert, flagCA, flagCA)
	}
	return nil
}

func firstCertificate(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: it contains no PEM block", file)
	}
	return x509.ParseCertificate(block.Bytes)
}

// firstName returns the first name that a certificate is for.
func firstName(c *x509.Certificate) string {
	switch {
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	}
	return ""
}

// arguments are those of "ringwire serve" for the server of a benchmark.
func (f *tlsFlags) arguments() []string {
	if f.cert == "" {
		return nil
	}
	args := []string{"--" + flagCert, f.cert, "--" + flagKey, f.key}
	if f.ca != "" {
		args = append(args, "--"+flagClientCA, f.ca)
	}
	return args
}

// secured says how the connections of a benchmark are secured; empty: they are plain.
func (f *tlsFlags) secured() string {
	switch {
	case f.cert == "":
		return ""
	case f.ca != "":
		return "mutual TLS 1.3"
	}
	return "TLS 1.3"
}
