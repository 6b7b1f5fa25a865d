package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// callFlags are the flags of "ringwire call".
type callFlags struct {
	addr        string
	data        string
	hex         bool
	timeout     time.Duration
	count       int
	extensions  bool
	frameLength int
	tls         tlsFlags
}

func newCall() *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call",
		Short: "Send a request and print the reply",
		Long: `call sends a request and prints the reply's bytes to standard output: as they
are, or as hexadecimal digits. With -n above 1 it sends one after the other and
ends each reply with a newline. When a request fails, call says why on standard
error and exits with 1.

Any of the --tls flags has the connection secured; without --tls-ca the authorities of
the system are trusted.`,
		Example: `  ringwire call --addr 127.0.0.1:9000 --data hello
  ringwire call --addr 127.0.0.1:9000 --data @request.bin --hex
  printf NC | ringwire call --addr hsm.example:1500 --data - --timeout 2s
  ringwire call --addr shop.example:1500 --data hello --tls-ca ca.pem --tls-cert cert.pem --tls-key key.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return call(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "127.0.0.1:9000", "server, HOST:PORT or unix:///path")
	flags.StringVar(&f.data, "data", "", "payload: text, @file, or - for standard input")
	flags.BoolVar(&f.hex, "hex", false, "print the reply as hexadecimal digits")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "time for each request, connecting included")
	flags.IntVarP(&f.count, "count", "n", 1, "send the request so many times")
	flags.BoolVar(&f.extensions, "extensions", false, "speak the extension of the protocol, which the server must have switched on")
	flags.IntVar(&f.frameLength, "frame-length", 2, "bytes of the frame's length field, 2 or 4")
	f.tls.registerClient(cmd, aboutOurCert, "name that the server's certificate must have (default the host of --addr)")
	return cmd
}

func call(cmd *cobra.Command, f callFlags) error {
	format, err := frameFormat(f.frameLength)
	if err != nil {
		return err
	}
	switch {
	case !cmd.Flags().Changed("data"):
		return usageError("--data is missing: give the payload, @file, or - for standard input")
	case f.count < 1:
		return usageError("-n %d: must be at least 1", f.count)
	case f.timeout <= 0:
		return usageError("--timeout %v: must be above 0", f.timeout)
	}
	req, err := readPayload(f.data, cmd.InOrStdin(), format.MaxPayload())
	if err != nil {
		return err
	}
	secure, err := f.tls.client()
	if err != nil {
		return err
	}
	broker, err := engine.New(engine.Config{
		Addrs: []string{f.addr}, Framing: format, TLS: secure,
		DialTimeout: f.timeout, RequestTimeout: f.timeout, Extensions: f.extensions,
	})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	defer func() { _ = broker.Close() }()
	ctx, stop := untilSignal()
	defer stop()
	for range f.count {
		if err := callOnce(ctx, broker, f, req, cmd.OutOrStdout()); err != nil {
			if ctx.Err() != nil {
				return &exitError{exitInterrupted, err}
			}
			return err
		}
	}
	return nil
}

func callOnce(ctx context.Context, broker *engine.Broker, f callFlags, req []byte, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	reply, err := broker.Send(ctx, req)
	if err != nil {
		return err
	}
	if f.hex {
		_, err = fmt.Fprintln(out, hex.EncodeToString(reply))
		return err
	}
	if f.count > 1 || isTerminal(out) {
		reply = append(reply, '\n')
	}
	_, err = out.Write(reply)
	return err
}

// readPayload resolves the --data flag. It reads no more than the frame can hold.
func readPayload(data string, stdin io.Reader, limit int) ([]byte, error) {
	var from io.Reader
	switch {
	case data == "-":
		from = stdin
	case strings.HasPrefix(data, "@"):
		f, err := os.Open(data[1:])
		if err != nil {
			return nil, usageError("--data: %w", err)
		}
		defer func() { _ = f.Close() }()
		from = f
	default:
		from = strings.NewReader(data)
	}
	payload, err := io.ReadAll(io.LimitReader(from, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the payload: %w", err)
	}
	if len(payload) > limit {
		return nil, usageError("--data: the payload has over %d bytes, which is what a frame holds", limit)
	}
	return payload, nil
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
