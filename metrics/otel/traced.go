package otel

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/ringwire/ringwire/engine"
)

// textMost is how much of an error's text a span gets.
const textMost = 256

// Traced returns a Client whose calls are those of c, with a span of kind CLIENT each, a batch one
// span:
//
//	client, err := otel.Traced(broker, tracerProvider.Tracer("payments"),
//		attribute.String("rpc.method", "authorize"))
//
// Its name is the attribute rpc.method, if attrs have one, else "ringwire". It has rpc.system.name,
// attrs, and at the end server.address and server.port of the server that was last chosen,
// error.type as [Timed] has it, and rpc.response.status_code if the server has refused the request
// or failed. Of a call of Send or Go the stages are events of the span: queued, placed, written,
// replied, moved, repeated; so attempts of the broker's are seen (see engine.Trace). A batch has
// the attribute ringwire.batch.size instead. The span of Go ends before its function runs. No
// payload is in a span, but for up to 256 bytes of an error's text, which the server may have
// written.
//
// The trace does not go on at the server: a frame has a length, an ID and a payload, and no place
// for a context, nor has the extension. If both ends agree on a payload that has one, put it there
// with an engine.Interceptor inside of this one, which finds the span in its context, and take it
// out in the handler.
//
// Spans that are not sampled cost what the tracer's Start does, and no events are taken. attrs are
// of every span.
func Traced(c engine.Client, tracer trace.Tracer, attrs ...attribute.KeyValue) (engine.Client, error) {
	switch {
	case c == nil:
		return nil, errors.New("otel: Client of Traced is nil")
	case tracer == nil:
		return nil, errors.New("otel: tracer of Traced is nil")
	}
	t := &tracing{tracer: tracer, name: "ringwire"}
	for _, a := range attrs {
		if a.Key == "rpc.method" {
			t.name = a.Value.AsString()
		}
	}
	all := append([]attribute.KeyValue{attribute.String("rpc.system.name", "ringwire")}, attrs...)
	t.start = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(all...)}
	return engine.Intercept(c, t.intercept), nil
}

// tracing makes spans.
type tracing struct {
	tracer trace.Tracer
	name   string
	start  []trace.SpanStartOption
}

func (t *tracing) intercept(ctx context.Context, in engine.Invocation, next engine.Invoker) error {
	ctx, span := t.tracer.Start(ctx, t.name, t.start...)
	s := &callSpan{span: span}
	if span.IsRecording() {
		switch in.Method {
		case engine.MethodSend, engine.MethodGo:
			if in.Call.Trace == nil {
				in.Call.Trace = new(engine.Trace)
			}
			s.trace = in.Call.Trace
			s.before = len(s.trace.Events())
		case engine.MethodSendBatch:
			span.SetAttributes(attribute.Int("ringwire.batch.size", len(in.Requests)))
		}
	}
	if in.Method != engine.MethodGo {
		defer s.end(nil) // if it panics
		err := next(ctx, in)
		s.end(err)
		return err
	}
	done := in.Done
	in.Done = func(i int, reply []byte, err error) {
		s.end(err)
		done(i, reply, err)
	}
	err := next(ctx, in)
	if err != nil {
		s.end(err)
	}
	return err
}

// callSpan is the span of a call.
type callSpan struct {
	span   trace.Span
	trace  *engine.Trace // nil: its stages are not noted
	before int           // events that are not the call's
	ended  atomic.Bool
}

// end ends the span, once.
func (s *callSpan) end(err error) {
	if s.ended.Swap(true) {
		return
	}
	defer s.span.End()
	if !s.span.IsRecording() {
		return
	}
	addr := ""
	var op *engine.OpError
	if errors.As(err, &op) {
		addr = op.Addr
	}
	if s.trace != nil {
		addr = s.addStages(addr)
	}
	s.span.SetAttributes(serverAttrs(addr)...)
	if err == nil {
		return
	}
	s.span.SetAttributes(attribute.String("error.type", kindOf(err)))
	if code, ok := statusOf(err); ok {
		s.span.SetAttributes(attribute.String("rpc.response.status_code", code))
	}
	text := err.Error()
	s.span.SetStatus(codes.Error, strings.ToValidUTF8(text[:min(len(text), textMost)], ""))
}

// addStages makes events of the call's stages, and returns the server that was last chosen.
func (s *callSpan) addStages(addr string) string {
	events := s.trace.Events()
	for _, e := range events[min(s.before, len(events)):] {
		if e.Stage == engine.StageDone {
			continue // the end of the span
		}
		attrs := serverAttrs(e.Addr)
		if e.Err != nil {
			attrs = append(attrs, attribute.String("error.type", kindOf(e.Err)))
		}
		s.span.AddEvent(string(e.Stage), trace.WithTimestamp(e.At), trace.WithAttributes(attrs...))
		if e.Stage == engine.StagePlaced {
			addr = e.Addr
		}
	}
	return addr
}

// serverAttrs are the attributes of a server's address: "host:port", maybe with "tcp://", or
// "unix:///path".
func serverAttrs(addr string) []attribute.KeyValue {
	if addr == "" {
		return nil
	}
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		return []attribute.KeyValue{attribute.String("server.address", path)}
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(addr, "tcp://"))
	if err != nil {
		return []attribute.KeyValue{attribute.String("server.address", addr)}
	}
	attrs := []attribute.KeyValue{attribute.String("server.address", host)}
	if n, err := strconv.Atoi(port); err == nil {
		attrs = append(attrs, attribute.Int("server.port", n))
	}
	return attrs
}

// kindOf is the value of error.type.
func kindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return k.name
		}
	}
	return "_OTHER"
}

// statusOf returns the code that a server has answered with.
func statusOf(err error) (code string, ok bool) {
	var refused *engine.RefusedError
	var remote *engine.RemoteError
	switch {
	case errors.As(err, &refused):
		return strconv.FormatUint(uint64(refused.Code), 10), true
	case errors.As(err, &remote):
		return strconv.FormatUint(uint64(remote.Code), 10), true
	}
	return "", false
}
