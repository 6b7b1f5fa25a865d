package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// throughAll makes a call by each method that has a reply, and hands what it returned to check.
func throughAll(t *testing.T, c Client, check func(t *testing.T, m Method, reply string, err error)) {
	t.Helper()
	t.Run("Send", func(t *testing.T) {
		reply, err := c.Send(bg, []byte("x"), Call{Priority: 1})
		check(t, MethodSend, string(reply), err)
	})
	t.Run("SendInto", func(t *testing.T) {
		for _, dst := range [][]byte{[]byte("dst "), append(make([]byte, 0, 100), "dst "...)} {
			reply, err := c.SendInto(bg, dst, []byte("x"), Call{Priority: 1})
			require.Equal(t, "dst ", string(reply[:4]))
			check(t, MethodSend, string(reply[4:]), err)
		}
	})
	t.Run("Go", func(t *testing.T) {
		type outcome struct {
			reply string
			err   error
		}
		done := make(chan outcome, 2)
		err := c.Go(bg, []byte("x"), func(reply []byte, err error) { done <- outcome{string(reply), err} }, Call{Priority: 1})
		got := outcome{"", err}
		if err == nil {
			got = <-done
		}
		check(t, MethodGo, got.reply, got.err)
		assert.Empty(t, done)
	})
	t.Run("SendBatch", func(t *testing.T) {
		told := make([]int, 2)
		err := c.SendBatch(bg, [][]byte{[]byte("x"), []byte("x")}, func(i int, reply []byte, err error) {
			told[i]++
			check(t, MethodSendBatch, string(reply), err)
		}, Call{Priority: 1})
		assert.Equal(t, []int{1, 1}, told)
		check(t, MethodSendBatch, "batch", err)
	})
}

// echoBroker is a broker whose peer returns what it is sent.
func echoBroker(t *testing.T) *Broker {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	ready(t, b)
	return b
}

// bracket puts its name around requests and replies.
func bracket(name string) Interceptor {
	return func(ctx context.Context, in Invocation, next Invoker) error {
		changed := make([][]byte, len(in.Requests))
		for i, req := range in.Requests {
			changed[i] = fmt.Appendf(nil, "%s(%s", name, req)
		}
		in.Requests = changed
		done := in.Done
		in.Done = func(i int, reply []byte, err error) { done(i, fmt.Appendf(nil, "%s)%s", reply, name), err) }
		return next(ctx, in)
	}
}

func TestInterceptorsAreInOrderAndChangeRequestsAndReplies(t *testing.T) {
	throughAll(t, Intercept(echoBroker(t), bracket("a"), nil, bracket("b")), func(t *testing.T, m Method, reply string, err error) {
		require.NoError(t, err)
		if reply != "batch" {
			assert.Equal(t, "b(a(x)b)a", reply)
		}
	})
}

func TestWithoutInterceptorsAllIsAsItWas(t *testing.T) {
	b := echoBroker(t)
	c := Intercept(b)
	throughAll(t, c, func(t *testing.T, m Method, reply string, err error) {
		require.NoError(t, err)
		if reply != "batch" {
			assert.Equal(t, "x", reply)
		}
	})
	reply, err := c.Send(bg, nil)
	require.NoError(t, err)
	assert.NotNil(t, reply)
	require.NoError(t, c.SendOneWay(bg, nil))
	assert.EqualValues(t, 1, b.Stats().OneWay)
	assert.ErrorIs(t, c.Go(bg, nil, nil), errNoFunc)
	assert.ErrorIs(t, c.SendBatch(bg, nil, nil), errNoFunc)
	require.NoError(t, c.SendBatch(bg, nil, func(int, []byte, error) {}))
	gone, cancel := context.WithCancel(bg)
	cancel()
	_, err = c.Send(gone, nil)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, c.Go(gone, nil, func([]byte, error) { t.Error("it was not accepted") }), context.Canceled)
	// From a callback.
	failed := make(chan error, 1)
	require.NoError(t, c.Go(bg, nil, func([]byte, error) {
		failed <- c.SendBatch(bg, [][]byte{nil}, func(int, []byte, error) { t.Error("nothing was sent") })
	}))
	assert.ErrorIs(t, <-failed, ErrInCallback)
}

