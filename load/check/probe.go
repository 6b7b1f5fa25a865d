package check

import (
	"context"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

const (
	// probeTimeout is for how long another framing's reply is waited for.
	probeTimeout = 700 * time.Millisecond
	// probesMax bounds how many lengths and forms are tried.
	probesMax = 16
)

// lengths are usual length fields at the frame's beginning, the commonest first. Own says
// that the value counts the field, too.
var lengths = []struct {
	size int
	form wire.Form
	own  bool
}{
	{2, wire.Big, false}, {4, wire.Big, false}, {4, wire.Decimal, false}, {2, wire.Little, false}, {4, wire.Little, false},
	{2, wire.Big, true}, {4, wire.Big, true}, {4, wire.Decimal, true}, {2, wire.BCD, false}, {4, wire.Little, true}, {4, wire.Hex, false}, {3, wire.Big, false},
}

// others returns framings like the one given, but for one thing: the length, or the form
// of the ID.
func others(s wire.Spec) (all []wire.Spec) {
	shift := func(to wire.Spec) wire.Spec { // fields behind the length stay behind it
		move := to.Length.End() - s.Length.End()
		if !s.Ordered() && s.ID.Offset >= s.Length.End() {
			to.ID.Offset += move
		}
		if !s.Ordered() && s.ReplyID >= s.Length.End() {
			to.ReplyID += move
		}
		if s.Reply.Mask != 0 && s.Reply.Offset >= s.Length.End() {
			to.Reply.Offset += move
		}
		if to.Message.Offset > 0 {
			to.Message.Offset += move
		}
		return to
	}
	for _, l := range lengths {
		to := s
		to.Name, to.MaxFrame = "", 0
		to.Length.Size, to.Length.Form, to.Adjust = l.size, l.form, 0
		if l.own {
			to.Adjust = -to.Length.End()
		}
		if to.Length != s.Length || to.Adjust != s.Adjust {
			all = append(all, shift(to))
		}
	}
	switch {
	case len(s.Message.Key) > 0:
		to := s
		to.Name, to.Message.Binary = "", !s.Message.Binary
		all = append(all, to)
	case !s.Ordered():
		for _, form := range []wire.Form{wire.Decimal, wire.Base36, wire.Hex, wire.Big} {
			if form != s.ID.Form {
				to := s
				to.Name, to.IDMin, to.IDMax, to.ID.Form = "", 0, 0, form
				all = append(all, to)
			}
		}
	}
	return all
}

// fitting returns the framing under which bytes are whole frames.
func fitting(s wire.Spec, b []byte) (wire.Spec, bool) {
	for _, to := range others(s) {
		codec, err := wire.New(to)
		if err != nil {
			continue
		}
		rest := b
		for len(rest) > 0 {
			n, err := codec.Size(rest)
			if err != nil || n == 0 || n > len(rest) {
				break
			}
			rest = rest[n:]
		}
		if len(rest) == 0 {
			return to, true
		}
	}
	return s, false
}

// probe tries other framings, each on a connection of its own, and says with which flags
// the request was answered; "" if with none, after so many tries.
func (c *checker) probe(ctx context.Context, k *request.Kind) (flags string, tried int) {
	if c.cfg.Listener != nil {
		return "", 0
	}
	if !c.target.TLS && c.target.Network == "tcp" && c.dials(ctx, true) {
		return "tls://" + c.target.Address + ": it answers a TLS handshake", 1
	}
	payload := c.from.Payload(nil, k.Source, 0)
	for _, to := range others(c.codec.Spec()) {
		if tried == probesMax || ctx.Err() != nil {
			break
		}
		codec, err := wire.New(to)
		if err != nil || codec.CheckPayload(len(payload)) != nil {
			continue
		}
		tried++
		if c.answered(ctx, codec, payload) {
			return flagsOf(c.codec.Spec(), to) + ": the same request was answered so", tried
		}
	}
	return c.probePresets(ctx, tried)
}

// probePresets tries the framings that have a name, with harmless requests of their own.
func (c *checker) probePresets(ctx context.Context, before int) (flags string, tried int) {
	tried = before
	for _, name := range wire.PresetNames() {
		spec, err := wire.Preset(name)
		probe := wire.Probe(name)
		if err != nil || probe == nil || name == c.codec.Spec().Name || ctx.Err() != nil {
			continue
		}
		codec, err := wire.New(spec)
		if err != nil {
			continue
		}
		tried++
		if c.answered(ctx, codec, probe) {
			return "--framing " + name + ": a request of that protocol was answered", tried
		}
	}
	return "", tried
}

// answered reports whether a request in that framing has a reply with its ID.
func (c *checker) answered(ctx context.Context, codec *wire.Codec, payload []byte) bool {
	id := idOf(codec.Spec(), 0)
	sent, err := codec.Append(nil, id, payload)
	if err != nil {
		return false
	}
	conn, err := c.cfg.Dial(ctx, c.target)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	got := load.Exchange(conn, wire.NewDecoder(codec), sent, min(probeTimeout, c.cfg.Timeout), nil)
	spec := codec.Spec()
	return got.Frame.Bytes != nil && len(got.Rest) == 0 && (spec.Ordered() || got.Frame.IDValid && got.Frame.ID == id)
}