func TestAnInterceptorSeesTheMethodAndTheOptions(t *testing.T) {
	var seen []Method
	note := func(ctx context.Context, in Invocation, next Invoker) error {
		seen = append(seen, in.Method)
		if in.Method != MethodSendOneWay {
			assert.Equal(t, Call{Priority: 1}, in.Call)
		}
		in.Call.Trace = new(Trace)
		err := next(ctx, in)
		if in.Method == MethodSend || in.Method == MethodSendBatch {
			events := in.Call.Trace.Events()
			assert.Equal(t, StageDone, events[len(events)-1].Stage, "its own options are passed on")
		}
		return err
	}
	c := Intercept(echoBroker(t), note)
	throughAll(t, c, func(t *testing.T, m Method, _ string, err error) { require.NoError(t, err) })
	require.NoError(t, c.SendOneWay(bg, nil))
	assert.Equal(t, []Method{MethodSend, MethodSend, MethodSend, MethodGo, MethodSendBatch, MethodSendOneWay}, seen)
}

// An Interceptor that looks at outcomes by Done misses none: a call that fails is one,
// too.
func TestAnInterceptorsDoneIsToldOfFailures(t *testing.T) {
	var told []error
	note := func(ctx context.Context, in Invocation, next Invoker) error {
		done := in.Done
		in.Done = func(i int, reply []byte, err error) {
			told = append(told, err)
			done(i, reply, err)
		}
		return next(ctx, in)
	}
	c := Intercept(echoBroker(t), note)
	gone, cancel := context.WithCancel(bg)
	cancel()
	_, err := c.Send(gone, nil)
	require.ErrorIs(t, err, context.Canceled)
	dst, err := c.SendInto(gone, []byte("mine"), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "mine", string(dst))
	require.Len(t, told, 2)
	for _, err := range told {
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestAnInterceptorCanAnswerItself(t *testing.T) {
	refused := errors.New("refused")
	b := echoBroker(t)
	for name, c := range map[string]struct {
		does  Interceptor
		reply string
		err   error
	}{
		"it fails":    {func(context.Context, Invocation, Invoker) error { return refused }, "", refused},
		"it forgets":  {func(context.Context, Invocation, Invoker) error { return nil }, "", errNoOutcome},
		"it tells":    {func(_ context.Context, in Invocation, _ Invoker) error { return tellAll(in, []byte("cached"), nil) }, "cached", nil},
		"it tells so": {func(_ context.Context, in Invocation, _ Invoker) error { return tellAll(in, nil, refused) }, "", refused},
		"it tells twice": {func(_ context.Context, in Invocation, _ Invoker) error {
			_ = tellAll(in, []byte("cached"), nil)
			return tellAll(in, []byte("cached"), nil)
		}, "cached", nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := Intercept(b, c.does)
			if name == "it forgets" { // with Go nobody can know that it will not remember
				_, err := client.Send(bg, nil)
				require.ErrorIs(t, err, errNoOutcome)
				require.ErrorIs(t, client.SendBatch(bg, [][]byte{nil}, func(_ int, _ []byte, err error) {
					assert.ErrorIs(t, err, errNoOutcome)
				}), errNoOutcome)
				return
			}
			throughAll(t, client, func(t *testing.T, _ Method, reply string, err error) {
				require.ErrorIs(t, err, c.err)
				if reply != "batch" {
					assert.Equal(t, c.reply, reply)
				}
			})
		})
	}
	assert.Zero(t, b.Stats().Accepted)
}

// answering is a Client whose calls end with reply and err.
type answering struct {
	reply []byte
	err   error
}

func (a answering) Send(context.Context, []byte, ...Call) ([]byte, error) { return a.reply, a.err }

func (a answering) SendInto(_ context.Context, dst, _ []byte, _ ...Call) ([]byte, error) {
	return append(dst, a.reply...), a.err
}

func (a answering) Go(_ context.Context, _ []byte, fn func([]byte, error), _ ...Call) error {
	fn(a.reply, a.err)
	return nil
}

func (a answering) SendBatch(_ context.Context, reqs [][]byte, fn func(int, []byte, error), _ ...Call) error {
	for i := range reqs {
		fn(i, a.reply, a.err)
	}
	return a.err
}

func (a answering) SendOneWay(context.Context, []byte) error { return a.err }

// next returns what the method returns, and Done has been told the same.
func TestAnInvokerReturnsWhatTheMethodReturns(t *testing.T) {
	failed := errors.New("failed")
	for _, want := range []error{nil, failed} {
		see := func(ctx context.Context, in Invocation, next Invoker) error {
			done, told := in.Done, []error(nil)
			in.Done = func(i int, reply []byte, err error) { told = append(told, err); done(i, reply, err) }
			err := next(ctx, in)
			if in.Method == MethodGo { // it was accepted; its function knows the rest
				assert.NoError(t, err)
			} else {
				assert.Equal(t, want, err, in.Method)
			}
			if in.Method != MethodSendOneWay {
				assert.Len(t, told, len(in.Requests), in.Method)
			}
			for _, err := range told {
				assert.Equal(t, want, err, in.Method)
			}
			return err
		}
		c := Intercept(answering{err: want}, see)
		throughAll(t, c, func(t *testing.T, m Method, _ string, err error) { assert.Equal(t, want, err, m) })
		assert.Equal(t, want, c.SendOneWay(bg, nil))
	}
}

// Of Send the outcome that was told last counts, of the others the one that was told first.
func TestWhichOutcomeCountsIsSaid(t *testing.T) {
	early, late := errors.New("early"), errors.New("late")
	for name, tc := range map[string]struct {
		tell        func(in Invocation)
		first, last string
		err, lately error
	}{
		"two replies": {func(in Invocation) {
			_ = tellAll(in, []byte("first"), nil)
			_ = tellAll(in, []byte("last"), nil)
		}, "first", "last", nil, nil},
		"a reply after a failure": {func(in Invocation) {
			_ = tellAll(in, nil, early)
			_ = tellAll(in, []byte("last"), nil)
		}, "", "last", early, nil},
		"two failures": {func(in Invocation) {
			_ = tellAll(in, nil, early)
			_ = tellAll(in, nil, late)
		}, "", "", early, late},
		"indexes that are none": {func(in Invocation) {
			in.Done(0, []byte("one"), nil)
			if in.Method == MethodSendBatch {
				in.Done(-1, nil, early)
				in.Done(2, nil, early)
				in.Done(1, []byte("one"), nil)
			}
		}, "one", "one", nil, nil},
	} {
		c := Intercept(answering{}, func(_ context.Context, in Invocation, _ Invoker) error { tc.tell(in); return nil })
		throughAll(t, c, func(t *testing.T, m Method, reply string, err error) {
			text, want := tc.first, tc.err
			if m == MethodSend {
				text, want = tc.last, tc.lately
			}
			assert.Equal(t, want, err, "%s, %s", name, m)
			if reply != "batch" && err == nil {
				assert.Equal(t, text, reply, "%s, %s", name, m)
			}
		})
	}
}

func TestABatchReturnsItsFirstFailure(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	c := Intercept(answering{}, func(_ context.Context, in Invocation, _ Invoker) error {
		in.Done(2, nil, nil)
		in.Done(1, nil, first)
		in.Done(0, nil, second)
		return nil
	})
	told := make([]error, 3)
	assert.Equal(t, first, c.SendBatch(bg, make([][]byte, 3), func(i int, _ []byte, err error) { told[i] = err }))
	assert.Equal(t, []error{second, first, nil}, told)
}

// A call that was refused has no function any more, and one that has an outcome was not
// refused.
func TestGoIsRefusedOrHasAnOutcome(t *testing.T) {
	refused := errors.New("refused")
	var kept func(int, []byte, error)
	late := Intercept(answering{}, func(_ context.Context, in Invocation, _ Invoker) error { kept = in.Done; return refused })
	assert.Equal(t, refused, late.Go(bg, nil, func([]byte, error) { t.Error("it was refused") }))
	kept(0, nil, nil)

	told := 0
	early := Intercept(answering{}, func(_ context.Context, in Invocation, _ Invoker) error { in.Done(0, nil, nil); return refused })
	require.NoError(t, early.Go(bg, nil, func([]byte, error) { told++ }))
	assert.Equal(t, 1, told)

	for _, client := range []Client{late, early} { // without one it is the Client's to say so
		assert.Panics(t, func() { _ = client.Go(bg, nil, nil) })
		assert.Panics(t, func() { _ = client.SendBatch(bg, make([][]byte, 1), nil) })
	}
}

// SendOneWay has no outcome; a Done that is called all the same does nothing.
func TestDoneOfOneWayDoesNothing(t *testing.T) {
	c := Intercept(answering{}, func(ctx context.Context, in Invocation, next Invoker) error {
		in.Done(0, nil, nil)
		return next(ctx, in)
	})
	assert.NoError(t, c.SendOneWay(bg, nil))
}

// A reply is appended to dst, in its memory if it has room, and never nil.
func TestSendIntoAppendsWhateverInterceptorsTell(t *testing.T) {
	for name, c := range map[string]struct {
		dst   []byte
		reply string
	}{
		"nothing, to nothing": {nil, ""}, "something, to nothing": {nil, "reply"},
		"to memory": {make([]byte, 0, 10), "reply"}, "nothing, to memory": {make([]byte, 0, 10), ""},
		"behind": {append(make([]byte, 0, 20), "dst "...), "reply"}, "nothing behind": {append(make([]byte, 0, 20), "dst "...), ""},
		"without room": {[]byte("dst ")[:4:4], "reply"},
	} {
		for whose, client := range map[string]Client{
			"the client's": Intercept(answering{reply: []byte(c.reply)}),
			"another":      Intercept(answering{}, func(_ context.Context, in Invocation, _ Invoker) error { return tellAll(in, []byte(c.reply), nil) }),
			"nil":          Intercept(answering{}, func(_ context.Context, in Invocation, _ Invoker) error { return tellAll(in, nil, nil) }),
		} {
			want := string(c.dst) + c.reply
			if whose == "nil" {
				want = string(c.dst)
			}
			got, err := client.SendInto(bg, c.dst, nil)
			require.NoError(t, err)
			require.NotNil(t, got, "%s, %s", name, whose)
			assert.Equal(t, want, string(got), "%s, %s", name, whose)
			if len(got) > 0 && len(got) <= cap(c.dst) {
				assert.Same(t, &c.dst[:1][0], &got[0], "%s, %s", name, whose)
			}
		}
	}
	got, err := Intercept(answering{}).Send(bg, nil)
	require.NoError(t, err)
	assert.NotNil(t, got)
}

func tellAll(in Invocation, reply []byte, err error) error {
	for i := range in.Requests {
		in.Done(i, reply, err)
	}
	return nil
}

// One that repeats keeps to itself what is not final, and the others see one call.
func TestAnInterceptorCanRepeat(t *testing.T) {
	attempts := 0
	flaky := func(ctx context.Context, in Invocation, next Invoker) error {
		if attempts++; attempts%3 != 0 {
			in.Done(0, nil, ErrConnLost)
			return ErrConnLost
		}
		return next(ctx, in)
	}
	repeat := func(ctx context.Context, in Invocation, next Invoker) (err error) {
		done := in.Done
		for range 3 {
			var reply []byte
			in.Done = func(_ int, r []byte, e error) { reply, err = append(reply, r...), e }
			if err = next(ctx, in); err == nil {
				done(0, reply, nil)
				return nil
			}
		}
		done(0, nil, err)
		return err
	}
	seen := 0
	count := func(ctx context.Context, in Invocation, next Invoker) error {
		done := in.Done
		in.Done = func(i int, reply []byte, err error) { seen++; done(i, reply, err) }
		return next(ctx, in)
	}
	reply, err := Intercept(echoBroker(t), count, repeat, flaky).Send(bg, []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(reply))
	assert.Equal(t, 3, attempts)
	assert.Equal(t, 1, seen)
}

// A Done that panics is what a function of Go is that does.
func TestAPanicInDoneCostsItsOwnCallOnly(t *testing.T) {
	b := echoBroker(t)
	c := Intercept(b, func(ctx context.Context, in Invocation, next Invoker) error {
		in.Done = func(int, []byte, error) { panic("no") }
		return next(ctx, in)
	})
	require.NoError(t, c.Go(bg, nil, func([]byte, error) { t.Error("the panic came before") }))
	require.Eventually(t, func() bool { return b.Stats().Panics == 1 }, 10*time.Second, time.Millisecond)
	_, err := b.Send(bg, nil)
	require.NoError(t, err)
	assert.PanicsWithValue(t, "no", func() { _, _ = c.Send(bg, nil) }, "it is the caller's")
}

func ExampleIntercept() {
	slow := func(ctx context.Context, in Invocation, next Invoker) error {
		began, done := time.Now(), in.Done
		in.Done = func(i int, reply []byte, err error) {
			if took := time.Since(began); took > time.Second {
				fmt.Println(in.Method, "took", took, err)
			}
			done(i, reply, err)
		}
		return next(ctx, in)
	}
	b, err := New(Config{Addrs: []string{"127.0.0.1:9000"}})
	if err != nil {
		return
	}
	defer b.Close()
	client := Intercept(b, slow) // what the program calls instead of b
	_, _ = client.Send(context.Background(), []byte("hello"))
}

func BenchmarkIntercept(b *testing.B) {
	pass := func(ctx context.Context, in Invocation, next Invoker) error { return next(ctx, in) }
	for name, c := range map[string]Client{"none": nothing{}, "one": Intercept(nothing{}, pass)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.SendInto(bg, nil, nil)
			}
		})
	}
}

// nothing is a Client whose calls take no time.
type nothing struct{ Client }

func (nothing) SendInto(context.Context, []byte, []byte, ...Call) ([]byte, error) { return nil, nil }
